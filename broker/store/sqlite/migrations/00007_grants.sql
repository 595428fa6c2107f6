-- +goose Up
-- A grant that is made is in one index by its agent, and goes to another one when it ends. Its
-- row is appended to a table by rowid: without one, SQLite puts all of a row over 1,000 bytes
-- but the first on pages of its own, and writes up to five pages where a page is full. There is
-- no way back.
CREATE TABLE grants_by_rowid (
  id TEXT NOT NULL, task TEXT NOT NULL, agent TEXT NOT NULL, live INTEGER NOT NULL, waiter TEXT, delegate TEXT,
  expires INTEGER NOT NULL, body TEXT NOT NULL, sum INTEGER NOT NULL
);
INSERT INTO grants_by_rowid SELECT id, task, agent, live, waiter, delegate, expires, body, sum FROM grants ORDER BY id;
DROP TABLE grants;
ALTER TABLE grants_by_rowid RENAME TO grants;
CREATE UNIQUE INDEX grants_id ON grants (id);
CREATE INDEX grants_open ON grants (agent, task, id) WHERE live = 1;
CREATE INDEX grants_ended ON grants (agent, id) WHERE live = 0;
CREATE INDEX grants_live ON grants (expires) WHERE live = 1;
CREATE INDEX grants_waiting ON grants (waiter, delegate, id) WHERE waiter IS NOT NULL;
CREATE INDEX grants_delegated ON grants (delegate, id) WHERE live = 1 AND delegate <> '';
