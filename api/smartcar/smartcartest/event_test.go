package smartcartest_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

func payload(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "testdata", "payloads", name))
	require.NoError(t, err)

	return content
}

func exampleState() smartcartest.VehicleState {
	return smartcartest.VehicleState{
		EventID: "event-1", DeliveryID: "delivery-1", VehicleID: "vehicle-1", UserID: "user-1",
		Make: "POLESTAR", Model: "Polestar 2", Year: 2023, Odometer: 42506.3,
		ObservedAt:  time.UnixMilli(1795183491000),
		RetrievedAt: time.UnixMilli(1795183499852),
		DeliveredAt: time.UnixMilli(1795183500994),
	}
}

func TestBuildVehicleState(t *testing.T) {
	t.Parallel()

	const vehicle = `"user":{"id":"user-1"},"vehicle":{"id":"vehicle-1","make":"POLESTAR","model":"Polestar 2","year":2023`
	cases := map[string]struct {
		change func(*smartcartest.VehicleState)
		want   string
	}{
		"on the wire": {
			func(*smartcartest.VehicleState) {},
			`{"eventId":"event-1","eventType":"VEHICLE_STATE","data":{` + vehicle + `},"signals":[` +
				`{"code":"odometer-traveleddistance","name":"TraveledDistance","group":"Odometer",` +
				`"body":{"value":42506.3,"unit":"km"},"meta":{"oemUpdatedAt":1795183491000,"retrievedAt":1795183499852},` +
				`"status":{"value":"SUCCESS"}}]},"triggers":[{"type":"SIGNAL_UPDATED","signal":` +
				`{"name":"TraveledDistance","code":"odometer-traveleddistance","group":"Odometer"}}],` +
				`"meta":{"deliveryId":"delivery-1","deliveredAt":1795183500994,"version":"4.0",` +
				`"webhookId":"3d1f6a8e-52c7-4b09-9e4d-7a60c8b2f315","webhookName":"Milepost simulator","mode":"LIVE","signalCount":1}}`,
		},
		"on the wire in autumn 2025": {
			func(state *smartcartest.VehicleState) { state.Form = smartcartest.Autumn2025 },
			`{"eventId":"event-1","eventType":"VEHICLE_STATE","data":{` + vehicle + `},"signals":[` +
				`{"code":"odometer-traveleddistance","name":"TraveledDistance","group":"Odometer",` +
				`"body":{"value":42506.3,"unit":"km"},"meta":{"oemUpdatedAt":1795183491000,"retrievedAt":1795183499852}}]},` +
				`"triggers":[{"type":"SIGNAL_UPDATED","signal":"Odometer.TraveledDistance"}],` +
				`"meta":{"deliveryId":"delivery-1","deliveredAt":1795183500994,"deliveryTime":1795183500994,"mode":"LIVE","signalCount":1}}`,
		},
		"in the documents": {
			func(state *smartcartest.VehicleState) { state.Form = smartcartest.Documents },
			`{"eventId":"event-1","eventType":"VEHICLE_STATE","vehicleId":"vehicle-1","data":{` + vehicle + `,"mode":"live"},` +
				`"triggers":[{"code":"odometer-traveleddistance","name":"TraveledDistance","group":"Odometer"}],"signals":[` +
				`{"code":"odometer-traveleddistance","name":"TraveledDistance","group":"Odometer",` +
				`"body":{"value":42506.3,"unit":"kilometers"},"meta":{"oemUpdatedAt":1795183491000,"fetchedAt":1795183499852},` +
				`"status":{"value":"SUCCESS"}}]},"meta":{"deliveryId":"delivery-1","deliveredAt":1795183500994,"version":"4.0",` +
				`"webhookId":"3d1f6a8e-52c7-4b09-9e4d-7a60c8b2f315","webhookName":"Milepost simulator","mode":"LIVE",` +
				`"signalCount":1,"sequence":1795183500994}}`,
		},
		"in seed style": {
			func(state *smartcartest.VehicleState) { state.Form = smartcartest.SeedStyle },
			`{"eventType":"VEHICLE_STATE","vehicleId":"vehicle-1","data":{"odometer":{"distance":42506.3,"unit":"kilometers"}}}`,
		},
		"without a unit": {
			func(state *smartcartest.VehicleState) { state.Form, state.NoUnit = smartcartest.SeedStyle, true },
			`{"eventType":"VEHICLE_STATE","vehicleId":"vehicle-1","data":{"odometer":{"distance":42506.3}}}`,
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := exampleState()
			test.change(&state)
			require.Equal(t, test.want, string(smartcartest.BuildVehicleState(state)))
		})
	}
}

func TestBuiltEventsAreUnderstood(t *testing.T) {
	t.Parallel()

	for name, form := range map[string]smartcartest.Form{
		"wire": smartcartest.Wire, "autumn 2025": smartcartest.Autumn2025, "documents": smartcartest.Documents,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := exampleState()
			state.Form, state.FirstDelivery, state.Mode = form, true, smartcar.ModeTest
			state.Make = `"quoted" <é>`
			state.Readings = []smartcartest.SignalReading{
				{Code: "a-b", Name: "B", Group: "A", Body: json.RawMessage(`{"value":1}`)},
				{Code: "a-c", Name: "C", Group: "A", FailureType: "COMPATIBILITY", FailureCode: "VEHICLE_NOT_CAPABLE"},
				{Code: "a-d", Name: "D", Group: "A", FailureType: "PERMISSION"},
			}
			delivery, err := smartcar.Decode(smartcartest.BuildVehicleState(state))
			require.NoError(t, err)

			require.Equal(t, smartcar.ModeTest, delivery.Mode)
			require.Equal(t, "delivery-1", delivery.DeliveryID)
			require.True(t, state.DeliveredAt.Equal(delivery.DeliveredAt))
			require.Equal(t, []smartcar.Trigger{{Kind: smartcar.TriggerFirstDelivery}}, delivery.Triggers)
			require.Equal(t, 4, delivery.SignalCount)
			event := delivery.Events[0]
			require.Equal(t, "event-1", event.ID)
			require.Equal(t, "vehicle-1", event.VehicleID)
			require.Equal(t, state.Make, event.Make)
			require.Len(t, event.Signals, 4)
			odometer, ok := event.Odometer()
			require.True(t, ok)
			require.JSONEq(t, "42506.3", string(odometer.Value))
			require.True(t, state.ObservedAt.Equal(odometer.OEMUpdatedAt))
			require.Equal(t, "VEHICLE_NOT_CAPABLE", event.Signals[2].Failure.Code)
			require.Equal(t, "PERMISSION", event.Signals[3].Failure.Type)
		})
	}
}

func TestRestamp(t *testing.T) {
	t.Parallel()

	t.Run("makes of a first delivery the retry that Smartcar would send", func(t *testing.T) {
		t.Parallel()
		stamped, err := smartcartest.Restamp(
			payload(t, "vehicle-state-odometer-v4.json"), "c2a3f0d8-6f0b-43c4-9d31-5be9b0c12002", time.UnixMilli(1795183525994))
		require.NoError(t, err)
		require.Equal(t, string(payload(t, "vehicle-state-odometer-v4-retry.json")), string(stamped))
	})

	at := time.Date(2026, time.November, 20, 15, 4, 5, 6_000_000, time.UTC)
	cases := map[string]struct{ body, want string }{
		"keeps the ISO form": {
			`{"meta":{"deliveredAt":"2025-10-21T03:39:07.355Z","deliveryId":"old"},"eventType":"VERIFY"}`,
			`{"meta":{"deliveredAt":"2026-11-20T15:04:05.006Z","deliveryId":"new"},"eventType":"VERIFY"}`,
		},
		"keeps seconds": {
			`{"meta":{"deliveryId":"old","deliveredAt":1763647500}}`, `{"meta":{"deliveryId":"new","deliveredAt":1795187045}}`,
		},
		"keeps white space and order, and stamps the older member too": {
			"{ \"meta\" : { \"deliveryTime\" : 1763647500000 ,\n \"deliveryId\":\"old\", \"deliveredAt\":1763647500000 } , \"data\":{} }",
			"{ \"meta\" : { \"deliveryTime\" : 1795187045006 ,\n \"deliveryId\":\"new\", \"deliveredAt\":1795187045006 } , \"data\":{} }",
		},
		"leaves a body without metadata as it is": {`{"data":{"meta":{"deliveryId":"not ours"}}}`, `{"data":{"meta":{"deliveryId":"not ours"}}}`},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stamped, err := smartcartest.Restamp([]byte(test.body), "new", at)
			require.NoError(t, err)
			require.Equal(t, test.want, string(stamped))
		})
	}

	for name, body := range map[string]string{
		"no object": `"nsQsLU7wY9WKt2IU"`, "half an object": `{"meta":{"deliveryId":`, "metadata that are none": `{"meta":"x"}`,
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			t.Parallel()
			_, err := smartcartest.Restamp([]byte(body), "new", at)
			require.ErrorIs(t, err, smartcartest.ErrNotAnObject)
		})
	}
}

func TestNewEventChangesTheEventIDAlone(t *testing.T) {
	t.Parallel()
	event, err := smartcartest.NewEvent([]byte(`{"data":{"eventId":"inner"}, "eventId": "old"}`), "new")
	require.NoError(t, err)
	want := `{"data":{"eventId":"inner"}, "eventId": "new"}`
	require.Equal(t, want, string(event))

	_, err = smartcartest.NewEvent(payload(t, "seed-style-simple.json"), "new")
	require.ErrorIs(t, err, smartcartest.ErrNoEventID)
}
