-- name: RequestWorkflow :exec
INSERT INTO workflow_requests (kind, subject, signal) VALUES (@kind, @subject, @signal);

-- name: RequestLostWorkflows :execrows
-- Consents and notices that are open for longer than it takes to start their workflows, and that nobody asks one for
-- any more. Those whose workflows run are among them, and lose nothing by being asked for again; chance sees to it
-- that none is passed over for ever.
INSERT INTO workflow_requests (kind, subject)
SELECT lost.kind, lost.subject
FROM (
    SELECT 'connect_vehicles' AS kind, consent.id AS subject
    FROM smartcar_consents AS consent
    WHERE consent.phase = 'answered' AND consent.answered_at < now() - make_interval(secs => @older_than_seconds::double precision)
    UNION ALL
    SELECT 'deliver_notice', notice.id
    FROM notices AS notice
    WHERE notice.delivered_at IS NULL AND notice.given_up_at IS NULL
      AND notice.created_at < now() - make_interval(secs => @older_than_seconds::double precision)
) AS lost
WHERE NOT EXISTS (SELECT FROM workflow_requests AS request WHERE request.kind = lost.kind AND request.subject = lost.subject)
ORDER BY random()
LIMIT @max_rows;

-- name: ClaimWorkflowRequests :many
WITH claimable AS (
    SELECT id FROM workflow_requests
    WHERE (claimed_until IS NULL OR claimed_until < now()) AND kind = ANY (@kinds::text[])
    -- Those that nobody has tried yet come first: what cannot be seen to now must not hold up the rest.
    ORDER BY claimed_until NULLS FIRST, id
    LIMIT @max_rows
    FOR UPDATE SKIP LOCKED
)
UPDATE workflow_requests AS request
SET claimed_until = now() + make_interval(secs => @lease_seconds::double precision)
FROM claimable
WHERE request.id = claimable.id
RETURNING request.id, request.kind, request.subject, request.signal;

-- name: DeleteWorkflowRequest :exec
DELETE FROM workflow_requests WHERE id = @id;

-- name: IsWorkflowRequested :one
SELECT EXISTS(SELECT FROM workflow_requests WHERE kind = @kind)::boolean AS requested;
