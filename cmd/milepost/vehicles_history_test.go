package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
)

const (
	historyVehicle = "a4c1b7d2-8e0f-4b6a-9f3d-2d5e6c7b8a90"
	secretVIN      = "1HGCM82633A004352"
	secretLatitude = "52.520008"
)

// historyBundle is a database with one connected vehicle that Smartcar has reported nothing of yet.
type historyBundle struct {
	t           *testing.T
	store       *db.Store
	ledger      *db.Ledger
	environment map[string]string
	vehicleID   int64
	out         *bytes.Buffer
}

func setupHistory(t *testing.T) *historyBundle {
	t.Helper()
	url := dbtest.New(t)
	b := &historyBundle{t: t, environment: map[string]string{"DATABASE_URL": url}, out: &bytes.Buffer{}}
	var err error
	b.store, err = db.Open(t.Context(), db.Config{URL: url, MaxConnections: 2})
	require.NoError(t, err)
	t.Cleanup(b.store.Close)
	b.ledger = db.NewLedger(b.store)
	b.vehicleID, err = b.store.ConnectVehicle(t.Context(), db.ConnectedVehicle{
		SmartcarVehicleID: historyVehicle, OwnerEmail: "owner@milepost.example",
	})
	require.NoError(t, err)
	connection, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	_, err = connection.Exec(t.Context(), "UPDATE smartcar_vehicles SET connected_at = $1", minuteOf(0)) // before what is reported
	require.NoError(t, err)
	require.NoError(t, connection.Close(t.Context()))
	return b
}

func (b *historyBundle) run(arguments ...string) error {
	b.t.Helper()
	b.out.Reset()
	root := &cli.Command{Name: "milepost", Writer: b.out, ErrWriter: b.out, Commands: []*cli.Command{
		vehiclesCommand(b.environment, b.out, io.Discard),
	}}
	return root.Run(b.t.Context(), append([]string{"milepost", "vehicles"}, arguments...))
}

// rows runs a command, and gives the lines under its heading with single spaces between words.
func (b *historyBundle) rows(arguments ...string) []string {
	b.t.Helper()
	require.NoError(b.t, b.run(arguments...))
	rows := []string{}
	for line := range strings.Lines(b.out.String()) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	return rows[1:]
}

func (b *historyBundle) decode(value any) {
	b.t.Helper()
	require.NoError(b.t, json.Unmarshal(b.out.Bytes(), value), b.out.String())
}

func minuteOf(minute int) time.Time { return time.Date(2026, 11, 20, 12, minute, 0, 0, time.UTC) }

func (b *historyBundle) receive(eventID string) {
	b.t.Helper()
	_, err := b.ledger.Append(b.t.Context(), []db.Delivery{{
		EventID: eventID, EventType: "VEHICLE_STATE", SmartcarVehicleID: historyVehicle, ReceivedAt: time.Now(), Payload: []byte(`{}`),
	}})
	require.NoError(b.t, err)
}

// signals closes an event whose signals Smartcar sent, and whose readings were true, so many minutes after noon.
func (b *historyBundle) signals(minute int, records ...db.SignalRecord) {
	b.t.Helper()
	eventID := fmt.Sprint("signals-", minute)
	b.receive(eventID)
	for i := range records {
		records[i].ObservedAt, records[i].ObservedAtSource = minuteOf(minute), "oem_updated_at"
	}
	require.NoError(b.t, b.store.CloseEvent(b.t.Context(), db.Closing{
		EventID: eventID, Outcome: "no_odometer", ReportedAt: minuteOf(minute), Signals: records,
	}))
}

func (b *historyBundle) reports(minute int, reports ...db.VehicleErrorReport) {
	b.t.Helper()
	eventID := fmt.Sprint("errors-", minute)
	b.receive(eventID)
	require.NoError(b.t, b.store.CloseVehicleErrors(b.t.Context(), db.VehicleErrors{
		Closing:           db.Closing{EventID: eventID, Outcome: "vehicle_error", ReportedAt: minuteOf(minute)},
		SmartcarVehicleID: historyVehicle, Reports: reports,
	}))
}

// reading stores an odometer reading, and enters it unless it has another verdict.
func (b *historyBundle) reading(minute int, kilometres, verdict string, change func(*db.NewReading)) (entryID int64) {
	b.t.Helper()
	require.NoError(b.t, b.store.WithVehicle(b.t.Context(), b.vehicleID, func(transaction *db.VehicleTransaction) error {
		reading := db.NewReading{
			ObservedAt: minuteOf(minute), ObservedAtSource: "oem_updated_at", Kilometres: decimal.RequireFromString(kilometres),
			ReportedValue: decimal.RequireFromString(kilometres), ReportedUnit: "km", SourceType: "webhook", EventID: fmt.Sprint("reading-", minute),
		}
		if change != nil {
			change(&reading)
		}
		stored, _, err := transaction.AddReading(b.t.Context(), reading, reading.ObservedAt)
		require.NoError(b.t, err)
		if verdict == "lower" {
			return transaction.SetVerdict(b.t.Context(), stored.ID, verdict)
		}
		entryID, err = transaction.Enter(b.t.Context(), stored, "test")
		require.NoError(b.t, err)
		if verdict == "superseded" {
			require.NoError(b.t, transaction.SetVerdict(b.t.Context(), stored.ID, "duplicate"))
			return transaction.Supersede(b.t.Context(), stored.ID)
		}
		return nil
	}))
	return entryID
}

func TestEachSignalIsShownWithItsReadingAndItsAvailability(t *testing.T) {
	t.Parallel()
	b := setupHistory(t)
	b.signals(1,
		db.SignalRecord{Code: "a-odometer", Value: []byte(`{"value":62.1371,"unit":"mi"}`), NormalisedValue: "100.0000", NormalisedUnit: "km"},
		db.SignalRecord{Code: "b-locked", Value: []byte(`{ "value" : true }`)},
		db.SignalRecord{Code: "c-doors", Value: []byte(`{"values":[` + strings.Repeat(`{"row":0,"isOpen":false},`, 9) + `{}],"rowCount":2}`)},
		db.SignalRecord{Code: "d-count", Value: []byte(`{"value":3}`), NormalisedValue: "3"},
	)
	b.signals(2,
		db.SignalRecord{Code: "d-count", FailureType: "UPSTREAM", FailureCode: "NO_RESPONSE"},
		db.SignalRecord{Code: "e-sunroof", FailureType: "COMPATIBILITY", FailureCode: "VEHICLE_NOT_CAPABLE", Unsupported: true},
		db.SignalRecord{Code: "f-odd \x1b[31m\tcode", FailureType: "VEHICLE_STATE"},
		db.SignalRecord{Code: "g-silent"},
		db.SignalRecord{Code: "h-unit", Value: []byte(`{"value":12,"unit":"furlongs"}`)},
	)
	require.Equal(t, []string{
		"a-odometer 100.0000 km 2026-11-20T12:01:00Z oem_updated_at available",
		"b-locked true 2026-11-20T12:01:00Z oem_updated_at available",
		`c-doors {"values":[{"row":0,"isOpen":false},{"row":0,"isOpen":false}… 2026-11-20T12:01:00Z oem_updated_at available`,
		"d-count 3 2026-11-20T12:01:00Z oem_updated_at unavailable (UPSTREAM/NO_RESPONSE)",
		"e-sunroof - - - unsupported",
		"f-odd \uFFFD[31m\uFFFDcode - - - unavailable (VEHICLE_STATE)",
		"g-silent - - - unavailable",
		`h-unit {"value":12,"unit":"furlongs"} 2026-11-20T12:02:00Z oem_updated_at available`,
	}, b.rows("signals", historyVehicle))

	require.NoError(t, b.run("signals", historyVehicle, "--json"))
	var signals []db.SignalSummary
	b.decode(&signals)
	require.Len(t, signals, 8)
	require.JSONEq(t, `{"value":62.1371,"unit":"mi"}`, string(signals[0].Value))
	require.Equal(t, db.SignalUnsupported, signals[4].Availability)
	require.Equal(t, "VEHICLE_NOT_CAPABLE", *signals[4].FailureCode)
}

func TestPersonalValuesAreShownOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	b := setupHistory(t)
	b.signals(1,
		db.SignalRecord{Code: "location-preciselocation", Value: []byte(`{"latitude":` + secretLatitude + `,"longitude":13.4}`)},
		db.SignalRecord{Code: "odometer-traveleddistance", Value: []byte(`{"value":7}`), NormalisedValue: "7", NormalisedUnit: "km"},
		db.SignalRecord{Code: "vehicleidentification-vin", Value: []byte(`{"value":"` + secretVIN + `"}`)},
	)
	for _, arguments := range [][]string{{"signals", historyVehicle}, {"signals", historyVehicle, "--json"}} {
		require.NoError(t, b.run(arguments...))
		require.Equal(t, 2, strings.Count(b.out.String(), notShown))
		require.NotContains(t, b.out.String(), secretVIN)
		require.NotContains(t, b.out.String(), secretLatitude)
		require.Contains(t, b.out.String(), "7")

		require.NoError(t, b.run(append(arguments, "--with-personal-data")...))
		require.NotContains(t, b.out.String(), notShown)
		require.Contains(t, b.out.String(), secretVIN)
		require.Contains(t, b.out.String(), secretLatitude)
	}
}

func TestErrorsSayWhatIsToBeDoneAndWhetherTheOwnerWasAsked(t *testing.T) {
	t.Parallel()
	b := setupHistory(t)
	authentication := db.VehicleErrorReport{
		Type: "CONNECTED_SERVICES_ACCOUNT", Code: "AUTHENTICATION_FAILED", Reaction: db.ReactionReauthenticate,
	}
	b.reports(1,
		authentication,
		db.VehicleErrorReport{Type: "COMPATIBILITY", Code: "VEHICLE_NOT_CAPABLE", Signal: "closure-sunroof", Reaction: db.ReactionUnsupportedSignals},
		db.VehicleErrorReport{Type: "COMPATIBILITY", Code: "VEHICLE_NOT_CAPABLE", Signal: "closure-doors", Reaction: db.ReactionUnsupportedSignals},
	)
	rows := b.rows("errors", historyVehicle)
	require.Len(t, rows, 2)
	require.Equal(t, "COMPATIBILITY VEHICLE_NOT_CAPABLE 2026-11-20T12:01:00Z - - nothing: this car does not have these signals "+
		"closure-doors, closure-sunroof", rows[0])
	require.Regexp(t, `^CONNECTED_SERVICES_ACCOUNT AUTHENTICATION_FAILED 2026-11-20T12:01:00Z - 20\S+Z the owner signs in .* the whole vehicle$`, rows[1])

	authentication.Resolved = true
	b.reports(2, authentication)
	require.Len(t, b.rows("errors", historyVehicle), 1)
	require.Regexp(t, `^CONNECTED\S+ AUTH\S+ 2026-11-20T12:01:00Z 2026-11-20T12:02:00Z 20\S+Z nothing: it is over the whole vehicle$`,
		b.rows("errors", "--all", historyVehicle)[1])

	require.NoError(t, b.run("errors", historyVehicle, "--all", "--json"))
	var failures []struct {
		Type, Reaction, ToDo     string
		Signals                  []string
		Open                     bool
		ResolvedAt, OwnerAskedAt *time.Time
	}
	b.decode(&failures)
	require.Equal(t, []string{"closure-doors", "closure-sunroof"}, failures[0].Signals)
	require.True(t, failures[0].Open)
	require.Equal(t, "nothing: it is over", failures[1].ToDo)
	require.Equal(t, []string{}, failures[1].Signals)
	require.NotNil(t, failures[1].OwnerAskedAt)
}

func TestAnOwnerWhoShouldBeAskedAndWasNotStandsOut(t *testing.T) {
	t.Parallel()
	b := setupHistory(t)
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), historyVehicle))
	b.reports(1, db.VehicleErrorReport{Type: "PERMISSION", Reaction: db.ReactionReconsent})
	require.Regexp(t, `^PERMISSION - 2026-11-20T12:01:00Z - no the owner connects the car again`, b.rows("errors", historyVehicle)[0])
}

func TestEveryReactionSaysWhatIsToBeDone(t *testing.T) {
	t.Parallel()
	said := map[string]bool{}
	for _, reaction := range []db.Reaction{
		db.ReactionReauthenticate, db.ReactionReconsent, db.ReactionOwnerAction, db.ReactionUnsupportedSignals, db.ReactionIgnore, db.ReactionWait,
	} {
		said[toDo(db.VehicleErrorSummary{Open: true, Reaction: reaction})] = true
		require.Equal(t, "nothing: it is over", toDo(db.VehicleErrorSummary{Reaction: reaction}))
	}
	require.Len(t, said, 6)
}

func TestReadingsAreShownWithWhatBecameOfThem(t *testing.T) {
	t.Parallel()
	b := setupHistory(t)
	first := b.reading(1, "100.5", "entered", func(reading *db.NewReading) {
		reading.ReportedValue, reading.ReportedUnit = decimal.RequireFromString("62.448"), "mi"
	})
	second := b.reading(2, "100.6", "superseded", nil)
	b.reading(3, "90", "lower", func(reading *db.NewReading) {
		reading.ReportedUnit, reading.UnitAssumed, reading.Confirmed, reading.SourceType = "", true, true, "poll"
	})
	rows := []string{
		"2026-11-20T12:03:00Z 90 90 (unit assumed) poll lower, confirmed - reading-3",
		fmt.Sprintf("2026-11-20T12:02:00Z 100.6 100.6 km webhook superseded: duplicate %d superseded reading-2", second),
		fmt.Sprintf("2026-11-20T12:01:00Z 100.5 62.448 mi webhook entered %d reading-1", first),
	}
	require.Equal(t, rows, b.rows("readings", historyVehicle))
	require.Equal(t, rows[:1], b.rows("readings", "--limit", "1", historyVehicle))
	require.NoError(t, b.run("readings", historyVehicle, "--json"))
	var readings []db.ReadingSummary
	b.decode(&readings)
	require.Len(t, readings, 3)
	require.Equal(t, "62.448", readings[2].ReportedValue.String())
	require.NotNil(t, readings[1].SupersededAt)
	require.ErrorContains(t, b.run("readings", historyVehicle, "--limit", "0"), "--limit must be at least 1")
}

func TestAVehicleWithoutHistoryIsAnEmptyListAndOneThatIsNotThereAnError(t *testing.T) {
	t.Parallel()
	b := setupHistory(t)
	for _, command := range []string{"signals", "errors", "readings"} {
		require.Empty(t, b.rows(command, historyVehicle))
		require.NoError(t, b.run(command, historyVehicle, "--json"))
		require.Equal(t, "[]\n", b.out.String())
		require.ErrorContains(t, b.run(command, "nobody's"), "there is no vehicle \"nobody's\"; `milepost vehicles list` shows them")
		require.ErrorContains(t, b.run(command), "give one Smartcar vehicle id")
		require.NoError(t, b.run(command, "--help"))
		require.Contains(t, b.out.String(), "SMARTCAR-VEHICLE-ID")
	}
}
