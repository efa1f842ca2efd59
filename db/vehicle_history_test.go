package db_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

// signal closes an event with one signal that Smartcar sent so many minutes after noon.
func (b *bundle) signal(t *testing.T, minute int, record db.SignalRecord) {
	t.Helper()
	eventID := fmt.Sprint("signal at ", minute)
	b.receive(t, eventID)
	at := time.Date(2026, 11, 20, 12, minute, 0, 0, time.UTC)
	record.ObservedAt, record.ObservedAtSource = at, "oem_updated_at"
	require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{
		EventID: eventID, Outcome: "no_odometer", ReportedAt: at, Signals: []db.SignalRecord{record},
	}))
}

func (b *bundle) signals(t *testing.T) map[string]db.SignalSummary {
	t.Helper()
	signals, err := b.store.SignalsOfVehicle(t.Context(), vehicle)
	require.NoError(t, err)
	byCode := map[string]db.SignalSummary{}
	for _, signal := range signals {
		byCode[signal.Code] = signal
	}
	return byCode
}

func TestASignalIsShownWithItsNewestReadingAndTheFailureThatIsNewer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	range48 := db.SignalRecord{Code: "range", Value: []byte(`{"value": 48.0, "unit":"km"}`), NormalisedValue: "48", NormalisedUnit: "km"}
	b.signal(t, 1, db.SignalRecord{Code: "range", FailureType: "VEHICLE_STATE", FailureCode: "ASLEEP"})
	require.Nil(t, b.signals(t)["range"].Value)
	require.Nil(t, b.signals(t)["range"].ObservedAt)
	require.Equal(t, db.SignalUnavailable, b.signals(t)["range"].Availability)

	b.signal(t, 2, range48)
	shown := b.signals(t)["range"]
	require.Equal(t, db.SignalAvailable, shown.Availability)
	require.Equal(t, range48.Value, []byte(shown.Value), "byte by byte")
	require.Equal(t, "48 km", shown.NormalisedValue+" "+shown.NormalisedUnit)
	require.Equal(t, "2026-11-20T12:02:00Z", shown.ObservedAt.UTC().Format(time.RFC3339))
	require.Equal(t, "oem_updated_at", *shown.ObservedAtSource)
	require.Equal(t, "signal at 2", shown.EventID)
	require.Nil(t, shown.FailureType, "the failure is older")
	require.Nil(t, shown.FailedAt)

	b.signal(t, 3, db.SignalRecord{Code: "range", FailureType: "UPSTREAM", FailureCode: "NO_RESPONSE"})
	shown = b.signals(t)["range"]
	require.Equal(t, db.SignalUnavailable, shown.Availability)
	require.Equal(t, "UPSTREAM NO_RESPONSE", *shown.FailureType+" "+*shown.FailureCode)
	require.Equal(t, "2026-11-20T12:03:00Z", shown.FailedAt.UTC().Format(time.RFC3339))
	require.Equal(t, "48", shown.NormalisedValue, "the last reading stays")

	b.signal(t, 4, db.SignalRecord{Code: "range", FailureType: "COMPATIBILITY", FailureCode: "VEHICLE_NOT_CAPABLE", Unsupported: true})
	require.Equal(t, db.SignalUnsupported, b.signals(t)["range"].Availability)
}

func TestSignalsOfAnotherConnectionAreNotShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.signal(t, 1, db.SignalRecord{Code: "range", Value: []byte(`{"value":1}`)})
	signals, err := b.store.SignalsOfVehicle(t.Context(), "another")
	require.NoError(t, err)
	require.NotNil(t, signals, "an empty list in JSON, not null")
	require.Empty(t, signals)
}

// errorsOf gives the first vehicle's errors, those that are over included.
func (b *vaultBundle) errorsOf(withResolved bool) []db.VehicleErrorSummary {
	b.t.Helper()
	failures, err := b.store.ErrorsOfVehicle(b.t.Context(), firstOfFamily, withResolved)
	require.NoError(b.t, err)
	return failures
}

// report opens or resolves errors of the first vehicle.
func (b *vaultBundle) report(eventID string, at time.Time, reports ...db.VehicleErrorReport) {
	b.t.Helper()
	one := delivery(eventID)
	one.SmartcarVehicleID = firstOfFamily
	_, err := b.ledger.Append(b.t.Context(), []db.Delivery{one})
	require.NoError(b.t, err)
	require.NoError(b.t, b.store.CloseVehicleErrors(b.t.Context(), db.VehicleErrors{
		Closing:           db.Closing{EventID: eventID, Outcome: "vehicle_error", ReportedAt: at},
		SmartcarVehicleID: firstOfFamily, Reports: reports,
	}))
}

func TestAnErrorTellsWhenTheOwnerWasAskedAlsoAfterItsEnd(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	b.change(t, `UPDATE smartcar_vehicles SET connected_at = now() - interval '1 day'`)
	began := time.Now().Add(-time.Hour)
	b.fail(t, "began", began, false)
	open := b.errorsOf(false)
	require.Len(t, open, 1)
	require.True(t, open[0].Open)
	require.WithinDuration(t, began, *open[0].OpenedAt, time.Millisecond)
	require.Nil(t, open[0].ResolvedAt)
	require.Equal(t, "began", open[0].OpenedEventID)
	require.Equal(t, db.ReactionReauthenticate, open[0].Reaction)
	require.NotNil(t, open[0].OwnerAskedAt)
	require.Equal(t, []string{"true"}, b.column(`SELECT (reauth_since = $2)::text FROM smartcar_vehicles WHERE smartcar_vehicle_id = $1`,
		firstOfFamily, *open[0].OwnerAskedAt), "since when the connection waits")

	b.fail(t, "ended", began.Add(time.Minute), true)
	require.Empty(t, b.errorsOf(false))
	ended := b.errorsOf(true)
	require.Len(t, ended, 1)
	require.False(t, ended[0].Open)
	require.WithinDuration(t, began.Add(time.Minute), *ended[0].ResolvedAt, time.Millisecond)
	require.Equal(t, "ended", ended[0].ResolvedEventID)
	require.NotNil(t, ended[0].OwnerAskedAt)
	require.WithinDuration(t, *open[0].OwnerAskedAt, *ended[0].OwnerAskedAt, 0)

	b.change(t, `UPDATE notices SET created_at = created_at + interval '1 day'`)
	require.Nil(t, b.errorsOf(true)[0].OwnerAskedAt, "asked after the end is asked for something else")
	b.change(t, `UPDATE notices SET created_at = created_at - interval '2 days'`)
	require.Nil(t, b.errorsOf(true)[0].OwnerAskedAt, "asked before the error was heard of is, too")
	b.change(t, `UPDATE vehicle_errors SET created_at = created_at - interval '1 hour', updated_at = updated_at - interval '1 hour'`)
	b.report("another", time.Now(), db.VehicleErrorReport{Type: "PERMISSION", Reaction: db.ReactionReconsent})
	both := b.errorsOf(true)
	require.NotNil(t, both[0].OwnerAskedAt)
	require.Nil(t, both[1].OwnerAskedAt, "what the connection waits for now is another error")
	b.fail(t, "began again", began.Add(2*time.Minute), false)
	again := b.errorsOf(false)
	require.Equal(t, "began again", again[1].OpenedEventID)
	require.Nil(t, again[1].ResolvedAt, "the earlier end is none")
	require.Empty(t, again[1].ResolvedEventID)
}

func TestAnErrorThatAsksNobodyDoesNotSaySo(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	b.fail(t, "asks", time.Now(), false)
	b.report("passes", time.Now(), db.VehicleErrorReport{Type: "SERVER", Reaction: db.ReactionWait})
	asked := map[string]bool{}
	for _, failure := range b.errorsOf(false) {
		asked[failure.Type] = failure.OwnerAskedAt != nil
	}
	require.Equal(t, map[string]bool{"CONNECTED_SERVICES_ACCOUNT": true, "SERVER": false}, asked)
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), firstOfFamily))
	b.report("asks for nothing", time.Now(), db.VehicleErrorReport{Type: "PERMISSION", Reaction: db.ReactionReconsent})
	b.change(t, `DELETE FROM notices`)
	for _, failure := range b.errorsOf(true) {
		require.Nil(t, failure.OwnerAskedAt, failure.Type)
	}
}

func TestSignalsWithOneStoryAreOneErrorAndTheNewestIsFirst(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	now := time.Now()
	compatibility := func(signal string, resolved bool) db.VehicleErrorReport {
		return db.VehicleErrorReport{
			Type: "COMPATIBILITY", Code: "VEHICLE_NOT_CAPABLE", Signal: signal, Resolved: resolved, Reaction: db.ReactionUnsupportedSignals,
		}
	}
	b.report("three", now.Add(-time.Hour), compatibility("b", false), compatibility("a", false), compatibility("c", false))
	b.report("one ends", now.Add(-time.Minute), compatibility("c", true))
	b.report("whole vehicle", now, db.VehicleErrorReport{Type: "VEHICLE_STATE", Code: "ASLEEP", ResolutionType: "RETRY_LATER", Reaction: db.ReactionWait})
	var told []string
	for _, failure := range b.errorsOf(true) {
		told = append(told, fmt.Sprintf("%s %v %t %s", failure.Type, failure.Signals, failure.Open, failure.ResolutionType))
	}
	require.Equal(t, []string{"VEHICLE_STATE [] true RETRY_LATER", "COMPATIBILITY [a b] true ", "COMPATIBILITY [c] false "}, told)
}

func TestReadingsAreShownNewestFirstWithTheirEntries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	vehicleID := b.connect(t)
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	require.NoError(t, b.store.WithVehicle(t.Context(), vehicleID, func(transaction *db.VehicleTransaction) error {
		for hour, decided := range []string{"entered", "overtaken", "lower"} {
			reading, _, err := transaction.AddReading(t.Context(), db.NewReading{
				ObservedAt: at.Add(time.Duration(hour) * time.Hour), ObservedAtSource: "oem_updated_at",
				Kilometres: decimal.RequireFromString("160.934"), ReportedValue: decimal.NewFromInt(100), ReportedUnit: "mi",
				SourceType: "webhook", EventID: decided, Confirmed: decided == "lower",
			}, at)
			require.NoError(t, err)
			if decided == "lower" {
				require.NoError(t, transaction.SetVerdict(t.Context(), reading.ID, decided))
				continue
			}
			_, err = transaction.Enter(t.Context(), reading, "test")
			require.NoError(t, err)
			if decided == "overtaken" {
				require.NoError(t, transaction.SetVerdict(t.Context(), reading.ID, "lower"))
				require.NoError(t, transaction.Supersede(t.Context(), reading.ID))
			}
		}
		return nil
	}))
	readings, err := b.store.NewestReadings(t.Context(), vehicleID, 10)
	require.NoError(t, err)
	var told []string
	for _, reading := range readings {
		told = append(told, fmt.Sprintf("%s: %s, entry %t, superseded %t, confirmed %t",
			reading.EventID, reading.Verdict, reading.MeterEntryID != nil, reading.SupersededAt != nil, reading.Confirmed))
	}
	require.Equal(t, []string{
		"lower: lower, entry false, superseded false, confirmed true",
		"overtaken: lower, entry true, superseded true, confirmed false",
		"entered: entered, entry true, superseded false, confirmed false",
	}, told)
	require.Equal(t, "160.934 100 mi webhook", fmt.Sprintf("%s %s %s %s",
		readings[2].Kilometres, readings[2].ReportedValue, readings[2].ReportedUnit, readings[2].SourceType))
	require.True(t, readings[2].ObservedAt.Equal(at))

	readings, err = b.store.NewestReadings(t.Context(), vehicleID, 1)
	require.NoError(t, err)
	require.Len(t, readings, 1)
	require.Equal(t, "lower", readings[0].EventID)
	readings, err = b.store.NewestReadings(t.Context(), vehicleID+1, 1)
	require.NoError(t, err)
	require.Empty(t, readings)
}
