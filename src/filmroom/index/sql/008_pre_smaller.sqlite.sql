-- Instances that are stored smaller than they came: what they were when they came, what could not
-- be stored smaller and why, files that are to go once nobody reads them, how far rules have come.
-- All by UID or key, so that no statement of an older node is in their way. What came is told only
-- of the file with that stored_digest: an older node may put another one there.

CREATE TABLE received (
  sop_instance_uid TEXT PRIMARY KEY,
  digest BLOB NOT NULL,
  transfer_syntax_uid TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  stored_bytes INTEGER NOT NULL,
  stored_digest BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE left_alone (
  sop_instance_uid TEXT PRIMARY KEY,
  digest BLOB NOT NULL,
  reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE spare (
  key TEXT PRIMARY KEY,
  until REAL NOT NULL,
  claimed INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX spare_until ON spare (until);

CREATE TABLE compressing (
  rule TEXT PRIMARY KEY,
  after_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
