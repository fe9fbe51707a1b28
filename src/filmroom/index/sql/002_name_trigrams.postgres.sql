-- Words inside names, found through their trigrams. Where the extension may not be
-- installed the same queries read the whole table: slower, but right. A database has it only
-- once, for all who share it: so it goes into `public` and not among our tables.

DO $$
BEGIN
  BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;
  EXCEPTION WHEN OTHERS THEN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
  END;
  EXECUTE (
    SELECT format('CREATE INDEX patient_by_words ON patient'
                  ' USING gin (patient_name_words %I.gin_trgm_ops)', n.nspname)
      FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
     WHERE e.extname = 'pg_trgm');
EXCEPTION WHEN OTHERS THEN
  RAISE NOTICE 'names are searched without a trigram index: %', SQLERRM;
END
$$;
