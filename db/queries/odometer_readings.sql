-- name: AddReading :one
-- Adds an observation, or gives the one that is there; confirming sticks. With it comes what was
-- decided of everything observed before it, and whether anything was observed after it. The
-- recent entries are those observed from since on.
WITH added AS (
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
    RETURNING id, event_id, verdict, confirmed, source_type, unit_assumed
)
SELECT added.id, added.event_id, added.verdict, added.confirmed, added.source_type, added.unit_assumed,
       (last_entry.observed_at IS NOT NULL)::boolean AS entered,
       COALESCE(last_entry.observed_at, 'epoch')::timestamptz AS last_observed_at,
       COALESCE(last_entry.odometer_km, 0)::numeric AS last_km,
       COALESCE(highest.odometer_km, 0)::numeric AS highest_km,
       ARRAY(SELECT reading.observed_at
             FROM odometer_readings AS reading
             WHERE reading.vehicle_id = @vehicle_id AND reading.verdict = 'entered'
               AND reading.observed_at >= @since
               AND (reading.observed_at, reading.odometer_km) < (@observed_at::timestamptz, @odometer_km::numeric)
             ORDER BY reading.observed_at, reading.odometer_km)::timestamptz[] AS recent_observed_at,
       ARRAY(SELECT reading.odometer_km::text
             FROM odometer_readings AS reading
             WHERE reading.vehicle_id = @vehicle_id AND reading.verdict = 'entered'
               AND reading.observed_at >= @since
               AND (reading.observed_at, reading.odometer_km) < (@observed_at::timestamptz, @odometer_km::numeric)
             ORDER BY reading.observed_at, reading.odometer_km)::text[] AS recent_km,
       EXISTS(SELECT FROM odometer_readings AS reading
              WHERE reading.vehicle_id = @vehicle_id
                AND (reading.observed_at, reading.odometer_km) > (@observed_at::timestamptz, @odometer_km::numeric)
       )::boolean AS followed
FROM added
LEFT JOIN LATERAL (
    SELECT reading.observed_at, reading.odometer_km
    FROM odometer_readings AS reading
    WHERE reading.vehicle_id = @vehicle_id AND reading.verdict = 'entered'
      AND (reading.observed_at, reading.odometer_km) < (@observed_at::timestamptz, @odometer_km::numeric)
    ORDER BY reading.observed_at DESC, reading.odometer_km DESC
    LIMIT 1
) AS last_entry ON true
LEFT JOIN LATERAL (
    SELECT reading.odometer_km
    FROM odometer_readings AS reading
    WHERE reading.vehicle_id = @vehicle_id AND reading.verdict = 'entered'
      AND (reading.observed_at, reading.odometer_km) < (@observed_at::timestamptz, @odometer_km::numeric)
    ORDER BY reading.odometer_km DESC
    LIMIT 1
) AS highest ON true;

-- name: ReadingsAfter :many
SELECT id, observed_at, odometer_km, source_type, unit_assumed, event_id, verdict, confirmed
FROM odometer_readings
WHERE vehicle_id = @vehicle_id
  AND (observed_at, odometer_km) > (@observed_at::timestamptz, @odometer_km::numeric)
ORDER BY observed_at, odometer_km
LIMIT @max_readings;

-- name: SetVerdict :exec
UPDATE odometer_readings SET verdict = @verdict WHERE id = @id;

-- name: ReadingsOfVehicle :many
SELECT id, observed_at, odometer_km, observed_at_source, reported_value, reported_unit, unit_assumed, source_type,
       event_id, verdict, confirmed
FROM odometer_readings
WHERE vehicle_id = @vehicle_id
ORDER BY observed_at, odometer_km;

-- name: ReadingOfEvent :one
SELECT id, observed_at, odometer_km, observed_at_source, reported_value, reported_unit, unit_assumed, source_type
FROM odometer_readings
WHERE vehicle_id = @vehicle_id AND event_id = @event_id;

-- name: TakeReading :execrows
-- An observation that the other vehicle has as well stays behind.
UPDATE odometer_readings AS taken
SET vehicle_id = @vehicle_id, verdict = 'undecided'
WHERE taken.id = @id AND NOT EXISTS (
    SELECT 1 FROM odometer_readings AS there
    WHERE there.vehicle_id = @vehicle_id AND there.observed_at = taken.observed_at AND there.odometer_km = taken.odometer_km
);

-- name: NewestReadings :many
SELECT reading.id, reading.observed_at, reading.observed_at_source, reading.odometer_km, reading.reported_value,
       reading.reported_unit, reading.unit_assumed, reading.source_type, reading.verdict, reading.confirmed, reading.event_id,
       entry.id AS meter_entry_id, entry.superseded_at
FROM odometer_readings AS reading
LEFT JOIN meter_entries AS entry ON entry.reading_id = reading.id
WHERE reading.vehicle_id = @vehicle_id
ORDER BY reading.observed_at DESC, reading.odometer_km DESC
LIMIT @max_readings;
