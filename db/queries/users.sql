-- name: UpsertUser :one
INSERT INTO users (email, name)
VALUES (@email, @name)
ON CONFLICT (email) DO UPDATE SET name = CASE WHEN EXCLUDED.name = '' THEN users.name ELSE EXCLUDED.name END
RETURNING id, external_id;

-- name: LockUser :one
-- Two consents of one owner store their vehicles one after the other.
SELECT id FROM users WHERE id = @id FOR NO KEY UPDATE;
