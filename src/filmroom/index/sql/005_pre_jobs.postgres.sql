-- Durable jobs, in lanes that are served one job at a time; leases of what only one node may do;
-- the nodes that are there; and whether it was told that a series has settled.

CREATE TABLE job (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  lane text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  body text COLLATE "C" NOT NULL,
  priority integer NOT NULL,
  state text COLLATE "C" NOT NULL,
  due_at double precision NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  losses integer NOT NULL DEFAULT 0,
  lease bigint NOT NULL DEFAULT 0,
  leased_until double precision NOT NULL DEFAULT 0,
  node text COLLATE "C" NOT NULL DEFAULT '',
  progress text COLLATE "C" NOT NULL DEFAULT '{}',
  reason text COLLATE "C" NOT NULL DEFAULT '',
  created_at double precision NOT NULL,
  changed_at double precision NOT NULL
);
CREATE UNIQUE INDEX job_waits_once ON job (kind, subject) WHERE state = 'waiting';
CREATE INDEX job_in_lane ON job (lane, state, priority, due_at, id);
CREATE INDEX job_by_state ON job (state, id);

CREATE TABLE lane (
  name text COLLATE "C" PRIMARY KEY,
  failures integer NOT NULL DEFAULT 0,
  rests_until double precision NOT NULL DEFAULT 0,
  served_at double precision NOT NULL DEFAULT 0
);

CREATE TABLE feed (
  name text COLLATE "C" PRIMARY KEY,
  up_to_id bigint NOT NULL,
  fed_at double precision NOT NULL
);

CREATE TABLE lease (
  name text COLLATE "C" PRIMARY KEY,
  holder text COLLATE "C" NOT NULL,
  until double precision NOT NULL
);

CREATE TABLE node (
  name text COLLATE "C" PRIMARY KEY,
  version text COLLATE "C" NOT NULL,
  started_at double precision NOT NULL,
  seen_at double precision NOT NULL
);

-- What is there already counts as told.
ALTER TABLE series ADD COLUMN settled integer NOT NULL DEFAULT 1;
CREATE INDEX series_to_settle ON series (id) WHERE has_metadata = 0 OR settled = 0;
DROP INDEX series_without_metadata;
