-- +goose Up

-- One row per schema version. A binary made for an older version may use the
-- schema while oldest is not above the version it was made for.
CREATE TABLE schema_level (
    version INTEGER PRIMARY KEY,
    oldest  INTEGER NOT NULL
) STRICT;
INSERT INTO schema_level (version, oldest) VALUES (1, 1);

-- The one row that a decision is fenced by. hash is that of the newest revision.
CREATE TABLE head (
    id                INTEGER PRIMARY KEY CHECK (id = 1),
    domain            TEXT    NOT NULL DEFAULT '',
    revision          INTEGER NOT NULL DEFAULT 0,
    revocations       INTEGER NOT NULL DEFAULT 0,
    hash              BLOB    NOT NULL DEFAULT (zeroblob(32)),
    document          TEXT    NOT NULL DEFAULT '',
    document_revision INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO head (id) VALUES (1);

-- An object without a body was removed in its revision: a tombstone, so that
-- what changed since any revision can be told.
CREATE TABLE objects (
    kind     TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    position INTEGER NOT NULL,
    body     BLOB,
    hash     BLOB    NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;
CREATE INDEX objects_by_revision ON objects (revision);

-- The registry's own chain.
CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL, -- microseconds since 1970, as all times here
    hash     BLOB    NOT NULL,
    body     BLOB    NOT NULL
) STRICT;

CREATE TABLE writers (
    writer INTEGER PRIMARY KEY AUTOINCREMENT,
    opened INTEGER NOT NULL
) STRICT;

CREATE TABLE records (
    writer INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    hash   BLOB    NOT NULL,
    body   BLOB    NOT NULL,
    PRIMARY KEY (writer, seq)
) STRICT;

CREATE TABLE once (
    key     BLOB    PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id        TEXT    PRIMARY KEY,
    use       TEXT    NOT NULL,
    algorithm TEXT    NOT NULL,
    state     TEXT    NOT NULL,
    public    BLOB,
    sealed    BLOB    NOT NULL,
    created   INTEGER NOT NULL,
    changed   INTEGER NOT NULL
) STRICT;
