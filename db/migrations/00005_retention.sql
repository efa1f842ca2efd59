-- +goose NO TRANSACTION
-- Deliveries go on while the ledger's index is built; each statement can be run again after an interruption.
-- +goose Up

ALTER TABLE smartcar_webhook_events ADD COLUMN IF NOT EXISTS payload_trimmed_at timestamptz;

-- Finds what to trim without reading what is trimmed already. An update is HOT only if it changes no column that an
-- index names, its predicate included. Redeliveries and claims change none of these. closed_at changes when an event
-- is closed, which changes its status and so was never HOT, and in the rare case that a late reading decides it
-- again; payload_trimmed_at changes once, long after. So an event costs one entry, at the index's end, when it closes.
DROP INDEX CONCURRENTLY IF EXISTS smartcar_webhook_events_to_trim;
CREATE INDEX CONCURRENTLY smartcar_webhook_events_to_trim ON smartcar_webhook_events (closed_at)
    WHERE status = 'processed' AND payload_trimmed_at IS NULL;

DROP INDEX CONCURRENTLY IF EXISTS smartcar_consents_asked;
CREATE INDEX CONCURRENTLY smartcar_consents_asked ON smartcar_consents (expires_at) WHERE phase = 'asked';
DROP INDEX CONCURRENTLY IF EXISTS smartcar_consents_closed;
CREATE INDEX CONCURRENTLY smartcar_consents_closed ON smartcar_consents (closed_at) WHERE closed_at IS NOT NULL;

CREATE OR REPLACE VIEW webhook_logs AS
SELECT event_id AS id,
       smartcar_vehicle_id,
       event_type,
       CASE WHEN payload_trimmed_at IS NULL THEN webhook_payload(payload)
            ELSE jsonb_build_object('trimmed', true) END AS payload,
       created_at AS received_at
FROM smartcar_webhook_events;

-- +goose Down
CREATE OR REPLACE VIEW webhook_logs AS
SELECT event_id AS id,
       smartcar_vehicle_id,
       event_type,
       webhook_payload(payload) AS payload,
       created_at AS received_at
FROM smartcar_webhook_events;
DROP INDEX IF EXISTS smartcar_consents_asked, smartcar_consents_closed, smartcar_webhook_events_to_trim;
ALTER TABLE smartcar_webhook_events DROP COLUMN IF EXISTS payload_trimmed_at;
