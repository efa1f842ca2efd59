-- name: SignalsOfVehicle :many
SELECT data_type, data_value, COALESCE(normalised_value::text, '')::text AS normalised_value, normalised_unit,
       observed_at, observed_at_source, event_id, available, supported, failure_type, failure_code, failed_at
FROM vehicle_signals
WHERE smartcar_vehicle_id = @smartcar_vehicle_id
ORDER BY data_type;
