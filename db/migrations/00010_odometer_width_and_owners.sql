-- +goose NO TRANSACTION
-- Events go on being processed while the indexes are built; each statement can be run again after an interruption.
-- +goose Up

-- Any number that Smartcar may send, in kilometres: a car's marker for "not available" is a reading like any other, to
-- be judged by the rules. A wider numeric rewrites no row; an index with a predicate would be built again under the
-- lock, so it is dropped before.
DROP INDEX CONCURRENTLY IF EXISTS odometer_readings_entered;
ALTER TABLE odometer_readings ALTER COLUMN odometer_km TYPE numeric(64, 3);
ALTER TABLE meter_entries ALTER COLUMN odometer_km TYPE numeric(64, 3);
CREATE INDEX CONCURRENTLY odometer_readings_entered ON odometer_readings (vehicle_id, odometer_km) WHERE verdict = 'entered';

-- Checked at the end of a statement, so that one statement can have two entries change their events.
DROP INDEX CONCURRENTLY IF EXISTS meter_entries_event_checked_late;
CREATE UNIQUE INDEX CONCURRENTLY meter_entries_event_checked_late ON meter_entries (event_id);
ALTER TABLE meter_entries
    DROP CONSTRAINT IF EXISTS meter_entries_event_unique,
    ADD CONSTRAINT meter_entries_event_unique
        UNIQUE USING INDEX meter_entries_event_checked_late DEFERRABLE INITIALLY IMMEDIATE;

-- +goose Down
-- The width stays: readings that need it could not be kept.
ALTER TABLE meter_entries
    DROP CONSTRAINT IF EXISTS meter_entries_event_unique,
    ADD CONSTRAINT meter_entries_event_unique UNIQUE (event_id);
