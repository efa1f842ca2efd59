-- name: EnterReading :one
-- An entry that was superseded and is right again comes back as it was.
INSERT INTO meter_entries AS entry (vehicle_id, odometer_km, entry_date, source_type, notes, event_id, reading_id)
VALUES (@vehicle_id, @odometer_km, @entry_date, @source_type, @notes, @event_id, @reading_id)
ON CONFLICT ON CONSTRAINT meter_entries_reading_unique DO UPDATE SET superseded_at = NULL
RETURNING id;

-- name: SupersedeEntry :exec
UPDATE meter_entries SET superseded_at = now() WHERE reading_id = @reading_id AND superseded_at IS NULL;

-- name: EntryOfReading :one
SELECT id FROM meter_entries WHERE reading_id = @reading_id;

-- name: VehicleEntries :many
SELECT id, odometer_km, entry_date, source_type, notes, event_id, superseded_at
FROM meter_entries
WHERE vehicle_id = @vehicle_id
ORDER BY entry_date, odometer_km;
