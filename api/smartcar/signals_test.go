package smartcar_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

func TestSignalsThatDidNotSucceedAreFailures(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		sent string
		want *smartcar.SignalFailure
	}{
		"success":                {`"body":{"value":1},"status":{"value":"SUCCESS"}`, nil},
		"success in lower case":  {`"body":{"value":1},"status":"success"`, nil},
		"no status but a body":   {`"body":{"value":1}`, nil},
		"null status but a body": {`"body":{"value":1},"status":null`, nil},
		"neither":                {`"meta":{}`, &smartcar.SignalFailure{}},
		"error without code": {
			`"status":{"value":"ERROR","error":{"type":"PERMISSION","code":null}}`,
			&smartcar.SignalFailure{Status: "ERROR", Type: "PERMISSION"},
		},
		"error with a body": {
			`"body":{"value":53},"status":{"value":"ERROR","error":{"type":"VEHICLE_STATE","code":"NOT_CHARGING"}}`,
			&smartcar.SignalFailure{Status: "ERROR", Type: "VEHICLE_STATE", Code: "NOT_CHARGING"},
		},
		"unavailable":               {`"body":{"value":53},"status":{"value":"UNAVAILABLE"}`, &smartcar.SignalFailure{Status: "UNAVAILABLE"}},
		"error without a value":     {`"body":{"value":53},"status":{"error":{"type":"SERVER"}}`, &smartcar.SignalFailure{Type: "SERVER"}},
		"a status nobody has named": {`"body":{"value":53},"status":{"value":"STALE"}`, &smartcar.SignalFailure{Status: "STALE"}},
	}
	for name, c := range cases {
		_, event := decodeOne(t, `{"eventType":"VEHICLE_STATE","data":{"signals":[{"code":"odometer-traveleddistance",`+c.sent+`}]}}`)
		require.Equal(t, c.want, event.Signals[0].Failure, name)
		_, usable := event.Odometer()
		require.Equal(t, c.want == nil, usable, name)
	}
}

func TestOdometerNeedsANumberWithinReason(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"42506.3": "42506.3", "104.0": "104", "1.2e3": "1200", "0": "0"} {
		_, event := decodeOne(t, `{"eventType":"VEHICLE_STATE","data":{"odometer":{"value":`+value+`}}}`)
		signal, ok := event.Odometer()
		require.True(t, ok, value)
		number, ok := signal.Number()
		require.True(t, ok)
		require.Equal(t, want, number.String())
	}
	for _, value := range []string{"null", "true", `"5"`, "{}", "1e999999", "1e-999999", "1e99999999999", "1" + strings.Repeat("0", 60)} {
		_, event := decodeOne(t, `{"eventType":"VEHICLE_STATE","data":{"odometer":{"value":`+value+`}}}`)
		_, ok := event.Odometer()
		require.False(t, ok, value)
	}
	_, event := decodeOne(t, `{"eventType":"VEHICLE_STATE","data":{"odometer":12345}}`)
	require.Equal(t, "12345 ", odometerOf(event))
}

func TestValueStandsWhereTheFormPutsIt(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"value":1,"percentage":2}`: "1", `{"percentage":2,"value":1}`: "1", `{"percentage":62}`: "62",
		`{"distance":3}`: "3", `{"value":null,"distance":3}`: "", `{"capacity":78,"source":"X"}`: "78", `{"latitude":1}`: "", `[1]`: "",
	} {
		_, event := decodeOne(t, `{"eventType":"VEHICLE_STATE","data":{"signals":[{"code":"c","body":`+body+`}]}}`)
		require.Equal(t, want, string(event.Signals[0].Value), body)
		require.Equal(t, body, string(event.Signals[0].Body))
	}
	_, event := decodeOne(t, `{"eventType":"VEHICLE_STATE","data":{"signals":[{"name":"VIN","group":"VehicleIdentification","body":null}]}}`)
	require.Equal(t, "vehicleidentification-vin", event.Signals[0].Code)
	require.Nil(t, event.Signals[0].Body)
}

func TestVehicleErrorsAreReadInEveryShape(t *testing.T) {
	t.Parallel()
	fuel := smartcar.SignalRef{Code: "internalcombustionengine-fuellevel", Name: "FuelLevel", Group: "InternalCombustionEngine"}
	cases := map[string]struct {
		data string
		want []smartcar.VehicleError
	}{
		"nothing but a type": {`{"errors":[{"type":"SERVER"}]}`, []smartcar.VehicleError{{Type: "SERVER", State: "ERROR"}}},
		"everything": {
			`{"errors":[{"type":"PERMISSION","code":null,"state":"resolved","description":"d","suggestedUserMessage":"m",` +
				`"docURL":"u","resolution":{"type":"REAUTHENTICATE","url":"r"},"signals":["InternalCombustionEngine.FuelLevel",` +
				`{"code":"internalcombustionengine-fuellevel","name":"FuelLevel","group":"InternalCombustionEngine"},7]}]}`,
			[]smartcar.VehicleError{{
				Type: "PERMISSION", State: "RESOLVED", Description: "d", SuggestedUserMessage: "m", DocURL: "u",
				ResolutionType: "REAUTHENTICATE", ResolutionURL: "r", Signals: []smartcar.SignalRef{fuel, fuel},
				Unknown: map[string]json.RawMessage{"signals": json.RawMessage(`["InternalCombustionEngine.FuelLevel",` +
					`{"code":"internalcombustionengine-fuellevel","name":"FuelLevel","group":"InternalCombustionEngine"},7]`)},
			}},
		},
		"resolution of null type": {
			`{"errors":[{"type":"A","resolution":{"type":null}},{"type":"B","resolution":null}]}`,
			[]smartcar.VehicleError{{Type: "A", State: "ERROR"}, {Type: "B", State: "ERROR"}},
		},
		"resolution as text": {
			`{"errors":[{"type":"A","resolution":"RETRY_LATER"}]}`,
			[]smartcar.VehicleError{{Type: "A", State: "ERROR", ResolutionType: "RETRY_LATER"}},
		},
		"older names": {
			`{"errors":[{"type":"PERMISSION_ERROR","message":"m","signalPath":"InternalCombustionEngine.FuelLevel"}]}`,
			[]smartcar.VehicleError{{Type: "PERMISSION_ERROR", State: "ERROR", Description: "m", Signals: []smartcar.SignalRef{fuel}}},
		},
		"seed style": {
			`{"error":"Vehicle unreachable"}`,
			[]smartcar.VehicleError{{Type: "UNKNOWN", State: "ERROR", Description: "Vehicle unreachable"}},
		},
		"no type": {
			`{"errors":[{"code":"X"},"text",null]}`,
			[]smartcar.VehicleError{{Type: "UNKNOWN", Code: "X", State: "ERROR"}, {Type: "UNKNOWN", State: "ERROR", Description: "text"}},
		},
		"none": {`{}`, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, event := decodeOne(t, `{"eventType":"VEHICLE_ERROR","data":`+c.data+`}`)
			require.Equal(t, c.want, event.Errors)
		})
	}
}

func TestAPercentageIsNeverTakenForAFraction(t *testing.T) {
	t.Parallel()
	body := `{"eventId":"e","eventType":"VEHICLE_STATE","data":{"vehicle":{"id":"v"},"signals":[` +
		`{"code":"tractionbattery-stateofcharge","body":{"percentage":1}}]}}`
	delivery, err := smartcar.Decode([]byte(body))
	require.NoError(t, err)
	signal := delivery.Events[0].Signals[0]
	require.Equal(t, "1", string(signal.Value))
	require.Equal(t, "percent", signal.Unit)
}
