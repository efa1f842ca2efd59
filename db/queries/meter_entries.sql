-- name: EnterReading :one
-- Gives a reading the verdict "entered" and its entry. An entry that was superseded and is
-- right again comes back; it is that of the event which owns the reading now.
WITH decided AS (
    UPDATE odometer_readings SET verdict = 'entered'
    WHERE odometer_readings.id = @reading_id AND verdict <> 'entered'
)
INSERT INTO meter_entries AS entry (vehicle_id, odometer_km, entry_date, source_type, notes, event_id, reading_id)
VALUES (@vehicle_id, @odometer_km, @entry_date, @source_type, @notes, @event_id, @reading_id)
ON CONFLICT ON CONSTRAINT meter_entries_reading_unique
DO UPDATE SET superseded_at = NULL, event_id = EXCLUDED.event_id, source_type = EXCLUDED.source_type, notes = EXCLUDED.notes
RETURNING id;

-- name: SupersedeEntry :exec
UPDATE meter_entries SET superseded_at = now() WHERE reading_id = @reading_id AND superseded_at IS NULL;

-- name: TakeEntry :exec
UPDATE meter_entries
SET vehicle_id = @vehicle_id, superseded_at = COALESCE(superseded_at, now())
WHERE reading_id = @reading_id;
