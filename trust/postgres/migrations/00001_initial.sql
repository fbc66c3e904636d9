-- +goose Up

-- One row per schema version. A binary made for an older version may use the
-- schema while oldest is not above the version it was made for.
CREATE TABLE schema_level (
    version bigint PRIMARY KEY,
    oldest  bigint NOT NULL
);
INSERT INTO schema_level (version, oldest) VALUES (1, 1);

-- The one row that a decision is fenced by. hash is that of the newest revision.
CREATE TABLE head (
    id                integer PRIMARY KEY CHECK (id = 1),
    domain            text    NOT NULL DEFAULT '',
    revision          bigint  NOT NULL DEFAULT 0,
    revocations       bigint  NOT NULL DEFAULT 0,
    hash              bytea   NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    document          text    NOT NULL DEFAULT '',
    document_revision bigint  NOT NULL DEFAULT 0
);
INSERT INTO head (id) VALUES (1);

-- An object without a body was removed in its revision: a tombstone, so that
-- what changed since any revision can be told.
CREATE TABLE objects (
    kind     text COLLATE "C" NOT NULL,
    name     text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    body     bytea,
    hash     bytea  NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE INDEX objects_by_revision ON objects (revision);

-- The registry's own chain.
CREATE TABLE revisions (
    revision bigint      PRIMARY KEY,
    at       timestamptz NOT NULL,
    hash     bytea       NOT NULL,
    body     bytea       NOT NULL
);

CREATE TABLE writers (
    writer integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    opened timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE records (
    writer integer     NOT NULL,
    seq    bigint      NOT NULL,
    at     timestamptz NOT NULL,
    hash   bytea       NOT NULL,
    body   bytea       NOT NULL,
    PRIMARY KEY (writer, seq)
);

CREATE TABLE once (
    key     bytea       PRIMARY KEY,
    expires timestamptz NOT NULL
);

CREATE TABLE keys (
    id        text        COLLATE "C" PRIMARY KEY,
    use       text        NOT NULL,
    algorithm text        NOT NULL,
    state     text        NOT NULL,
    public    bytea,
    sealed    bytea       NOT NULL,
    created   timestamptz NOT NULL,
    changed   timestamptz NOT NULL
);
