-- name: InsertEventAudit :exec
INSERT INTO smartcar_webhook_event_audits (event_id, action, actor, reason)
VALUES (@event_id, @action, @actor, @reason);

-- name: EventAudits :many
SELECT action, actor, reason, created_at
FROM smartcar_webhook_event_audits
WHERE event_id = @event_id
ORDER BY id;
