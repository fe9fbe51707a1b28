-- Peers that were added while nodes run; those of the settings are not here.

CREATE TABLE peer (
  ae_title TEXT PRIMARY KEY,
  host TEXT NOT NULL,
  port INTEGER NOT NULL,
  may TEXT NOT NULL,
  tls INTEGER NOT NULL,
  forward INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
