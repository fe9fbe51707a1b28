-- How many studies there are, so that a page of the study list need not count them.

CREATE TABLE study_total (
  shard INTEGER PRIMARY KEY,
  studies INTEGER NOT NULL
);
INSERT INTO study_total (shard, studies) SELECT 0, count(*) FROM study;
CREATE TRIGGER study_added AFTER INSERT ON study BEGIN
  UPDATE study_total SET studies = studies + 1;
END;
CREATE TRIGGER study_removed AFTER DELETE ON study BEGIN
  UPDATE study_total SET studies = studies - 1;
END;
