package activities_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/errgroup"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
	"github.com/milepost/milepost/workflows/contract"
)

// What the property is tested with: `go test ./activities -run AnyOrder -v -events 10000 -seed 7`.
var (
	eventsFlag = flag.Int("events", 10_000, "events in random order that must come to what the sorted ones come to")
	seedFlag   = flag.Uint64("seed", 0, "seed of the random events; 0 takes one from the clock")
)

// TestEventsInAnyOrderWithDuplicatesAndRetriesComeToTheSameTables gives two
// databases the same events of 50 vehicles: one each event once, in the order of
// observation, by one worker; the other in random order, with repeated deliveries
// and repeated activities, by four workers.
func TestEventsInAnyOrderWithDuplicatesAndRetriesComeToTheSameTables(t *testing.T) {
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -seed %d -events %d", seed, *eventsFlag)
	generator := newGenerator(t, seed, *eventsFlag)
	events := generator.generate(*eventsFlag)

	inOrder, inDisorder := setupStream(t, generator.cars), setupStream(t, generator.cars)
	inOrder.run(sorted(events), 1, nil)
	inDisorder.run(shuffled(generator.random, events), 4, generator.random)

	for name, query := range comparedTables() {
		expected, found := texts(t, inOrder.url, query), texts(t, inDisorder.url, query)
		require.NotEmpty(t, expected, name)
		requireSameRows(t, name, expected, found)
	}
	requireFieldGuideCounts(t, inDisorder, events)
}

// comparedTables are the queries whose rows must be the same. Ids and times of
// writing are left out.
func comparedTables() map[string]string {
	const car = ` JOIN smartcar_vehicles AS car USING (vehicle_id) `
	return map[string]string{
		"readings": `SELECT concat_ws(' ', smartcar_vehicle_id, observed_at AT TIME ZONE 'UTC', odometer_km, verdict, event_id,
			observed_at_source, reported_value, reported_unit, unit_assumed, source_type) FROM odometer_readings` + car,
		"standing entries and their events": `SELECT concat_ws(' ', smartcar_vehicle_id, entry_date AT TIME ZONE 'UTC', odometer_km,
			event_id, source_type, notes) FROM meter_entries` + car + `WHERE superseded_at IS NULL`,
		"how each event ended": `SELECT concat_ws(' ', event_id, event_type, status, outcome, failure_class, failure_detail)
			FROM smartcar_webhook_events`,
		"all signals ever sent": `SELECT concat_ws(' ', event_id, data_type, data_value, unit, normalised_value, normalised_values,
			normalised_unit, observed_at AT TIME ZONE 'UTC', failure_type, failure_code) FROM vehicle_data`,
		"signals": `SELECT concat_ws(' ', smartcar_vehicle_id, data_type, data_value, unit, normalised_value, normalised_values,
			normalised_unit, observed_at AT TIME ZONE 'UTC', observed_at_source, event_id, reported_at AT TIME ZONE 'UTC', failure_type, failure_code,
			failure_event_id, failed_at AT TIME ZONE 'UTC', unsupported_at AT TIME ZONE 'UTC', available, supported) FROM vehicle_signals`,
		"vehicle errors": `SELECT concat_ws(' ', smartcar_vehicle_id, error_type, code, signal, state, opened_at AT TIME ZONE 'UTC',
			opened_event_id, resolved_at AT TIME ZONE 'UTC', resolved_event_id, resolution_type, reaction) FROM vehicle_errors`,
		"connections": `SELECT concat_ws(' ', smartcar_vehicle_id, connection_state, degraded) FROM smartcar_vehicles`,
	}
}

// requireSameRows shows only the rows that differ: all of them would be thousands.
func requireSameRows(t *testing.T, name string, expected, found []string) {
	t.Helper()
	counts := map[string]int{}
	for _, row := range expected {
		counts[row]--
	}
	for _, row := range found {
		counts[row]++
	}
	var differences []string
	for row, count := range counts {
		if count != 0 {
			differences = append(differences, fmt.Sprintf("%+d %s", count, row))
		}
	}
	slices.SortFunc(differences, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
	const shown = 20
	require.Empty(t, differences[:min(shown, len(differences))], "%s: %d rows in order (-), %d in disorder (+), %d differ",
		name, len(expected), len(found), len(differences))
}

// stream is the activities on a database of their own, with the whole fleet connected.
type stream struct {
	*activities.Activities

	t      *testing.T
	ledger *db.Ledger
	url    string
	// again counts the activities that were tried again, as Temporal would.
	again atomic.Int64
}

func setupStream(t *testing.T, cars []*generatedCar) *stream {
	t.Helper()
	s := &stream{t: t, url: dbtest.New(t)}
	store, err := db.Open(t.Context(), db.Config{URL: s.url, MaxConnections: 6})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	s.ledger = db.NewLedger(store)
	s.Activities, err = activities.New(activities.Deps{Store: store, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	for _, car := range cars {
		_, err := store.ConnectVehicle(t.Context(), db.ConnectedVehicle{SmartcarVehicleID: car.id, OwnerEmail: "owner@milepost.example"})
		require.NoError(t, err)
	}
	connectedBefore(t, s.url, noon().AddDate(-10, 0, 0)) // before all that is generated
	return s
}

// run receives the deliveries in their order and has the workers process the events.
// With a random source one event in four is processed twice, and so is every one that
// is delivered again: what an activity does whose first attempt nobody heard of.
func (s *stream) run(deliveries []db.Delivery, workers int, random *rand.Rand) {
	s.t.Helper()
	begin := time.Now()
	const batch = 40
	eventIDs := make(chan string, batch)
	group, ctx := errgroup.WithContext(s.t.Context())
	group.Go(func() error {
		defer close(eventIDs)
		for received := range slices.Chunk(deliveries, batch) {
			if err := s.receive(ctx, received, random, eventIDs); err != nil {
				return err
			}
		}
		return nil
	})
	for range workers {
		group.Go(func() error {
			for eventID := range eventIDs {
				if err := s.process(ctx, eventID); err != nil {
					return fmt.Errorf("process event: %w", err)
				}
			}
			return nil
		})
	}
	require.NoError(s.t, group.Wait())
	s.t.Logf("%d deliveries by %d workers: %s, %d activities tried again",
		len(deliveries), workers, time.Since(begin).Round(time.Millisecond), s.again.Load())
}

func (s *stream) receive(ctx context.Context, received []db.Delivery, random *rand.Rand, eventIDs chan<- string) error {
	if _, err := s.ledger.Append(ctx, received); err != nil {
		return err
	}
	var started []string
	for _, delivery := range received {
		started = append(started, delivery.EventID)
		if random != nil && random.IntN(4) == 0 {
			started = append(started, delivery.EventID)
		}
	}
	for _, eventID := range started {
		select {
		case eventIDs <- eventID:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// process takes an event through the activities as the workflow ProcessEvent does,
// without its wait for vehicles that are not connected.
func (s *stream) process(ctx context.Context, eventID string) error {
	result, err := s.ProcessAtOnce(ctx, contract.ProcessAtOnceInput{EventID: eventID})
	loaded := result.Loaded
	if err != nil {
		s.again.Add(1)
		if loaded, err = attempts(ctx, s, s.LoadEvent, contract.LoadEventInput{EventID: eventID}); err != nil {
			return s.close(ctx, eventID, "", err)
		}
	}
	switch {
	case result.Written != nil || loaded.Recorded != nil:
		return nil
	case loaded.Kind == contract.KindTest:
		return s.close(ctx, eventID, contract.OutcomeTestDelivery, nil)
	case loaded.Kind == contract.KindUnknown:
		return s.close(ctx, eventID, contract.OutcomeUnknownEventType, nil)
	case loaded.VehicleStatus == contract.VehicleUnknown:
		return s.close(ctx, eventID, "", temporal.NewNonRetryableApplicationError("unknown", string(contract.FailureUnknownVehicle), nil))
	case loaded.Kind == contract.KindVehicleError:
		return s.close(ctx, eventID, contract.OutcomeVehicleError, nil)
	default:
		return s.close(ctx, eventID, "", s.write(ctx, eventID, loaded))
	}
}

func (s *stream) write(ctx context.Context, eventID string, loaded contract.LoadEventResult) error {
	input := contract.WriteMeterEntryInput{EventID: eventID, VehicleID: loaded.VehicleID}
	if loaded.Odometer != nil {
		converted, err := attempts(ctx, s, s.ConvertUnits,
			contract.ConvertUnitsInput{Value: loaded.Odometer.Value, Unit: loaded.Odometer.Unit})
		if err != nil {
			return err
		}
		input.Odometer = &contract.OdometerReading{
			Reported: *loaded.Odometer, Kilometres: converted.Kilometres, UnitAssumed: converted.Assumed,
		}
	}
	_, err := attempts(ctx, s, s.WriteMeterEntry, input)
	return err
}

// close records an outcome, or the failure that kept the event from having one; with
// neither the event is closed already.
func (s *stream) close(ctx context.Context, eventID string, outcome contract.Outcome, cause error) error {
	if outcome != "" {
		_, cause = attempts(ctx, s, s.RecordOutcome, contract.RecordOutcomeInput{EventID: eventID, Outcome: outcome})
	}
	application, found := errors.AsType[*temporal.ApplicationError](cause)
	if !found || !application.NonRetryable() {
		return cause
	}
	_, err := attempts(ctx, s, s.RecordFailure, contract.RecordFailureInput{
		EventID: eventID, Class: contract.FailureClass(application.Type()), Detail: application.Message(),
	})
	return err
}

// attempts repeats an activity that failed for a passing reason, as Temporal would.
func attempts[Input, Result any](
	ctx context.Context, s *stream, activity func(context.Context, Input) (Result, error), input Input,
) (result Result, err error) {
	const most = 20
	for range most {
		result, err = activity(ctx, input)
		application, found := errors.AsType[*temporal.ApplicationError](err)
		if !found || application.NonRetryable() {
			return result, err
		}
		s.again.Add(1)
	}
	return result, err
}

// rowsOf gives a query's rows as fold makes them.
func rowsOf[Row any](t *testing.T, url, query string, fold pgx.RowToFunc[Row]) []Row {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { require.NoError(t, connection.Close(context.WithoutCancel(t.Context()))) }()
	rows, err := connection.Query(t.Context(), query)
	require.NoError(t, err)
	found, err := pgx.CollectRows(rows, fold)
	require.NoError(t, err)
	return found
}
