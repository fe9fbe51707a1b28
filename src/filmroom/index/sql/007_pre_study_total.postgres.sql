-- How many studies there are, so that a page of the study list need not count them.
-- In several rows, so that those who store at once seldom wait for each other's commit.

CREATE TABLE study_total (
  shard bigint PRIMARY KEY,
  studies bigint NOT NULL
);

CREATE FUNCTION study_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO study_total AS t (shard, studies)
  SELECT pg_backend_pid() % 64, count(*) FROM added HAVING count(*) > 0
  ON CONFLICT (shard) DO UPDATE SET studies = t.studies + excluded.studies;
  RETURN NULL;
END
$$;

CREATE FUNCTION study_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO study_total AS t (shard, studies)
  SELECT pg_backend_pid() % 64, -count(*) FROM removed HAVING count(*) > 0
  ON CONFLICT (shard) DO UPDATE SET studies = t.studies + excluded.studies;
  RETURN NULL;
END
$$;

CREATE FUNCTION studies_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM study_total;
  RETURN NULL;
END
$$;

-- The triggers first: they wait for who is storing, so that the count misses nobody.
CREATE TRIGGER study_added AFTER INSERT ON study
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION study_added();
CREATE TRIGGER study_removed AFTER DELETE ON study
  REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION study_removed();
CREATE TRIGGER studies_forgotten AFTER TRUNCATE ON study
  FOR EACH STATEMENT EXECUTE FUNCTION studies_forgotten();

INSERT INTO study_total (shard, studies) SELECT 0, count(*) FROM study;
