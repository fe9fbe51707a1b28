-- Words inside names, found through their trigrams; the text itself stays in patient.

CREATE VIRTUAL TABLE patient_words USING fts5 (
  patient_name_words,
  content = 'patient',
  content_rowid = 'id',
  tokenize = 'trigram case_sensitive 1',
  detail = none
);
CREATE TRIGGER patient_words_added AFTER INSERT ON patient BEGIN
  INSERT INTO patient_words (rowid, patient_name_words) VALUES (new.id, new.patient_name_words);
END;
