package smartcar_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

const (
	vehicleID = "a4c1b7d2-8e0f-4b6a-9f3d-2d5e6c7b8a90"
	webhookID = "1f7ca522-3d41-4f0e-8a7c-6b2e9d5c4a31"
)

func payload(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", "payloads", name+".json"))
	require.NoError(t, err)
	return body
}

func decodeOne(t *testing.T, body string) (smartcar.Delivery, smartcar.Event) {
	t.Helper()
	delivery, err := smartcar.Decode([]byte(body))
	require.NoError(t, err)
	require.Len(t, delivery.Events, 1)
	return delivery, delivery.Events[0]
}

type expectation struct {
	version   string
	eventType smartcar.EventType
	mode      smartcar.Mode
	eventID   string // "" means derived
	vehicle   string
	odometer  string // value and unit as sent
	signals   int
	failures  []string // type/code of failed signals and errors
	trigger   smartcar.Trigger
}

func expectations() map[string]expectation {
	const state, failure = smartcar.TypeVehicleState, smartcar.TypeVehicleError
	updated := func(code, name, group string) smartcar.Trigger {
		return smartcar.Trigger{
			Kind: smartcar.TriggerSignalUpdated, Signal: smartcar.SignalRef{Code: code, Name: name, Group: group},
		}
	}
	charge := updated("tractionbattery-stateofcharge", "StateOfCharge", "TractionBattery")
	odometer := updated("odometer-traveleddistance", "TraveledDistance", "Odometer")
	fuel := updated("internalcombustionengine-fuellevel", "FuelLevel", "InternalCombustionEngine")
	first := smartcar.Trigger{Kind: smartcar.TriggerFirstDelivery}
	return map[string]expectation{
		"legacy-v2-eventdata": {
			"2.0", state, "LIVE", "", vehicleID, "42506.3 km", 3, []string{"COMPATIBILITY/VEHICLE_NOT_CAPABLE"}, smartcar.Trigger{},
		},
		"legacy-v2-verify": {"2.0", smartcar.TypeVerify, "", "", "", "", 0, nil, smartcar.Trigger{}},
		"legacy-v3-vehicle-state": {
			"3.0", state, "", "b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7da001", vehicleID, "", 1, nil, first,
		},
		"seed-style-error":  {"", failure, "", "", vehicleID, "", 0, []string{"UNKNOWN/"}, smartcar.Trigger{}},
		"seed-style-simple": {"", state, "", "", vehicleID, "12345 kilometers", 1, nil, smartcar.Trigger{}},
		"vehicle-error-auth-failed-v4": {
			"4.0", failure, "LIVE", "d7e8f9a0-1b2c-4d3e-8f4a-5b6c7d8e9101", vehicleID, "", 0,
			[]string{"CONNECTED_SERVICES_ACCOUNT/AUTHENTICATION_FAILED"}, smartcar.Trigger{},
		},
		"vehicle-error-docs-shape-v4": {
			"4.0", failure, "LIVE", "d7e8f9a0-1b2c-4d3e-8f4a-5b6c7d8e9a01", vehicleID, "", 0,
			[]string{"COMPATIBILITY/VEHICLE_NOT_CAPABLE"}, smartcar.Trigger{},
		},
		"vehicle-error-remote-access-disabled-v4": {
			"4.0", failure, "LIVE", "d7e8f9a0-1b2c-4d3e-8f4a-5b6c7d8e9501", vehicleID, "", 0,
			[]string{"VEHICLE_STATE/REMOTE_ACCESS_DISABLED"}, smartcar.Trigger{},
		},
		"vehicle-error-resolved-v4": {
			"4.0", failure, "LIVE", "d7e8f9a0-1b2c-4d3e-8f4a-5b6c7d8e9801", vehicleID, "", 0,
			[]string{"CONNECTED_SERVICES_ACCOUNT/AUTHENTICATION_FAILED"}, smartcar.Trigger{},
		},
		"vehicle-error-subscription-v4": {
			"4.0", failure, "LIVE", "d7e8f9a0-1b2c-4d3e-8f4a-5b6c7d8e9201", vehicleID, "", 0,
			[]string{"CONNECTED_SERVICES_ACCOUNT/SUBSCRIPTION"}, smartcar.Trigger{},
		},
		"vehicle-error-unreachable-v4": {
			"4.0", failure, "LIVE", "d7e8f9a0-1b2c-4d3e-8f4a-5b6c7d8e9401", vehicleID, "", 0,
			[]string{"VEHICLE_STATE/UNREACHABLE"}, smartcar.Trigger{},
		},
		"vehicle-error-v4": {
			"4.0", failure, "LIVE", "d7e8f9a0-1b2c-4d3e-8f4a-5b6c7d8e9001", vehicleID, "", 0,
			[]string{"COMPATIBILITY/VEHICLE_NOT_CAPABLE", "PERMISSION/"}, smartcar.Trigger{},
		},
		"vehicle-state-docs-shape-v4": {
			"4.0", state, "LIVE", "b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7d7001", vehicleID, "42506.3 kilometers", 2, nil,
			smartcar.Trigger{Signal: charge.Signal},
		},
		"vehicle-state-ev-full-v4": {
			"4.0", state, "LIVE", "b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7d3001", vehicleID, "42506.3 km", 17, nil, charge,
		},
		"vehicle-state-first-delivery-v4": {
			"4.0", state, "LIVE", "b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7d5001", vehicleID, "42506.3 km", 3, nil, first,
		},
		"vehicle-state-ice-v4": {
			"4.0", state, "LIVE", "b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7d3101", "0f6d2c4b-9a1e-4c7d-8b3f-5e6a7d8c9b01",
			"98211 km", 6, []string{"COMPATIBILITY/VEHICLE_NOT_CAPABLE"}, fuel,
		},
		"vehicle-state-odometer-v4": {
			"4.0", state, "LIVE", "b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7d2001", vehicleID, "42506.3 km", 1, nil, odometer,
		},
		"vehicle-state-odometer-v4-retry": {
			"4.0", state, "LIVE", "b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7d2001", vehicleID, "42506.3 km", 1, nil, odometer,
		},
		"vehicle-state-partial-errors-v4": {
			"4.0", state, "LIVE", "b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7d4001", vehicleID, "42506.3 km", 5,
			[]string{"COMPATIBILITY/VEHICLE_NOT_CAPABLE", "PERMISSION/", "SERVER/INTERNAL"}, charge,
		},
		"vehicle-state-test-mode-v4": {
			"4.0", state, "TEST", "b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7d6001", "36ab27d0-fd9d-4455-823a-ce30af709ffc",
			"78432 km", 2, nil, odometer,
		},
		"verify-minimal": {"", smartcar.TypeVerify, "", "", "", "", 0, nil, smartcar.Trigger{}},
		"verify-v4": {
			"4.0", smartcar.TypeVerify, "", "5d0b6c1e-7a5b-4a86-9f22-41b1f8f0a001", "", "", 0, nil, smartcar.Trigger{},
		},
	}
}

func TestDecodeReadsEveryExampleBody(t *testing.T) {
	t.Parallel()
	for name, want := range expectations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			delivery, event := decodeOne(t, string(payload(t, name)))
			require.Equal(t, want.version, delivery.Version)
			require.Equal(t, want.eventType, delivery.Type)
			require.Equal(t, want.mode, delivery.Mode)
			require.Equal(t, want.vehicle, event.VehicleID)
			require.Equal(t, want.eventID == "", event.Derived)
			if want.eventID == "" {
				require.Regexp(t, `^derived-[0-9a-f]{32}$`, event.ID)
			} else {
				require.Equal(t, want.eventID, event.ID)
			}
			require.Len(t, event.Signals, want.signals)
			require.Equal(t, want.failures, failuresOf(event))
			require.Equal(t, want.odometer, odometerOf(event))
			require.Empty(t, event.Unknown)
			if want.trigger != (smartcar.Trigger{}) {
				require.Equal(t, want.trigger, delivery.Triggers[0])
			} else {
				require.Empty(t, delivery.Triggers)
			}
		})
	}
}

func TestEveryWebhookExampleIsExpected(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "payloads", "*.json"))
	require.NoError(t, err)
	expected := expectations()
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if strings.HasPrefix(name, "rest-") || strings.HasPrefix(name, "oauth-") || strings.HasPrefix(name, "iam-") {
			continue
		}
		require.Contains(t, expected, name)
	}
}

func failuresOf(event smartcar.Event) []string {
	var failures []string
	for _, signal := range event.Signals {
		if signal.Failure != nil {
			failures = append(failures, signal.Failure.Type+"/"+signal.Failure.Code)
		}
	}
	for _, vehicleError := range event.Errors {
		failures = append(failures, vehicleError.Type+"/"+vehicleError.Code)
	}
	return failures
}

func odometerOf(event smartcar.Event) string {
	signal, ok := event.Odometer()
	if !ok {
		return ""
	}
	return string(signal.Value) + " " + signal.Unit
}

func TestDecodeReadsTheWholeDocumentsForm(t *testing.T) {
	t.Parallel()
	delivery, event := decodeOne(t, string(payload(t, "vehicle-state-docs-shape-v4")))
	require.Equal(t, "c2a3f0d8-6f0b-43c4-9d31-5be9b0c17001", delivery.DeliveryID)
	require.Equal(t, webhookID, delivery.WebhookID)
	require.Equal(t, "Fleet receiver", delivery.WebhookName)
	require.Equal(t, time.UnixMilli(1795183500994).UTC(), delivery.DeliveredAt)
	require.Equal(t, "1795183500994", delivery.Sequence.String())
	require.Equal(t, 2, delivery.SignalCount)
	require.Equal(t, "7c2f0f2e-5b7e-4d1c-9c55-0f4a3c1d9e11", event.UserID)
	require.Equal(t, "driver-1042", event.ExternalUserID)
	require.Equal(t, []any{"POLESTAR", "Polestar 2", 2023, "BEV"}, []any{event.Make, event.Model, event.Year, event.PowertrainType})
	odometer, ok := event.Odometer()
	require.True(t, ok)
	require.Equal(t, time.UnixMilli(1795183491000).UTC(), odometer.OEMUpdatedAt)
	require.Equal(t, time.UnixMilli(1795183499852).UTC(), odometer.RetrievedAt)
	require.JSONEq(t, `{"value":42506.3,"unit":"kilometers"}`, string(odometer.Body))
}

func TestDecodeReadsOlderForms(t *testing.T) {
	t.Parallel()
	t.Run("3.0 with a percentage, a VIN and seconds", func(t *testing.T) {
		t.Parallel()
		delivery, event := decodeOne(t, string(payload(t, "legacy-v3-vehicle-state")))
		require.Equal(t, "62", string(event.Signals[0].Value))
		require.Equal(t, "YSMVSEDE6NL000042", event.VIN)
		require.Equal(t, time.Unix(1763647500, 0).UTC(), delivery.DeliveredAt)
	})
	t.Run("autumn 2025 without version and webhook, with deliveryTime", func(t *testing.T) {
		t.Parallel()
		delivery, event := decodeOne(t, `{"eventId":"e-1","eventType":"VEHICLE_STATE","data":{"vehicle":{"id":"v"},`+
			`"signals":[{"code":"odometer-traveleddistance","body":{"value":5},"meta":{}}]},`+
			`"triggers":[{"type":"SIGNAL_UPDATED","signal":"Odometer.TraveledDistance"}],"meta":{"deliveryTime":1760000000123}}`)
		require.Empty(t, delivery.Version)
		require.Equal(t, time.UnixMilli(1760000000123).UTC(), delivery.DeliveredAt)
		require.Equal(t, smartcar.CodeOdometer, delivery.Triggers[0].Signal.Code)
		require.Equal(t, "5 ", odometerOf(event))
	})
	t.Run("2.0 scheduled with several vehicles", func(t *testing.T) {
		t.Parallel()
		delivery, err := smartcar.Decode([]byte(`{"version":"2.0","webhookId":"w","eventName":"scheduled","mode":"test","payload":{"vehicles":[` +
			`{"vehicleId":"a","userId":"u","requestId":"r","data":[{"path":"/odometer","code":200,"body":{"distance":10},"headers":` +
			`{"SC-Unit-System":"imperial","SC-Data-Age":"2026-11-20T14:04:51Z","SC-Fetched-At":"2026-11-20T14:05:00Z"}}]},` +
			`{"vehicleId":"b","data":[{"path":"/odometer","body":{"distance":11}},{"path":"/tires/pressure","code":409,` +
			`"body":{"type":"VEHICLE_STATE","code":"ASLEEP"}}]},` +
			`{"vehicleId":"b","data":[]},{"vehicleId":"a","requestId":"r","data":[]},{"vehicleId":"b","data":[]}]}}`))
		require.NoError(t, err)
		require.Equal(t, smartcar.ModeTest, delivery.Mode)
		require.Len(t, delivery.Events, 4, "only a part that is repeated word for word may fall away")
		first, second := delivery.Events[0], delivery.Events[1]
		require.Equal(t, "10 mi", odometerOf(first))
		require.Equal(t, "u", first.UserID)
		odometer, _ := first.Odometer()
		require.Equal(t, "2026-11-20T14:04:51Z", odometer.OEMUpdatedAt.Format(time.RFC3339))
		require.Equal(t, "2026-11-20T14:05:00Z", odometer.RetrievedAt.Format(time.RFC3339))
		require.Equal(t, "11 ", odometerOf(second))
		require.Equal(t, &smartcar.SignalFailure{Status: "ERROR", Type: "VEHICLE_STATE", Code: "ASLEEP"}, second.Signals[1].Failure)
	})
	t.Run("2.0 event-based keeps its own event type and id", func(t *testing.T) {
		t.Parallel()
		delivery, event := decodeOne(t, `{"version":"2.0","webhookId":"w","eventName":"eventBased","mode":"live","payload":`+
			`{"eventId":"e-9","vehicleId":"v","eventType":"CHARGING_STARTED","eventTime":"2022-01-02T03:04:05Z"}}`)
		require.Equal(t, smartcar.EventType("CHARGING_STARTED"), delivery.Type)
		require.Equal(t, "e-9", event.ID)
		require.Equal(t, "v", event.VehicleID)
		require.Contains(t, event.Unknown, "payload.eventTime")
	})
}

func TestDecodeReportsMalformedBodiesAndStillNamesThem(t *testing.T) {
	t.Parallel()
	cases := malformedBodies()
	for name, body := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			delivery, err := smartcar.Decode([]byte(body))
			require.ErrorIs(t, err, smartcar.ErrMalformed)
			require.Len(t, delivery.Events, 1)
			require.NotEmpty(t, delivery.Events[0].ID)
		})
	}
	delivery, err := smartcar.Decode([]byte(cases["two different vehicles"]))
	require.ErrorIs(t, err, smartcar.ErrMalformed)
	require.Equal(t, "b", delivery.Events[0].VehicleID)
	require.Equal(t, smartcar.TypeVehicleState, delivery.Type)
	delivery, err = smartcar.Decode([]byte(cases["2.0 event that says VERIFY"]))
	require.ErrorIs(t, err, smartcar.ErrMalformed)
	require.Empty(t, delivery.Type, "as VERIFY it would be answered and not stored")
}
