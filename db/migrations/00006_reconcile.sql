-- +goose Up

-- How polling a connection stands; one without a row was never polled.
CREATE TABLE smartcar_polls (
    smartcar_vehicle_id text PRIMARY KEY,
    budget              jsonb       NOT NULL DEFAULT '{}', -- the vehicle's part of what may be asked of Smartcar
    outcome             text        NOT NULL DEFAULT '', -- of the last poll
    polled_at           timestamptz, -- the last poll that was answered, be it with a refusal
    unchanged           integer     NOT NULL DEFAULT 0, -- answers in a row that held nothing new
    unanswered          integer     NOT NULL DEFAULT 0, -- polls in a row that the vehicle did not answer
    not_before          timestamptz, -- when to try again what was not answered
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT smartcar_polls_connection_fk
        FOREIGN KEY (smartcar_vehicle_id) REFERENCES smartcar_vehicles (smartcar_vehicle_id)
);

-- One row: what all polls share.
CREATE TABLE smartcar_polling (
    only_row             boolean PRIMARY KEY DEFAULT true,
    budget               jsonb NOT NULL DEFAULT '{}', -- the application's part
    ledger_checked_until timestamptz, -- the newest delivery that a search for outages has seen
    CONSTRAINT smartcar_polling_only_row CHECK (only_row)
);
INSERT INTO smartcar_polling DEFAULT VALUES;

-- Times for which webhooks may be lost: found in the ledger, or named by an operator.
CREATE TABLE webhook_outages (
    source      text        NOT NULL,
    started_at  timestamptz NOT NULL, -- the last delivery before
    ended_at    timestamptz, -- the first one after; null while it lasts
    expected    double precision NOT NULL DEFAULT 0, -- deliveries that were to be expected meanwhile
    detected_at timestamptz NOT NULL,
    CONSTRAINT webhook_outages_pkey PRIMARY KEY (source, started_at),
    CONSTRAINT webhook_outages_source_known CHECK (source IN ('ledger', 'requested')),
    CONSTRAINT webhook_outages_ends_after_start CHECK (ended_at > started_at)
);
CREATE INDEX webhook_outages_detected ON webhook_outages (detected_at);

ALTER TABLE workflow_requests
    DROP CONSTRAINT workflow_requests_kind_known,
    ADD CONSTRAINT workflow_requests_kind_known
        CHECK (kind IN ('connect_vehicles', 'token_refresh', 'deliver_notice', 'reconcile'));

-- +goose Down
DELETE FROM workflow_requests WHERE kind = 'reconcile';
ALTER TABLE workflow_requests
    DROP CONSTRAINT workflow_requests_kind_known,
    ADD CONSTRAINT workflow_requests_kind_known CHECK (kind IN ('connect_vehicles', 'token_refresh', 'deliver_notice'));
DROP TABLE webhook_outages, smartcar_polling, smartcar_polls;
