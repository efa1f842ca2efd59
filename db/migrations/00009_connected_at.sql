-- +goose Up

-- When the owner last came back from Smartcar's consent pages: errors for the owner that were observed before are over.
-- Null for connections from before this was noted.
ALTER TABLE smartcar_vehicles ADD COLUMN connected_at timestamptz;

-- +goose Down
ALTER TABLE smartcar_vehicles DROP COLUMN connected_at;
