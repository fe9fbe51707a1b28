-- Peers that were added while nodes run; those of the settings are not here.

CREATE TABLE peer (
  ae_title text COLLATE "C" PRIMARY KEY,
  host text COLLATE "C" NOT NULL,
  port integer NOT NULL,
  may text COLLATE "C" NOT NULL,
  tls integer NOT NULL,
  forward integer NOT NULL
);
