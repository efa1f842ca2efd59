package api

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/milepost/milepost/api/smartcar"
)

type metrics struct {
	deliveries metric.Int64Counter
	ack        metric.Float64Histogram
	connect    metric.Int64Counter
	quarantine metric.Int64Counter
}

func newMetrics(meter metric.Meter) (*metrics, error) {
	deliveries, errDeliveries := meter.Int64Counter("milepost_deliveries",
		metric.WithDescription("Webhook requests answered, by result, event type and mode."))
	ack, errAck := meter.Float64Histogram("milepost_ack_seconds",
		metric.WithDescription("Time from a webhook request's headers to its answer."),
		metric.WithUnit("s"),
		metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5)) //nolint:mnd // Bucket bounds.
	connect, errConnect := meter.Int64Counter("milepost_connect",
		metric.WithDescription("Steps of owners through Connect, by result: started, consented, or why it went no further."))
	quarantine, errQuarantine := meter.Int64Counter("milepost_quarantine",
		metric.WithDescription("Deliveries refused for their signature, by what became of them: kept, rate_limited or failed."))
	if err := errors.Join(errDeliveries, errAck, errConnect, errQuarantine); err != nil {
		return nil, err
	}
	return &metrics{deliveries: deliveries, ack: ack, connect: connect, quarantine: quarantine}, nil
}

// countConnect counts one step; result must come from a closed list.
func (m *metrics) countConnect(ctx context.Context, result string) {
	m.connect.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(attribute.String("result", result))))
}

// countQuarantine counts one refused delivery; result must come from a closed list.
func (m *metrics) countQuarantine(ctx context.Context, result string) {
	m.quarantine.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(attribute.String("result", result))))
}

func (m *metrics) record(ctx context.Context, reply answer, took time.Duration) {
	outcome := attribute.String("result", string(reply.result))
	m.deliveries.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(outcome,
		attribute.String("event_type", boundedType(reply.eventType)),
		attribute.String("mode", boundedMode(reply.mode)))))
	m.ack.Record(ctx, took.Seconds(), metric.WithAttributeSet(attribute.NewSet(outcome)))
}

// boundedType and boundedMode keep what a sender chooses from becoming time series without end.
func boundedType(eventType smartcar.EventType) string {
	switch eventType {
	case "":
		return "unknown"
	case smartcar.TypeVerify, smartcar.TypeVehicleState, smartcar.TypeVehicleError:
		return string(eventType)
	default:
		return "other"
	}
}

func boundedMode(mode smartcar.Mode) string {
	switch mode {
	case "":
		return "unknown"
	case smartcar.ModeLive, smartcar.ModeTest, smartcar.ModeSimulated:
		return string(mode)
	default:
		return "other"
	}
}
