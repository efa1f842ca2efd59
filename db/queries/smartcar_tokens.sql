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
-- Whoever does this holds the family's lock, and knows the end of a later attempt: what became of these does not matter any more.
UPDATE smartcar_token_refreshes
SET finished_at = @finished_at, outcome = 'unknown'
WHERE token_id = @token_id AND finished_at IS NULL;

-- name: BeginRefresh :one
INSERT INTO smartcar_token_refreshes (token_id, generation, started_at)
VALUES (@token_id, @generation, @started_at)
RETURNING id;

-- name: LoseRefreshes :one
-- Ends the other attempts of a generation that have no end, and says whether there was such a one after @since: it
-- may still be in somebody's hands, with the pair that it was answered.
WITH lost AS (
    UPDATE smartcar_token_refreshes
    SET finished_at = @found_at, outcome = 'unknown'
    WHERE token_id = @token_id AND generation = @generation AND id <> @id AND finished_at IS NULL
    RETURNING id
)
SELECT (EXISTS (SELECT FROM lost) OR EXISTS (
    SELECT FROM smartcar_token_refreshes AS attempt
    WHERE attempt.token_id = @token_id AND attempt.generation = @generation AND attempt.id <> @id
      AND attempt.outcome = 'unknown' AND attempt.finished_at > @since
))::boolean AS lost;

-- name: FinishRefresh :exec
UPDATE smartcar_token_refreshes
SET finished_at = @finished_at, outcome = @outcome
WHERE id = @id AND (finished_at IS NULL OR outcome = 'unknown');

-- name: DeleteOldRefreshes :exec
-- The attempts of the last week are kept for people to look at.
DELETE FROM smartcar_token_refreshes WHERE token_id = @token_id AND finished_at < @before;

-- name: UnfinishedRefreshes :many
-- One vehicle of each family whose present pair was sent to Smartcar, nobody knows with what result. Whoever has a call
-- under way holds the family's lock, and is not disturbed. The more tries there have been lately the longer the next one
-- waits, and after five there is none: an outage is not to be answered with a storm.
WITH sent AS (
    SELECT attempt.token_id, max(attempt.generation)::bigint AS generation
    FROM smartcar_token_refreshes AS attempt
    WHERE attempt.finished_at IS NULL AND attempt.started_at > @since
    GROUP BY attempt.token_id
), due AS (
    SELECT sent.token_id, sent.generation
    FROM sent
    CROSS JOIN LATERAL (
        SELECT max(attempt.started_at) AS began_at FROM smartcar_token_refreshes AS attempt WHERE attempt.token_id = sent.token_id
    ) AS latest
    CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM smartcar_token_refreshes AS attempt
        WHERE attempt.token_id = sent.token_id AND attempt.generation = sent.generation
          AND attempt.started_at > latest.began_at - interval '4 minutes'
    ) AS tries
    WHERE tries.number < 5
      AND latest.began_at <= sqlc.arg(now)::timestamptz - interval '15 seconds' * (tries.number - 1)
), unheld AS (
    SELECT family.id, family.generation
    FROM smartcar_tokens AS family
    JOIN due ON due.token_id = family.id AND due.generation = family.generation
    FOR NO KEY UPDATE OF family SKIP LOCKED
)
SELECT DISTINCT ON (unheld.id) connection.smartcar_vehicle_id, unheld.id AS token_id, unheld.generation
FROM unheld
JOIN smartcar_vehicles AS connection ON connection.token_id = unheld.id
ORDER BY unheld.id;

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
