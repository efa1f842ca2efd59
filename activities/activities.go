// Package activities does all of the workflows' I/O, one activity per file. Each
// file says why its activity is idempotent and what is tried again; errors.go
// alone decides which errors those are.
package activities

import (
	"context"
	"errors"
	"log/slog"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// Deps is what the activities work with.
type Deps struct {
	Store  *db.Store
	Logger *slog.Logger
	// Observer is told of every closed event; nil means nobody is.
	Observer Observer
}

// Observer counts how events end.
type Observer interface {
	// EventClosed is called after the commit with an outcome or a failure class.
	EventClosed(ctx context.Context, result string)
}

func (d Deps) validate() error {
	var faults []error
	if d.Store == nil {
		faults = append(faults, errors.New("activities: Store is missing"))
	}
	if d.Logger == nil {
		faults = append(faults, errors.New("activities: Logger is missing"))
	}
	return errors.Join(faults...)
}

// Activities holds what every activity shares. It keeps no state of its own.
type Activities struct{ deps Deps }

// New checks the dependencies.
func New(deps Deps) (*Activities, error) {
	if err := deps.validate(); err != nil {
		return nil, err
	}
	return &Activities{deps: deps}, nil
}

// Register makes every activity known to a worker under its contract name.
func (a *Activities) Register(registry worker.ActivityRegistry) {
	for name, function := range map[string]any{
		contract.ProcessAtOnceActivity:   a.ProcessAtOnce,
		contract.LoadEventActivity:       a.LoadEvent,
		contract.ConvertUnitsActivity:    a.ConvertUnits,
		contract.WriteMeterEntryActivity: a.WriteMeterEntry,
		contract.RecordOutcomeActivity:   a.RecordOutcome,
		contract.RecordFailureActivity:   a.RecordFailure,
	} {
		registry.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
}

// The names of log events, which alarms and log searches rely on.
const (
	logProcessingStarted  = "processing.started"
	logProcessingFinished = "processing.finished"
	logProcessingFailed   = "processing.failed"
)

func eventAttributes(event db.LedgerEvent) []any {
	return []any{
		slog.String("eventId", event.EventID),
		slog.String("eventType", event.EventType),
		slog.String("vehicleId", event.SmartcarVehicleID),
		slog.String("deliveryId", event.DeliveryID),
	}
}

func (a *Activities) finished(ctx context.Context, event db.LedgerEvent, outcome contract.Outcome) {
	a.observe(ctx, string(outcome))
	a.deps.Logger.Info(logProcessingFinished, append(eventAttributes(event), slog.String("outcome", string(outcome)))...)
}

func (a *Activities) failed(ctx context.Context, event db.LedgerEvent, class contract.FailureClass) {
	a.observe(ctx, string(class))
	a.deps.Logger.Warn(logProcessingFailed, append(eventAttributes(event), slog.String("failureClass", string(class)))...)
}

func (a *Activities) observe(ctx context.Context, result string) {
	if a.deps.Observer != nil {
		a.deps.Observer.EventClosed(ctx, result)
	}
}
