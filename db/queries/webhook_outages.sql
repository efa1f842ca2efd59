-- name: DetectOutages :many
-- Silences of the whole fleet in which deliveries were due: so many as came at the usual rate of
-- the day before, and at the same hours, since fleets sleep at night. A ledger that is younger
-- than the silence lets no more be expected than have ever come. To be run with the lock of
-- LockPolling held. The next search begins with the newest delivery that this one sees, so that
-- a silence which lasts is seen whole, and a delivery that is committed late is not missed.
WITH arrival AS (
    SELECT ledger.created_at AS started_at, lead(ledger.created_at) OVER (ORDER BY ledger.created_at) AS ended_at
    FROM smartcar_webhook_events AS ledger
    WHERE ledger.event_type <> @poll_event_type AND ledger.created_at <= @asked_at::timestamptz
      AND ledger.created_at >= COALESCE(
          (SELECT max(before.created_at)
           FROM smartcar_webhook_events AS before, smartcar_polling AS polling
           WHERE before.created_at <= COALESCE(polling.ledger_checked_until, sqlc.arg(asked_at)::timestamptz - interval '7 days')
             AND before.event_type <> @poll_event_type),
          '-infinity')
), gap AS (
    SELECT started_at, ended_at, COALESCE(ended_at, @asked_at::timestamptz) - started_at AS length
    FROM arrival
    WHERE COALESCE(ended_at, @asked_at::timestamptz) - started_at >= make_interval(secs => @shortest_seconds::double precision)
), judged AS (
    SELECT gap.started_at, gap.ended_at,
           LEAST(
               rate.arrived * date_part('epoch', gap.length)
                   / date_part('epoch', GREATEST(gap.length, LEAST(interval '1 day', gap.started_at - earliest.created_at))),
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
    UPDATE smartcar_polling
    SET ledger_checked_until = GREATEST(ledger_checked_until, (
        SELECT max(seen.created_at)
        FROM smartcar_webhook_events AS seen
        WHERE seen.created_at <= @asked_at::timestamptz AND seen.event_type <> @poll_event_type))
)
INSERT INTO webhook_outages AS known (source, started_at, ended_at, expected, detected_at)
SELECT 'ledger', started_at, ended_at, expected, @asked_at::timestamptz
FROM judged
WHERE expected >= @least_expected::double precision
ON CONFLICT (source, started_at) DO UPDATE
SET ended_at = EXCLUDED.ended_at, expected = EXCLUDED.expected
WHERE known.ended_at IS NULL AND EXCLUDED.ended_at IS NOT NULL
RETURNING started_at, ended_at, expected, detected_at, source;

-- name: RequestOutage :exec
-- What is still to come cannot have lost anything, and would have every vehicle polled until then.
INSERT INTO webhook_outages AS known (source, started_at, ended_at, detected_at)
VALUES ('requested', @started_at, LEAST(@ended_at::timestamptz, now()), now())
ON CONFLICT (source, started_at) DO UPDATE SET ended_at = EXCLUDED.ended_at, detected_at = EXCLUDED.detected_at;

-- name: ListOutages :many
SELECT started_at, ended_at, expected, detected_at, source
FROM webhook_outages
ORDER BY started_at DESC
LIMIT @max_rows;
