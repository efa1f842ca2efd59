package smartcartest_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

func forms() []smartcartest.Form {
	return []smartcartest.Form{
		smartcartest.Wire, smartcartest.Autumn2025, smartcartest.Documents, smartcartest.SeedStyle,
		smartcartest.Version3, smartcartest.Scheduled, smartcartest.Dynamic, smartcartest.EventBased,
	}
}

func isVersion2(form smartcartest.Form) bool {
	return form == smartcartest.Scheduled || form == smartcartest.Dynamic || form == smartcartest.EventBased
}

// reading is what a receiver makes of a signal, whatever its form.
type reading struct{ code, value, unit, failure string }

func readingsOf(t *testing.T, event smartcar.Event) []reading {
	t.Helper()
	var all []reading
	for _, signal := range event.Signals {
		found := reading{code: signal.Code}
		if signal.Failure != nil {
			found.failure = signal.Failure.Type + "/" + signal.Failure.Code
		} else if number, ok := signal.Number(); ok {
			quantity, err := smartcar.Normalise(signal.Code, number, signal.Unit)
			require.NoError(t, err)
			found.value, found.unit = quantity.Value.String(), string(quantity.Unit)
		} else {
			found.value = string(signal.Body)
		}
		all = append(all, found)
	}
	return all
}

func TestEveryFormDecodesIntoTheSameReadings(t *testing.T) {
	t.Parallel()
	for _, form := range forms() {
		for _, unit := range []string{"km", "mi"} {
			t.Run(form.String()+" in "+unit, func(t *testing.T) {
				t.Parallel()
				state := exampleState()
				state.Form, state.Unit, state.Mode, state.WebhookID = form, unit, smartcar.ModeLive, hookID
				state.Readings = []smartcartest.SignalReading{
					{Code: "tractionbattery-stateofcharge", Name: "StateOfCharge", Group: "TractionBattery", Body: json.RawMessage(`{"value":57,"unit":"percent"}`)},
					{Code: "internalcombustionengine-oillife", Name: "OilLife", Group: "InternalCombustionEngine", Body: json.RawMessage(`{"value":41,"unit":"percent"}`)},
					{Code: "location-preciselocation", Name: "PreciseLocation", Group: "Location", Body: json.RawMessage(`{"latitude":1.5,"longitude":2.5}`)},
					{Code: "charge-voltage", Name: "Voltage", Group: "Charge", Body: json.RawMessage(`{"value":230,"unit":"volts"}`)},
					{Code: "internalcombustionengine-fuellevel", Name: "FuelLevel", Group: "InternalCombustionEngine", FailureType: "COMPATIBILITY", FailureCode: "VEHICLE_NOT_CAPABLE"},
					{Code: "wheel-tires", Name: "Tires", Group: "Wheel", FailureType: "PERMISSION"},
				}
				want := []reading{
					{smartcar.CodeOdometer, "42506.3", "km", ""},
					{"tractionbattery-stateofcharge", "57", "percent", ""},
					{"internalcombustionengine-oillife", "41", "percent", ""},
					{"location-preciselocation", `{"latitude":1.5,"longitude":2.5}`, "", ""},
					{"charge-voltage", "230", "V", ""},
					{"internalcombustionengine-fuellevel", "", "", "COMPATIBILITY/VEHICLE_NOT_CAPABLE"},
					{"wheel-tires", "", "", "PERMISSION/"},
				}
				if unit == "mi" {
					want[0].value = "68407.258867"
				}
				switch form {
				case smartcartest.SeedStyle:
					want = want[:1]
				case smartcartest.EventBased:
					want = nil
				default:
				}

				delivery, err := smartcar.Decode(smartcartest.BuildVehicleState(state))
				require.NoError(t, err)
				event := delivery.Events[0]
				require.Equal(t, want, readingsOf(t, event))
				require.Equal(t, "vehicle-1", event.VehicleID)
				require.True(t, delivery.Mode.IsLive())
				if form == smartcartest.SeedStyle || form == smartcartest.EventBased {
					return
				}
				odometer, ok := event.Odometer()
				require.True(t, ok)
				require.True(t, state.ObservedAt.Equal(odometer.OEMUpdatedAt))
				require.True(t, state.RetrievedAt.Equal(odometer.RetrievedAt))
				require.Equal(t, "user-1", event.UserID)
			})
		}
	}
}

func TestEachFormHasWhatTellsItFromTheOthers(t *testing.T) {
	t.Parallel()
	for form, want := range map[smartcartest.Form]string{
		smartcartest.Version3: `{"eventId":"event-1","eventType":"VEHICLE_STATE","data":{"user":{"id":"user-1"},"vehicle":{"id":"vehicle-1",` +
			`"make":"POLESTAR","model":"Polestar 2","year":2023,"vin":"ZZZ00000000000000"},"signals":[{"code":"odometer-traveleddistance",` +
			`"name":"TraveledDistance","group":"Odometer","body":{"value":42506.3,"unit":"km"},` +
			`"meta":{"oemUpdatedAt":1795183491000,"retrievedAt":1795183499852}},{"code":"a-b","name":"B","group":"A",` +
			`"body":{"percentage":62},"meta":{}}]},"triggers":[{"type":"FIRST_DELIVERY"}],"meta":{"deliveryId":"delivery-1",` +
			`"deliveredAt":1795183500,"version":"3.0","webhookId":"webhook-1","webhookName":"Milepost simulator"}}`,
		smartcartest.Scheduled: `{"version":"2.0","webhookId":"webhook-1","eventName":"schedule","mode":"live","payload":{"vehicles":[` +
			`{"vehicleId":"vehicle-1","userId":"user-1","requestId":"event-1","data":[{"path":"/odometer","code":200,` +
			`"body":{"distance":42506.3},"headers":{"sc-data-age":"2026-11-20T14:04:51.000Z","sc-fetched-at":"2026-11-20T14:04:59.852Z",` +
			`"sc-unit-system":"metric"}},{"path":"/a/b","code":200,"body":{"percentRemaining":0.62},"headers":{` +
			`"sc-data-age":"2026-11-20T14:04:51.000Z","sc-fetched-at":"2026-11-20T14:04:59.852Z","sc-unit-system":"metric"}}]}]}}`,
		smartcartest.EventBased: `{"version":"2.0","webhookId":"webhook-1","eventName":"eventBased","mode":"live","payload":{` +
			`"eventId":"event-1","vehicleId":"vehicle-1","eventType":"CHARGING_STARTED","eventTime":"2026-11-20T14:04:51.000Z"}}`,
	} {
		t.Run(form.String(), func(t *testing.T) {
			t.Parallel()
			state := exampleState()
			state.Form, state.FirstDelivery, state.WebhookID, state.VIN = form, true, hookID, "ZZZ00000000000000"
			state.Readings = []smartcartest.SignalReading{
				{Code: "a-b", Name: "B", Group: "A", Body: json.RawMessage(`{"value":62,"unit":"percent"}`), Timeless: true},
			}
			require.Equal(t, want, string(smartcartest.BuildVehicleState(state)))
		})
	}
}

func someErrors() []smartcar.VehicleError {
	fuel := smartcar.SignalRef{Code: "internalcombustionengine-fuellevel", Name: "FuelLevel", Group: "InternalCombustionEngine"}
	charge := smartcar.SignalRef{Code: "tractionbattery-stateofcharge", Name: "StateOfCharge", Group: "TractionBattery"}
	return []smartcar.VehicleError{
		{
			Type: "COMPATIBILITY", Code: "VEHICLE_NOT_CAPABLE", State: smartcar.StateError, Description: "Not capable.",
			SuggestedUserMessage: "Sorry.", DocURL: "https://smartcar.com/docs", Signals: []smartcar.SignalRef{fuel, charge},
		},
		{Type: "PERMISSION", State: smartcar.StateError, ResolutionType: "REAUTHENTICATE", ResolutionURL: "https://connect.example", Signals: []smartcar.SignalRef{charge}},
	}
}

func TestErrorsAreReadAsTheyWereReportedInEveryForm(t *testing.T) {
	t.Parallel()
	for _, form := range []smartcartest.Form{smartcartest.Wire, smartcartest.Autumn2025, smartcartest.Documents, smartcartest.Version3} {
		for name, signals := range map[string]smartcartest.SignalForm{
			"objects": smartcartest.Objects, "strings": smartcartest.Strings, "mixed": smartcartest.Mixed,
		} {
			t.Run(form.String()+" with "+name, func(t *testing.T) {
				t.Parallel()
				state := exampleState()
				state.Form, state.Mode = form, smartcar.ModeSimulated
				reported := append(someErrors(), smartcar.VehicleError{Type: "VEHICLE_STATE", Code: "ASLEEP", State: smartcar.StateResolved})
				body, err := smartcartest.BuildVehicleError(smartcartest.VehicleError{Envelope: state, Errors: reported, Signals: signals})
				require.NoError(t, err)
				delivery, err := smartcar.Decode(body)
				require.NoError(t, err)
				require.Equal(t, smartcar.TypeVehicleError, delivery.Type)
				require.Equal(t, smartcar.ModeSimulated, delivery.Mode)
				require.Zero(t, delivery.SignalCount)
				require.Equal(t, "event-1", delivery.Events[0].ID)
				require.Equal(t, "vehicle-1", delivery.Events[0].VehicleID)
				require.Empty(t, delivery.Events[0].Unknown)
				require.Equal(t, reported, delivery.Events[0].Errors)
			})
		}
	}

	t.Run("seed style has the description", func(t *testing.T) {
		t.Parallel()
		state := exampleState()
		state.Form = smartcartest.SeedStyle
		body, err := smartcartest.BuildVehicleError(smartcartest.VehicleError{Envelope: state, Errors: someErrors()[:1]})
		require.NoError(t, err)
		require.JSONEq(t, `{"eventType":"VEHICLE_ERROR","vehicleId":"vehicle-1","data":{"error":"Not capable."}}`, string(body))
	})

	t.Run("2.0 has items that failed", func(t *testing.T) {
		t.Parallel()
		state := exampleState()
		state.Form = smartcartest.Dynamic
		body, err := smartcartest.BuildVehicleError(smartcartest.VehicleError{Envelope: state, Errors: someErrors()})
		require.NoError(t, err)
		delivery, err := smartcar.Decode(body)
		require.NoError(t, err)
		require.Equal(t, []reading{
			{code: "internalcombustionengine-fuellevel", failure: "COMPATIBILITY/VEHICLE_NOT_CAPABLE"},
			{code: "tractionbattery-stateofcharge", failure: "COMPATIBILITY/VEHICLE_NOT_CAPABLE"},
			{code: "tractionbattery-stateofcharge", failure: "PERMISSION/"},
		}, readingsOf(t, delivery.Events[0]))
	})
}

func TestAnErrorWithoutCodeAndResolutionHasNulls(t *testing.T) {
	t.Parallel()
	body, err := smartcartest.BuildVehicleError(smartcartest.VehicleError{
		Envelope: exampleState(), Errors: []smartcar.VehicleError{{Type: "PERMISSION"}},
	})
	require.NoError(t, err)
	require.Contains(t, string(body), `"errors":[{"type":"PERMISSION","code":null,"resolution":{"type":null}}]}`)
}

func TestAFormRefusesWhatItCannotSay(t *testing.T) {
	t.Parallel()
	resolved := []smartcar.VehicleError{{Type: "PERMISSION", State: smartcar.StateResolved}}
	cases := map[string]struct {
		form   smartcartest.Form
		mode   smartcar.Mode
		errors []smartcar.VehicleError
	}{
		"two errors in seed style":    {smartcartest.SeedStyle, "", someErrors()},
		"RESOLVED in seed style":      {smartcartest.SeedStyle, "", resolved},
		"TEST in seed style":          {smartcartest.SeedStyle, smartcar.ModeTest, someErrors()[:1]},
		"RESOLVED in 2.0":             {smartcartest.Scheduled, "", resolved},
		"an error as a 2.0 event":     {smartcartest.EventBased, "", someErrors()},
		"RESOLVED in dynamic 2.0":     {smartcartest.Dynamic, "", resolved},
		"SIMULATED in seed style":     {smartcartest.SeedStyle, smartcar.ModeSimulated, someErrors()[:1]},
		"RESOLVED as an event of 2.0": {smartcartest.EventBased, "", resolved},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := exampleState()
			state.Form, state.Mode = test.form, test.mode
			_, err := smartcartest.BuildVehicleError(smartcartest.VehicleError{Envelope: state, Errors: test.errors})
			require.ErrorIs(t, err, smartcartest.ErrForm)
		})
	}
	_, err := smartcartest.BuildVehicleError(smartcartest.VehicleError{Envelope: exampleState()})
	require.ErrorIs(t, err, smartcartest.ErrOptions)
}
