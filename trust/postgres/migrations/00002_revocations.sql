-- +goose Up

INSERT INTO schema_level (version, oldest) VALUES (2, 1);

-- The chain of the revocations is one of the records' like any writer's.
-- revoker is its number, 0 before the first revocation; revoker_seq and
-- revoker_hash are its head.
ALTER TABLE head
    ADD COLUMN revoker      integer NOT NULL DEFAULT 0,
    ADD COLUMN revoker_seq  bigint  NOT NULL DEFAULT 0,
    ADD COLUMN revoker_hash bytea;

CREATE TABLE revocations (
    seq     bigint      PRIMARY KEY,
    handle  bytea       NOT NULL,
    kind    text        NOT NULL,
    before  timestamptz NOT NULL,
    expires timestamptz NOT NULL,
    author  text        NOT NULL,
    comment text        NOT NULL,
    at      timestamptz NOT NULL
);
