package activities_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// TestReadingsOfOneVehicleWrittenAtTheSameTimeComeToWhatTheSortedOnesComeTo: duplicates,
// lower and late readings of one vehicle meet in several processes. Each write has to see
// what the others have decided; the vehicle's row lock sees to that. The vehicles take
// turns, since one alone might come out right by luck.
func TestReadingsOfOneVehicleWrittenAtTheSameTimeComeToWhatTheSortedOnesComeTo(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	const cars, readings = 4, 100
	generator := newGenerator(t, seed, cars*readings*10)
	alone, together := setupStream(t, generator.cars[:cars]), setupStream(t, generator.cars[:cars])
	writers := together.processes()
	for _, car := range generator.cars[:cars] {
		events := generator.readings(car, readings)
		alone.run(sorted(events), 1, nil)
		together.writeAtOnce(writers, shuffled(generator.random, events))
	}

	tables := comparedTables()
	for _, name := range []string{"readings", "standing entries and their events", "how each event ended"} {
		expected, found := texts(t, alone.url, tables[name]), texts(t, together.url, tables[name])
		require.NotEmpty(t, expected, name)
		requireSameRows(t, name, expected, found)
	}
}

// readings are events of one car that each hold an odometer reading.
func (g *generator) readings(car *generatedCar, wanted int) []generatedEvent {
	var events []generatedEvent
	for len(events) < wanted {
		event := g.stateEvent(car, "LIVE")
		if event.hasReading && !g.known[event.original.EventID] {
			g.known[event.original.EventID] = true
			events = append(events, event)
		}
	}
	return events
}

const workersPerProcess = 4

// processes are the activities as three processes have them, each with a pool of its own.
func (s *stream) processes() []*stream {
	s.t.Helper()
	started := make([]*stream, 3)
	for i := range started {
		store, err := db.Open(s.t.Context(), db.Config{URL: s.url, MaxConnections: workersPerProcess})
		require.NoError(s.t, err)
		s.t.Cleanup(store.Close)
		started[i] = &stream{t: s.t}
		started[i].Activities, err = activities.New(activities.Deps{Store: store, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(s.t, err)
	}
	return started
}

// writeAtOnce has all workers of all processes write what was delivered.
func (s *stream) writeAtOnce(processes []*stream, deliveries []db.Delivery) {
	s.t.Helper()
	_, err := s.ledger.Append(s.t.Context(), deliveries)
	require.NoError(s.t, err)
	eventIDs := make(chan string, len(deliveries))
	for _, delivery := range deliveries {
		eventIDs <- delivery.EventID
	}
	close(eventIDs)
	group, ctx := errgroup.WithContext(s.t.Context())
	for _, process := range processes {
		for range workersPerProcess {
			group.Go(func() error {
				for eventID := range eventIDs {
					if err := process.writeReading(ctx, eventID); err != nil {
						return fmt.Errorf("write reading: %w", err)
					}
				}
				return nil
			})
		}
	}
	require.NoError(s.t, group.Wait())
}

// writeReading takes an event through WriteMeterEntry, and not through ProcessAtOnce.
func (s *stream) writeReading(ctx context.Context, eventID string) error {
	loaded, err := attempts(ctx, s, s.LoadEvent, contract.LoadEventInput{EventID: eventID})
	if err != nil || loaded.Recorded != nil {
		return err
	}
	return s.write(ctx, eventID, loaded)
}
