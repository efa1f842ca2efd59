-- name: LockConnection :one
-- Reports about one vehicle's errors are taken one after the other.
SELECT smartcar_vehicle_id FROM smartcar_vehicles
WHERE smartcar_vehicle_id = @smartcar_vehicle_id
FOR NO KEY UPDATE;

-- name: OpenVehicleError :exec
-- Of several reports of one error the newest stays.
INSERT INTO vehicle_errors AS kept (
    smartcar_vehicle_id, error_type, code, signal, opened_at, opened_event_id, resolution_type, reaction
)
VALUES (@smartcar_vehicle_id, @error_type, @code, @signal, @opened_at::timestamptz, @event_id, @resolution_type, @reaction)
ON CONFLICT (smartcar_vehicle_id, error_type, code, signal) DO UPDATE
SET opened_at = EXCLUDED.opened_at, opened_event_id = EXCLUDED.opened_event_id,
    resolution_type = EXCLUDED.resolution_type, reaction = EXCLUDED.reaction, updated_at = now()
WHERE kept.opened_at IS NULL
   OR (EXCLUDED.opened_at, EXCLUDED.opened_event_id) > (kept.opened_at, kept.opened_event_id);

-- name: ResolveVehicleError :exec
-- An end that nothing is known to have begun for is kept, since it may have arrived first. Smartcar's word counts more
-- than the end that connecting has made, which no event stands for.
INSERT INTO vehicle_errors AS kept (smartcar_vehicle_id, error_type, code, signal, resolved_at, resolved_event_id)
VALUES (@smartcar_vehicle_id, @error_type, @code, @signal, @resolved_at::timestamptz, @event_id)
ON CONFLICT (smartcar_vehicle_id, error_type, code, signal) DO UPDATE
SET resolved_at = EXCLUDED.resolved_at, resolved_event_id = EXCLUDED.resolved_event_id, updated_at = now()
WHERE kept.resolved_at IS NULL
   OR (EXCLUDED.resolved_at, EXCLUDED.resolved_event_id) > (kept.resolved_at, kept.resolved_event_id)
   OR (kept.resolved_event_id = '' AND EXCLUDED.resolved_at >= kept.opened_at);

-- name: SpreadResolutions :exec
-- The end of an error of the whole vehicle is its end for each signal, those included that arrive later.
UPDATE vehicle_errors AS one
SET resolved_at = whole.resolved_at, resolved_event_id = whole.resolved_event_id, updated_at = now()
FROM vehicle_errors AS whole
WHERE one.smartcar_vehicle_id = @smartcar_vehicle_id AND one.signal <> ''
  AND whole.smartcar_vehicle_id = one.smartcar_vehicle_id AND whole.error_type = one.error_type
  AND whole.code = one.code AND whole.signal = '' AND whole.resolved_event_id <> ''
  AND (one.resolved_at IS NULL
       OR (whole.resolved_at, whole.resolved_event_id) > (one.resolved_at, one.resolved_event_id)
       OR (one.resolved_event_id = '' AND whole.resolved_at >= one.opened_at));

-- name: EndErrorsForOwner :exec
-- What the owner was to do is done by connecting, and Smartcar's word of its end may be lost or belong to an earlier
-- connection. What the car cannot do, or what passes by itself, is not the owner's; what is observed from then on is new.
UPDATE vehicle_errors AS error
SET resolved_at = connection.connected_at, resolved_event_id = '', updated_at = now()
FROM smartcar_vehicles AS connection
WHERE connection.smartcar_vehicle_id = @smartcar_vehicle_id AND error.smartcar_vehicle_id = connection.smartcar_vehicle_id
  AND error.state = 'open' AND error.reaction IN ('reauthenticate', 'reconsent', 'owner_action')
  AND error.opened_at < connection.connected_at;

-- name: MarkIncompatibleSignals :exec
INSERT INTO vehicle_signals AS kept (smartcar_vehicle_id, data_type, incompatible_at)
SELECT error.smartcar_vehicle_id, error.signal, max(error.opened_at) FILTER (WHERE error.state = 'open')
FROM vehicle_errors AS error
WHERE error.smartcar_vehicle_id = @smartcar_vehicle_id AND error.signal <> '' AND error.reaction = 'unsupported_signals'
GROUP BY error.smartcar_vehicle_id, error.signal
ORDER BY error.signal
ON CONFLICT (smartcar_vehicle_id, data_type) DO UPDATE SET incompatible_at = EXCLUDED.incompatible_at
WHERE kept.incompatible_at IS DISTINCT FROM EXCLUDED.incompatible_at;

-- name: MarkDegraded :exec
UPDATE smartcar_vehicles AS connection
SET degraded = NOT connection.degraded, updated_at = now()
WHERE connection.smartcar_vehicle_id = @smartcar_vehicle_id
  AND connection.degraded <> EXISTS (
      SELECT 1 FROM vehicle_errors AS error
      WHERE error.smartcar_vehicle_id = connection.smartcar_vehicle_id
        AND error.state = 'open' AND error.reaction = 'owner_action');

-- name: ErrorsForOwner :one
-- What the owner is to consent to anew: how many errors, those that this event opened, and the code of one of those.
SELECT count(*) AS open_errors,
       count(*) FILTER (WHERE opened_event_id = @event_id) AS new_errors,
       COALESCE(min(lower(COALESCE(NULLIF(code, ''), error_type))) FILTER (WHERE opened_event_id = @event_id), '')::text AS reason
FROM vehicle_errors
WHERE smartcar_vehicle_id = @smartcar_vehicle_id AND state = 'open' AND reaction IN ('reauthenticate', 'reconsent');

-- name: RequireReauthenticationOfVehicle :many
-- Once per episode: only a connection that works until now changes, and is told of.
UPDATE smartcar_vehicles
SET connection_state = 'reauth_required', reauth_since = @since, updated_at = now()
WHERE smartcar_vehicle_id = @smartcar_vehicle_id AND connection_state = 'connected' AND is_active
RETURNING token_id;

-- name: WithdrawReauthentication :many
-- Not while the tokens that v2 calls need were refused: then the owner is needed all the same.
UPDATE smartcar_vehicles AS connection
SET connection_state = 'connected', reauth_since = NULL, updated_at = now()
WHERE connection.smartcar_vehicle_id = @smartcar_vehicle_id AND connection.connection_state = 'reauth_required'
  AND NOT EXISTS (SELECT 1 FROM smartcar_tokens AS family
                  WHERE connection.api = 'v2' AND family.id = connection.token_id AND family.status <> 'active')
RETURNING connection.token_id;

-- name: ErrorsOfVehicle :many
-- Signals with one story are one row. The owner has been asked since the connection waits, or was last asked while
-- the error was known and before it ended: the minutes are for two clocks, and for waiting on a row lock.
WITH grouped AS (
    SELECT error.smartcar_vehicle_id, error.error_type, error.code, error.state, error.opened_at, error.opened_event_id,
           error.resolved_at, error.resolved_event_id, error.resolution_type, error.reaction,
           COALESCE(array_agg(error.signal ORDER BY error.signal) FILTER (WHERE error.signal <> ''), '{}')::text[] AS signals,
           min(error.created_at) AS first_heard_at, max(error.updated_at) AS last_changed_at
    FROM vehicle_errors AS error
    WHERE error.smartcar_vehicle_id = @smartcar_vehicle_id AND (@include_resolved::boolean OR error.state = 'open')
    GROUP BY error.smartcar_vehicle_id, error.error_type, error.code, error.state, error.opened_at, error.opened_event_id,
             error.resolved_at, error.resolved_event_id, error.resolution_type, error.reaction, error.signal = ''
)
SELECT grouped.error_type, grouped.code, grouped.signals, grouped.state, grouped.opened_at, grouped.opened_event_id,
       grouped.resolved_at, grouped.resolved_event_id, grouped.resolution_type, grouped.reaction,
       (COALESCE(connection.reauth_since, asked.asked_at) IS NOT NULL)::boolean AS owner_asked,
       COALESCE(connection.reauth_since, asked.asked_at, 'epoch')::timestamptz AS owner_asked_at
FROM grouped
LEFT JOIN smartcar_vehicles AS connection
       ON connection.smartcar_vehicle_id = grouped.smartcar_vehicle_id
      AND grouped.state = 'open' AND grouped.reaction IN ('reauthenticate', 'reconsent')
LEFT JOIN LATERAL (
    SELECT notice.created_at AS asked_at
    FROM notices AS notice
    WHERE notice.smartcar_vehicle_id = grouped.smartcar_vehicle_id AND notice.notice_type = 'vehicle.reauth_required'
      AND grouped.reaction IN ('reauthenticate', 'reconsent')
      AND notice.created_at >= grouped.first_heard_at - interval '1 minute'
      AND (grouped.state = 'open' OR notice.created_at <= grouped.last_changed_at + interval '1 minute')
    ORDER BY notice.created_at DESC
    LIMIT 1
) AS asked ON true
ORDER BY grouped.state, COALESCE(grouped.opened_at, grouped.resolved_at) DESC, grouped.error_type, grouped.code, grouped.signals;
