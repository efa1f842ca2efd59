-- name: UpsertUser :one
INSERT INTO users (email, name)
VALUES (@email, @name)
ON CONFLICT (email) DO UPDATE SET name = EXCLUDED.name
RETURNING id;
