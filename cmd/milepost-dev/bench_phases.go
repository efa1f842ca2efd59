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
	closeLimit   = 20 * time.Minute
	pollInterval = 20 * time.Millisecond

	median, slow = 0.50, 0.99
)

// insertFloor inserts the rows that deliveries become, one a statement, through a
// pool like the receiver's, into a database that nobody else works in.
func (b *bench) insertFloor(ctx context.Context, measured *figures) error {
	if err := b.Postgres.CreateDatabase(ctx, floorDatabase); err != nil {
		return err
	}
	url := b.Postgres.URL(floorDatabase)
	if err := db.Migrate(ctx, url); err != nil {
		return err
	}
	settings, err := config.LoadDatabase(map[string]string{"DATABASE_URL": url})
	if err != nil {
		return err
	}
	store, err := db.Open(ctx, db.Config{URL: url, MaxConnections: settings.LedgerConnections})
	if err != nil {
		return err
	}
	defer store.Close()
	rows := make([]db.Delivery, b.settings.deliveries)
	for i := range rows {
		rows[i] = db.Delivery{
			EventID: uuid.NewString(), EventType: "VEHICLE_STATE", SmartcarVehicleID: b.load.Vehicle(i),
			Mode: "LIVE", DeliveryID: uuid.NewString(), WebhookID: uuid.NewString(),
			DeliveredAt: time.Now(), ReceivedAt: time.Now(), Payload: b.load.Body(i, uuid.NewString()),
		}
	}
	started := time.Now()
	err = b.load.Each(ctx, len(rows), func(ctx context.Context, i int) error {
		_, err := store.AppendAlone(ctx, rows[i])
		return err
	})
	measured.InsertFloorPerSecond = perSecond(len(rows), time.Since(started))
	return err
}

// acknowledge posts deliveries as fast as they are acknowledged, and then waits
// until they are processed, so that the next phase starts from rest.
func (b *bench) acknowledge(ctx context.Context, measured *figures) error {
	started := time.Now()
	took, err := b.post(ctx, 0, b.settings.deliveries)
	if err != nil {
		return err
	}
	measured.AckPerSecond = perSecond(len(took), time.Since(started))
	measured.AckMedian, measured.AckSlow = percentile(took, median), percentile(took, slow)
	return b.awaitProcessed(ctx, int64(b.settings.deliveries))
}

// post posts the events first to first+count-1 and gives the time each took to be acknowledged.
func (b *bench) post(ctx context.Context, first, count int) ([]time.Duration, error) {
	bodies := make([][]byte, count)
	for i := range bodies {
		bodies[i] = b.load.Body(first+i, uuid.NewString())
	}
	took := make([]time.Duration, count)
	return took, b.load.Each(ctx, count, func(ctx context.Context, i int) error {
		started := time.Now()
		status, err := b.load.Post(ctx, bodies[i])
		took[i] = time.Since(started)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("a delivery was answered %d", status)
		}
		return err
	})
}

// percentile gives the value below which the given part of the durations lies, in milliseconds.
func percentile(durations []time.Duration, part float64) float64 {
	sorted := slices.Sorted(slices.Values(durations))
	return inMilliseconds(sorted[int(part*float64(len(sorted)-1))])
}

func inMilliseconds(duration time.Duration) float64 {
	return float64(duration) / float64(time.Millisecond)
}

func perSecond(count int, took time.Duration) float64 { return float64(count) / took.Seconds() }

func (b *bench) process(ctx context.Context, measured *figures) error {
	before, err := b.Store.DatabaseBytes(ctx)
	if err != nil {
		return err
	}
	started := time.Now()
	if _, err := b.post(ctx, b.settings.deliveries, b.settings.events); err != nil {
		return err
	}
	total := b.settings.deliveries + b.settings.events
	if err := b.awaitProcessed(ctx, int64(total)); err != nil {
		return err
	}
	measured.EventsPerSecond = perSecond(b.settings.events, time.Since(started))
	after, err := b.Store.DatabaseBytes(ctx)
	if err != nil {
		return err
	}
	measured.DatabaseBytesPerEvent = float64(after-before) / float64(b.settings.events)
	measured.HistoryEventsPerEvent, err = b.historyLength(ctx, total)
	return err
}

// awaitProcessed waits until so many events are processed, and fails if one failed.
func (b *bench) awaitProcessed(ctx context.Context, events int64) error {
	ctx, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		counts, err := b.Store.CountEvents(ctx)
		if err != nil {
			return err
		}
		var processed int64
		for _, count := range counts {
			switch count.Status {
			case db.StatusFailed:
				return fmt.Errorf("%d events failed", count.Events)
			case db.StatusProcessed:
				processed = count.Events
			}
		}
		if processed >= events {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d events are processed: %w", processed, events, ctx.Err())
		}
	}
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
