-- name: TrimPayloads :execrows
-- Failed events keep their payload: somebody has still to look at them.
UPDATE smartcar_webhook_events
SET payload = ''::bytea, payload_trimmed_at = now()
WHERE event_id IN (
    SELECT candidate.event_id
    FROM smartcar_webhook_events AS candidate
    WHERE candidate.status = 'processed' AND candidate.payload_trimmed_at IS NULL
      AND candidate.closed_at < now() - make_interval(secs => @older_than_seconds::double precision)
    ORDER BY candidate.closed_at
    LIMIT @max_rows
    FOR UPDATE SKIP LOCKED
);

-- name: PayloadsToTrim :one
SELECT count(*)
FROM smartcar_webhook_events
WHERE status = 'processed' AND payload_trimmed_at IS NULL
  AND closed_at < now() - make_interval(secs => @older_than_seconds::double precision);

-- name: PayloadTrimmedAt :one
SELECT payload_trimmed_at FROM smartcar_webhook_events WHERE event_id = @event_id;

-- name: DeleteSyncLogs :execrows
-- Rows get their ids in the order of time, so that the oldest are those with the lowest ids: an
-- index by time alone would cost every event that is closed, and save nothing here.
DELETE FROM smartcar_sync_logs
WHERE id IN (
    SELECT oldest.id
    FROM (SELECT log.id, log.created_at FROM smartcar_sync_logs AS log ORDER BY log.id LIMIT @max_rows) AS oldest
    WHERE oldest.created_at < now() - make_interval(secs => @older_than_seconds::double precision)
);

-- name: SyncLogsToDelete :one
SELECT count(*)
FROM smartcar_sync_logs
WHERE created_at < now() - make_interval(secs => @older_than_seconds::double precision);

-- name: ForgetExpiredCodes :execrows
-- A code that is being exchanged right now is locked, and left for the next time.
UPDATE smartcar_consents
SET phase = 'failed', reason = 'code_expired', code = NULL, code_key_id = NULL, closed_at = now()
WHERE id IN (
    SELECT candidate.id
    FROM smartcar_consents AS candidate
    WHERE candidate.code IS NOT NULL
      AND candidate.answered_at < now() - make_interval(secs => @older_than_seconds::double precision)
    ORDER BY candidate.answered_at
    LIMIT @max_rows
    FOR UPDATE SKIP LOCKED
);

-- name: ExpiredCodesToForget :one
SELECT count(*)
FROM smartcar_consents
WHERE code IS NOT NULL AND answered_at < now() - make_interval(secs => @older_than_seconds::double precision);

-- name: DeleteUnansweredConsents :execrows
DELETE FROM smartcar_consents
WHERE id IN (
    SELECT candidate.id
    FROM smartcar_consents AS candidate
    WHERE candidate.phase = 'asked'
      AND candidate.expires_at < now() - make_interval(secs => @older_than_seconds::double precision)
    ORDER BY candidate.expires_at
    LIMIT @max_rows
    FOR UPDATE SKIP LOCKED
);

-- name: UnansweredConsentsToDelete :one
SELECT count(*)
FROM smartcar_consents
WHERE phase = 'asked' AND expires_at < now() - make_interval(secs => @older_than_seconds::double precision);

-- name: DeleteClosedConsents :execrows
-- One whose workflow is still to be started stays: the workflow looks for it.
DELETE FROM smartcar_consents
WHERE id IN (
    SELECT candidate.id
    FROM smartcar_consents AS candidate
    WHERE candidate.closed_at < now() - make_interval(secs => @older_than_seconds::double precision)
      AND NOT EXISTS (SELECT FROM workflow_requests AS request
                      WHERE request.kind = 'connect_vehicles' AND request.subject = candidate.id)
    ORDER BY candidate.closed_at
    LIMIT @max_rows
    FOR UPDATE SKIP LOCKED
);

-- name: ClosedConsentsToDelete :one
SELECT count(*)
FROM smartcar_consents AS candidate
WHERE candidate.closed_at < now() - make_interval(secs => @older_than_seconds::double precision)
  AND NOT EXISTS (SELECT FROM workflow_requests AS request
                  WHERE request.kind = 'connect_vehicles' AND request.subject = candidate.id);

-- name: DeleteDeliveredNotices :execrows
-- What was delivered so long ago was written before that: the index by created_at serves. One whose
-- workflow is still to be started stays: the workflow looks for it.
DELETE FROM notices
WHERE id IN (
    SELECT candidate.id
    FROM notices AS candidate
    WHERE candidate.delivered_at < now() - make_interval(secs => @older_than_seconds::double precision)
      AND candidate.created_at < now() - make_interval(secs => @older_than_seconds::double precision)
      AND NOT EXISTS (SELECT FROM workflow_requests AS request
                      WHERE request.kind = 'deliver_notice' AND request.subject = candidate.id)
    ORDER BY candidate.created_at
    LIMIT @max_rows
    FOR UPDATE SKIP LOCKED
);

-- name: DeliveredNoticesToDelete :one
SELECT count(*)
FROM notices AS candidate
WHERE candidate.delivered_at < now() - make_interval(secs => @older_than_seconds::double precision)
  AND candidate.created_at < now() - make_interval(secs => @older_than_seconds::double precision)
  AND NOT EXISTS (SELECT FROM workflow_requests AS request
                  WHERE request.kind = 'deliver_notice' AND request.subject = candidate.id);
