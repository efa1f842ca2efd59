-- name: InsertConsent :exec
INSERT INTO smartcar_consents (id, state_hash, browser_hash, user_id, smartcar_vehicle_id, api, expires_at)
VALUES (@id, @state_hash, @browser_hash, @user_id, @smartcar_vehicle_id, @api, @expires_at);

-- name: OwnsActiveConnection :one
SELECT EXISTS (
    SELECT 1 FROM smartcar_vehicles AS connection
    JOIN vehicles AS vehicle ON vehicle.id = connection.vehicle_id
    WHERE connection.smartcar_vehicle_id = @smartcar_vehicle_id AND vehicle.your_app_user_id = @user_id
      AND connection.is_active
);

-- name: MissesPermissions :one
SELECT EXISTS (
    SELECT 1 FROM vehicle_errors AS error
    JOIN smartcar_vehicles AS connection ON connection.smartcar_vehicle_id = error.smartcar_vehicle_id
    JOIN vehicles AS vehicle ON vehicle.id = connection.vehicle_id
    WHERE vehicle.your_app_user_id = @user_id AND connection.is_active
      AND error.state = 'open' AND error.reaction = 'reconsent'
);

-- name: LockConsentByState :one
SELECT id, browser_hash, smartcar_vehicle_id, phase, expires_at, api
FROM smartcar_consents
WHERE state_hash = @state_hash
FOR NO KEY UPDATE;

-- name: AnswerConsent :exec
UPDATE smartcar_consents
SET phase = @phase, reason = @reason, code = @code, code_key_id = sqlc.narg(code_key_id),
    smartcar_user_id = @smartcar_user_id, answered_at = @answered_at,
    refused_make = @refused_make, refused_model = @refused_model, refused_year = @refused_year,
    closed_at = CASE WHEN @phase = 'failed' THEN @answered_at::timestamptz END
WHERE id = @id;

-- name: LockConsent :one
SELECT consent.id, consent.user_id, owner.external_id, consent.smartcar_vehicle_id, consent.api, consent.phase,
       consent.reason, consent.code, consent.smartcar_user_id, consent.token_id, consent.created_at,
       consent.connected_vehicles
FROM smartcar_consents AS consent
JOIN users AS owner ON owner.id = consent.user_id
WHERE consent.id = @id
FOR NO KEY UPDATE OF consent;

-- name: Consent :one
SELECT consent.id, consent.user_id, owner.external_id, consent.smartcar_vehicle_id, consent.api, consent.phase,
       consent.reason, consent.smartcar_user_id, consent.token_id, consent.created_at
FROM smartcar_consents AS consent
JOIN users AS owner ON owner.id = consent.user_id
WHERE consent.id = @id;

-- name: CodeExchanged :exec
UPDATE smartcar_consents SET code = NULL, code_key_id = NULL, token_id = @token_id WHERE id = @id;

-- name: NoteConnectedVehicle :exec
UPDATE smartcar_consents
SET connected_vehicles = array_append(connected_vehicles, @smartcar_vehicle_id::text)
WHERE id = @id AND NOT (@smartcar_vehicle_id::text = ANY (connected_vehicles));

-- name: CloseConsent :one
UPDATE smartcar_consents
SET phase = @phase, reason = @reason, code = NULL, code_key_id = NULL, closed_at = now()
WHERE id = @id AND phase = 'answered'
RETURNING COALESCE(token_id, 0)::bigint AS token_id;

-- name: ConsentStatus :one
SELECT phase, reason, refused_make, refused_model, refused_year FROM smartcar_consents WHERE id = @id;

-- name: VehiclesOfConsent :many
SELECT vehicle.make, vehicle.model, vehicle.year
FROM smartcar_consents AS consent
JOIN smartcar_vehicles AS connection ON connection.smartcar_vehicle_id = ANY (consent.connected_vehicles)
JOIN vehicles AS vehicle ON vehicle.id = connection.vehicle_id
WHERE consent.id = @id
ORDER BY vehicle.id;

-- name: NoteConsentUser :exec
UPDATE smartcar_consents SET smartcar_user_id = @smartcar_user_id WHERE id = @id;
