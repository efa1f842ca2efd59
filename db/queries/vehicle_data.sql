-- name: InsertSignals :exec
INSERT INTO vehicle_data (
    smartcar_vehicle_id, data_type, data_value, unit, observed_at, observed_at_source,
    failure_type, failure_code, event_id
)
SELECT @smartcar_vehicle_id, batch.data_type, NULLIF(batch.data_value, '')::json, batch.unit, batch.observed_at,
       batch.observed_at_source, NULLIF(batch.failure_type, ''), NULLIF(batch.failure_code, ''), @event_id
FROM (
    SELECT unnest(@data_types::text[]) AS data_type,
           unnest(@data_values::text[]) AS data_value,
           unnest(@units::text[]) AS unit,
           unnest(@observed_ats::timestamptz[]) AS observed_at,
           unnest(@observed_at_sources::text[]) AS observed_at_source,
           unnest(@failure_types::text[]) AS failure_type,
           unnest(@failure_codes::text[]) AS failure_code
) AS batch;
