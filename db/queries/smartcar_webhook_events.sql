-- name: AppendEvents :many
-- One statement for every delivery that arrived meanwhile. xmax is 0 only for a row that this
-- statement inserted. The caller passes each event_id once, and in order, so that
-- concurrent statements lock rows in the same order.
INSERT INTO smartcar_webhook_events AS ledger (
    event_id, event_type, smartcar_vehicle_id, mode, webhook_id, delivery_count,
    last_delivery_id, delivered_at, created_at, last_delivered_at, payload
)
SELECT batch.event_id, batch.event_type, batch.smartcar_vehicle_id, batch.mode, batch.webhook_id, batch.delivery_count,
       batch.last_delivery_id, NULLIF(batch.delivered_at, 'epoch'), batch.received_at, batch.received_at, batch.payload
FROM (
    SELECT unnest(@event_ids::text[]) AS event_id,
           unnest(@event_types::text[]) AS event_type,
           unnest(@smartcar_vehicle_ids::text[]) AS smartcar_vehicle_id,
           unnest(@modes::text[]) AS mode,
           unnest(@webhook_ids::text[]) AS webhook_id,
           unnest(@delivery_counts::integer[]) AS delivery_count,
           unnest(@last_delivery_ids::text[]) AS last_delivery_id,
           unnest(@delivered_ats::timestamptz[]) AS delivered_at,
           unnest(@received_ats::timestamptz[]) AS received_at,
           unnest(@payloads::bytea[]) AS payload
) AS batch
ON CONFLICT (event_id) DO UPDATE
SET delivery_count = ledger.delivery_count + EXCLUDED.delivery_count,
    last_delivery_id = EXCLUDED.last_delivery_id,
    last_delivered_at = EXCLUDED.last_delivered_at
RETURNING event_id, (xmax = 0)::boolean AS inserted;

-- name: ClaimEvents :many
-- With each event comes whether a person has ever asked for it to be retried.
UPDATE smartcar_webhook_events
SET claimed_until = now() + make_interval(secs => @lease_seconds::double precision), claims = claims + 1
WHERE event_id IN (
    SELECT candidate.event_id
    FROM smartcar_webhook_events AS candidate
    WHERE candidate.status = 'received'
      AND (candidate.claimed_until IS NULL OR candidate.claimed_until < now())
    ORDER BY candidate.created_at
    LIMIT @max_events
    FOR UPDATE SKIP LOCKED
)
RETURNING event_id, event_type, smartcar_vehicle_id, claims,
          EXISTS(SELECT FROM smartcar_webhook_event_audits AS audit
                 WHERE audit.event_id = smartcar_webhook_events.event_id AND audit.action LIKE 'retry%')::boolean AS retried;

-- name: ReleaseEvent :exec
UPDATE smartcar_webhook_events
SET claimed_until = now() + make_interval(secs => @delay_seconds::double precision)
WHERE event_id = @event_id AND status = 'received';

-- name: MarkEventsStarted :exec
-- Rows whose workflow has closed its event already are left as they are, and so are rows
-- that were set back to received since the claim: those want another start.
UPDATE smartcar_webhook_events AS ledger
SET status = 'started', started_at = now(), claimed_until = NULL, checked_at = NULL
FROM (SELECT unnest(@event_ids::text[]) AS event_id, unnest(@claims::integer[]) AS claims) AS started
WHERE ledger.event_id = started.event_id AND ledger.claims = started.claims
  AND ledger.status = 'received' AND ledger.claimed_until IS NOT NULL;

-- name: StaleStartedEvents :many
UPDATE smartcar_webhook_events
SET checked_at = now()
WHERE event_id IN (
    SELECT candidate.event_id
    FROM smartcar_webhook_events AS candidate
    WHERE candidate.status = 'started'
      AND candidate.started_at < now() - make_interval(secs => @older_than_seconds::double precision)
      AND (candidate.checked_at IS NULL
           OR candidate.checked_at < now() - make_interval(secs => @older_than_seconds::double precision))
    ORDER BY candidate.started_at
    LIMIT @max_events
    FOR UPDATE SKIP LOCKED
)
RETURNING event_id, event_type, smartcar_vehicle_id, claims;

-- name: RequeueStartedEvent :execrows
UPDATE smartcar_webhook_events
SET status = 'received', claimed_until = NULL, started_at = NULL, checked_at = NULL
WHERE event_id = @event_id AND status = 'started';

-- name: EventForProcessing :one
SELECT ledger.event_id, ledger.event_type, ledger.smartcar_vehicle_id, ledger.mode, ledger.status,
       ledger.outcome, ledger.created_at, ledger.delivered_at, ledger.last_delivery_id,
       ledger.reading_confirmed, ledger.payload,
       connection.vehicle_id, connection.is_active,
       entry.id AS meter_entry_id
FROM smartcar_webhook_events AS ledger
LEFT JOIN smartcar_vehicles AS connection ON connection.smartcar_vehicle_id = ledger.smartcar_vehicle_id
LEFT JOIN meter_entries AS entry ON entry.event_id = ledger.event_id
WHERE ledger.event_id = @event_id;

-- name: CloseEvent :one
-- Closes an event with an outcome or a failure class, its sync log row (if there is to be one)
-- and its signals (if they are not stored yet), all or nothing. Beside each signal's history the
-- newest of each kind is kept; ties go to the greater event id. An event that has had its effect
-- stays as it is; then the answer is 0 rows closed.
WITH before AS (
    -- Locked, so that an attempt that waited for another sees what that one has stored.
    SELECT locked.event_id, locked.status, locked.failure_class, locked.signals_recorded
    FROM smartcar_webhook_events AS locked
    WHERE locked.event_id = @event_id
    FOR NO KEY UPDATE
), closed AS (
    UPDATE smartcar_webhook_events AS ledger
    SET status = CASE WHEN @failure_class::text = '' THEN 'processed' ELSE 'failed' END,
        outcome = NULLIF(@outcome::text, ''),
        failure_class = NULLIF(@failure_class::text, ''),
        failure_detail = NULLIF(@failure_detail::text, ''),
        closed_at = now(), claimed_until = NULL,
        signals_recorded = before.signals_recorded OR COALESCE(cardinality(@data_types::text[]), 0) > 0
    FROM before
    WHERE ledger.event_id = before.event_id AND before.status <> 'processed'
    RETURNING ledger.event_id, ledger.smartcar_vehicle_id, before.signals_recorded,
              before.failure_class IS NOT DISTINCT FROM ledger.failure_class AND before.status = 'failed' AS failed_again
), logged AS (
    -- An attempt that is repeated after it was committed has failed already, and is not logged twice.
    INSERT INTO smartcar_sync_logs (sync_type, smartcar_vehicle_id, event_id, data)
    SELECT @sync_type::text, closed.smartcar_vehicle_id, closed.event_id, @sync_data::jsonb
    FROM closed
    WHERE @sync_type::text <> '' AND NOT closed.failed_again
), sent AS (
    SELECT closed.smartcar_vehicle_id, closed.event_id, signal.place, signal.data_type,
           NULLIF(signal.data_value, '')::json AS data_value, signal.is_reading, signal.is_unsupported, signal.unit,
           NULLIF(signal.normalised_value, '')::numeric AS normalised_value,
           NULLIF(signal.normalised_values, '')::json AS normalised_values, signal.normalised_unit,
           signal.observed_at, signal.observed_at_source,
           NULLIF(signal.failure_type, '') AS failure_type, NULLIF(signal.failure_code, '') AS failure_code,
           -- A time that is not the reading's own counts less than any that is.
           (CASE WHEN signal.observed_at_source IN ('oem_updated_at', 'retrieved_at') THEN '1 ' ELSE '0 ' END
            || to_char(signal.observed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US ') || closed.event_id)
               COLLATE "C" AS observation_order
    FROM closed
    CROSS JOIN (
        SELECT generate_subscripts(@data_types::text[], 1) AS place,
               unnest(@data_types::text[]) AS data_type,
               unnest(@data_values::text[]) AS data_value,
               unnest(@are_readings::boolean[]) AS is_reading,
               unnest(@are_unsupported::boolean[]) AS is_unsupported,
               unnest(@units::text[]) AS unit,
               unnest(@normalised_values::text[]) AS normalised_value,
               unnest(@normalised_lists::text[]) AS normalised_values,
               unnest(@normalised_units::text[]) AS normalised_unit,
               unnest(@observed_ats::timestamptz[]) AS observed_at,
               unnest(@observed_at_sources::text[]) AS observed_at_source,
               unnest(@failure_types::text[]) AS failure_type,
               unnest(@failure_codes::text[]) AS failure_code
    ) AS signal
    WHERE NOT closed.signals_recorded
), stored AS (
    INSERT INTO vehicle_data (
        smartcar_vehicle_id, data_type, data_value, unit, normalised_value, normalised_values, normalised_unit,
        observed_at, observed_at_source, failure_type, failure_code, event_id
    )
    SELECT smartcar_vehicle_id, data_type, data_value, unit, normalised_value, normalised_values, normalised_unit,
           observed_at, observed_at_source, failure_type, failure_code, event_id
    FROM sent
    ORDER BY place
), newest AS (
    -- One of each signal, however often the event names it, and in one order for all transactions.
    SELECT DISTINCT ON (data_type) smartcar_vehicle_id, data_type, data_value, is_reading, is_unsupported, unit,
           normalised_value, normalised_values, normalised_unit, observed_at, observed_at_source, failure_type, failure_code,
           event_id, observation_order
    FROM sent
    WHERE data_type <> ''
    ORDER BY data_type, is_reading DESC, observation_order DESC, place
), available AS (
    INSERT INTO vehicle_signals AS kept (
        smartcar_vehicle_id, data_type, data_value, unit, normalised_value, normalised_values, normalised_unit,
        observed_at, observed_at_source, event_id, observation_order, reported_at
    )
    SELECT smartcar_vehicle_id, data_type, data_value, unit, normalised_value, normalised_values, normalised_unit,
           observed_at, observed_at_source, event_id, observation_order, @reported_at::timestamptz
    FROM newest
    WHERE is_reading
    ON CONFLICT (smartcar_vehicle_id, data_type) DO UPDATE
    SET data_value = CASE WHEN EXCLUDED.observation_order > kept.observation_order THEN EXCLUDED.data_value ELSE kept.data_value END,
        unit = CASE WHEN EXCLUDED.observation_order > kept.observation_order THEN EXCLUDED.unit ELSE kept.unit END,
        normalised_value = CASE WHEN EXCLUDED.observation_order > kept.observation_order
                                THEN EXCLUDED.normalised_value ELSE kept.normalised_value END,
        normalised_values = CASE WHEN EXCLUDED.observation_order > kept.observation_order
                                 THEN EXCLUDED.normalised_values ELSE kept.normalised_values END,
        normalised_unit = CASE WHEN EXCLUDED.observation_order > kept.observation_order
                               THEN EXCLUDED.normalised_unit ELSE kept.normalised_unit END,
        observed_at = CASE WHEN EXCLUDED.observation_order > kept.observation_order THEN EXCLUDED.observed_at ELSE kept.observed_at END,
        observed_at_source = CASE WHEN EXCLUDED.observation_order > kept.observation_order
                                  THEN EXCLUDED.observed_at_source ELSE kept.observed_at_source END,
        event_id = CASE WHEN EXCLUDED.observation_order > kept.observation_order THEN EXCLUDED.event_id ELSE kept.event_id END,
        observation_order = GREATEST(EXCLUDED.observation_order, kept.observation_order),
        reported_at = GREATEST(EXCLUDED.reported_at, kept.reported_at)
    WHERE EXCLUDED.observation_order > kept.observation_order
       OR kept.reported_at IS NULL OR EXCLUDED.reported_at > kept.reported_at
), unavailable AS (
    INSERT INTO vehicle_signals AS kept (
        smartcar_vehicle_id, data_type, failure_type, failure_code, failure_event_id, failed_at, unsupported_at
    )
    SELECT smartcar_vehicle_id, data_type, failure_type, failure_code, event_id, @reported_at::timestamptz,
           CASE WHEN is_unsupported THEN @reported_at::timestamptz END
    FROM newest
    WHERE NOT is_reading
    ON CONFLICT (smartcar_vehicle_id, data_type) DO UPDATE
    SET failure_type = CASE WHEN kept.failed_at IS NULL
                                 OR (EXCLUDED.failed_at, EXCLUDED.failure_event_id) > (kept.failed_at, kept.failure_event_id)
                            THEN EXCLUDED.failure_type ELSE kept.failure_type END,
        failure_code = CASE WHEN kept.failed_at IS NULL
                                 OR (EXCLUDED.failed_at, EXCLUDED.failure_event_id) > (kept.failed_at, kept.failure_event_id)
                            THEN EXCLUDED.failure_code ELSE kept.failure_code END,
        failure_event_id = CASE WHEN kept.failed_at IS NULL
                                     OR (EXCLUDED.failed_at, EXCLUDED.failure_event_id) > (kept.failed_at, kept.failure_event_id)
                                THEN EXCLUDED.failure_event_id ELSE kept.failure_event_id END,
        failed_at = GREATEST(EXCLUDED.failed_at, kept.failed_at),
        unsupported_at = GREATEST(EXCLUDED.unsupported_at, kept.unsupported_at)
)
SELECT count(*) FROM closed;

-- name: RedecideEvents :many
-- A late reading changed what became of these events' own readings, and the sync log rows say so,
-- unless an event ends as it did. An open event stays open. The row of a reading without an
-- event is logged under the vehicle's newest connection. The answer is the events that
-- were closed anew. They are locked in one order, that of AppendEvents.
WITH closing AS (
    SELECT unnest(@event_ids::text[]) AS event_id,
           NULLIF(unnest(@outcomes::text[]), '') AS outcome,
           NULLIF(unnest(@failure_classes::text[]), '') AS failure_class,
           NULLIF(unnest(@failure_details::text[]), '') AS failure_detail,
           unnest(@sync_types::text[]) AS sync_type,
           unnest(@sync_data::text[]) AS sync_data
), before AS (
    -- Each later step reads from this one alone: joining a thousand rows that no index finds costs a million comparisons.
    SELECT closing.*, locked.smartcar_vehicle_id, locked.status,
           locked.outcome IS NOT DISTINCT FROM closing.outcome
               AND locked.failure_class IS NOT DISTINCT FROM closing.failure_class AS ends_the_same
    FROM closing
    JOIN smartcar_webhook_events AS locked USING (event_id)
    ORDER BY locked.event_id COLLATE "C"
    FOR NO KEY UPDATE OF locked
), redecided AS (
    UPDATE smartcar_webhook_events AS ledger
    SET status = CASE WHEN before.failure_class IS NULL THEN 'processed' ELSE 'failed' END,
        outcome = before.outcome, failure_class = before.failure_class, failure_detail = before.failure_detail,
        closed_at = now()
    FROM before
    WHERE ledger.event_id = before.event_id AND before.status IN ('processed', 'failed') AND NOT before.ends_the_same
    RETURNING ledger.event_id, ledger.event_type, ledger.smartcar_vehicle_id, ledger.last_delivery_id,
              ledger.outcome, ledger.failure_class
), logged AS (
    INSERT INTO smartcar_sync_logs (sync_type, smartcar_vehicle_id, event_id, data)
    SELECT before.sync_type, before.smartcar_vehicle_id, before.event_id, before.sync_data::jsonb
    FROM before
    WHERE before.sync_type <> '' AND NOT before.ends_the_same
    UNION ALL
    SELECT closing.sync_type,
           COALESCE((SELECT smartcar_vehicle_id FROM smartcar_vehicles WHERE vehicle_id = @vehicle_id
                     ORDER BY is_active DESC, created_at DESC LIMIT 1), ''),
           closing.event_id, closing.sync_data::jsonb
    FROM closing
    WHERE closing.sync_type <> ''
      AND NOT EXISTS (SELECT FROM smartcar_webhook_events AS ledger WHERE ledger.event_id = closing.event_id)
)
SELECT redecided.event_id, redecided.event_type, redecided.smartcar_vehicle_id, redecided.last_delivery_id,
       COALESCE(redecided.outcome, '')::text AS outcome, COALESCE(redecided.failure_class, '')::text AS failure_class
FROM redecided;

-- name: ListEvents :many
SELECT event_id, event_type, smartcar_vehicle_id, mode, status, outcome, failure_class, failure_detail,
       delivery_count, created_at, last_delivered_at, started_at, closed_at
FROM smartcar_webhook_events
WHERE (@status::text = '' OR status = @status)
  AND (@failure_class::text = '' OR failure_class = @failure_class)
  AND (@smartcar_vehicle_id::text = '' OR smartcar_vehicle_id = @smartcar_vehicle_id)
ORDER BY created_at DESC, event_id
LIMIT @max_events;

-- name: ShowEvent :one
SELECT event_id, event_type, smartcar_vehicle_id, mode, webhook_id, status, outcome, failure_class, failure_detail,
       delivery_count, last_delivery_id, created_at, last_delivered_at, started_at, closed_at, reading_confirmed,
       octet_length(payload) AS payload_bytes
FROM smartcar_webhook_events
WHERE event_id = @event_id;

-- name: EventPayload :one
SELECT payload FROM smartcar_webhook_events WHERE event_id = @event_id;

-- name: FailedEventIDs :many
SELECT event_id
FROM smartcar_webhook_events
WHERE status = 'failed'
  AND (@failure_class::text = '' OR failure_class = @failure_class)
  AND (@smartcar_vehicle_id::text = '' OR smartcar_vehicle_id = @smartcar_vehicle_id)
ORDER BY created_at
LIMIT @max_events;

-- name: RequeueFailedEvent :execrows
UPDATE smartcar_webhook_events
SET status = 'received', outcome = NULL, failure_class = NULL, failure_detail = NULL, closed_at = NULL,
    claimed_until = NULL, started_at = NULL, checked_at = NULL,
    reading_confirmed = reading_confirmed OR @confirm_reading::boolean
WHERE event_id = @event_id AND status = 'failed';

-- name: Ping :one
-- However many events wait, it reads one at most.
SELECT EXISTS (SELECT FROM smartcar_webhook_events);

-- name: Backlog :one
SELECT count(*) AS depth,
       COALESCE(EXTRACT(EPOCH FROM now() - min(created_at)), 0)::double precision AS oldest_seconds
FROM smartcar_webhook_events
WHERE status = 'received';

-- name: CountOpenEvents :one
SELECT (SELECT count(*) FROM smartcar_webhook_events WHERE status = 'received')
     + (SELECT count(*) FROM smartcar_webhook_events WHERE status = 'started');

-- name: CountEventsByStatus :many
SELECT status, count(*) AS events, sum(delivery_count)::bigint AS deliveries
FROM smartcar_webhook_events
GROUP BY status
ORDER BY status;

-- name: RequeueEventsOfVehicle :many
-- These failed only because nobody, or nobody any more, had connected the vehicle.
UPDATE smartcar_webhook_events
SET status = 'received', outcome = NULL, failure_class = NULL, failure_detail = NULL, closed_at = NULL,
    claimed_until = NULL, started_at = NULL, checked_at = NULL
WHERE smartcar_vehicle_id = @smartcar_vehicle_id AND status = 'failed'
  AND failure_class IN ('unknown_vehicle', 'vehicle_inactive')
RETURNING event_id;

-- name: RequeueEventsOfConnectedVehicles :execrows
-- Connecting retries what has failed by then; an event whose workflow is still about to fail, or whose attempt to
-- record that is repeated, is found here, whatever came first. It cannot fail in the same way again unless the
-- connection is ended: whoever starts it reads the connection anew.
WITH requeued AS (
    UPDATE smartcar_webhook_events
    SET status = 'received', outcome = NULL, failure_class = NULL, failure_detail = NULL, closed_at = NULL,
        claimed_until = NULL, started_at = NULL, checked_at = NULL
    WHERE event_id IN (
        SELECT failed.event_id
        FROM smartcar_webhook_events AS failed
        JOIN smartcar_vehicles AS connection ON connection.smartcar_vehicle_id = failed.smartcar_vehicle_id
        WHERE failed.status = 'failed' AND failed.failure_class IN ('unknown_vehicle', 'vehicle_inactive')
          AND connection.is_active
        LIMIT @max_events
        FOR UPDATE OF failed SKIP LOCKED
    )
    RETURNING event_id
)
INSERT INTO smartcar_webhook_event_audits (event_id, action, actor)
SELECT event_id, @action, @actor FROM requeued;

-- name: DatabaseBytes :one
SELECT pg_database_size(current_database());
