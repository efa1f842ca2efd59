package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func TestPersonalValuesAreFoundWhateverTheirSignalIsCalled(t *testing.T) {
	t.Parallel()
	for code, body := range map[string]string{
		"location-preciselocation":       `{"latitude":1.5,"longitude":2.5}`,
		"Location-IsAtHome":              `{"value":true}`,
		"preciselocation-location":       `{"value":1}`,
		"location":                       `1`,
		"vehicleidentification-vin":      `{"value":"short"}`,
		"VIN":                            `"short"`,
		"vehicleidentification-nickname": `{"value":"Ada's"}`,
		"charge-chargerecords":           `{"values":[{"energy":1,"place":{"Lat":1.5,"LNG":2.5}}]}`,
		"charge-chargelimits":            `{"values":[{"condition":{"homeAddress":"somewhere"}}]}`,
		"trip-end":                       `{"endLocation":[1.5,2.5]}`,
		"telematics-gps":                 `{"value":1}`,
		"trip-startposition":             `{"value":1}`,
		"trip-coordinates":               `{"value":1}`,
		"body-value":                     `{"value":"1hgcm82633a004352"}`,
		"body-text":                      `{"values":["VIN_1HGCM82633A004352: ok"]}`,
		"body-member":                    `{"1HGCM82633A004352":true}`,
		"body-escape":                    `{"value":"\u0031HGCM82633A004352"}`,
		"body-unreadable":                `{"value":`,
	} {
		signals := []db.SignalSummary{{Code: code, Value: json.RawMessage(body), NormalisedValue: "1.5", NormalisedUnit: "degrees"}}
		hidePersonalValues(signals)
		require.Equal(t, db.SignalSummary{Code: code, Value: json.RawMessage(`"(not shown)"`)}, signals[0])
	}
}

func TestOtherValuesAreShown(t *testing.T) {
	t.Parallel()
	for code, body := range map[string]string{
		"odometer-traveleddistance":                   `{"value":42506.3,"unit":"km"}`,
		"charge-chargelimits":                         `{"values":[{"type":"LOCATION","limit":80}],"unit":"percent"}`,
		"closure-doors":                               `{"values":[{"row":0,"column":1,"isOpen":false}]}`,
		"connectivitysoftware-currentfirmwareversion": `{"value":"2026.14.3 abcdefgh"}`,
		"vehicleidentification-trim":                  `{"value":"Long Range"}`,
		"charge-detailedchargingstatus":               `{"value":"NOT_CHARGING"}`,
		"internalcombustionengine-amountremaining":    `17`,
		"tractionbattery-nominalcapacity":             `{"capacity":75,"availableCapacities":null}`,
		"surveillance-brand":                          `{"value":"12345678901234567890"}`,
	} {
		signals := []db.SignalSummary{{Code: code, Value: json.RawMessage(body)}}
		hidePersonalValues(signals)
		require.Equal(t, body, string(signals[0].Value), code)
	}
	nothing := []db.SignalSummary{{Code: "location-preciselocation"}}
	hidePersonalValues(nothing)
	require.Nil(t, nothing[0].Value, "there is nothing to hide")
}
