package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// EventMetrics counts how events, refreshes and notices end, and shows what waits.
type EventMetrics struct {
	closed  metric.Int64Counter
	depth   metric.Int64Gauge
	oldest  metric.Float64Gauge
	tokens  metric.Int64Counter
	notices metric.Int64Counter
	polls   metric.Int64Counter
	refused metric.Int64Counter
}

// NewEventMetrics makes the instruments.
func NewEventMetrics(meter metric.Meter) (*EventMetrics, error) {
	metrics := &EventMetrics{}
	var faults [7]error
	metrics.closed, faults[0] = meter.Int64Counter("milepost_events_closed",
		metric.WithDescription("Events closed, by outcome or failure class."))
	metrics.depth, faults[1] = meter.Int64Gauge("milepost_backlog_depth",
		metric.WithDescription("Ledger rows whose workflow has not been started."))
	metrics.oldest, faults[2] = meter.Float64Gauge("milepost_backlog_age_seconds", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest ledger row whose workflow has not been started."))
	metrics.tokens, faults[3] = meter.Int64Counter("milepost_token_refreshes",
		metric.WithDescription("Attempts to have tokens refreshed, by what they came to."))
	metrics.notices, faults[4] = meter.Int64Counter("milepost_notices_closed",
		metric.WithDescription("Notices to the application that were delivered, or given up."))
	metrics.polls, faults[5] = meter.Int64Counter("milepost_polls",
		metric.WithDescription("Polls of vehicles that should have been heard from, by what they came to."))
	metrics.refused, faults[6] = meter.Int64Counter("milepost_application_refused",
		metric.WithDescription("Calls that Smartcar refused because of the application's credentials or plan."))
	return metrics, errors.Join(faults[:]...)
}

// OperatorNeeded counts one call that was refused because of the application itself.
func (m *EventMetrics) OperatorNeeded(ctx context.Context, refusal activities.Refusal) {
	m.refused.Add(ctx, 1, metric.WithAttributes(attribute.String("reason", string(refusal))))
}

// TokensRefreshed counts one attempt to have tokens refreshed.
func (m *EventMetrics) TokensRefreshed(ctx context.Context, result activities.RefreshResult) {
	m.tokens.Add(ctx, 1, metric.WithAttributes(attribute.String("result", string(result))))
}

// NoticeClosed counts one notice to the application.
func (m *EventMetrics) NoticeClosed(ctx context.Context, delivered bool) {
	m.notices.Add(ctx, 1, metric.WithAttributes(attribute.Bool("delivered", delivered)))
}

// EventClosed counts one closed event under its outcome or failure class.
func (m *EventMetrics) EventClosed(ctx context.Context, result string) {
	m.closed.Add(ctx, 1, metric.WithAttributes(attribute.String("result", result)))
}

// VehiclePolled counts one poll.
func (m *EventMetrics) VehiclePolled(ctx context.Context, outcome contract.PollOutcome) {
	m.polls.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", string(outcome))))
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
