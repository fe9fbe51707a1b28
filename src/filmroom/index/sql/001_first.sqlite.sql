-- Where things are. Surrogate keys join the levels; counters are stored, not counted.
-- Text is compared in normal form (index/values.py); attributes are packed DICOM JSON.

CREATE TABLE patient (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  identity TEXT NOT NULL,
  issuer_of_patient_id TEXT NOT NULL,
  patient_id TEXT NOT NULL,
  patient_name TEXT NOT NULL,
  patient_name_words TEXT NOT NULL,
  patient_birth_date TEXT NOT NULL,
  patient_sex TEXT NOT NULL,
  study_count INTEGER NOT NULL DEFAULT 0,
  series_count INTEGER NOT NULL DEFAULT 0,
  instance_count INTEGER NOT NULL DEFAULT 0,
  attributes BLOB NOT NULL,
  UNIQUE (identity, issuer_of_patient_id)
) STRICT;
CREATE INDEX patient_by_patient_id ON patient (patient_id);
CREATE INDEX patient_by_name ON patient (patient_name);

CREATE TABLE study (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  patient INTEGER NOT NULL,
  study_instance_uid TEXT NOT NULL UNIQUE,
  study_date TEXT NOT NULL,
  study_time TEXT NOT NULL,
  accession_number TEXT NOT NULL,
  study_id TEXT NOT NULL,
  study_description TEXT NOT NULL,
  referring_physician_name TEXT NOT NULL,
  referring_physician_name_words TEXT NOT NULL,
  series_count INTEGER NOT NULL DEFAULT 0,
  instance_count INTEGER NOT NULL DEFAULT 0,
  size_bytes INTEGER NOT NULL DEFAULT 0,
  received_at REAL NOT NULL DEFAULT 0,
  attributes BLOB NOT NULL
) STRICT;
CREATE INDEX study_by_patient ON study (patient);
CREATE INDEX study_by_date ON study (study_date, study_time, id);
CREATE INDEX study_by_accession ON study (accession_number);

-- Modalities in Study, with the study's date so that "the latest MR" is one index range.
CREATE TABLE study_modality (
  study INTEGER NOT NULL,
  modality TEXT NOT NULL,
  study_date TEXT NOT NULL,
  study_time TEXT NOT NULL,
  PRIMARY KEY (study, modality)
) STRICT, WITHOUT ROWID;
CREATE INDEX study_by_modality_and_date
  ON study_modality (modality, study_date, study_time, study);

CREATE TABLE study_sop_class (
  study INTEGER NOT NULL,
  sop_class_uid TEXT NOT NULL,
  PRIMARY KEY (study, sop_class_uid)
) STRICT, WITHOUT ROWID;

CREATE TABLE series (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  study INTEGER NOT NULL,
  series_instance_uid TEXT NOT NULL UNIQUE,
  modality TEXT NOT NULL,
  series_number TEXT NOT NULL,
  series_description TEXT NOT NULL,
  institution_name TEXT NOT NULL,
  series_date TEXT NOT NULL,
  series_time TEXT NOT NULL,
  body_part_examined TEXT NOT NULL,
  performing_physician_name TEXT NOT NULL,
  performing_physician_name_words TEXT NOT NULL,
  station_name TEXT NOT NULL,
  performed_procedure_step_start_date TEXT NOT NULL,
  performed_procedure_step_start_time TEXT NOT NULL,
  instance_count INTEGER NOT NULL DEFAULT 0,
  size_bytes INTEGER NOT NULL DEFAULT 0,
  received_at REAL NOT NULL DEFAULT 0,
  has_metadata INTEGER NOT NULL DEFAULT 0,
  attributes BLOB NOT NULL
) STRICT;
CREATE INDEX series_by_study ON series (study);
CREATE INDEX series_without_metadata ON series (id) WHERE has_metadata = 0;

CREATE TABLE instance (
  id INTEGER PRIMARY KEY,
  series INTEGER NOT NULL,
  number INTEGER NOT NULL,
  sop_instance_uid TEXT NOT NULL UNIQUE,
  sop_class_uid TEXT NOT NULL,
  instance_number TEXT NOT NULL,
  content_date TEXT NOT NULL,
  content_time TEXT NOT NULL,
  key TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  data_set_offset INTEGER NOT NULL,
  header_bytes INTEGER NOT NULL,
  digest BLOB NOT NULL,
  transfer_syntax_uid TEXT NOT NULL,
  received_at REAL NOT NULL,
  attributes BLOB NOT NULL,
  frames BLOB NOT NULL
) STRICT;
CREATE INDEX instance_by_series ON instance (series);

-- Second and further values, and the further component groups of person names.
CREATE TABLE other_value (
  keyword TEXT NOT NULL,
  value TEXT NOT NULL,
  owner INTEGER NOT NULL,
  PRIMARY KEY (keyword, value, owner)
) STRICT, WITHOUT ROWID;
CREATE INDEX other_value_by_owner ON other_value (keyword, owner);

-- The matched attributes inside sequences (where.MATCHED_SEQUENCES), an item per number.
CREATE TABLE sequence_value (
  sequence TEXT NOT NULL,
  keyword TEXT NOT NULL,
  value TEXT NOT NULL,
  owner INTEGER NOT NULL,
  item INTEGER NOT NULL,
  PRIMARY KEY (sequence, keyword, value, owner, item)
) STRICT, WITHOUT ROWID;

CREATE TABLE series_metadata (
  series INTEGER PRIMARY KEY,
  instances INTEGER NOT NULL,
  etag TEXT NOT NULL,
  gzipped BLOB NOT NULL
) STRICT;

CREATE TABLE event (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  created_at REAL NOT NULL,
  body TEXT NOT NULL
) STRICT;

CREATE TABLE quarantine (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL,
  reason TEXT NOT NULL,
  sop_instance_uid TEXT NOT NULL,
  origin TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  received_at REAL NOT NULL
) STRICT;

CREATE TABLE app_user (
  name TEXT PRIMARY KEY,
  password_hash TEXT NOT NULL,
  role TEXT NOT NULL,
  disabled INTEGER NOT NULL
) STRICT;

CREATE TABLE credential (
  digest BLOB PRIMARY KEY,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  created_at REAL NOT NULL,
  expires_at REAL
) STRICT;
