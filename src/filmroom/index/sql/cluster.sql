-- The statements of what nodes share: jobs, leases, nodes, peers; by name. {now}: the database's
-- own time, in seconds since the epoch, so that nodes whose clocks differ agree on when a lease
-- ends.

-- name: put_job
INSERT INTO job (kind, lane, subject, body, priority, state, due_at, created_at, changed_at)
VALUES (:kind, :lane, :subject, :body, :priority, 'waiting', {now} + :delay, {now}, {now})
ON CONFLICT (kind, subject) WHERE state = 'waiting' DO UPDATE
   SET progress = '{}', attempts = 0, losses = 0,
       priority = CASE WHEN excluded.priority < job.priority THEN excluded.priority
                       ELSE job.priority END
RETURNING id;

-- name: put_lane
INSERT INTO lane (name) VALUES (:lane) ON CONFLICT DO NOTHING;

-- name: any_job_to_do
SELECT 1
 WHERE EXISTS (SELECT 1 FROM job WHERE state = 'waiting' AND due_at <= {now})
    OR EXISTS (SELECT 1 FROM job WHERE state = 'running' AND leased_until < {now});

-- name: lock_jobs.postgres
SELECT pg_advisory_xact_lock(5724412);

-- name: reap_jobs
UPDATE job
   SET state = CASE
         WHEN EXISTS (SELECT 1 FROM job o WHERE o.kind = job.kind AND o.subject = job.subject
                                            AND o.state = 'waiting') THEN 'cancelled'
         WHEN losses + 1 >= :most THEN 'failed'
         ELSE 'waiting' END,
       losses = losses + 1, due_at = {now}, changed_at = {now},
       reason = 'the node that did it, ' || node || ', has gone'
 WHERE state = 'running' AND (leased_until < {now} OR node = :node)
RETURNING id;

-- name: free_lanes
SELECT name FROM lane
 WHERE rests_until <= {now}
   AND NOT EXISTS (SELECT 1 FROM job r WHERE r.lane = lane.name AND r.state = 'running')
 ORDER BY served_at, name;

-- name: first_in_lane
SELECT id FROM job
 WHERE lane = :lane AND state = 'waiting' AND due_at <= {now} AND kind {among_uids}
 ORDER BY priority, due_at, id LIMIT 1;

-- name: take_job
UPDATE job
   SET state = 'running', node = :node, lease = lease + 1, leased_until = {now} + :seconds,
       changed_at = {now}
 WHERE id = :id AND state = 'waiting'
RETURNING id, kind, lane, subject, body, priority, state, due_at, attempts, losses, lease, node,
          progress, reason, created_at, changed_at;

-- name: serve_lane
UPDATE lane SET served_at = {now} WHERE name = :lane;

-- name: renew_job
UPDATE job
   SET leased_until = {now} + :seconds, progress = :progress, changed_at = {now}
 WHERE id = :id AND lease = :lease AND state = 'running'
RETURNING id;

-- name: end_job
UPDATE job
   SET state = :state, progress = :progress, reason = :reason, leased_until = 0, node = '',
       attempts = attempts + :counted, changed_at = {now}
 WHERE id = :id AND lease = :lease AND state = 'running'
RETURNING id;

-- name: put_back_job
UPDATE job
   SET state = CASE
         WHEN EXISTS (SELECT 1 FROM job o WHERE o.kind = job.kind AND o.subject = job.subject
                                            AND o.state = 'waiting') THEN 'cancelled'
         WHEN attempts + :counted >= :most THEN 'failed'
         ELSE 'waiting' END,
       progress = :progress, reason = :reason, leased_until = 0, node = '',
       due_at = {now} + :seconds, attempts = attempts + :counted, changed_at = {now}
 WHERE id = :id AND lease = :lease AND state = 'running'
RETURNING id;

-- name: lane_failures
SELECT failures FROM lane WHERE name = :lane;

-- name: rest_lane
UPDATE lane SET failures = failures + 1, rests_until = {now} + :seconds WHERE name = :lane;

-- name: wake_lane
UPDATE lane SET failures = 0, rests_until = 0 WHERE name = :lane AND failures > 0;

-- name: cancel_job
UPDATE job
   SET state = 'cancelled', reason = :reason, leased_until = 0, node = '', changed_at = {now}
 WHERE id = :id AND state IN ('waiting', 'running', 'failed')
RETURNING id;

-- name: cancel_all_jobs
UPDATE job
   SET state = 'cancelled', reason = :reason, leased_until = 0, node = '', changed_at = {now}
 WHERE state IN ('waiting', 'running')
RETURNING id;

-- name: retry_job
UPDATE job
   SET state = 'waiting', attempts = 0, losses = 0, due_at = {now}, changed_at = {now}
 WHERE id = :id AND state IN ('waiting', 'failed', 'cancelled')
   AND NOT EXISTS (SELECT 1 FROM job o WHERE o.kind = job.kind AND o.subject = job.subject
                                         AND o.state = 'waiting' AND o.id <> job.id)
RETURNING lane;

-- name: job
SELECT id, kind, lane, subject, body, priority, state, due_at, attempts, losses, lease, node,
       progress, reason, created_at, changed_at
  FROM job WHERE id = :id;

-- name: jobs
SELECT id, kind, lane, subject, body, priority, state, due_at, attempts, losses, lease, node,
       progress, reason, created_at, changed_at
  FROM job WHERE state {among_uids} AND id < :before_id
 ORDER BY id DESC LIMIT :limit;

-- name: count_jobs
SELECT state, count(*) FROM job GROUP BY state;

-- name: lanes
SELECT l.name, l.failures, CASE WHEN l.rests_until > {now} THEN l.rests_until ELSE 0 END,
       (SELECT count(*) FROM job j WHERE j.lane = l.name AND j.state = 'waiting'),
       (SELECT count(*) FROM job j WHERE j.lane = l.name AND j.state = 'running')
  FROM lane l ORDER BY l.name;

-- name: trim_jobs
DELETE FROM job
 WHERE state IN ('done', 'cancelled') AND changed_at < {now} - :seconds;

-- name: trim_lanes
DELETE FROM lane WHERE NOT EXISTS (SELECT 1 FROM job j WHERE j.lane = lane.name);

-- name: last_event
SELECT coalesce(max(id), 0) FROM event;

-- name: fed
SELECT up_to_id, {now} - fed_at FROM feed WHERE name = :name;

-- name: lock_feed.postgres
SELECT up_to_id FROM feed WHERE name = :name FOR UPDATE;

-- name: lock_feed.sqlite
SELECT up_to_id FROM feed WHERE name = :name;

-- name: feed
INSERT INTO feed (name, up_to_id, fed_at) VALUES (:name, :up_to_id, {now})
ON CONFLICT (name) DO UPDATE SET up_to_id = excluded.up_to_id, fed_at = excluded.fed_at;

-- name: forget_feeds
DELETE FROM feed WHERE fed_at < {now} - :seconds;

-- name: events_of
SELECT id, kind, body, created_at FROM event
 WHERE id > :after_id AND id <= :up_to_id AND kind {among_uids} ORDER BY id LIMIT :limit;

-- name: hold_lease
INSERT INTO lease (name, holder, until) VALUES (:name, :holder, {now} + :seconds)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
 WHERE lease.until < {now} OR lease.holder = excluded.holder
RETURNING name;

-- name: give_lease_back
DELETE FROM lease WHERE name = :name AND holder = :holder;

-- name: node_has_started
UPDATE node SET started_at = {now} WHERE name = :name;

-- name: node_is_here
INSERT INTO node (name, version, started_at, seen_at) VALUES (:name, :version, {now}, {now})
ON CONFLICT (name) DO UPDATE SET version = excluded.version, seen_at = excluded.seen_at;

-- name: node_has_left
DELETE FROM node WHERE name = :name;

-- name: nodes
SELECT name, version, started_at, seen_at, {now} - seen_at FROM node ORDER BY name;

-- name: others
SELECT name, version FROM node
 WHERE version <> :version AND seen_at > {now} - :seconds ORDER BY name;

-- name: forget_lost_nodes
DELETE FROM node WHERE seen_at < {now} - :seconds;

-- name: tell_settled
UPDATE series SET settled = 1
 WHERE series_instance_uid = :series AND revision = :revision AND settled = 0
RETURNING instance_count;

-- name: settle_all
UPDATE series SET settled = 1 WHERE settled = 0;

-- name: peers
SELECT ae_title, host, port, may, tls, forward FROM peer ORDER BY ae_title;

-- name: put_peer
INSERT INTO peer (ae_title, host, port, may, tls, forward)
VALUES (:ae_title, :host, :port, :may, :tls, :forward)
ON CONFLICT (ae_title) DO UPDATE
   SET host = excluded.host, port = excluded.port, may = excluded.may, tls = excluded.tls,
       forward = excluded.forward;

-- name: forget_peer
DELETE FROM peer WHERE ae_title = :ae_title RETURNING ae_title;
