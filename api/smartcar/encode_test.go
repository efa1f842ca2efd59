package smartcar_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

func polledState() smartcar.PolledState {
	at := time.Date(2026, 11, 20, 10, 0, 0, 123e6, time.UTC)
	return smartcar.PolledState{
		VehicleID: "a4c1b7d2-8e0f-4b6a-9f3d-2d5e6c7b8a90", Mode: smartcar.ModeLive, PolledAt: at.Add(time.Minute),
		Signals: []smartcar.Signal{{
			Code: smartcar.CodeOdometer, Name: "TraveledDistance", Group: "Odometer",
			Body: json.RawMessage(`{"value":104.320,"unit":"km"}`), Value: json.RawMessage(`104.320`), Unit: "km",
			OEMUpdatedAt: at, RetrievedAt: at.Add(time.Second),
		}},
	}
}

func failedSignal() smartcar.Signal {
	return smartcar.Signal{
		Code:    "internalcombustionengine-fuellevel",
		Failure: &smartcar.SignalFailure{Status: "ERROR", Type: "COMPATIBILITY", Code: "VEHICLE_NOT_CAPABLE"},
	}
}

func TestAPolledStateReadsBackAsTheDeliveryThatAWebhookWouldHaveBrought(t *testing.T) {
	t.Parallel()
	state := polledState()
	state.Signals = append(state.Signals, failedSignal())
	id, body, err := state.Event()
	require.NoError(t, err)
	delivery, err := smartcar.Decode(body)
	require.NoError(t, err)
	require.Equal(t, smartcar.TypeVehicleState, delivery.Type)
	require.True(t, delivery.Mode.IsLive())
	require.Equal(t, state.PolledAt, delivery.DeliveredAt)
	require.Len(t, delivery.Events, 1)
	event := delivery.Events[0]
	require.Equal(t, id, event.ID)
	require.False(t, event.Derived)
	require.Equal(t, state.VehicleID, event.VehicleID)
	require.Equal(t, state.Signals, event.Signals)
	require.Empty(t, event.Unknown)
}

func TestPolledErrorsReadBackAsTheDeliveryThatAWebhookWouldHaveBrought(t *testing.T) {
	t.Parallel()
	polled := smartcar.PolledErrors{
		VehicleID: polledState().VehicleID, Mode: smartcar.ModeLive, PolledAt: polledState().PolledAt,
		Errors: []smartcar.VehicleError{
			{Type: "CONNECTED_SERVICES_ACCOUNT", Code: "AUTHENTICATION_FAILED", State: smartcar.StateError},
			{Type: "PERMISSION", State: smartcar.StateResolved, Signals: []smartcar.SignalRef{{Code: smartcar.CodeOdometer}}},
		},
	}
	id, body, err := polled.Event()
	require.NoError(t, err)
	delivery, err := smartcar.Decode(body)
	require.NoError(t, err)
	require.Equal(t, smartcar.TypeVehicleError, delivery.Type)
	require.True(t, delivery.Mode.IsLive())
	require.Equal(t, polled.PolledAt, delivery.DeliveredAt)
	require.Len(t, delivery.Events, 1)
	require.Equal(t, id, delivery.Events[0].ID)
	require.Equal(t, polled.VehicleID, delivery.Events[0].VehicleID)
	require.Equal(t, polled.Errors, delivery.Events[0].Errors)
	require.Empty(t, delivery.Events[0].Unknown)

	same, _, err := polled.Event()
	require.NoError(t, err)
	require.Equal(t, id, same)
	polled.PolledAt = polled.PolledAt.Add(time.Millisecond)
	again, _, err := polled.Event()
	require.NoError(t, err)
	require.NotEqual(t, id, again)
}

func TestTheSameReadingsAreTheSameEventWheneverTheyArePolled(t *testing.T) {
	t.Parallel()
	first, later := polledState(), polledState()
	later.PolledAt = later.PolledAt.Add(time.Hour)
	require.Equal(t, idOf(t, first), idOf(t, later))

	moved := polledState()
	moved.Signals[0].OEMUpdatedAt = moved.Signals[0].OEMUpdatedAt.Add(time.Millisecond)
	require.NotEqual(t, idOf(t, first), idOf(t, moved))

	other := polledState()
	other.VehicleID = "another"
	require.NotEqual(t, idOf(t, first), idOf(t, other))
}

func TestAFailureIsAnEventOfItsOwnEachTimeItIsPolled(t *testing.T) {
	t.Parallel()
	first, later := polledState(), polledState()
	first.Signals, later.Signals = []smartcar.Signal{failedSignal()}, []smartcar.Signal{failedSignal()}
	later.PolledAt = later.PolledAt.Add(time.Hour)
	require.NotEqual(t, idOf(t, first), idOf(t, later))
}

func idOf(t *testing.T, state smartcar.PolledState) string {
	t.Helper()
	id, _, err := state.Event()
	require.NoError(t, err)
	return id
}
