-- +goose Up
-- A grant that waits for people is live, too: it can end, and a task's end ends it.
ALTER TABLE grants ADD COLUMN waiter TEXT;
ALTER TABLE grants ADD COLUMN delegate TEXT;
CREATE INDEX grants_waiting ON grants (waiter, delegate, id) WHERE waiter IS NOT NULL;
CREATE TABLE approvals (grant_id TEXT NOT NULL, person TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (grant_id, person)) WITHOUT ROWID;
CREATE TABLE cooling (key TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
-- +goose Down
DROP TABLE cooling; DROP TABLE approvals; DROP INDEX grants_waiting;
ALTER TABLE grants DROP COLUMN delegate; ALTER TABLE grants DROP COLUMN waiter;
