-- name: InsertNotice :exec
INSERT INTO notices (id, notice_type, smartcar_vehicle_id, body, created_at)
VALUES (@id, @notice_type, @smartcar_vehicle_id, @body, @created_at);

-- name: NoticeSubject :one
SELECT connection.vehicle_id, owner.email
FROM smartcar_vehicles AS connection
JOIN vehicles AS vehicle ON vehicle.id = connection.vehicle_id
JOIN users AS owner ON owner.id = vehicle.your_app_user_id
WHERE connection.smartcar_vehicle_id = @smartcar_vehicle_id;

-- name: Notice :one
SELECT id, notice_type, body, created_at, delivered_at, given_up_at FROM notices WHERE id = @id;

-- name: NoticeDelivered :exec
UPDATE notices SET delivered_at = now(), given_up_at = NULL WHERE id = @id AND delivered_at IS NULL;

-- name: NoticeGivenUp :exec
UPDATE notices SET given_up_at = now() WHERE id = @id AND delivered_at IS NULL;
