-- +goose Up

-- Where a signal's body holds a list of quantities (the pressure of each tyre): the list with each of them in
-- normalised_unit, and null for one that is no reading. json, as data_value is, for what Smartcar sends beside them.
ALTER TABLE vehicle_data ADD COLUMN normalised_values json;
ALTER TABLE vehicle_signals ADD COLUMN normalised_values json;

-- +goose Down
ALTER TABLE vehicle_signals DROP COLUMN normalised_values;
ALTER TABLE vehicle_data DROP COLUMN normalised_values;
