-- The index's static statements, by name. `name.sqlite` and `name.postgres` are variants.
-- {ids}: the list :ids of surrogate ids as rows k(id, n), n being the order asked for.
-- {among_ids}, {among_uids}: is one of the list :ids, :uids.

-- name: held
SELECT i.sop_instance_uid, s.study_instance_uid, e.series_instance_uid,
       i.digest, i.transfer_syntax_uid, i.key, d.id IS NOT NULL,
       coalesce(r.digest, i.digest), coalesce(r.transfer_syntax_uid, i.transfer_syntax_uid)
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
       LEFT JOIN damage d ON d.sop_instance_uid = i.sop_instance_uid
       LEFT JOIN received r ON r.sop_instance_uid = i.sop_instance_uid
                           AND r.stored_digest = i.digest
 WHERE i.sop_instance_uid {among_uids};

-- name: held_uids
SELECT sop_instance_uid FROM instance WHERE sop_instance_uid {among_uids};

-- name: known_series
SELECT e.series_instance_uid, e.id, s.id, p.id, s.study_instance_uid,
       p.identity, p.issuer_of_patient_id
  FROM series e JOIN study s ON s.id = e.study JOIN patient p ON p.id = s.patient
 WHERE e.series_instance_uid {among_uids};

-- name: known_studies
SELECT s.study_instance_uid, s.id, p.id, p.identity, p.issuer_of_patient_id
  FROM study s JOIN patient p ON p.id = s.patient
 WHERE s.study_instance_uid {among_uids};

-- name: known_patients
SELECT identity, issuer_of_patient_id, id FROM patient WHERE identity {among_uids};

-- name: add_patient
INSERT INTO patient (identity, issuer_of_patient_id, patient_id, patient_name,
                     patient_name_words, patient_birth_date, patient_sex, attributes)
VALUES (:identity, :issuer_of_patient_id, :patient_id, :patient_name,
        :patient_name_words, :patient_birth_date, :patient_sex, :attributes)
ON CONFLICT DO NOTHING
RETURNING identity, issuer_of_patient_id, id;

-- name: add_study
INSERT INTO study (patient, study_instance_uid, study_date, study_time, accession_number,
                   study_id, study_description, referring_physician_name,
                   referring_physician_name_words, attributes)
VALUES (:patient, :study_instance_uid, :study_date, :study_time, :accession_number,
        :study_id, :study_description, :referring_physician_name,
        :referring_physician_name_words, :attributes)
ON CONFLICT DO NOTHING
RETURNING study_instance_uid, id;

-- name: add_series
INSERT INTO series (study, series_instance_uid, modality, series_number, series_description,
                    institution_name, series_date, series_time, body_part_examined,
                    performing_physician_name, performing_physician_name_words, station_name,
                    performed_procedure_step_start_date, performed_procedure_step_start_time,
                    attributes)
VALUES (:study, :series_instance_uid, :modality, :series_number, :series_description,
        :institution_name, :series_date, :series_time, :body_part_examined,
        :performing_physician_name, :performing_physician_name_words, :station_name,
        :performed_procedure_step_start_date, :performed_procedure_step_start_time,
        :attributes)
ON CONFLICT DO NOTHING
RETURNING series_instance_uid, id;

-- name: add_instance
INSERT INTO instance (series, number, sop_instance_uid, sop_class_uid, instance_number,
                      content_date, content_time, key, size_bytes, data_set_offset,
                      header_bytes, digest, transfer_syntax_uid, received_at, attributes,
                      frames)
VALUES (:series, :number, :sop_instance_uid, :sop_class_uid, :instance_number,
        :content_date, :content_time, :key, :size_bytes, :data_set_offset,
        :header_bytes, :digest, :transfer_syntax_uid, :received_at, :attributes,
        :frames)
ON CONFLICT DO NOTHING
RETURNING sop_instance_uid, id;

-- name: add_other_value
INSERT INTO other_value (keyword, value, owner) VALUES (:keyword, :value, :owner)
ON CONFLICT DO NOTHING;

-- name: add_sequence_value
INSERT INTO sequence_value (sequence, keyword, value, owner, item)
VALUES (:sequence, :keyword, :value, :owner, :item)
ON CONFLICT DO NOTHING;

-- name: add_study_modality
INSERT INTO study_modality (study, modality, study_date, study_time)
SELECT id, :modality, study_date, study_time FROM study WHERE id = :study
ON CONFLICT DO NOTHING;

-- name: add_study_sop_class
INSERT INTO study_sop_class (study, sop_class_uid) VALUES (:study, :sop_class_uid)
ON CONFLICT DO NOTHING;

-- name: count_patient
UPDATE patient
   SET study_count = study_count + :studies, series_count = series_count + :series,
       instance_count = instance_count + :instances
 WHERE id = :id
RETURNING id;

-- name: count_study
UPDATE study
   SET series_count = series_count + :series, instance_count = instance_count + :instances,
       size_bytes = size_bytes + :size_bytes,
       received_at = CASE WHEN received_at < :received_at THEN :received_at ELSE received_at END
 WHERE id = :id
RETURNING id;

-- name: count_series
UPDATE series
   SET instance_count = instance_count + :instances, size_bytes = size_bytes + :size_bytes,
       received_at = CASE WHEN received_at < :received_at THEN :received_at ELSE received_at END,
       revision = revision + 1, settled = 0
 WHERE id = :id
RETURNING id, has_metadata;

-- name: drop_metadata
DELETE FROM series_metadata WHERE series = :series;

-- name: mark_metadata
UPDATE series SET has_metadata = :has_metadata WHERE id = :series;

-- name: events_begin.postgres
SELECT pg_advisory_xact_lock_shared(5724411);

-- name: patience.postgres
SELECT set_config('lock_timeout', '5s', true);

-- name: events_settle.postgres
SELECT pg_advisory_xact_lock(5724411);

-- name: add_event
INSERT INTO event (kind, created_at, body) VALUES (:kind, :created_at, :body);

-- name: events
SELECT id, kind, body, created_at FROM event WHERE id > :after_id ORDER BY id LIMIT :limit;

-- name: forget_events
DELETE FROM event WHERE id <= :up_to_id;

-- name: trim_events
DELETE FROM event
 WHERE id <= (SELECT max(id) FROM event) - :keep
   AND (NOT EXISTS (SELECT 1 FROM feed WHERE feed.up_to_id < event.id)
        OR id <= (SELECT max(id) FROM event) - :most);

-- name: instance_to_replace.sqlite
SELECT i.series, i.size_bytes, i.key, e.study, e.series_instance_uid, s.study_instance_uid
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
 WHERE i.sop_instance_uid = :uid;

-- name: instance_to_replace.postgres
SELECT i.series, i.size_bytes, i.key, e.study, e.series_instance_uid, s.study_instance_uid
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
 WHERE i.sop_instance_uid = :uid
   FOR UPDATE OF i;

-- name: replace_instance
UPDATE instance
   SET number = :number, sop_class_uid = :sop_class_uid, instance_number = :instance_number,
       content_date = :content_date, content_time = :content_time, key = :key,
       size_bytes = :size_bytes, data_set_offset = :data_set_offset,
       header_bytes = :header_bytes, digest = :digest,
       transfer_syntax_uid = :transfer_syntax_uid, received_at = :received_at,
       attributes = :attributes, frames = :frames
 WHERE sop_instance_uid = :sop_instance_uid;

-- name: found_patient
SELECT p.id, p.attributes, p.study_count, p.series_count, p.instance_count
  FROM patient p WHERE p.id {among_ids};

-- name: found_study.sqlite
SELECT s.id, s.patient, s.attributes, s.series_count, s.instance_count,
       (SELECT group_concat(m.modality, '\') FROM study_modality m WHERE m.study = s.id),
       (SELECT group_concat(c.sop_class_uid, '\') FROM study_sop_class c WHERE c.study = s.id)
  FROM study s WHERE s.id {among_ids};

-- name: found_study.postgres
SELECT s.id, s.patient, s.attributes, s.series_count, s.instance_count,
       (SELECT string_agg(m.modality, '\') FROM study_modality m WHERE m.study = s.id),
       (SELECT string_agg(c.sop_class_uid, '\') FROM study_sop_class c WHERE c.study = s.id)
  FROM study s WHERE s.id {among_ids};

-- name: found_series
SELECT e.id, e.study, e.attributes, e.instance_count
  FROM series e WHERE e.id {among_ids};

-- name: found_instance
SELECT i.id, i.series, i.attributes, i.transfer_syntax_uid, i.sop_instance_uid
  FROM instance i WHERE i.id {among_ids};

-- name: instance
SELECT s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,
       i.key, i.size_bytes, i.data_set_offset, i.header_bytes, i.digest,
       i.transfer_syntax_uid, i.frames, coalesce(d.reason, '')
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
       LEFT JOIN damage d ON d.sop_instance_uid = i.sop_instance_uid
 WHERE i.sop_instance_uid = :uid;

-- name: instances
SELECT s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,
       i.key, i.size_bytes, i.data_set_offset, i.header_bytes, i.digest,
       i.transfer_syntax_uid, i.frames, coalesce(d.reason, '')
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
       LEFT JOIN damage d ON d.sop_instance_uid = i.sop_instance_uid
 WHERE {selected}
 ORDER BY e.series_instance_uid, i.number, i.sop_instance_uid;

-- name: selected_kinds
SELECT i.sop_class_uid, i.transfer_syntax_uid,
       CASE WHEN length(i.frames) > 0 THEN 1 ELSE 0 END, count(*)
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
 WHERE {selected}
 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- name: selected_series
SELECT e.id, e.series_instance_uid, e.instance_count
  FROM series e JOIN study s ON s.id = e.study
 WHERE {selected} AND e.series_instance_uid > ?
 ORDER BY e.series_instance_uid LIMIT ?;

-- name: selected_instances
SELECT i.id, length(i.frames)
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
 WHERE {selected}
 ORDER BY e.series_instance_uid, i.number, i.id;

-- name: keys_in
SELECT i.id, length(i.frames)
  FROM {ids} JOIN instance i ON i.series = k.id
 ORDER BY k.n, i.number, i.id;

-- name: keys_in_after
SELECT id, length(frames), number FROM instance
 WHERE series = :series AND number = :number AND id > :id
UNION ALL
SELECT id, length(frames), number FROM instance
 WHERE series = :series AND number > :number
 ORDER BY 3, 1 LIMIT :limit;

-- name: handles
SELECT s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,
       i.key, i.size_bytes, i.data_set_offset, i.header_bytes, i.digest,
       i.transfer_syntax_uid, i.frames, coalesce(d.reason, '')
  FROM {ids} JOIN instance i ON i.id = k.id
       JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
       LEFT JOIN damage d ON d.sop_instance_uid = i.sop_instance_uid
 ORDER BY k.n;

-- name: series_metadata
SELECT m.gzipped, m.etag, m.instances
  FROM series e JOIN study s ON s.id = e.study JOIN series_metadata m ON m.series = e.id
 WHERE e.series_instance_uid = :series AND s.study_instance_uid = :study
   AND m.instances = e.instance_count;

-- name: series_revision
SELECT e.revision
  FROM series e JOIN study s ON s.id = e.study
 WHERE e.series_instance_uid = :series AND s.study_instance_uid = :study;

-- name: series_to_settle.sqlite
SELECT e.id, e.instance_count, e.revision
  FROM series e JOIN study s ON s.id = e.study
 WHERE e.series_instance_uid = :series AND s.study_instance_uid = :study;

-- name: series_to_settle.postgres
SELECT e.id, e.instance_count, e.revision
  FROM series e JOIN study s ON s.id = e.study
 WHERE e.series_instance_uid = :series AND s.study_instance_uid = :study
   FOR UPDATE OF e;

-- name: put_metadata
INSERT INTO series_metadata (series, instances, etag, gzipped)
VALUES (:series, :instances, :etag, :gzipped)
ON CONFLICT (series) DO UPDATE
   SET instances = excluded.instances, etag = excluded.etag, gzipped = excluded.gzipped;

-- name: quiet_series
SELECT s.study_instance_uid, e.series_instance_uid
  FROM series e JOIN study s ON s.id = e.study
 WHERE (e.has_metadata = 0 OR e.settled = 0) AND e.received_at < :before
 ORDER BY e.id LIMIT :limit;

-- name: add_quarantined
INSERT INTO quarantine (key, reason, sop_instance_uid, origin, size_bytes, received_at)
VALUES (:key, :reason, :sop_instance_uid, :origin, :size_bytes, :received_at)
RETURNING id;

-- name: quarantined
SELECT id, key, reason, sop_instance_uid, origin, size_bytes, received_at
  FROM quarantine ORDER BY received_at DESC, id DESC LIMIT :limit;

-- name: quarantined_by_id
SELECT id, key, reason, sop_instance_uid, origin, size_bytes, received_at
  FROM quarantine WHERE id = :id;

-- name: forget_quarantined
DELETE FROM quarantine WHERE id = :id;

-- name: user
SELECT name, password_hash, role, disabled FROM app_user WHERE name = :name;

-- name: users
SELECT name, password_hash, role, disabled FROM app_user ORDER BY name;

-- name: put_user
INSERT INTO app_user (name, password_hash, role, disabled)
VALUES (:name, :password_hash, :role, :disabled)
ON CONFLICT (name) DO UPDATE
   SET password_hash = excluded.password_hash, role = excluded.role,
       disabled = excluded.disabled;

-- name: forget_user
DELETE FROM app_user WHERE name = :name;

-- name: credential
SELECT digest, kind, name, role, created_at, expires_at FROM credential WHERE digest = :digest;

-- name: credentials
SELECT digest, kind, name, role, created_at, expires_at
  FROM credential WHERE kind = :kind ORDER BY created_at, digest;

-- name: put_credential
INSERT INTO credential (digest, kind, name, role, created_at, expires_at)
VALUES (:digest, :kind, :name, :role, :created_at, :expires_at)
ON CONFLICT (digest) DO UPDATE
   SET kind = excluded.kind, name = excluded.name, role = excluded.role,
       created_at = excluded.created_at, expires_at = excluded.expires_at;

-- name: renew_credential
UPDATE credential SET expires_at = :expires_at WHERE digest = :digest;

-- name: forget_credential
DELETE FROM credential WHERE digest = :digest;

-- name: forget_credentials_of
DELETE FROM credential WHERE name = :name AND kind = :kind;

-- name: study_total
SELECT coalesce(sum(studies), 0) FROM study_total;

-- name: statistics
SELECT (SELECT count(*) FROM patient),
       (SELECT coalesce(sum(studies), 0) FROM study_total),
       (SELECT count(*) FROM series),
       (SELECT coalesce(sum(instance_count), 0) FROM study),
       (SELECT coalesce(sum(size_bytes), 0) FROM study),
       (SELECT count(*) FROM quarantine), (SELECT count(*) FROM damage);

-- name: keys
SELECT i.id, i.key, s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
 WHERE i.id > :after_id
 ORDER BY i.id LIMIT :limit;

-- name: keys_of
SELECT i.key, s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
 WHERE i.sop_instance_uid {among_uids};

-- name: clear.sqlite
DELETE FROM instance;
DELETE FROM series_metadata;
DELETE FROM series;
DELETE FROM study_modality;
DELETE FROM study_sop_class;
DELETE FROM study;
DELETE FROM other_value;
DELETE FROM sequence_value;
DELETE FROM patient;
DELETE FROM scrub;
DELETE FROM received WHERE sop_instance_uid NOT IN (SELECT sop_instance_uid FROM damage);
DELETE FROM left_alone WHERE reason <> 'undone by hand';
DELETE FROM compressing;
INSERT INTO patient_words (patient_words) VALUES ('delete-all');

-- name: clear.postgres
TRUNCATE patient;
TRUNCATE study;
TRUNCATE study_modality;
TRUNCATE study_sop_class;
TRUNCATE series;
TRUNCATE instance;
TRUNCATE other_value;
TRUNCATE sequence_value;
TRUNCATE series_metadata;
TRUNCATE scrub;
DELETE FROM received WHERE sop_instance_uid NOT IN (SELECT sop_instance_uid FROM damage);
DELETE FROM left_alone WHERE reason <> 'undone by hand';
TRUNCATE compressing;

-- name: filed
SELECT i.id, s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,
       i.key, i.size_bytes, i.data_set_offset, i.header_bytes, i.digest,
       i.transfer_syntax_uid, coalesce(d.reason, ''),
       CAST(i.received_at * 1000000 AS bigint) AS received_us
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
       LEFT JOIN damage d ON d.sop_instance_uid = i.sop_instance_uid
 WHERE i.id > :after_id AND i.id <= :last_id
 ORDER BY i.id LIMIT :limit;

-- name: last_filed
SELECT coalesce(max(id), 0) FROM instance;

-- name: mark_damaged.sqlite
INSERT INTO damage (sop_instance_uid, digest, reason, found_at)
SELECT i.sop_instance_uid, i.digest, :reason, :found_at
  FROM instance i
 WHERE i.sop_instance_uid = :uid AND i.digest = :digest AND i.key = :key
   AND i.size_bytes = :size_bytes AND i.data_set_offset = :data_set_offset
ON CONFLICT DO NOTHING
RETURNING id;

-- name: mark_damaged.postgres
INSERT INTO damage (sop_instance_uid, digest, reason, found_at)
SELECT i.sop_instance_uid, i.digest, :reason, :found_at
  FROM instance i
 WHERE i.sop_instance_uid = :uid AND i.digest = :digest AND i.key = :key
   AND i.size_bytes = :size_bytes AND i.data_set_offset = :data_set_offset
   FOR UPDATE OF i
ON CONFLICT DO NOTHING
RETURNING id;

-- name: unmark_damaged
DELETE FROM damage WHERE sop_instance_uid = :uid RETURNING id;

-- name: series_has_changed
UPDATE series SET revision = revision + 1, has_metadata = 0
 WHERE id = (SELECT series FROM instance WHERE sop_instance_uid = :uid)
RETURNING id;

-- name: marked
SELECT d.id, s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid, i.key,
       d.reason, d.found_at
  FROM damage d JOIN instance i ON i.sop_instance_uid = d.sop_instance_uid
       JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
 WHERE d.id > :after_id
 ORDER BY d.id LIMIT :limit;

-- name: selected_marks
SELECT i.sop_instance_uid
  FROM damage d JOIN instance i ON i.sop_instance_uid = d.sop_instance_uid
       JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
 WHERE {selected}
 ORDER BY 1;

-- name: marks_to_drop
SELECT d.sop_instance_uid
  FROM damage d LEFT JOIN instance i ON i.sop_instance_uid = d.sop_instance_uid
 WHERE i.id IS NULL;

-- name: drop_sound_marks
DELETE FROM damage
 WHERE NOT EXISTS (SELECT 1 FROM instance i
                    WHERE i.sop_instance_uid = damage.sop_instance_uid
                      AND i.digest <> damage.digest
                      AND NOT EXISTS (SELECT 1 FROM received r
                                       WHERE r.sop_instance_uid = i.sop_instance_uid
                                         AND r.digest = i.digest
                                         AND r.stored_digest = damage.digest));

-- name: restore_digests
UPDATE instance
   SET digest = (SELECT d.digest FROM damage d
                  WHERE d.sop_instance_uid = instance.sop_instance_uid)
 WHERE sop_instance_uid IN (SELECT sop_instance_uid FROM damage);

-- name: restore_stored_digests
UPDATE received
   SET stored_digest = (SELECT d.digest FROM damage d
                         WHERE d.sop_instance_uid = received.sop_instance_uid)
 WHERE sop_instance_uid IN (SELECT sop_instance_uid FROM damage);

-- name: scrub_state
SELECT state FROM scrub WHERE id = 1;

-- name: put_scrub_state
INSERT INTO scrub (id, state) VALUES (1, :state)
ON CONFLICT (id) DO UPDATE SET state = excluded.state;

-- name: ping
SELECT count(*) FROM schema_version;

-- name: lock_schema.postgres
SELECT pg_advisory_xact_lock(5724410);

-- name: has_namespace.postgres
SELECT 1 FROM pg_namespace WHERE nspname = :name;
