-- Durable jobs, in lanes that are served one job at a time; leases of what only one node may do;
-- the nodes that are there; and whether it was told that a series has settled.

CREATE TABLE job (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  lane TEXT NOT NULL,
  subject TEXT NOT NULL,
  body TEXT NOT NULL,
  priority INTEGER NOT NULL,
  state TEXT NOT NULL,
  due_at REAL NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  losses INTEGER NOT NULL DEFAULT 0,
  lease INTEGER NOT NULL DEFAULT 0,
  leased_until REAL NOT NULL DEFAULT 0,
  node TEXT NOT NULL DEFAULT '',
  progress TEXT NOT NULL DEFAULT '{}',
  reason TEXT NOT NULL DEFAULT '',
  created_at REAL NOT NULL,
  changed_at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX job_waits_once ON job (kind, subject) WHERE state = 'waiting';
CREATE INDEX job_in_lane ON job (lane, state, priority, due_at, id);
CREATE INDEX job_by_state ON job (state, id);

CREATE TABLE lane (
  name TEXT PRIMARY KEY,
  failures INTEGER NOT NULL DEFAULT 0,
  rests_until REAL NOT NULL DEFAULT 0,
  served_at REAL NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE feed (
  name TEXT PRIMARY KEY,
  up_to_id INTEGER NOT NULL,
  fed_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  until REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE node (
  name TEXT PRIMARY KEY,
  version TEXT NOT NULL,
  started_at REAL NOT NULL,
  seen_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- What is there already counts as told.
ALTER TABLE series ADD COLUMN settled INTEGER NOT NULL DEFAULT 1;
CREATE INDEX series_to_settle ON series (id) WHERE has_metadata = 0 OR settled = 0;
DROP INDEX series_without_metadata;
