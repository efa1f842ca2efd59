package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/db"
)

const (
	floorDatabase = "insert_floor"
	// closeLimit bounds the wait for events to be closed.
	closeLimit = 20 * time.Minute
	// pollInterval is long enough that asking does not slow down what is measured.
	pollInterval = 50 * time.Millisecond

	median, slow = 0.50, 0.99
)

// openInsertFloor opens a database that nobody else works in, through a pool like the receiver's.
func (b *bench) openInsertFloor(ctx context.Context) (*db.Store, error) {
	if err := b.Postgres.CreateDatabase(ctx, floorDatabase); err != nil {
		return nil, err
	}
	url := b.Postgres.URL(floorDatabase)
	if err := db.Migrate(ctx, url); err != nil {
		return nil, err
	}
	settings, err := config.LoadDatabase(map[string]string{"DATABASE_URL": url})
	if err != nil {
		return nil, err
	}
	return db.Open(ctx, db.Config{URL: url, MaxConnections: settings.LedgerConnections})
}

// insert inserts the rows that deliveries become, one a statement.
func (b *bench) insert(ctx context.Context, pace *pace, store *db.Store) error {
	rows := make([]db.Delivery, b.settings.deliveries/rounds)
	for i := range rows {
		rows[i] = db.Delivery{
			EventID: uuid.NewString(), EventType: "VEHICLE_STATE", SmartcarVehicleID: b.load.Vehicle(i),
			Mode: "LIVE", DeliveryID: uuid.NewString(), WebhookID: uuid.NewString(),
			DeliveredAt: time.Now(), ReceivedAt: time.Now(), Payload: b.load.Body(i, uuid.NewString()),
		}
	}
	started := time.Now()
	err := b.load.Each(ctx, len(rows), func(ctx context.Context, i int) error {
		_, err := store.AppendAlone(ctx, rows[i])
		return err
	})
	pace.add(len(rows), started)
	return err
}

// acknowledge posts deliveries as fast as they are acknowledged, and then waits
// until they are processed, so that the next phase starts from rest.
func (b *bench) acknowledge(ctx context.Context, pace *pace) error {
	return b.postAll(ctx, b.settings.deliveries/rounds, func(started time.Time, took []time.Duration) {
		pace.add(len(took), started)
		pace.each = append(pace.each, took...)
	})
}

// process posts events and takes the time until the last of them is closed.
func (b *bench) process(ctx context.Context, pace *pace) error {
	count := b.settings.events / rounds
	started := time.Now()
	err := b.postAll(ctx, count, func(time.Time, []time.Duration) {})
	pace.add(count, started)
	return err
}

// postAll posts so many events, tells of their acknowledgements, and waits until all are processed.
func (b *bench) postAll(ctx context.Context, count int, acknowledged func(started time.Time, took []time.Duration)) error {
	bodies := make([][]byte, count)
	var eventID string
	for i := range bodies {
		eventID = uuid.NewString()
		bodies[i] = b.load.Body(b.posted+i, eventID)
	}
	took := make([]time.Duration, count)
	started := time.Now()
	err := b.load.Each(ctx, count, func(ctx context.Context, i int) error {
		began := time.Now()
		status, err := b.load.Post(ctx, bodies[i])
		took[i] = time.Since(began)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("a delivery was answered %d", status)
		}
		return err
	})
	if err != nil {
		return err
	}
	acknowledged(started, took)
	b.posted += count
	return b.awaitProcessed(ctx, eventID)
}

// percentile gives the value below which the given part of the durations lies, in milliseconds.
func percentile(durations []time.Duration, part float64) float64 {
	sorted := slices.Sorted(slices.Values(durations))
	return inMilliseconds(sorted[int(part*float64(len(sorted)-1))])
}

func inMilliseconds(duration time.Duration) float64 {
	return float64(duration) / float64(time.Millisecond)
}

// awaitProcessed waits until everything posted is closed, the last event's workflow
// included, and fails if an event failed.
func (b *bench) awaitProcessed(ctx context.Context, lastEventID string) error {
	var open int64
	err := until(ctx, func() (_ bool, err error) {
		open, err = b.Store.CountOpenEvents(ctx)
		return open == 0, err
	})
	if err != nil {
		return fmt.Errorf("%d events are not closed: %w", open, err)
	}
	if err := b.temporal.GetWorkflow(ctx, lastEventID, "").Get(ctx, nil); err != nil {
		return fmt.Errorf("the last event's workflow: %w", err)
	}
	return b.requireNoneFailed(ctx)
}

// until asks again and again, and gives up after a long time.
func until(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		if reached, err := done(); reached || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *bench) requireNoneFailed(ctx context.Context) error {
	failed, err := b.Store.FailedEventIDs(ctx, db.EventFilter{Limit: 1})
	if err == nil && len(failed) > 0 {
		return fmt.Errorf("event %s failed", failed[0])
	}
	return err
}

func writeTable(output io.Writer, named map[string]any) error {
	const padding = 2
	table := tabwriter.NewWriter(output, 0, 0, padding, ' ', tabwriter.AlignRight)
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(named)) {
		_, err := fmt.Fprintf(table, "%s\t%.2f\t\n", name, named[name])
		faults = append(faults, err)
	}
	return errors.Join(append(faults, table.Flush())...)
}
