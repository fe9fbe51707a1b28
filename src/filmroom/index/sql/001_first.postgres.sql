-- Where things are. Surrogate keys join the levels; counters are stored, not counted.
-- Text is compared in normal form (index/values.py); attributes are packed DICOM JSON.

CREATE TABLE patient (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  identity text COLLATE "C" NOT NULL,
  issuer_of_patient_id text COLLATE "C" NOT NULL,
  patient_id text COLLATE "C" NOT NULL,
  patient_name text COLLATE "C" NOT NULL,
  patient_name_words text COLLATE "C" NOT NULL,
  patient_birth_date text COLLATE "C" NOT NULL,
  patient_sex text COLLATE "C" NOT NULL,
  study_count bigint NOT NULL DEFAULT 0,
  series_count bigint NOT NULL DEFAULT 0,
  instance_count bigint NOT NULL DEFAULT 0,
  attributes bytea NOT NULL,
  UNIQUE (identity, issuer_of_patient_id)
);
CREATE INDEX patient_by_patient_id ON patient (patient_id);
CREATE INDEX patient_by_name ON patient (patient_name);

CREATE TABLE study (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  patient bigint NOT NULL,
  study_instance_uid text COLLATE "C" NOT NULL UNIQUE,
  study_date text COLLATE "C" NOT NULL,
  study_time text COLLATE "C" NOT NULL,
  accession_number text COLLATE "C" NOT NULL,
  study_id text COLLATE "C" NOT NULL,
  study_description text COLLATE "C" NOT NULL,
  referring_physician_name text COLLATE "C" NOT NULL,
  referring_physician_name_words text COLLATE "C" NOT NULL,
  series_count bigint NOT NULL DEFAULT 0,
  instance_count bigint NOT NULL DEFAULT 0,
  size_bytes bigint NOT NULL DEFAULT 0,
  received_at double precision NOT NULL DEFAULT 0,
  attributes bytea NOT NULL
);
CREATE INDEX study_by_patient ON study (patient);
CREATE INDEX study_by_date ON study (study_date, study_time, id);
CREATE INDEX study_by_accession ON study (accession_number);

-- Modalities in Study, with the study's date so that "the latest MR" is one index range.
CREATE TABLE study_modality (
  study bigint NOT NULL,
  modality text COLLATE "C" NOT NULL,
  study_date text COLLATE "C" NOT NULL,
  study_time text COLLATE "C" NOT NULL,
  PRIMARY KEY (study, modality)
);
CREATE INDEX study_by_modality_and_date
  ON study_modality (modality, study_date, study_time, study);

CREATE TABLE study_sop_class (
  study bigint NOT NULL,
  sop_class_uid text COLLATE "C" NOT NULL,
  PRIMARY KEY (study, sop_class_uid)
);

CREATE TABLE series (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  study bigint NOT NULL,
  series_instance_uid text COLLATE "C" NOT NULL UNIQUE,
  modality text COLLATE "C" NOT NULL,
  series_number text COLLATE "C" NOT NULL,
  series_description text COLLATE "C" NOT NULL,
  institution_name text COLLATE "C" NOT NULL,
  series_date text COLLATE "C" NOT NULL,
  series_time text COLLATE "C" NOT NULL,
  body_part_examined text COLLATE "C" NOT NULL,
  performing_physician_name text COLLATE "C" NOT NULL,
  performing_physician_name_words text COLLATE "C" NOT NULL,
  station_name text COLLATE "C" NOT NULL,
  performed_procedure_step_start_date text COLLATE "C" NOT NULL,
  performed_procedure_step_start_time text COLLATE "C" NOT NULL,
  instance_count bigint NOT NULL DEFAULT 0,
  size_bytes bigint NOT NULL DEFAULT 0,
  received_at double precision NOT NULL DEFAULT 0,
  has_metadata bigint NOT NULL DEFAULT 0,
  attributes bytea NOT NULL
);
CREATE INDEX series_by_study ON series (study);
CREATE INDEX series_without_metadata ON series (id) WHERE has_metadata = 0;

CREATE TABLE instance (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  series bigint NOT NULL,
  number bigint NOT NULL,
  sop_instance_uid text COLLATE "C" NOT NULL UNIQUE,
  sop_class_uid text COLLATE "C" NOT NULL,
  instance_number text COLLATE "C" NOT NULL,
  content_date text COLLATE "C" NOT NULL,
  content_time text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  size_bytes bigint NOT NULL,
  data_set_offset bigint NOT NULL,
  header_bytes bigint NOT NULL,
  digest bytea NOT NULL,
  transfer_syntax_uid text COLLATE "C" NOT NULL,
  received_at double precision NOT NULL,
  attributes bytea NOT NULL,
  frames bytea NOT NULL
);
CREATE INDEX instance_by_series ON instance (series);

-- Second and further values, and the further component groups of person names.
CREATE TABLE other_value (
  keyword text COLLATE "C" NOT NULL,
  value text COLLATE "C" NOT NULL,
  owner bigint NOT NULL,
  PRIMARY KEY (keyword, value, owner)
);
CREATE INDEX other_value_by_owner ON other_value (keyword, owner);

-- The matched attributes inside sequences (where.MATCHED_SEQUENCES), an item per number.
CREATE TABLE sequence_value (
  sequence text COLLATE "C" NOT NULL,
  keyword text COLLATE "C" NOT NULL,
  value text COLLATE "C" NOT NULL,
  owner bigint NOT NULL,
  item bigint NOT NULL,
  PRIMARY KEY (sequence, keyword, value, owner, item)
);

CREATE TABLE series_metadata (
  series bigint PRIMARY KEY,
  instances bigint NOT NULL,
  etag text COLLATE "C" NOT NULL,
  gzipped bytea NOT NULL
);

CREATE TABLE event (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  created_at double precision NOT NULL,
  body text COLLATE "C" NOT NULL
);

CREATE TABLE quarantine (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key text COLLATE "C" NOT NULL,
  reason text COLLATE "C" NOT NULL,
  sop_instance_uid text COLLATE "C" NOT NULL,
  origin text COLLATE "C" NOT NULL,
  size_bytes bigint NOT NULL,
  received_at double precision NOT NULL
);

CREATE TABLE app_user (
  name text COLLATE "C" PRIMARY KEY,
  password_hash text COLLATE "C" NOT NULL,
  role text COLLATE "C" NOT NULL,
  disabled bigint NOT NULL
);

CREATE TABLE credential (
  digest bytea PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  role text COLLATE "C" NOT NULL,
  created_at double precision NOT NULL,
  expires_at double precision
);
