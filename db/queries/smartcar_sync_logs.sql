-- name: InsertSyncLog :exec
INSERT INTO smartcar_sync_logs (sync_type, smartcar_vehicle_id, data)
VALUES (@sync_type, @smartcar_vehicle_id, @data);
