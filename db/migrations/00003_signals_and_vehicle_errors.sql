-- +goose Up

-- The value in its metric unit; null where there is no single number or its unit is not known.
ALTER TABLE vehicle_data
    ADD COLUMN normalised_value numeric,
    ADD COLUMN normalised_unit  text NOT NULL DEFAULT '';

-- How each signal of a vehicle stands: the newest value, the newest failure beside it, and
-- what follows from both. Every column is the newest of its kind, whatever the order of arrival.
CREATE TABLE vehicle_signals (
    smartcar_vehicle_id text NOT NULL,
    data_type           text NOT NULL,
    data_value          json, -- of the newest observation; null until there is one
    unit                text NOT NULL DEFAULT '',
    normalised_value    numeric,
    normalised_unit     text NOT NULL DEFAULT '',
    observed_at         timestamptz,
    observed_at_source  text,
    event_id            text NOT NULL DEFAULT '',
    -- '1' with a time of its own and '0' without, the time, the event: the greatest is the newest.
    observation_order   text COLLATE "C" NOT NULL DEFAULT '',
    reported_at         timestamptz, -- when Smartcar last sent a value, however old
    failure_type        text,
    failure_code        text,
    failure_event_id    text COLLATE "C" NOT NULL DEFAULT '',
    failed_at           timestamptz, -- when Smartcar last said that there is none
    unsupported_at      timestamptz, -- when it last said that there never will be
    incompatible_at     timestamptz, -- the same, by a vehicle error that is open
    available           boolean NOT NULL GENERATED ALWAYS AS
        (COALESCE(reported_at >= COALESCE(failed_at, reported_at), false)) STORED,
    supported           boolean NOT NULL GENERATED ALWAYS AS
        (GREATEST(unsupported_at, incompatible_at) IS NULL
         OR COALESCE(reported_at >= GREATEST(unsupported_at, incompatible_at), false)) STORED,
    CONSTRAINT vehicle_signals_pkey PRIMARY KEY (smartcar_vehicle_id, data_type)
) WITH (fillfactor = 70); -- a row changes with each event of its vehicle, and no index with it

-- Problems of a vehicle as Smartcar reports them. The newest ERROR and the newest RESOLVED stand
-- side by side, so that the state does not depend on which arrived first.
CREATE TABLE vehicle_errors (
    smartcar_vehicle_id text NOT NULL,
    error_type          text NOT NULL,
    code                text NOT NULL DEFAULT '', -- '' for null
    signal              text NOT NULL DEFAULT '', -- '' for the whole vehicle
    opened_at           timestamptz, -- null when only its end has been heard of
    opened_event_id     text COLLATE "C" NOT NULL DEFAULT '',
    resolution_type     text NOT NULL DEFAULT '',
    reaction            text NOT NULL DEFAULT '',
    resolved_at         timestamptz,
    resolved_event_id   text COLLATE "C" NOT NULL DEFAULT '',
    state               text NOT NULL GENERATED ALWAYS AS
        (CASE WHEN opened_at IS NULL OR resolved_at >= opened_at THEN 'resolved' ELSE 'open' END) STORED,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT vehicle_errors_pkey PRIMARY KEY (smartcar_vehicle_id, error_type, code, signal),
    CONSTRAINT vehicle_errors_reaction_known CHECK (reaction IN
        ('', 'reauthenticate', 'owner_action', 'unsupported_signals', 'reconsent', 'ignore', 'wait'))
);
CREATE INDEX vehicle_errors_open ON vehicle_errors (reaction, smartcar_vehicle_id) WHERE state = 'open';

-- The owner has to do something at the maker's end; connecting the vehicle again would not help.
ALTER TABLE smartcar_vehicles ADD COLUMN degraded boolean NOT NULL DEFAULT false;

-- +goose Down
ALTER TABLE smartcar_vehicles DROP COLUMN degraded;
DROP TABLE vehicle_errors, vehicle_signals;
ALTER TABLE vehicle_data DROP COLUMN normalised_value, DROP COLUMN normalised_unit;
