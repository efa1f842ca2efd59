package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/milepost/milepost/db"
)

// EventMetrics counts how events end, and shows what waits.
type EventMetrics struct {
	closed metric.Int64Counter
	depth  metric.Int64Gauge
	oldest metric.Float64Gauge
}

// NewEventMetrics makes the instruments.
func NewEventMetrics(meter metric.Meter) (*EventMetrics, error) {
	closed, err := meter.Int64Counter("milepost_events_closed",
		metric.WithDescription("Events closed, by outcome or failure class."))
	depth, err2 := meter.Int64Gauge("milepost_backlog_depth",
		metric.WithDescription("Ledger rows whose workflow has not been started."))
	oldest, err3 := meter.Float64Gauge("milepost_backlog_age_seconds", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest ledger row whose workflow has not been started."))
	return &EventMetrics{closed: closed, depth: depth, oldest: oldest}, errors.Join(err, err2, err3)
}

// EventClosed counts one closed event under its outcome or failure class.
func (m *EventMetrics) EventClosed(ctx context.Context, result string) {
	m.closed.Add(ctx, 1, metric.WithAttributes(attribute.String("result", result)))
}

// BacklogReader counts what waits.
type BacklogReader interface {
	Backlog(ctx context.Context) (db.Backlog, error)
}

// WatchBacklog keeps the backlog's gauges up to date until ctx is done. While the
// database is away they keep their last value; /ready says that it is away.
func (m *EventMetrics) WatchBacklog(ctx context.Context, reader BacklogReader, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if backlog, err := reader.Backlog(ctx); err == nil {
			m.depth.Record(ctx, backlog.Depth)
			m.oldest.Record(ctx, backlog.Oldest.Seconds())
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
