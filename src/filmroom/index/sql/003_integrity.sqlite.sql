-- What is known of the state of the files, and how often a series has changed.
-- A mark of damage knows its instance by UID, so that it outlives `reindex`.

CREATE TABLE damage (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  sop_instance_uid TEXT NOT NULL UNIQUE,
  digest BLOB NOT NULL,
  reason TEXT NOT NULL,
  found_at REAL NOT NULL
) STRICT;

CREATE TABLE scrub (
  id INTEGER PRIMARY KEY,
  state TEXT NOT NULL
) STRICT;

ALTER TABLE series ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
