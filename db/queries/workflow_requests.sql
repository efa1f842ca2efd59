-- name: RequestWorkflow :exec
INSERT INTO workflow_requests (kind, subject, signal) VALUES (@kind, @subject, @signal);

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
