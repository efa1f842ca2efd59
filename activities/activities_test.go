package activities_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
	"github.com/milepost/milepost/workflows/contract"

	"log/slog"
)

func TestMissingDependenciesAreAllNamed(t *testing.T) {
	t.Parallel()
	_, err := activities.New(activities.Deps{})
	require.ErrorContains(t, err, "Store")
	require.ErrorContains(t, err, "Logger")
}

func TestLoadingTellsKindsApart(t *testing.T) {
	t.Parallel()
	const vehicle = `"data":{"vehicle":{"id":"` + smartcarVehicle + `"}}`
	for name, test := range map[string]struct {
		body   string
		kind   contract.EventKind
		status contract.VehicleStatus
	}{
		"a vehicle state":            {`{"eventId":"e","eventType":"VEHICLE_STATE",` + vehicle + `}`, contract.KindVehicleState, contract.VehicleActive},
		"a vehicle error":            {`{"eventId":"e","eventType":"VEHICLE_ERROR",` + vehicle + `}`, contract.KindVehicleError, contract.VehicleActive},
		"a test delivery":            {`{"eventId":"e","eventType":"VEHICLE_STATE","meta":{"mode":"test"},` + vehicle + `}`, contract.KindTest, contract.VehicleActive},
		"a simulated delivery":       {`{"eventId":"e","eventType":"VEHICLE_STATE","meta":{"mode":"SIMULATED"},` + vehicle + `}`, contract.KindTest, contract.VehicleActive},
		"an unknown type":            {`{"eventId":"e","eventType":"VEHICLE_CONNECTED",` + vehicle + `}`, contract.KindUnknown, contract.VehicleActive},
		"a vehicle nobody connected": {`{"eventId":"e","eventType":"VEHICLE_STATE","vehicleId":"elsewhere"}`, contract.KindVehicleState, contract.VehicleUnknown},
		"a vehicle state in seed form": {
			`{"eventType":"VEHICLE_STATE","vehicleId":"` + smartcarVehicle + `","data":{"odometer":{"distance":12345,"unit":"kilometers"}}}`,
			contract.KindVehicleState, contract.VehicleActive,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			eventID := b.receive(test.body)
			loaded, err := b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: eventID})
			require.NoError(t, err)
			require.Equal(t, test.kind, loaded.Kind)
			require.Equal(t, test.status, loaded.VehicleStatus)
		})
	}
}

func TestAnInactiveVehicleIsSeenAsSuch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	eventID := b.receive(state("e", "1", noon()))
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), smartcarVehicle))
	loaded, err := b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: eventID})
	require.NoError(t, err)
	require.Equal(t, contract.VehicleInactive, loaded.VehicleStatus)
}

func TestLoadingFailsForGoodWithoutAnEventOrAReadableBody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: "unheard of"})
	requireFinal(t, err, contract.FailureEventNotFound)

	eventID := b.receive(`{"eventType":"VEHICLE_STATE","data":{"signals":{"not":"a list"}}}`)
	_, err = b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: eventID})
	requireFinal(t, err, contract.FailureMalformedPayload)
}

func TestATestDeliveryIsOneHoweverMalformedItIs(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"signals as a map": `{"eventId":"e","eventType":"VEHICLE_STATE","data":{"signals":{"not":"a list"}},"meta":{"mode":"TEST"}}`,
		"two vehicles":     `{"eventType":"VEHICLE_STATE","vehicleId":"a","data":{"vehicle":{"id":"b","mode":"simulated"}}}`,
		"no type":          `{"data":{},"meta":{"mode":"test"}}`,
		"2.0, no vehicles": `{"eventName":"schedule","mode":"test","payload":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			eventID := b.receive(body)
			loaded, err := b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: eventID})
			require.NoError(t, err)
			require.Equal(t, contract.KindTest, loaded.Kind)
			atOnce, err := b.ProcessAtOnce(t.Context(), contract.ProcessAtOnceInput{EventID: eventID})
			require.NoError(t, err)
			require.Equal(t, contract.ProcessAtOnceResult{Loaded: loaded}, atOnce)
		})
	}
}

func TestUnitsAreConverted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		value, unit, kilometres string
		assumed                 bool
	}{
		"kilometres stay":                 {"42506.3", "kilometers", "42506.3", false},
		"miles become kilometres":         {"100", "Miles", "160.934", false},
		"no unit is taken as kilometres":  {"7", "", "7", true},
		"a value is rounded to the metre": {"1.23456", "km", "1.235", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &activities.Activities{}
			result, err := b.ConvertUnits(t.Context(), contract.ConvertUnitsInput{Value: test.value, Unit: test.unit})
			require.NoError(t, err)
			require.True(t, decimalOf(test.kilometres).Equal(decimalOf(result.Kilometres)), result.Kilometres)
			require.Equal(t, test.assumed, result.Assumed)
		})
	}
	_, err := (&activities.Activities{}).ConvertUnits(t.Context(), contract.ConvertUnitsInput{Value: "7", Unit: "furlongs"})
	requireFinal(t, err, contract.FailureUnitUnknown)
	_, err = (&activities.Activities{}).ConvertUnits(t.Context(), contract.ConvertUnitsInput{Value: "seven", Unit: "km"})
	requireFinal(t, err, contract.FailureMalformedPayload)
}

func TestOutcomesAndFailuresCloseTheLedgerRow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 2 { // the second time is a retry after a lost answer
		_, err := b.RecordOutcome(t.Context(), contract.RecordOutcomeInput{
			EventID: b.receive(state("good", "1", noon())), Outcome: contract.OutcomeTestDelivery,
		})
		require.NoError(t, err)
		_, err = b.RecordFailure(t.Context(), contract.RecordFailureInput{
			EventID: b.receive(state("bad", "1", noon())), Class: contract.FailureUnitUnknown, Detail: "why",
		})
		require.NoError(t, err)
	}
	good, bad := b.event("good"), b.event("bad")
	require.Equal(t, string(contract.OutcomeTestDelivery), *good.Outcome)
	require.Equal(t, string(contract.FailureUnitUnknown), *bad.FailureClass)
	require.Equal(t, "why", *bad.FailureDetail)
	require.Equal(t, []string{"1"}, texts(t, b.url, "SELECT count(*)::text FROM smartcar_sync_logs"))

	_, err := b.RecordFailure(t.Context(), contract.RecordFailureInput{EventID: "unheard of", Class: contract.FailureEventNotFound})
	require.NoError(t, err, "there is no row to mark, and nothing to wait for")
}

// TestEveryActivityWaitsOutADeadDatabase: none of their errors is final, so the workflow hands over and waits.
func TestEveryActivityWaitsOutADeadDatabase(t *testing.T) {
	t.Parallel()
	server := dbtest.NewServer(t)
	store, err := db.Open(t.Context(), db.Config{URL: server.URL()})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	a, err := activities.New(activities.Deps{Store: store, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, server.Kill())

	ctx := t.Context()
	for name, run := range map[string]func() error{
		contract.LoadEventActivity: func() error {
			_, err := a.LoadEvent(ctx, contract.LoadEventInput{EventID: "e"})
			return err
		},
		contract.WriteMeterEntryActivity: func() error {
			_, err := a.WriteMeterEntry(ctx, contract.WriteMeterEntryInput{EventID: "e"})
			return err
		},
		contract.RecordOutcomeActivity: func() error {
			_, err := a.RecordOutcome(ctx, contract.RecordOutcomeInput{EventID: "e"})
			return err
		},
		contract.RecordFailureActivity: func() error {
			_, err := a.RecordFailure(ctx, contract.RecordFailureInput{EventID: "e"})
			return err
		},
	} {
		err := run()
		var application *temporal.ApplicationError
		require.ErrorAs(t, err, &application, name)
		require.False(t, application.NonRetryable(), name)
	}
}
