-- name: InsertReading :one
-- The same observation inserted again gives the row that is there; confirming sticks.
INSERT INTO odometer_readings AS reading (
    vehicle_id, observed_at, odometer_km, observed_at_source, reported_value, reported_unit,
    unit_assumed, source_type, event_id, confirmed
)
VALUES (
    @vehicle_id, @observed_at, @odometer_km, @observed_at_source, @reported_value, @reported_unit,
    @unit_assumed, @source_type, @event_id, @confirmed
)
ON CONFLICT ON CONSTRAINT odometer_readings_observation_unique
DO UPDATE SET confirmed = reading.confirmed OR EXCLUDED.confirmed
RETURNING id, event_id, verdict, confirmed;

-- name: HistoryBefore :one
-- What was decided of everything observed before a reading: the last entry and the highest one.
SELECT last_entry.observed_at AS last_observed_at, last_entry.odometer_km AS last_km, highest.odometer_km AS highest_km
FROM (
    SELECT reading.observed_at, reading.odometer_km
    FROM odometer_readings AS reading
    WHERE reading.vehicle_id = @vehicle_id AND reading.verdict = 'entered'
      AND (reading.observed_at, reading.odometer_km) < (@observed_at::timestamptz, @odometer_km::numeric)
    ORDER BY reading.observed_at DESC, reading.odometer_km DESC
    LIMIT 1
) AS last_entry
CROSS JOIN LATERAL (
    SELECT reading.odometer_km
    FROM odometer_readings AS reading
    WHERE reading.vehicle_id = @vehicle_id AND reading.verdict = 'entered'
      AND (reading.observed_at, reading.odometer_km) < (@observed_at::timestamptz, @odometer_km::numeric)
    ORDER BY reading.odometer_km DESC
    LIMIT 1
) AS highest;

-- name: EntriesWithin :many
-- Entered readings observed from since (inclusive) up to just before a reading.
SELECT observed_at, odometer_km
FROM odometer_readings
WHERE vehicle_id = @vehicle_id AND verdict = 'entered' AND observed_at >= @since
  AND (observed_at, odometer_km) < (@observed_at::timestamptz, @odometer_km::numeric)
ORDER BY observed_at, odometer_km;

-- name: ReadingsAfter :many
SELECT id, observed_at, odometer_km, source_type, unit_assumed, event_id, verdict, confirmed
FROM odometer_readings
WHERE vehicle_id = @vehicle_id
  AND (observed_at, odometer_km) > (@observed_at::timestamptz, @odometer_km::numeric)
ORDER BY observed_at, odometer_km
LIMIT @max_readings;

-- name: SetVerdict :exec
UPDATE odometer_readings SET verdict = @verdict WHERE id = @id;
