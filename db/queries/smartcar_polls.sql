-- name: LockPolling :one
SELECT budget FROM smartcar_polling FOR UPDATE;

-- name: PollBudgetOfVehicle :one
SELECT COALESCE((SELECT budget FROM smartcar_polls WHERE smartcar_vehicle_id = @smartcar_vehicle_id), '{}')::jsonb AS budget;

-- name: StoreApplicationBudget :exec
UPDATE smartcar_polling SET budget = @application;

-- name: StorePollBudget :exec
WITH shared AS (
    UPDATE smartcar_polling SET budget = @application
)
INSERT INTO smartcar_polls (smartcar_vehicle_id, budget) VALUES (@smartcar_vehicle_id, @vehicle)
ON CONFLICT (smartcar_vehicle_id) DO UPDATE SET budget = EXCLUDED.budget, updated_at = now();

-- name: SettlePoll :exec
-- An answer counts from the moment of asking, so that what arrived meanwhile is not taken for older.
-- A reading that was observed since the poll before ends the row of answers without news.
-- A poll that was deferred was not made: what the one before came to stays, and so does the time to which
-- that one put the vehicle off, if it is the later one.
INSERT INTO smartcar_polls AS poll (smartcar_vehicle_id, outcome, polled_at, unchanged, unanswered, not_before)
VALUES (@smartcar_vehicle_id, @outcome, sqlc.narg(polled_at), CASE WHEN @is_unchanged::boolean THEN 1 ELSE 0 END,
        CASE WHEN @is_unanswered::boolean THEN 1 ELSE 0 END, sqlc.narg(not_before))
ON CONFLICT (smartcar_vehicle_id) DO UPDATE
SET outcome = CASE WHEN EXCLUDED.outcome <> 'deferred' OR poll.outcome = '' THEN EXCLUDED.outcome
                   WHEN poll.outcome IN ('vehicle_unreachable', 'smartcar_unavailable', 'needs_operator')
                        AND poll.not_before < EXCLUDED.not_before THEN EXCLUDED.outcome
                   ELSE poll.outcome END,
    polled_at = COALESCE(EXCLUDED.polled_at, poll.polled_at),
    unchanged = CASE WHEN EXCLUDED.polled_at IS NULL THEN poll.unchanged
                     WHEN NOT @is_unchanged::boolean THEN 0
                     WHEN EXISTS (
                         SELECT FROM smartcar_vehicles AS connection
                         JOIN odometer_readings AS reading ON reading.vehicle_id = connection.vehicle_id
                         WHERE connection.smartcar_vehicle_id = poll.smartcar_vehicle_id AND reading.observed_at > poll.polled_at
                     ) THEN 1
                     ELSE poll.unchanged + 1 END,
    unanswered = CASE WHEN EXCLUDED.polled_at IS NOT NULL THEN 0
                      WHEN @is_unanswered::boolean THEN poll.unanswered + 1
                      ELSE poll.unanswered END,
    not_before = CASE WHEN EXCLUDED.outcome = 'deferred' THEN GREATEST(poll.not_before, EXCLUDED.not_before)
                      ELSE EXCLUDED.not_before END,
    updated_at = now();

-- name: PollTarget :one
-- The vehicle behind a connection, the signals that it has ever given and still can, and how many
-- polls in a row were not answered.
SELECT connection.vehicle_id,
       ARRAY(SELECT signal.data_type
             FROM vehicle_signals AS signal
             WHERE signal.smartcar_vehicle_id = connection.smartcar_vehicle_id AND signal.supported
               AND signal.reported_at IS NOT NULL
             ORDER BY signal.data_type)::text[] AS signals,
       COALESCE(poll.unanswered, 0)::integer AS unanswered
FROM smartcar_vehicles AS connection
LEFT JOIN smartcar_polls AS poll ON poll.smartcar_vehicle_id = connection.smartcar_vehicle_id
WHERE connection.smartcar_vehicle_id = @smartcar_vehicle_id AND connection.is_active;

-- name: IsObserved :one
SELECT EXISTS(SELECT FROM odometer_readings WHERE vehicle_id = @vehicle_id AND observed_at = @observed_at)::boolean AS known;

-- name: OwnerErrors :many
-- Open errors that ask the owner for something without which there is no odometer, and whether the
-- mark that each of them leaves on the connection is there.
SELECT error.error_type, error.code, error.signal, error.opened_at::timestamptz AS opened_at,
       (error.reaction = 'owner_action' OR connection.connection_state <> 'connected')::boolean AS marked
FROM vehicle_errors AS error
JOIN smartcar_vehicles AS connection ON connection.smartcar_vehicle_id = error.smartcar_vehicle_id
WHERE error.smartcar_vehicle_id = @smartcar_vehicle_id AND error.state = 'open'
  AND (error.reaction = 'reauthenticate'
       OR (error.reaction IN ('reconsent', 'owner_action') AND error.signal IN ('', @odometer_code)))
ORDER BY error.error_type, error.code, error.signal;

-- name: PollCandidates :many
-- Active vehicles that have been silent for longer than is usual for them, or that have not been
-- heard from since the newest outage ended, with what stands in the way of polling them. Usual
-- is twice the gap that nine in ten of a vehicle's latest webhooks keep to; each answer without
-- news doubles it, so that a parked car is left to sleep, until a newer reading comes. A refusal
-- for good holds until the vehicle is heard from after all, or its connection changes. An open error
-- that asks the owner for something keeps polls away only when it concerns the odometer, and then for a
-- day at a time: that it has ended may have been lost, and one call tells.
WITH newest AS (
    SELECT max(COALESCE(ended_at, detected_at))::timestamptz AS over_at
    FROM webhook_outages
    WHERE GREATEST(ended_at, detected_at) > sqlc.arg(asked_at)::timestamptz - interval '7 days'
), errors AS (
    SELECT error.smartcar_vehicle_id,
           max(error.opened_at) FILTER (WHERE error.reaction IN ('reauthenticate', 'reconsent')) AS consent_lost_at,
           max(error.opened_at) FILTER (WHERE error.reaction = 'owner_action') AS account_lost_at,
           max(error.opened_at) FILTER (WHERE error.reaction = 'unsupported_signals') AS incompatible_at
    FROM vehicle_errors AS error
    WHERE error.state = 'open'
      AND (error.reaction IN ('reauthenticate', 'reconsent')
           OR (error.reaction = 'owner_action' AND error.signal IN ('', @odometer_code))
           OR (error.reaction = 'unsupported_signals' AND error.signal = ''))
    GROUP BY error.smartcar_vehicle_id
), heard AS (
    SELECT connection.smartcar_vehicle_id, connection.vehicle_id, connection.api, connection.permissions, connection.updated_at,
           (connection.api = 'v2' AND family.status IS DISTINCT FROM 'active')
               OR (connection.connection_state <> 'connected' AND errors.consent_lost_at IS NULL) AS cut_off,
           GREATEST(errors.account_lost_at,
                    CASE WHEN connection.connection_state <> 'connected' THEN errors.consent_lost_at END) AS owner_needed_at,
           COALESCE(odometer.supported, true)
               AND COALESCE(odometer.reported_at >= errors.incompatible_at, errors.incompatible_at IS NULL) AS supported,
           GREATEST(odometer.reported_at, connection.created_at) AS heard_at,
           poll.polled_at, poll.not_before, COALESCE(poll.outcome, '') AS outcome, COALESCE(poll.unchanged, 0) AS unchanged
    FROM smartcar_vehicles AS connection
    LEFT JOIN smartcar_tokens AS family ON family.id = connection.token_id
    LEFT JOIN vehicle_signals AS odometer
           ON odometer.smartcar_vehicle_id = connection.smartcar_vehicle_id AND odometer.data_type = @odometer_code
    LEFT JOIN smartcar_polls AS poll ON poll.smartcar_vehicle_id = connection.smartcar_vehicle_id
    LEFT JOIN errors ON errors.smartcar_vehicle_id = connection.smartcar_vehicle_id
    WHERE connection.is_active
), judged AS (
    SELECT heard.smartcar_vehicle_id, heard.api, heard.cut_off, heard.owner_needed_at, heard.permissions, heard.supported,
           heard.heard_at, heard.updated_at, heard.polled_at, heard.not_before, heard.outcome,
           COALESCE(heard.heard_at < newest.over_at AND COALESCE(heard.polled_at < newest.over_at, true), false) AS after_outage,
           LEAST(
               CASE WHEN rhythm.gaps >= 3 THEN GREATEST(2 * rhythm.usual, make_interval(secs => @shortest_seconds::double precision))
                    ELSE make_interval(secs => @unknown_seconds::double precision) END
                   * power(2, CASE WHEN rhythm.newest_at > heard.polled_at THEN 0 ELSE LEAST(heard.unchanged, 8) END),
               make_interval(secs => @longest_seconds::double precision)) AS allowed
    FROM heard
    CROSS JOIN newest
    CROSS JOIN LATERAL (
        SELECT count(gap) FILTER (WHERE gap > interval '0') AS gaps,
               percentile_cont(0.9) WITHIN GROUP (ORDER BY gap) FILTER (WHERE gap > interval '0') AS usual,
               max(observed_at) AS newest_at
        FROM (
            SELECT observed_at, observed_at - lag(observed_at) OVER (ORDER BY observed_at) AS gap
            FROM (
                SELECT reading.observed_at
                FROM odometer_readings AS reading
                WHERE reading.vehicle_id = heard.vehicle_id AND reading.source_type = 'webhook'
                ORDER BY reading.observed_at DESC
                LIMIT 21
            ) AS latest
        ) AS gaps
    ) AS rhythm
)
SELECT smartcar_vehicle_id, api, after_outage::boolean AS after_outage, heard_at::timestamptz AS heard_at,
       not_before, outcome::text AS outcome,
       (CASE WHEN cut_off THEN 'needs_owner'
             WHEN owner_needed_at IS NOT NULL AND NOT after_outage
                  AND GREATEST(owner_needed_at, polled_at) > sqlc.arg(asked_at)::timestamptz - interval '1 day' THEN 'needs_owner'
             WHEN cardinality(permissions) > 0 AND NOT (@odometer_permission::text = ANY (permissions)) THEN 'no_permission'
             WHEN NOT supported THEN 'not_supported'
             WHEN outcome IN ('no_permission', 'not_supported') AND polled_at >= GREATEST(heard_at, updated_at) THEN outcome
             WHEN not_before > @asked_at::timestamptz THEN 'deferred'
             ELSE '' END)::text AS obstacle
FROM judged
WHERE after_outage OR GREATEST(heard_at, polled_at) + allowed < @asked_at::timestamptz
ORDER BY after_outage DESC, heard_at, smartcar_vehicle_id;

-- name: ReconciledVehicles :many
-- How connections stand since a moment: whether their odometer came, what a poll came to, and what
-- became of the answer that it put into the ledger. The ledger is read from that moment on only.
WITH answer AS (
    SELECT DISTINCT ON (ledger.smartcar_vehicle_id) ledger.smartcar_vehicle_id, ledger.status, ledger.outcome, ledger.failure_class
    FROM smartcar_webhook_events AS ledger
    WHERE ledger.created_at >= sqlc.arg(since)::timestamptz AND ledger.event_type = @poll_event_type
      AND ledger.outcome IS DISTINCT FROM 'vehicle_error' -- which an answer brings beside its reading
    ORDER BY ledger.smartcar_vehicle_id, ledger.created_at DESC
)
SELECT connection.smartcar_vehicle_id, connection.is_active AS active,
       COALESCE(odometer.reported_at >= sqlc.arg(since)::timestamptz, false)::boolean AS heard,
       (CASE WHEN poll.polled_at >= sqlc.arg(since)::timestamptz THEN poll.outcome ELSE '' END)::text AS outcome,
       (CASE WHEN answer.status = 'processed' THEN answer.outcome ELSE '' END)::text AS event_outcome,
       (CASE WHEN answer.status = 'failed' THEN answer.failure_class ELSE '' END)::text AS failure_class
FROM smartcar_vehicles AS connection
LEFT JOIN vehicle_signals AS odometer
       ON odometer.smartcar_vehicle_id = connection.smartcar_vehicle_id AND odometer.data_type = @odometer_code
LEFT JOIN smartcar_polls AS poll ON poll.smartcar_vehicle_id = connection.smartcar_vehicle_id
LEFT JOIN answer ON answer.smartcar_vehicle_id = connection.smartcar_vehicle_id
WHERE connection.smartcar_vehicle_id = ANY (@smartcar_vehicle_ids::text[])
ORDER BY connection.smartcar_vehicle_id;
