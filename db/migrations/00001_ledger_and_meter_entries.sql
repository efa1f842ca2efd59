-- +goose Up

CREATE TABLE users (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email      text        NOT NULL,
    name       text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_email_unique UNIQUE (email)
);

-- Our vehicle, stable for life; Smartcar's ids for it come and go.
CREATE TABLE vehicles (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    your_app_user_id bigint      NOT NULL,
    smartcar_user_id text        NOT NULL DEFAULT '',
    make             text        NOT NULL DEFAULT '',
    model            text        NOT NULL DEFAULT '',
    year             integer     NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT vehicles_user_fk FOREIGN KEY (your_app_user_id) REFERENCES users (id)
);
CREATE INDEX vehicles_user ON vehicles (your_app_user_id);

-- A Smartcar connection of a vehicle; a reconnect may bring a new id for the same car.
CREATE TABLE smartcar_vehicles (
    smartcar_vehicle_id text PRIMARY KEY,
    vehicle_id          bigint      NOT NULL,
    is_active           boolean     NOT NULL DEFAULT true,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT smartcar_vehicles_vehicle_fk FOREIGN KEY (vehicle_id) REFERENCES vehicles (id)
);
CREATE INDEX smartcar_vehicles_vehicle ON smartcar_vehicles (vehicle_id);

-- The ledger: one row per eventId, for ever. It is the deduplication of record.
CREATE TABLE smartcar_webhook_events (
    event_id            text PRIMARY KEY,
    event_type          text        NOT NULL,
    smartcar_vehicle_id text        NOT NULL DEFAULT '', -- '' when the body names none
    mode                text        NOT NULL DEFAULT '',
    webhook_id          text        NOT NULL DEFAULT '',
    status              text        NOT NULL DEFAULT 'received',
    processed           boolean     GENERATED ALWAYS AS (status = 'processed') STORED,
    outcome             text,
    failure_class       text,
    failure_detail      text,
    delivery_count      integer     NOT NULL DEFAULT 1,
    last_delivery_id    text        NOT NULL DEFAULT '',
    delivered_at        timestamptz, -- of the first delivery, as Smartcar stamped it
    created_at          timestamptz NOT NULL DEFAULT now(),
    last_delivered_at   timestamptz NOT NULL DEFAULT now(),
    claimed_until       timestamptz, -- a starter's lease on a received row
    claims              integer     NOT NULL DEFAULT 0, -- tells a claim from the ones before a retry
    started_at          timestamptz,
    checked_at          timestamptz, -- last comparison of a started row with Temporal
    closed_at           timestamptz,
    signals_recorded    boolean     NOT NULL DEFAULT false,
    reading_confirmed   boolean     NOT NULL DEFAULT false, -- a person vouches for an implausible reading
    payload             bytea       NOT NULL, -- the bytes that were signed
    CONSTRAINT smartcar_webhook_events_status_known
        CHECK (status IN ('received', 'started', 'processed', 'failed')),
    CONSTRAINT smartcar_webhook_events_processed_has_outcome
        CHECK (status <> 'processed' OR outcome IS NOT NULL),
    CONSTRAINT smartcar_webhook_events_failed_has_class
        CHECK (status <> 'failed' OR failure_class IS NOT NULL)
) WITH (
    -- A row is updated two or three times soon after it was inserted. With the payload out of
    -- line and room left on the page, an update copies some 200 bytes and may touch no index.
    fillfactor = 70,
    toast_tuple_target = 128
);
ALTER TABLE smartcar_webhook_events ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX smartcar_webhook_events_created ON smartcar_webhook_events (created_at);
CREATE INDEX smartcar_webhook_events_received ON smartcar_webhook_events (created_at) WHERE status = 'received';
CREATE INDEX smartcar_webhook_events_started ON smartcar_webhook_events (started_at) WHERE status = 'started';
CREATE INDEX smartcar_webhook_events_failed ON smartcar_webhook_events (smartcar_vehicle_id) WHERE status = 'failed';

-- Who asked for what to happen to an event, and why.
CREATE TABLE smartcar_webhook_event_audits (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id   text        NOT NULL,
    action     text        NOT NULL,
    actor      text        NOT NULL,
    reason     text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT smartcar_webhook_event_audits_event_fk
        FOREIGN KEY (event_id) REFERENCES smartcar_webhook_events (event_id)
);
CREATE INDEX smartcar_webhook_event_audits_event ON smartcar_webhook_event_audits (event_id);

-- +goose StatementBegin
-- A signed body need not be JSON that PostgreSQL takes (NUL escapes, huge numbers):
-- such a body is shown in base64 instead of failing the whole query.
CREATE FUNCTION webhook_payload(raw bytea) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN convert_from(raw, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN jsonb_build_object('unreadable', encode(raw, 'base64'));
END
$$;
-- +goose StatementEnd

CREATE VIEW webhook_logs AS
SELECT event_id AS id,
       smartcar_vehicle_id,
       event_type,
       webhook_payload(payload) AS payload,
       created_at AS received_at
FROM smartcar_webhook_events;

-- Every odometer observation with its verdict. The entries are a function of this
-- set: a late reading re-decides those that were observed after it.
CREATE TABLE odometer_readings (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vehicle_id         bigint      NOT NULL,
    observed_at        timestamptz NOT NULL,
    odometer_km        numeric(12, 3) NOT NULL,
    observed_at_source text        NOT NULL,
    reported_value     numeric     NOT NULL,
    reported_unit      text        NOT NULL DEFAULT '',
    unit_assumed       boolean     NOT NULL DEFAULT false,
    source_type        text        NOT NULL,
    event_id           text        NOT NULL,
    verdict            text        NOT NULL DEFAULT 'undecided',
    confirmed          boolean     NOT NULL DEFAULT false,
    created_at         timestamptz NOT NULL DEFAULT now(),
    -- The same value at the same moment is one observation, whichever way it came.
    CONSTRAINT odometer_readings_observation_unique UNIQUE (vehicle_id, observed_at, odometer_km),
    CONSTRAINT odometer_readings_vehicle_fk FOREIGN KEY (vehicle_id) REFERENCES vehicles (id),
    CONSTRAINT odometer_readings_verdict_known
        CHECK (verdict IN ('undecided', 'entered', 'duplicate', 'lower', 'implausible')),
    CONSTRAINT odometer_readings_source_known CHECK (source_type IN ('webhook', 'poll', 'manual'))
);
-- Finds the highest entry before a moment without reading a vehicle's whole history.
CREATE INDEX odometer_readings_entered ON odometer_readings (vehicle_id, odometer_km) WHERE verdict = 'entered';

CREATE TABLE meter_entries (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vehicle_id    bigint         NOT NULL,
    odometer_km   numeric(12, 3) NOT NULL,
    entry_date    timestamptz    NOT NULL, -- the observation time
    source_type   text           NOT NULL,
    notes         text           NOT NULL DEFAULT '',
    event_id      text           NOT NULL,
    reading_id    bigint         NOT NULL,
    superseded_at timestamptz, -- set when a late reading overtook this entry
    created_at    timestamptz    NOT NULL DEFAULT now(),
    CONSTRAINT meter_entries_event_unique UNIQUE (event_id),
    CONSTRAINT meter_entries_reading_unique UNIQUE (reading_id),
    CONSTRAINT meter_entries_vehicle_fk FOREIGN KEY (vehicle_id) REFERENCES vehicles (id),
    CONSTRAINT meter_entries_reading_fk FOREIGN KEY (reading_id) REFERENCES odometer_readings (id),
    CONSTRAINT meter_entries_source_known CHECK (source_type IN ('webhook', 'poll', 'manual'))
);
CREATE INDEX meter_entries_vehicle_date ON meter_entries (vehicle_id, entry_date);

-- data_value is json, not jsonb: it keeps Smartcar's text as sent (104.0 stays 104.0)
-- and takes values that jsonb refuses.
CREATE TABLE vehicle_data (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    smartcar_vehicle_id text        NOT NULL,
    data_type           text        NOT NULL, -- the signal's code
    data_value          json,                 -- the signal's body; null when it failed
    unit                text        NOT NULL DEFAULT '',
    observed_at         timestamptz NOT NULL,
    observed_at_source  text        NOT NULL,
    failure_type        text,
    failure_code        text,
    event_id            text        NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX vehicle_data_vehicle_type ON vehicle_data (smartcar_vehicle_id, data_type, observed_at);

CREATE TABLE smartcar_sync_logs (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sync_type           text        NOT NULL,
    smartcar_vehicle_id text        NOT NULL DEFAULT '',
    event_id            text        NOT NULL DEFAULT '',
    data                jsonb       NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX smartcar_sync_logs_type_created ON smartcar_sync_logs (sync_type, created_at);

-- +goose Down
DROP TABLE smartcar_sync_logs, vehicle_data, meter_entries, odometer_readings, smartcar_webhook_event_audits;
DROP VIEW webhook_logs;
DROP FUNCTION webhook_payload(bytea);
DROP TABLE smartcar_webhook_events, smartcar_vehicles, vehicles, users;
