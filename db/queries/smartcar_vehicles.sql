-- name: FindConnection :one
SELECT connection.vehicle_id, connection.is_active, connection.connection_state, connection.token_id, connection.api,
       vehicle.your_app_user_id
FROM smartcar_vehicles AS connection
JOIN vehicles AS vehicle ON vehicle.id = connection.vehicle_id
WHERE connection.smartcar_vehicle_id = @smartcar_vehicle_id
FOR NO KEY UPDATE OF connection;

-- name: StoreConnection :execrows
-- A connection that another vehicle got since it was looked for stays there: no row.
INSERT INTO smartcar_vehicles (
    smartcar_vehicle_id, vehicle_id, is_active, smartcar_user_id, api, token_id, permissions, connected_at
)
VALUES (@smartcar_vehicle_id, @vehicle_id, true, @smartcar_user_id, @api, sqlc.narg(token_id), @permissions::text[],
        COALESCE((SELECT answered_at FROM smartcar_consents WHERE id = @consent_id), now()))
ON CONFLICT (smartcar_vehicle_id) DO UPDATE
SET vehicle_id = EXCLUDED.vehicle_id, is_active = true, connection_state = 'connected', reauth_since = NULL,
    smartcar_user_id = CASE WHEN EXCLUDED.smartcar_user_id = '' THEN smartcar_vehicles.smartcar_user_id
                            ELSE EXCLUDED.smartcar_user_id END,
    api = EXCLUDED.api,
    token_id = EXCLUDED.token_id,
    permissions = EXCLUDED.permissions,
    connected_at = EXCLUDED.connected_at,
    updated_at = now()
WHERE smartcar_vehicles.vehicle_id = EXCLUDED.vehicle_id OR NOT smartcar_vehicles.is_active;

-- name: NoteSubscription :exec
UPDATE smartcar_vehicles SET subscribed_webhook_id = @webhook_id, updated_at = now()
WHERE smartcar_vehicle_id = @smartcar_vehicle_id;

-- name: BeginDisconnect :execrows
-- From here on no reading is taken; Smartcar is told by the vehicle's workflow.
UPDATE smartcar_vehicles
SET is_active = false, connection_state = CASE WHEN token_id IS NULL AND api = 'v2' THEN 'disconnected' ELSE 'disconnecting' END,
    reauth_since = NULL, updated_at = now()
WHERE smartcar_vehicle_id = @smartcar_vehicle_id AND is_active;

-- name: EndDisconnect :execrows
UPDATE smartcar_vehicles
SET connection_state = 'disconnected', token_id = NULL, subscribed_webhook_id = '', updated_at = now()
WHERE smartcar_vehicle_id = @smartcar_vehicle_id AND connection_state = 'disconnecting';

-- name: DeleteUnusedTokens :exec
DELETE FROM smartcar_tokens AS family
WHERE family.id = @id
  AND NOT EXISTS (SELECT 1 FROM smartcar_vehicles WHERE token_id = family.id)
  AND NOT EXISTS (SELECT 1 FROM smartcar_consents WHERE token_id = family.id AND phase = 'answered');

-- name: RequireReauthentication :many
-- Once per episode: only connections that work until now change, and are told of. Those that moved to v3 keep their
-- tokens and need them no more.
UPDATE smartcar_vehicles
SET connection_state = 'reauth_required', reauth_since = @since, updated_at = now()
WHERE token_id = @token_id::bigint AND api = 'v2' AND connection_state = 'connected' AND is_active
RETURNING smartcar_vehicle_id;

-- name: ResolveReauthentication :many
-- Good tokens do not end an error that needs the owner.
UPDATE smartcar_vehicles AS connection
SET connection_state = 'connected', reauth_since = NULL, updated_at = now()
WHERE connection.token_id = @token_id::bigint AND connection.connection_state = 'reauth_required'
  AND NOT EXISTS (
      SELECT 1 FROM vehicle_errors AS error
      WHERE error.smartcar_vehicle_id = connection.smartcar_vehicle_id
        AND error.state = 'open' AND error.reaction IN ('reauthenticate', 'reconsent'))
RETURNING connection.smartcar_vehicle_id;

-- name: ResolveReauthenticationOfVehicle :execrows
UPDATE smartcar_vehicles
SET connection_state = 'connected', reauth_since = NULL, updated_at = now()
WHERE smartcar_vehicle_id = @smartcar_vehicle_id AND connection_state = 'reauth_required';

-- name: NoteReauthentication :execrows
UPDATE smartcar_vehicles AS connection
SET connected_at = COALESCE((SELECT max(consent.answered_at) FROM smartcar_consents AS consent
                             WHERE consent.smartcar_vehicle_id = connection.smartcar_vehicle_id
                               AND consent.phase = 'answered'), now()),
    updated_at = now()
WHERE connection.smartcar_vehicle_id = @smartcar_vehicle_id AND connection.is_active;

-- name: VehiclesWithTokens :many
-- The vehicles that a TokenRefresh workflow is to run for.
SELECT smartcar_vehicle_id
FROM smartcar_vehicles
WHERE smartcar_vehicle_id > @after
  AND ((is_active AND api = 'v2' AND token_id IS NOT NULL) OR connection_state = 'disconnecting')
ORDER BY smartcar_vehicle_id
LIMIT @max_rows;

-- name: ListConnections :many
SELECT connection.smartcar_vehicle_id, connection.vehicle_id, owner.email AS owner, vehicle.make, vehicle.model, vehicle.year,
       connection.is_active, connection.connection_state, connection.reauth_since, connection.degraded, connection.api,
       connection.permissions, connection.subscribed_webhook_id,
       family.status AS token_status, family.issued_at AS token_issued_at, family.expires_at AS token_expires_at,
       family.last_error
FROM smartcar_vehicles AS connection
JOIN vehicles AS vehicle ON vehicle.id = connection.vehicle_id
JOIN users AS owner ON owner.id = vehicle.your_app_user_id
LEFT JOIN smartcar_tokens AS family ON family.id = connection.token_id
WHERE (@owner::text = '' OR owner.email = @owner)
  AND (@connection_state::text = '' OR connection.connection_state = @connection_state)
  AND (@smartcar_vehicle_id::text = '' OR connection.smartcar_vehicle_id = @smartcar_vehicle_id)
ORDER BY connection.smartcar_vehicle_id
LIMIT @max_rows;

-- name: ConnectionsToMigrate :many
SELECT smartcar_vehicle_id, smartcar_user_id
FROM smartcar_vehicles
WHERE is_active AND api = 'v2' AND token_id IS NOT NULL AND smartcar_vehicle_id > @after
ORDER BY smartcar_vehicle_id
LIMIT @max_rows;

-- name: MoveConnectionToV3 :execrows
-- The v2 tokens stay where they are until the vehicle is disconnected: nothing is lost by moving.
UPDATE smartcar_vehicles
SET api = 'v3', smartcar_user_id = @smartcar_user_id, updated_at = now()
WHERE smartcar_vehicle_id = @smartcar_vehicle_id AND is_active AND api = 'v2';

-- name: ResumeMovedConnection :execrows
-- Refused v2 tokens are nothing to v3, but an error that needs the owner is.
UPDATE smartcar_vehicles AS connection
SET connection_state = 'connected', reauth_since = NULL, updated_at = now()
WHERE connection.smartcar_vehicle_id = @smartcar_vehicle_id AND connection.connection_state = 'reauth_required'
  AND NOT EXISTS (
      SELECT 1 FROM vehicle_errors AS error
      WHERE error.smartcar_vehicle_id = connection.smartcar_vehicle_id
        AND error.state = 'open' AND error.reaction IN ('reauthenticate', 'reconsent'));

-- name: MoveConnectionsToVehicle :execrows
UPDATE smartcar_vehicles SET vehicle_id = @to_vehicle_id, updated_at = now() WHERE vehicle_id = @from_vehicle_id;
