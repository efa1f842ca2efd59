-- name: AddReading :one
-- Adds an observation, or gives the one that is there; confirming sticks. Of several events that
-- bring one observation, the least owns it, one that names the unit before one that does not. With
-- it comes what was decided of everything observed before it, and whether anything was observed
-- after it. The recent entries are those observed from since on.
WITH before AS (
    SELECT there.event_id
    FROM odometer_readings AS there
    WHERE there.vehicle_id = @vehicle_id AND there.observed_at = @observed_at AND there.odometer_km = @odometer_km::numeric
), added AS (
    INSERT INTO odometer_readings AS reading (
        vehicle_id, observed_at, odometer_km, observed_at_source, reported_value, reported_unit,
        unit_assumed, source_type, event_id, confirmed
    )
    VALUES (
        @vehicle_id, @observed_at, @odometer_km, @observed_at_source, @reported_value, @reported_unit,
        @unit_assumed, @source_type, @event_id, @confirmed
    )
    ON CONFLICT ON CONSTRAINT odometer_readings_observation_unique
    DO UPDATE
    SET confirmed = reading.confirmed OR EXCLUDED.confirmed,
        (event_id, source_type, unit_assumed, observed_at_source, reported_value, reported_unit) = (
            SELECT owner.event_id, owner.source_type, owner.unit_assumed, owner.observed_at_source,
                   owner.reported_value, owner.reported_unit
            FROM (VALUES
                (reading.event_id, reading.source_type, reading.unit_assumed, reading.observed_at_source,
                 reading.reported_value, reading.reported_unit),
                (EXCLUDED.event_id, EXCLUDED.source_type, EXCLUDED.unit_assumed, EXCLUDED.observed_at_source,
                 EXCLUDED.reported_value, EXCLUDED.reported_unit)
            ) AS owner (event_id, source_type, unit_assumed, observed_at_source, reported_value, reported_unit)
            ORDER BY owner.unit_assumed, owner.event_id COLLATE "C"
            LIMIT 1
        )
    RETURNING id, event_id, verdict, confirmed, source_type, unit_assumed
)
SELECT added.id, added.event_id, added.verdict, added.confirmed, added.source_type, added.unit_assumed,
       COALESCE(before.event_id, '')::text AS event_id_before,
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
LEFT JOIN before ON true
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

-- name: DecideReadings :many
-- Gives readings their verdicts, and gives the entries of those entered. An entry that was
-- superseded and is right again comes back; that of any other verdict is superseded.
WITH decided AS (
    SELECT unnest(@reading_ids::bigint[]) AS reading_id,
           unnest(@verdicts::text[]) AS verdict,
           unnest(@notes::text[]) AS notes
), changed AS (
    UPDATE odometer_readings AS reading
    SET verdict = decided.verdict
    FROM decided
    WHERE reading.id = decided.reading_id
), overtaken AS (
    UPDATE meter_entries AS entry
    SET superseded_at = now()
    FROM decided
    WHERE entry.reading_id = decided.reading_id AND decided.verdict <> 'entered' AND entry.superseded_at IS NULL
)
INSERT INTO meter_entries AS entry (vehicle_id, odometer_km, entry_date, source_type, notes, event_id, reading_id)
SELECT reading.vehicle_id, reading.odometer_km, reading.observed_at, reading.source_type, decided.notes, reading.event_id, reading.id
FROM decided
JOIN odometer_readings AS reading ON reading.id = decided.reading_id
WHERE decided.verdict = 'entered'
ON CONFLICT ON CONSTRAINT meter_entries_reading_unique
DO UPDATE SET superseded_at = NULL, event_id = EXCLUDED.event_id, source_type = EXCLUDED.source_type, notes = EXCLUDED.notes
RETURNING entry.reading_id, entry.id;

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

-- name: ExchangeOwner :many
-- Of an observation that the other vehicle has as well, the lesser owner is left behind, and the
-- other one's event comes to own what is there; see AddReading. Gives the event left behind.
WITH pair AS (
    SELECT taken.id AS taken_id, there.id AS there_id
    FROM odometer_readings AS taken
    JOIN odometer_readings AS there
      ON there.vehicle_id = @vehicle_id AND there.observed_at = taken.observed_at AND there.odometer_km = taken.odometer_km
    WHERE taken.id = @id
      AND (taken.unit_assumed, taken.event_id COLLATE "C") < (there.unit_assumed, there.event_id COLLATE "C")
), owner AS (
    SELECT CASE reading.id WHEN pair.taken_id THEN pair.there_id ELSE pair.taken_id END AS reading_id,
           reading.event_id, reading.source_type, reading.unit_assumed, reading.observed_at_source,
           reading.reported_value, reading.reported_unit
    FROM pair
    JOIN odometer_readings AS reading ON reading.id IN (pair.taken_id, pair.there_id)
), exchanged AS (
    UPDATE odometer_readings AS reading
    SET event_id = owner.event_id, source_type = owner.source_type, unit_assumed = owner.unit_assumed,
        observed_at_source = owner.observed_at_source, reported_value = owner.reported_value, reported_unit = owner.reported_unit
    FROM owner
    WHERE reading.id = owner.reading_id
), entries AS (
    UPDATE meter_entries AS entry
    SET event_id = owner.event_id, source_type = owner.source_type
    FROM owner
    WHERE entry.reading_id = owner.reading_id
)
SELECT owner.event_id FROM owner JOIN pair ON owner.reading_id = pair.taken_id;

-- name: NewestReadings :many
SELECT reading.id, reading.observed_at, reading.observed_at_source, reading.odometer_km, reading.reported_value,
       reading.reported_unit, reading.unit_assumed, reading.source_type, reading.verdict, reading.confirmed, reading.event_id,
       entry.id AS meter_entry_id, entry.superseded_at
FROM odometer_readings AS reading
LEFT JOIN meter_entries AS entry ON entry.reading_id = reading.id
WHERE reading.vehicle_id = @vehicle_id
ORDER BY reading.observed_at DESC, reading.odometer_km DESC
LIMIT @max_readings;
