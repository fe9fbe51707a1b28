-- What is known of the state of the files, and how often a series has changed.
-- A mark of damage knows its instance by UID, so that it outlives `reindex`.

CREATE TABLE damage (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  sop_instance_uid text COLLATE "C" NOT NULL UNIQUE,
  digest bytea NOT NULL,
  reason text COLLATE "C" NOT NULL,
  found_at double precision NOT NULL
);

CREATE TABLE scrub (
  id bigint PRIMARY KEY,
  state text COLLATE "C" NOT NULL
);

ALTER TABLE series ADD COLUMN revision bigint NOT NULL DEFAULT 0;
