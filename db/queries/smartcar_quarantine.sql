-- name: LockQuarantine :exec
-- One at a time until the transaction ends, so that each sees what the others kept and the bounds hold exactly.
SELECT pg_advisory_xact_lock(hashtext('smartcar_quarantine'));

-- name: InsertQuarantined :exec
INSERT INTO smartcar_quarantine (received_at, reason, signatures, body, size_bytes)
VALUES (@received_at, @reason, @signatures, @body, @size_bytes);

-- name: BoundQuarantine :exec
-- The newest rows that fit stay. Ids order them: a clock that is wrong must not make a row immortal.
DELETE FROM smartcar_quarantine
WHERE id IN (
    SELECT ranked.id
    FROM (
        SELECT kept.id, kept.received_at,
               row_number() OVER (ORDER BY kept.id DESC) AS place,
               sum(kept.size_bytes) OVER (ORDER BY kept.id DESC) AS bytes_so_far
        FROM smartcar_quarantine AS kept
    ) AS ranked
    WHERE ranked.place > @max_rows::bigint
       OR ranked.bytes_so_far > @max_bytes::bigint
       OR ranked.received_at < now() - make_interval(secs => @max_age_seconds::double precision)
);

-- name: ListQuarantined :many
SELECT id, received_at, reason, octet_length(body)::integer AS body_bytes
FROM smartcar_quarantine
ORDER BY id DESC
LIMIT @max_rows;

-- name: Quarantined :one
SELECT id, received_at, reason, signatures, body
FROM smartcar_quarantine
WHERE id = @id;

-- name: DeleteQuarantined :exec
DELETE FROM smartcar_quarantine WHERE id = @id;

-- name: QuarantineToTrim :one
SELECT count(*)
FROM smartcar_quarantine
WHERE received_at < now() - make_interval(secs => @age_seconds::double precision);

-- name: TrimQuarantine :execrows
DELETE FROM smartcar_quarantine
WHERE id IN (
    SELECT old.id
    FROM smartcar_quarantine AS old
    WHERE old.received_at < now() - make_interval(secs => @age_seconds::double precision)
    ORDER BY old.received_at
    LIMIT @max_rows
);
