-- name: NextTokenID :one
-- The id is part of what both ciphertexts are bound to, hence needed before the row is written.
SELECT nextval(pg_get_serial_sequence('smartcar_tokens', 'id'))::bigint AS id;

-- name: InsertTokens :exec
INSERT INTO smartcar_tokens (id, your_app_user_id, smartcar_access_token, smartcar_refresh_token, key_id, issued_at, expires_at)
VALUES (@id, @your_app_user_id, @access_token, @refresh_token, @key_id, @issued_at, @expires_at);

-- name: NameTokenFamily :exec
-- The first vehicle of a family names it; who the Smartcar user is becomes known with the vehicles.
UPDATE smartcar_tokens
SET smartcar_vehicle_id = CASE WHEN smartcar_vehicle_id = '' THEN @smartcar_vehicle_id ELSE smartcar_vehicle_id END,
    smartcar_user_id = CASE WHEN smartcar_user_id = '' THEN @smartcar_user_id ELSE smartcar_user_id END,
    updated_at = now()
WHERE id = @id;

-- name: TokenStatus :one
SELECT connection.smartcar_vehicle_id, connection.is_active, connection.connection_state, connection.api,
       connection.smartcar_user_id,
       family.id AS token_id, family.status, family.generation, family.issued_at, family.expires_at,
       family.last_error, family.last_error_at
FROM smartcar_vehicles AS connection
LEFT JOIN smartcar_tokens AS family ON family.id = connection.token_id
WHERE connection.smartcar_vehicle_id = @smartcar_vehicle_id;

-- name: TokensOfFamily :one
SELECT family.id, family.smartcar_access_token, family.status, family.generation, family.expires_at
FROM smartcar_tokens AS family
WHERE family.id = @id;

-- name: LockTokens :one
-- Not FOR UPDATE: the attempt's row refers to this one, and is written beside the lock.
SELECT id, smartcar_refresh_token, status, generation, refresh_id
FROM smartcar_tokens
WHERE id = @id
FOR NO KEY UPDATE;

-- name: TokenGeneration :one
SELECT generation, refresh_id FROM smartcar_tokens WHERE id = @id;

-- name: StoreTokens :execrows
-- The pair of a later attempt is never replaced by that of an earlier one.
UPDATE smartcar_tokens
SET smartcar_access_token = @access_token, smartcar_refresh_token = @refresh_token, key_id = @key_id,
    issued_at = @issued_at, expires_at = @expires_at, generation = generation + 1, refresh_id = @refresh_id,
    status = 'active', last_error = '', last_error_at = NULL, updated_at = now()
WHERE id = @id AND refresh_id < @refresh_id;

-- name: InvalidateTokens :exec
UPDATE smartcar_tokens
SET status = 'invalid', last_error = @last_error, last_error_at = @failed_at, updated_at = now()
WHERE id = @id;

-- name: NoteTokenError :exec
UPDATE smartcar_tokens SET last_error = @last_error, last_error_at = @failed_at, updated_at = now() WHERE id = @id;

-- name: AbandonRefreshes :exec
-- Whoever does this holds the family's lock: attempts without an end belong to processes that are gone.
UPDATE smartcar_token_refreshes
SET finished_at = @finished_at, outcome = 'unknown'
WHERE token_id = @token_id AND finished_at IS NULL;

-- name: BeginRefresh :one
INSERT INTO smartcar_token_refreshes (token_id, generation, started_at)
VALUES (@token_id, @generation, @started_at)
RETURNING id;

-- name: FinishRefresh :exec
UPDATE smartcar_token_refreshes
SET finished_at = @finished_at, outcome = @outcome
WHERE id = @id AND (finished_at IS NULL OR outcome = 'unknown');

-- name: DeleteOldRefreshes :exec
-- The attempts of the last week are kept for people to look at.
DELETE FROM smartcar_token_refreshes WHERE token_id = @token_id AND finished_at < @before;

-- name: UnfinishedRefreshes :many
-- One vehicle of each family whose last call to Smartcar has no known end.
SELECT DISTINCT ON (attempt.token_id) connection.smartcar_vehicle_id, attempt.generation
FROM smartcar_token_refreshes AS attempt
JOIN smartcar_vehicles AS connection ON connection.token_id = attempt.token_id
WHERE attempt.finished_at IS NULL AND attempt.started_at > @since
ORDER BY attempt.token_id, attempt.started_at;

-- name: KeysInUse :many
SELECT key_id, count(*) AS rows FROM (
    SELECT key_id FROM smartcar_tokens
    UNION ALL
    SELECT code_key_id FROM smartcar_consents WHERE code IS NOT NULL
) AS in_use (key_id)
GROUP BY key_id
ORDER BY key_id;

-- name: TokensUnderEachKey :many
SELECT DISTINCT ON (key_id) id, key_id, smartcar_refresh_token FROM smartcar_tokens ORDER BY key_id, id;

-- name: TokensUnderOtherKeys :many
-- Rows that a refresh holds are left for the next batch.
SELECT id, smartcar_access_token, smartcar_refresh_token
FROM smartcar_tokens
WHERE key_id <> @key_id
ORDER BY id
LIMIT @max_rows
FOR NO KEY UPDATE SKIP LOCKED;

-- name: ReplaceCiphertexts :exec
UPDATE smartcar_tokens
SET smartcar_access_token = @access_token, smartcar_refresh_token = @refresh_token, key_id = @key_id
WHERE id = @id;
