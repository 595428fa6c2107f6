-- +goose Up
-- Orders to end many grants, each of which takes many transactions.
CREATE TABLE sweeps (id TEXT PRIMARY KEY, open INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX grants_open ON grants (agent, id) WHERE live = 1;
CREATE INDEX grants_delegated ON grants (delegate, id) WHERE live = 1 AND delegate <> '';
-- +goose Down
DROP INDEX grants_delegated; DROP INDEX grants_open; DROP TABLE sweeps;
