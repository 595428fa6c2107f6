-- +goose Up
-- A grant that waits for people is live, too: it can end, and a task's end ends it.
ALTER TABLE grants ADD COLUMN pending INTEGER NOT NULL DEFAULT 0;
CREATE INDEX grants_pending ON grants (id) WHERE pending = 1;
CREATE TABLE approvals (grant_id TEXT NOT NULL, person TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (grant_id, person)) WITHOUT ROWID;
-- +goose Down
DROP TABLE approvals; DROP INDEX grants_pending; ALTER TABLE grants DROP COLUMN pending;
