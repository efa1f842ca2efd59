-- name: LockVehicle :one
-- Every write to a vehicle's history happens under this lock: it gives the order that arrival does not.
-- Whoever waited for it while the vehicle was merged into another finds none.
SELECT id FROM vehicles WHERE id = @vehicle_id AND merged_into IS NULL FOR NO KEY UPDATE;

-- name: LockVehicleForMerge :one
SELECT merged_into FROM vehicles WHERE id = @vehicle_id FOR NO KEY UPDATE;

-- name: MarkMerged :exec
UPDATE vehicles SET merged_into = @merged_into::bigint, updated_at = now() WHERE id = @id;

-- name: TakeOverVIN :exec
-- The next Smartcar id of the car must find the vehicle that is left.
UPDATE vehicles AS target SET vin = source.vin, updated_at = now()
FROM vehicles AS source
WHERE target.id = @into_vehicle_id AND source.id = @from_vehicle_id AND target.vin = '' AND source.vin <> '';

-- name: InsertVehicle :one
INSERT INTO vehicles (your_app_user_id, smartcar_user_id, make, model, year, vin)
VALUES (@your_app_user_id, @smartcar_user_id, @make, @model, @year, @vin)
RETURNING id;

-- name: FindVehicleByVIN :one
-- The same car of the same owner, whatever Smartcar calls it now.
SELECT id FROM vehicles WHERE your_app_user_id = @your_app_user_id AND vin = @vin AND vin <> '' AND merged_into IS NULL ORDER BY id LIMIT 1;

-- name: DescribeVehicle :execrows
-- What Smartcar did not say this time stays as it was. Whoever waited for the row while the vehicle was merged into
-- another finds none.
UPDATE vehicles
SET smartcar_user_id = CASE WHEN @smartcar_user_id::text = '' THEN smartcar_user_id ELSE @smartcar_user_id END,
    make = CASE WHEN @make::text = '' THEN make ELSE @make END,
    model = CASE WHEN @model::text = '' THEN model ELSE @model END,
    year = CASE WHEN @year::integer = 0 THEN year ELSE @year END,
    vin = CASE WHEN @vin::text = '' THEN vin ELSE @vin END,
    updated_at = now()
WHERE id = @id AND merged_into IS NULL;

-- name: SameKindOfVehicle :one
-- Whether two vehicles may be one: the same owner, make, model and year, and no different VINs.
SELECT one.your_app_user_id = other.your_app_user_id AND one.make = other.make AND one.model = other.model
       AND one.year = other.year AND (one.vin = '' OR other.vin = '' OR one.vin = other.vin) AS same_kind
FROM vehicles AS one, vehicles AS other
WHERE one.id = @one AND other.id = @other;

-- name: PossibleDuplicates :many
-- Vehicles of one owner that may be one car under two Smartcar ids.
SELECT one.id AS vehicle_id, other.id AS other_vehicle_id,
       (SELECT max(smartcar_vehicle_id) FROM smartcar_vehicles WHERE vehicle_id = one.id)::text AS smartcar_vehicle_id,
       (SELECT max(smartcar_vehicle_id) FROM smartcar_vehicles WHERE vehicle_id = other.id)::text AS other_smartcar_vehicle_id,
       owner.email AS owner, one.make, one.model, one.year
FROM vehicles AS one
JOIN vehicles AS other ON other.your_app_user_id = one.your_app_user_id AND other.id > one.id
    AND other.make = one.make AND other.model = one.model AND other.year = one.year
    AND (one.vin = '' OR other.vin = '' OR one.vin = other.vin)
JOIN users AS owner ON owner.id = one.your_app_user_id
WHERE EXISTS (SELECT 1 FROM smartcar_vehicles WHERE vehicle_id = one.id)
  AND EXISTS (SELECT 1 FROM smartcar_vehicles WHERE vehicle_id = other.id)
ORDER BY one.id, other.id
LIMIT @max_rows;
