-- +goose Up

-- Deliveries that were refused for their signature. Nothing reads them but people: whoever
-- sent them is unknown. Old ones go when new ones come, so it never grows beyond its bounds.
CREATE TABLE smartcar_quarantine (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    reason      text        NOT NULL,
    signatures  text[]      NOT NULL, -- the headers as received, cut to a bounded length
    body        bytea       NOT NULL, -- the bytes as received
    -- What the bound in bytes counts.
    size_bytes  bigint      NOT NULL,
    CONSTRAINT smartcar_quarantine_reason_known CHECK (reason IN ('missing', 'several', 'malformed', 'mismatch'))
);
-- The body out of line: listing and trimming read no bodies.
ALTER TABLE smartcar_quarantine ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX smartcar_quarantine_received ON smartcar_quarantine (received_at);

-- +goose Down
DROP TABLE smartcar_quarantine;
