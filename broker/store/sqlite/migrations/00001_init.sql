-- +goose Up
CREATE TABLE tasks (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE grants (
  id TEXT PRIMARY KEY, task TEXT NOT NULL, agent TEXT NOT NULL,
  live INTEGER NOT NULL, expires INTEGER NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX grants_task ON grants (task);
CREATE INDEX grants_agent ON grants (agent, id);
CREATE INDEX grants_live ON grants (expires) WHERE live = 1;
CREATE TABLE issuances (id TEXT PRIMARY KEY, grant_id TEXT NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX issuances_grant ON issuances (grant_id);
CREATE INDEX issuances_open ON issuances (state) WHERE state = 'intended';
CREATE TABLE work (id TEXT PRIMARY KEY, due INTEGER, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX work_due ON work (due) WHERE due IS NOT NULL;
CREATE TABLE idempotency (agent TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (agent, key)) WITHOUT ROWID;
CREATE TABLE frozen (agent TEXT PRIMARY KEY, cause TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE buckets (key TEXT PRIMARY KEY, tat INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE records (idx INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE hashes (idx INTEGER PRIMARY KEY, hash BLOB NOT NULL);
CREATE TABLE checkpoint (id INTEGER PRIMARY KEY CHECK (id = 0), size INTEGER NOT NULL, note BLOB NOT NULL);
-- +goose Down
DROP TABLE checkpoint; DROP TABLE hashes; DROP TABLE records; DROP TABLE buckets; DROP TABLE frozen;
DROP TABLE idempotency; DROP TABLE work; DROP TABLE issuances; DROP TABLE grants; DROP TABLE tasks;
