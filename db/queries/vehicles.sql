-- name: LockVehicle :one
-- Every write to a vehicle's history happens under this lock: it gives the order that arrival does not.
SELECT id FROM vehicles WHERE id = @vehicle_id FOR NO KEY UPDATE;

-- name: InsertVehicle :one
INSERT INTO vehicles (your_app_user_id, smartcar_user_id, make, model, year)
VALUES (@your_app_user_id, @smartcar_user_id, @make, @model, @year)
RETURNING id;

-- name: FindConnection :one
SELECT vehicle_id, is_active FROM smartcar_vehicles WHERE smartcar_vehicle_id = @smartcar_vehicle_id;

-- name: InsertConnection :exec
INSERT INTO smartcar_vehicles (smartcar_vehicle_id, vehicle_id, is_active)
VALUES (@smartcar_vehicle_id, @vehicle_id, true);

-- name: ActivateConnection :exec
UPDATE smartcar_vehicles
SET is_active = true, updated_at = now()
WHERE smartcar_vehicle_id = @smartcar_vehicle_id AND NOT is_active;

-- name: DeactivateConnection :execrows
UPDATE smartcar_vehicles
SET is_active = false, updated_at = now()
WHERE smartcar_vehicle_id = @smartcar_vehicle_id AND is_active;
