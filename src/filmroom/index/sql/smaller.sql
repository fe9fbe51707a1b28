-- The statements about instances that are stored smaller than they came; see queries.sql.

-- name: after_id_of_rule
SELECT after_id FROM compressing WHERE rule = :rule;

-- name: put_after_id_of_rule
INSERT INTO compressing (rule, after_id) VALUES (:rule, :after_id)
ON CONFLICT (rule) DO UPDATE SET after_id = excluded.after_id;

-- name: may_be_smaller
SELECT i.id, s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,
       i.key, i.size_bytes, i.data_set_offset, i.header_bytes, i.digest,
       i.transfer_syntax_uid, coalesce(d.reason, ''), e.modality, coalesce(a.reason, ''),
       CAST(i.received_at * 1000000 AS bigint) AS received_us
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
       LEFT JOIN damage d ON d.sop_instance_uid = i.sop_instance_uid
       LEFT JOIN left_alone a ON a.sop_instance_uid = i.sop_instance_uid AND a.digest = i.digest
 WHERE i.id > :after_id
 ORDER BY i.id LIMIT :limit;

-- name: study_of_instances
SELECT i.id, s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,
       i.key, i.size_bytes, i.data_set_offset, i.header_bytes, i.digest,
       i.transfer_syntax_uid, coalesce(d.reason, ''), e.modality, coalesce(a.reason, ''),
       CAST(i.received_at * 1000000 AS bigint) AS received_us
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
       LEFT JOIN damage d ON d.sop_instance_uid = i.sop_instance_uid
       LEFT JOIN left_alone a ON a.sop_instance_uid = i.sop_instance_uid AND a.digest = i.digest
 WHERE s.study_instance_uid = :study AND i.id > :after_id
 ORDER BY i.id LIMIT :limit;

-- name: swap_instance
UPDATE instance
   SET key = :key, size_bytes = :size_bytes, data_set_offset = :data_set_offset,
       header_bytes = :header_bytes, digest = :digest,
       transfer_syntax_uid = :transfer_syntax_uid, frames = :frames
 WHERE sop_instance_uid = :uid AND digest = :old_digest
   AND NOT EXISTS (SELECT 1 FROM damage WHERE damage.sop_instance_uid = :uid)
RETURNING id;

-- name: study_shrinks
UPDATE study SET size_bytes = size_bytes + :growth WHERE id = :id;

-- name: series_shrinks
UPDATE series SET size_bytes = size_bytes + :growth WHERE id = :id;

-- name: put_received
INSERT INTO received (sop_instance_uid, digest, transfer_syntax_uid, size_bytes, stored_bytes,
                      stored_digest)
VALUES (:uid, :digest, :transfer_syntax_uid, :size_bytes, :stored_bytes, :stored_digest)
ON CONFLICT (sop_instance_uid) DO UPDATE
   SET digest = excluded.digest, transfer_syntax_uid = excluded.transfer_syntax_uid,
       size_bytes = excluded.size_bytes, stored_bytes = excluded.stored_bytes,
       stored_digest = excluded.stored_digest;

-- name: forget_received
DELETE FROM received WHERE sop_instance_uid = :uid;

-- name: put_left_alone
INSERT INTO left_alone (sop_instance_uid, digest, reason) VALUES (:uid, :digest, :reason)
ON CONFLICT (sop_instance_uid) DO UPDATE
   SET digest = excluded.digest, reason = excluded.reason;

-- name: forget_left_alone
DELETE FROM left_alone WHERE sop_instance_uid = :uid;

-- name: savings
SELECT count(*), coalesce(sum(r.size_bytes), 0), coalesce(sum(r.stored_bytes), 0)
  FROM received r JOIN instance i ON i.sop_instance_uid = r.sop_instance_uid
                                 AND i.digest = r.stored_digest;

-- name: count_left_alone
SELECT reason, count(*) FROM left_alone GROUP BY reason ORDER BY reason;

-- name: put_spare
INSERT INTO spare (key, until) VALUES (:key, {now} + :seconds)
ON CONFLICT (key) DO UPDATE SET until = excluded.until;

-- name: take_spare
DELETE FROM spare WHERE key = :key AND claimed = 0 RETURNING key;

-- name: forget_spare
DELETE FROM spare WHERE key = :key;

-- name: claim_spares.sqlite
UPDATE spare SET claimed = 1
 WHERE key IN (SELECT s.key FROM spare s WHERE s.until <= {now}
                ORDER BY s.until LIMIT :limit)
RETURNING key;

-- name: claim_spares.postgres
UPDATE spare SET claimed = 1
 WHERE key IN (SELECT s.key FROM spare s
                WHERE s.until <= {now}
                ORDER BY s.until LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING key;

-- name: held_keys
SELECT i.key, s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid,
       i.size_bytes, d.id IS NOT NULL
  FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
       LEFT JOIN damage d ON d.sop_instance_uid = i.sop_instance_uid
 WHERE i.sop_instance_uid {among_uids};

-- name: spares_among
SELECT key FROM spare WHERE key {among_uids};

-- name: count_spares
SELECT count(*) FROM spare;
