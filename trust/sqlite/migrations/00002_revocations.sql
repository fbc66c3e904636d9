-- +goose Up

INSERT INTO schema_level (version, oldest) VALUES (2, 1);

-- The chain of the revocations is one of the records' like any writer's.
-- revoker is its number, 0 before the first revocation; revoker_seq and
-- revoker_hash are its head.
ALTER TABLE head ADD COLUMN revoker      INTEGER NOT NULL DEFAULT 0;
ALTER TABLE head ADD COLUMN revoker_seq  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE head ADD COLUMN revoker_hash BLOB;

CREATE TABLE revocations (
    seq     INTEGER PRIMARY KEY,
    handle  BLOB    NOT NULL,
    kind    TEXT    NOT NULL,
    before  INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    author  TEXT    NOT NULL,
    comment TEXT    NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
