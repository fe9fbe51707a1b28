-- Instances that are stored smaller than they came: what they were when they came, what could not
-- be stored smaller and why, files that are to go once nobody reads them, how far rules have come.
-- All by UID or key, so that no statement of an older node is in their way. What came is told only
-- of the file with that stored_digest: an older node may put another one there.

CREATE TABLE received (
  sop_instance_uid text COLLATE "C" PRIMARY KEY,
  digest bytea NOT NULL,
  transfer_syntax_uid text COLLATE "C" NOT NULL,
  size_bytes bigint NOT NULL,
  stored_bytes bigint NOT NULL,
  stored_digest bytea NOT NULL
);

CREATE TABLE left_alone (
  sop_instance_uid text COLLATE "C" PRIMARY KEY,
  digest bytea NOT NULL,
  reason text COLLATE "C" NOT NULL
);

CREATE TABLE spare (
  key text COLLATE "C" PRIMARY KEY,
  until double precision NOT NULL,
  claimed integer NOT NULL DEFAULT 0
);
CREATE INDEX spare_until ON spare (until);

CREATE TABLE compressing (
  rule text COLLATE "C" PRIMARY KEY,
  after_id bigint NOT NULL
);
