-- name: DetectOutages :many
-- Silences of the whole fleet in which deliveries were due: so many as came at the usual rate of
-- the day before, and at the same hours, since fleets sleep at night.
WITH polling AS (
    SELECT ledger_checked_until FROM smartcar_polling FOR UPDATE
), arrival AS (
    SELECT ledger.created_at AS started_at, lead(ledger.created_at) OVER (ORDER BY ledger.created_at) AS ended_at
    FROM smartcar_webhook_events AS ledger
    WHERE ledger.event_type <> @poll_event_type
      AND ledger.created_at >= COALESCE(
          (SELECT max(before.created_at)
           FROM smartcar_webhook_events AS before, polling
           WHERE before.created_at <= polling.ledger_checked_until AND before.event_type <> @poll_event_type),
          sqlc.arg(asked_at)::timestamptz - interval '7 days')
), gap AS (
    SELECT started_at, ended_at, COALESCE(ended_at, @asked_at::timestamptz) - started_at AS length
    FROM arrival
    WHERE COALESCE(ended_at, @asked_at::timestamptz) - started_at >= make_interval(secs => @shortest_seconds::double precision)
), judged AS (
    SELECT gap.started_at, gap.ended_at,
           LEAST(
               rate.arrived * date_part('epoch', gap.length)
                   / NULLIF(date_part('epoch', LEAST(interval '1 day', gap.started_at - earliest.created_at)), 0),
               CASE WHEN earliest.created_at < gap.started_at - interval '1 day' THEN same_hours.arrived END
           )::double precision AS expected
    FROM gap
    CROSS JOIN (SELECT min(ledger.created_at) AS created_at FROM smartcar_webhook_events AS ledger WHERE ledger.event_type <> @poll_event_type) AS earliest
    CROSS JOIN LATERAL (
        SELECT count(*) AS arrived
        FROM smartcar_webhook_events AS ledger
        WHERE ledger.event_type <> @poll_event_type
          AND ledger.created_at > gap.started_at - interval '1 day' AND ledger.created_at <= gap.started_at
    ) AS rate
    CROSS JOIN LATERAL (
        SELECT count(*) AS arrived
        FROM smartcar_webhook_events AS ledger
        WHERE ledger.event_type <> @poll_event_type
          AND ledger.created_at > gap.started_at - interval '1 day'
          AND ledger.created_at < gap.started_at - interval '1 day' + gap.length
    ) AS same_hours
), checked AS (
    UPDATE smartcar_polling SET ledger_checked_until = @asked_at::timestamptz
)
INSERT INTO webhook_outages AS known (source, started_at, ended_at, expected, detected_at)
SELECT 'ledger', started_at, ended_at, expected, @asked_at::timestamptz
FROM judged
WHERE expected >= @least_expected::double precision
ON CONFLICT (source, started_at) DO UPDATE
SET ended_at = EXCLUDED.ended_at, expected = EXCLUDED.expected
RETURNING started_at, ended_at, expected, detected_at, source;

-- name: RequestOutage :exec
INSERT INTO webhook_outages AS known (source, started_at, ended_at, detected_at)
VALUES ('requested', @started_at, @ended_at, @ended_at)
ON CONFLICT (source, started_at) DO UPDATE SET ended_at = EXCLUDED.ended_at, detected_at = EXCLUDED.detected_at;

-- name: ListOutages :many
SELECT started_at, ended_at, expected, detected_at, source
FROM webhook_outages
ORDER BY started_at DESC
LIMIT @max_rows;
