-- Words inside names, found through their trigrams. Where the extension may not be
-- installed the same queries read the whole table: slower, but right.

DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm;
  CREATE INDEX patient_by_words ON patient USING gin (patient_name_words gin_trgm_ops);
EXCEPTION WHEN OTHERS THEN
  RAISE NOTICE 'names are searched without a trigram index: %', SQLERRM;
END
$$;
