// Package activities does all of the workflows' I/O, one activity per file. Each
// file says why its activity is idempotent and what is tried again; errors.go
// alone decides which errors those are.
package activities

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// Deps is what the activities work with.
type Deps struct {
	Store  *db.Store
	Logger *slog.Logger
	// Observer is told of every closed event; nil means nobody is.
	Observer Observer
	// PollObserver is told of every poll; nil means nobody is.
	PollObserver PollObserver
	// OperatorObserver is told when only an operator can help; nil means nobody is.
	OperatorObserver OperatorObserver

	// Vault keeps tokens; without one nothing that needs tokens works.
	Vault *db.Vault
	// OAuth is nil while Connect is not configured.
	OAuth OAuth
	// ApplicationTokens is nil unless v3 is configured.
	ApplicationTokens ApplicationTokens
	// Platforms are the generations of Smartcar's API by db.APIv2 and db.APIv3.
	Platforms map[string]Platform
	// ManagementToken ends v2 connections whose own tokens are no good any more; it may be empty.
	ManagementToken smartcar.Token
	// WebhookID is the webhook that vehicles are subscribed to; "" when it enrols them by itself.
	WebhookID string
	// Refreshing says when tokens are refreshed.
	Refreshing Refreshing
	// Mode is that of the vehicles that owners connect; "" means live. Readings of others are invented, and never stored.
	Mode smartcar.Mode
	// PollLimits are what polls may ask of Smartcar; zero fields mean its published limits.
	PollLimits smartcar.BudgetLimits
	// ShortestOutage is the least silence of the ledger that can be an outage; zero means db.DefaultShortestOutage.
	ShortestOutage time.Duration
	// Notices says where the application takes notices.
	Notices NoticeTarget
	// Workflows lists what is running; CheckFleet needs it.
	Workflows WorkflowLister
	// Clock is time.Now unless a test skips time.
	Clock func() time.Time
	// Jitter lengthens a wait, so that vehicles that were put off together are not asked together; nil means by up to a tenth.
	Jitter func(wait time.Duration) time.Duration
}

// Observer counts how things end.
type Observer interface {
	// EventClosed is called after the commit with an outcome or a failure class.
	EventClosed(ctx context.Context, result string)
	// TokensRefreshed is called after each attempt of a workflow to have tokens refreshed.
	TokensRefreshed(ctx context.Context, result RefreshResult)
	// NoticeClosed is called when a notice was delivered, or given up.
	NoticeClosed(ctx context.Context, delivered bool)
}

// PollObserver counts polls.
type PollObserver interface {
	// VehiclePolled is called when a poll is settled.
	VehiclePolled(ctx context.Context, outcome contract.PollOutcome)
}

// OperatorObserver counts what only an operator can put right.
type OperatorObserver interface {
	// OperatorNeeded is called whenever Smartcar has refused the application itself.
	OperatorNeeded(ctx context.Context, refusal Refusal)
}

// Refusal is why Smartcar refuses the application.
type Refusal string

// Why Smartcar refuses the application.
const (
	RefusalCredentials Refusal = "credentials"
	RefusalPlan        Refusal = "plan"
)

// RefreshResult is what an attempt to have tokens refreshed came to.
type RefreshResult string

// What an attempt to have tokens refreshed comes to.
const (
	RefreshDone               RefreshResult = "refreshed"
	RefreshNeedsOwner         RefreshResult = "reauth_required"
	RefreshCredentialsRefused RefreshResult = "credentials_refused"
	RefreshFailed             RefreshResult = "failed"
)

func (d Deps) validate() error {
	var faults []error
	if d.Store == nil {
		faults = append(faults, errors.New("activities: Store is missing"))
	}
	if d.Logger == nil {
		faults = append(faults, errors.New("activities: Logger is missing"))
	}
	faults = append(faults, d.PollLimits.Validate())
	return errors.Join(faults...)
}

// Activities holds what every activity shares. It keeps no state of its own.
type Activities struct{ deps Deps }

// New checks the dependencies.
func New(deps Deps) (*Activities, error) {
	if err := deps.validate(); err != nil {
		return nil, err
	}
	if deps.Clock == nil {
		deps.Clock = time.Now
	}
	if deps.Jitter == nil {
		deps.Jitter = jitter
	}
	a := &Activities{deps: deps}
	if deps.OAuth != nil {
		a.deps.OAuth = watchedOAuth{OAuth: deps.OAuth, refused: a.operatorNeeded}
	}
	return a, nil
}

// Register makes the activities that touch only the database, or the application,
// known to a worker under their contract names.
func (a *Activities) Register(registry worker.ActivityRegistry) {
	register(registry, map[string]any{
		contract.ProcessAtOnceActivity:   a.ProcessAtOnce,
		contract.LoadEventActivity:       a.LoadEvent,
		contract.ConvertUnitsActivity:    a.ConvertUnits,
		contract.WriteMeterEntryActivity: a.WriteMeterEntry,
		contract.RecordOutcomeActivity:   a.RecordOutcome,
		contract.RecordFailureActivity:   a.RecordFailure,
		contract.LoadTokenStatusActivity: a.LoadTokenStatus,
		contract.CloseConsentActivity:    a.CloseConsent,
		contract.DeliverNoticeActivity:   a.DeliverNotice,
		contract.GiveNoticeUpActivity:    a.GiveNoticeUp,
		contract.CheckFleetActivity:      a.CheckFleet,
		contract.TrimRetainedActivity:    a.TrimRetained,
		contract.PlanReconcileActivity:   a.PlanReconcile,
	})
}

// RegisterSmartcar makes the activities that call Smartcar known to a worker of
// their own, on the queue whose rate is limited.
func (a *Activities) RegisterSmartcar(registry worker.ActivityRegistry) {
	register(registry, map[string]any{
		contract.RefreshTokensActivity:       a.RefreshTokens,
		contract.EndConnectionActivity:       a.EndConnection,
		contract.ExchangeCodeActivity:        a.ExchangeCode,
		contract.ListConsentVehiclesActivity: a.ListConsentVehicles,
		contract.ConnectVehicleActivity:      a.ConnectVehicle,
		contract.SubscribeVehicleActivity:    a.SubscribeVehicle,
		contract.ResumeVehicleActivity:       a.ResumeVehicle,
		contract.PollVehicleActivity:         a.PollVehicle,
	})
}

func register(registry worker.ActivityRegistry, functions map[string]any) {
	for name, function := range functions {
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

func (a *Activities) observeRefresh(ctx context.Context, result RefreshResult) {
	if a.deps.Observer != nil {
		a.deps.Observer.TokensRefreshed(ctx, result)
	}
}

// operatorNeeded tells of errors that are an operator's to put right, and of no others.
func (a *Activities) operatorNeeded(ctx context.Context, err error) {
	if !isOperatorsFault(err) {
		return
	}
	refusal, event := RefusalCredentials, logCredentialsRefused
	if errors.Is(err, smartcar.ErrBilling) {
		refusal, event = RefusalPlan, logPlanRefused
	}
	if a.deps.OperatorObserver != nil {
		a.deps.OperatorObserver.OperatorNeeded(ctx, refusal)
	}
	a.deps.Logger.Error(event, slog.String("error", err.Error()))
}

func (a *Activities) observeNotice(ctx context.Context, delivered bool) {
	if a.deps.Observer != nil {
		a.deps.Observer.NoticeClosed(ctx, delivered)
	}
}

func (a *Activities) observe(ctx context.Context, result string) {
	if a.deps.Observer != nil {
		a.deps.Observer.EventClosed(ctx, result)
	}
}
