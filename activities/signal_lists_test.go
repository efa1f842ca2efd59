package activities_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/workflows/contract"
)

// listed is a signal's normalised list, its metric unit, and its single number with a mark of exclamation.
func (b *bundle) listed(table, code string) []string {
	b.t.Helper()
	return texts(b.t, b.url, fmt.Sprintf(`SELECT concat_ws(' ', normalised_values, normalised_unit, normalised_value::text || '!')
		FROM %s WHERE data_type = '%s'`, table, code))
}

func TestQuantitiesInListsAreNormalised(t *testing.T) {
	t.Parallel()
	const tyres, limits = "wheel-tires", "charge-chargelimits"
	for name, test := range map[string]struct{ code, body, expected string }{
		"kPa under the name of bar": {
			tyres, `{"values":[{"row":0,"column":1,"tirePressure":258}],"unit":"bar"}`, `[{"column":1,"row":0,"tirePressure":258}] kPa`,
		},
		"bar":  {tyres, `{"values":[{"tirePressure":2.4},{"tirePressure":2.55}],"unit":"bar"}`, `[{"tirePressure":240},{"tirePressure":255}] kPa`},
		"psi":  {tyres, `{"values":[{"tirePressure":36}],"unit":"psi"}`, `[{"tirePressure":248.211252}] kPa`},
		"none": {tyres, `{"values":[{"tirePressure":2.4}]}`, `[{"tirePressure":240}] kPa`},
		"no reading among readings": {
			tyres, `{"values":[{"tirePressure":699.9},{"tirePressure":null},{"row":1},null,{"tirePressure":258}],"unit":"bar"}`,
			`[{"tirePressure":null},{"tirePressure":null},{"row":1,"tirePressure":null},null,{"tirePressure":258}] kPa`,
		},
		"an unknown unit":     {tyres, `{"values":[{"tirePressure":2.4}],"unit":"furlongs"}`, ""},
		"another form":        {tyres, `{"values":[2.4],"unit":"bar"}`, ""},
		"no list":             {tyres, `{"values":{"tirePressure":2.4},"unit":"bar"}`, ""},
		"an empty list":       {tyres, `{"values":[],"unit":"bar"}`, ""},
		"an absurd number":    {tyres, `{"values":[{"tirePressure":1e999999},{"tirePressure":2}],"unit":"bar"}`, `[{"tirePressure":null},{"tirePressure":200}] kPa`},
		"text nobody stores":  {tyres, `{"values":[{"name":"\u0000\ud800","tirePressure":2}],"unit":"bar"}`, `[{"name":"\u0000\ud800","tirePressure":200}] kPa`},
		"limits of charge":    {limits, `{"values":[{"type":"global","limit":0.8}],"activeLimit":0.9}`, `[{"limit":80,"type":"global"}] percent 90!`},
		"an active limit":     {limits, `{"activeLimit":80,"unit":"percent"}`, `percent 80!`},
		"ranges in miles":     {"tractionbattery-range", `{"value":100,"additionalValues":[{"type":"RATED","value":200}],"unit":"mi"}`, `[{"type":"RATED","value":321.8688}] km 160.9344!`},
		"a list nobody knows": {"closure-doors", `{"values":[{"row":0,"column":0,"isOpen":false}],"rowCount":2}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.sendState(smartcarVehicle, "one", 1, fmt.Sprintf(`{"code":%q,"body":%s}`, test.code, test.body))
			for _, table := range []string{"vehicle_data", "vehicle_signals"} {
				require.Equal(t, []string{test.expected}, b.listed(table, test.code), table)
			}
			require.Equal(t, []string{test.body}, texts(t, b.url, "SELECT data_value::text FROM vehicle_data"), "and kept as sent")
		})
	}
}

func TestAListWithoutAReadingLeavesTheLastGoodOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sendState(smartcarVehicle, "good", 1, `{"code":"wheel-tires","body":{"values":[{"tirePressure":258}],"unit":"bar"}}`)
	b.sendState(smartcarVehicle, "none", 2, `{"code":"wheel-tires","body":{"values":[{"tirePressure":699.9},{"tirePressure":null}],"unit":"bar"}}`)
	require.Equal(t, []string{`[{"tirePressure":258}] kPa`}, b.listed("vehicle_signals", "wheel-tires"))
	require.Equal(t, "- - 12:01 - unavailable supported", b.signal(smartcarVehicle, "wheel-tires"))

	b.sendState(smartcarVehicle, "newer", 3, `{"code":"wheel-tires","body":{"values":[{"tirePressure":2.5}],"unit":"bar"}}`)
	b.sendState(smartcarVehicle, "unknown", 4, `{"code":"wheel-tires","body":{"values":[{"tirePressure":2.5}],"unit":"furlongs"}}`)
	require.Equal(t, []string{""}, b.listed("vehicle_signals", "wheel-tires"), "what is newest, whether it could be normalised or not")
}

// TestTheExampleDeliveryIsNormalised takes every list of Smartcar's example through processing.
func TestTheExampleDeliveryIsNormalised(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body, err := os.ReadFile("../api/smartcar/testdata/payloads/vehicle-state-ev-full-v4.json")
	require.NoError(t, err)
	result, err := b.ProcessAtOnce(t.Context(), contract.ProcessAtOnceInput{EventID: b.receive(string(body))})
	require.NoError(t, err)
	require.NotNil(t, result.Written)
	for code, expected := range map[string]string{
		"wheel-tires": `[{"column":0,"row":0,"tirePressure":258},{"column":1,"row":0,"tirePressure":null},` +
			`{"column":0,"row":1,"tirePressure":258},{"column":1,"row":1,"tirePressure":261}] kPa`,
		"charge-chargelimits": `[{"condition":null,"limit":80,"type":"global"}] percent 80!`,
		"tractionbattery-nominalcapacity": `[{"capacity":64,"description":"BEV:Standard range"},` +
			`{"capacity":78,"description":"BEV:Long range"}] kWh 78!`,
		"tractionbattery-range": "km 268!",
		"closure-doors":         "",
	} {
		require.Equal(t, []string{expected}, b.listed("vehicle_signals", code), code)
	}
}
