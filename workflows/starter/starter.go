// Package starter turns ledger rows into workflows: it claims rows that are
// received, starts ProcessEvent under the eventId, and marks them started. It
// also finds started rows that never closed and brings them together with Temporal.
package starter

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/milepost/milepost/db"
)

// Ledger is what the starter needs of the ledger to start workflows.
type Ledger interface {
	ClaimEvents(ctx context.Context, limit int32, lease time.Duration) ([]db.ClaimedEvent, error)
	ReleaseEvent(ctx context.Context, eventID string, delay time.Duration) error
	MarkEventsStarted(ctx context.Context, started []db.ClaimedEvent) error
}

// StaleLedger is what the starter needs of the ledger to heal rows that never closed.
type StaleLedger interface {
	StaleStartedEvents(ctx context.Context, limit int32, olderThan time.Duration) ([]db.ClaimedEvent, error)
	RequeueStartedEvent(ctx context.Context, eventID string) error
	CloseEvent(ctx context.Context, closing db.Closing) error
}

// Temporal is the part of the Temporal client in use.
type Temporal interface {
	ExecuteWorkflow(
		ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any,
	) (client.WorkflowRun, error)
	DescribeWorkflowExecution(
		ctx context.Context, workflowID, runID string,
	) (*workflowservice.DescribeWorkflowExecutionResponse, error)
}

// Deps is what the starter works with. Zero durations and counts mean the defaults.
type Deps struct {
	Ledger   Ledger
	Stale    StaleLedger
	Temporal Temporal
	Logger   *slog.Logger
	// Concurrency is how many starts are under way at once.
	Concurrency int
	// Lease is how long a claimed row is left to this starter before others may have it.
	Lease time.Duration
	// PollInterval is how often the ledger is asked when nobody wakes the starter.
	PollInterval time.Duration
	// HealAfter is the age at which a started row that has not closed is compared with Temporal.
	HealAfter time.Duration
	// UnknownVehicleGrace is passed on to the workflows; zero means their default.
	UnknownVehicleGrace time.Duration
}

const (
	defaultConcurrency  = 32
	defaultLease        = 30 * time.Second
	defaultPollInterval = time.Second
	defaultHealAfter    = 2 * time.Minute

	startTimeout = 10 * time.Second
	// drainTimeout bounds the bookkeeping after the starter was told to stop.
	drainTimeout = 5 * time.Second
	// firstPause and longestPause bound the wait after Temporal failed to answer.
	firstPause   = 250 * time.Millisecond
	longestPause = 5 * time.Second
)

func (d *Deps) validate() error {
	var faults []error
	for name, missing := range map[string]bool{
		"Ledger": d.Ledger == nil, "Stale": d.Stale == nil, "Temporal": d.Temporal == nil, "Logger": d.Logger == nil,
	} {
		if missing {
			faults = append(faults, errors.New("starter: "+name+" is missing"))
		}
	}
	d.Concurrency = valueOr(d.Concurrency, defaultConcurrency)
	d.Lease = valueOr(d.Lease, defaultLease)
	d.PollInterval = valueOr(d.PollInterval, defaultPollInterval)
	d.HealAfter = valueOr(d.HealAfter, defaultHealAfter)
	return errors.Join(faults...)
}

func valueOr[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// Starter starts workflows for ledger rows until it is told to stop.
type Starter struct {
	deps    Deps
	wake    chan struct{}
	events  chan db.ClaimedEvent
	started chan db.ClaimedEvent
	outage  outage
}

// New checks the dependencies.
func New(deps Deps) (*Starter, error) {
	if err := deps.validate(); err != nil {
		return nil, err
	}
	return &Starter{
		deps: deps,
		wake: make(chan struct{}, 1),
		// As many wait as are under way, so that starting goes on while the next are claimed.
		events:  make(chan db.ClaimedEvent, deps.Concurrency),
		started: make(chan db.ClaimedEvent, deps.Concurrency),
	}, nil
}

// Wake tells the starter that a row was received in this process. It never blocks.
func (s *Starter) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx is done, then lets the starts that are under way finish and
// marks them. Rows it had claimed and not started are claimable again after the lease.
func (s *Starter) Run(ctx context.Context) error {
	var starting, marking, healing sync.WaitGroup
	// Bookkeeping outlives ctx: a started workflow should be marked.
	settle := context.WithoutCancel(ctx)
	for range s.deps.Concurrency {
		starting.Go(func() {
			for event := range s.events {
				s.start(settle, event)
			}
		})
	}
	marking.Go(func() { s.markStarted(settle) })
	healing.Go(func() { s.healPeriodically(ctx) })
	s.claim(ctx)
	close(s.events)
	starting.Wait()
	close(s.started)
	marking.Wait()
	healing.Wait()
	return nil
}

// claim hands received rows to the starting goroutines.
func (s *Starter) claim(ctx context.Context) {
	for ctx.Err() == nil {
		if !sleep(ctx, s.outage.pause()) {
			return
		}
		limit := int32(s.deps.Concurrency) //nolint:gosec // configuration, far below the limit of int32
		claimed, err := s.deps.Ledger.ClaimEvents(ctx, limit, s.deps.Lease)
		if err != nil && ctx.Err() == nil {
			s.deps.Logger.Warn("starter.claim_failed", slog.String("error", err.Error()))
		}
		for _, event := range claimed {
			select {
			case s.events <- event:
			case <-ctx.Done():
				return
			}
		}
		if len(claimed) == s.deps.Concurrency {
			continue
		}
		if !s.awaitWork(ctx) {
			return
		}
	}
}

func (s *Starter) awaitWork(ctx context.Context) bool {
	timer := time.NewTimer(s.deps.PollInterval)
	defer timer.Stop()
	select {
	case <-s.wake:
		return true
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func sleep(ctx context.Context, pause time.Duration) bool {
	if pause == 0 {
		return true
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
