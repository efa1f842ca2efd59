package starter

import (
	"context"
	"errors"
	"log/slog"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/errgroup"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// RequestStore is what is asked for, written in the transactions that made it necessary.
type RequestStore interface {
	ClaimWorkflowRequests(ctx context.Context, kinds []string, limit int32, lease time.Duration) ([]db.WorkflowRequest, error)
	WorkflowRequestDone(ctx context.Context, id int64) error
}

// RequestTemporal is the part of the Temporal client that requests need.
type RequestTemporal interface {
	ExecuteWorkflow(
		ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any,
	) (client.WorkflowRun, error)
	SignalWithStartWorkflow(
		ctx context.Context, workflowID, signal string, signalArg any,
		options client.StartWorkflowOptions, workflow any, workflowArgs ...any,
	) (client.WorkflowRun, error)
}

// CodeExchanger saves an authorization code, which is good for ten minutes, when
// Temporal is not there to do it in a workflow.
type CodeExchanger interface {
	ExchangeCode(ctx context.Context, input contract.ExchangeCodeInput) (contract.ExchangeCodeResult, error)
}

// RequestsDeps is what Requests works with. Zero durations mean the defaults.
type RequestsDeps struct {
	Store    RequestStore
	Temporal RequestTemporal
	// Codes may be nil: then codes wait for Temporal.
	Codes  CodeExchanger
	Logger *slog.Logger
	// Notices is false while the application takes none: they are kept until it does.
	Notices bool
	// PollInterval is how often requests are looked for; Lease how long a claimed one is left to this process.
	PollInterval, Lease time.Duration
}

const (
	requestBatch       = 64
	requestConcurrency = 8
	requestLease       = 15 * time.Second
)

func (d *RequestsDeps) validate() error {
	var faults []error
	for name, missing := range map[string]bool{
		"Store": d.Store == nil, "Temporal": d.Temporal == nil, "Logger": d.Logger == nil,
	} {
		if missing {
			faults = append(faults, errors.New("requests: "+name+" is missing"))
		}
	}
	d.PollInterval = valueOr(d.PollInterval, defaultPollInterval)
	d.Lease = valueOr(d.Lease, requestLease)
	return errors.Join(faults...)
}

// Requests starts and signals the workflows that the database asks for.
type Requests struct {
	deps   RequestsDeps
	kinds  []string
	outage outage
}

// NewRequests checks the dependencies.
func NewRequests(deps RequestsDeps) (*Requests, error) {
	if err := deps.validate(); err != nil {
		return nil, err
	}
	kinds := []string{db.RequestConnectVehicles, db.RequestTokenRefresh, db.RequestReconcile}
	if deps.Notices {
		kinds = append(kinds, db.RequestDeliverNotice)
	}
	return &Requests{deps: deps, kinds: kinds}, nil
}

// Run works until ctx is done. A request that cannot be seen to now is claimed
// again after its lease, so that at worst a workflow is signalled twice.
func (r *Requests) Run(ctx context.Context) {
	for ctx.Err() == nil {
		claimed, err := r.deps.Store.ClaimWorkflowRequests(ctx, r.kinds, requestBatch, r.deps.Lease)
		if err != nil && ctx.Err() == nil {
			r.deps.Logger.Warn("requests.claim_failed", slog.String("error", err.Error()))
		}
		var group errgroup.Group
		group.SetLimit(requestConcurrency)
		for _, request := range claimed {
			group.Go(func() error {
				if ctx.Err() == nil {
					r.see(context.WithoutCancel(ctx), request)
				}
				return nil
			})
		}
		_ = group.Wait() // the goroutines report themselves
		if len(claimed) == requestBatch && r.outage.pause() == 0 {
			continue
		}
		if !sleep(ctx, max(r.deps.PollInterval, r.outage.pause())) {
			return
		}
	}
}

// see sees to one request and removes it.
func (r *Requests) see(ctx context.Context, request db.WorkflowRequest) {
	ctx, cancel := context.WithTimeout(ctx, r.deps.Lease)
	defer cancel()
	attributes := []any{slog.String("kind", request.Kind)}
	err := r.start(ctx, request)
	if errors.Is(err, errStillRunning) {
		r.outage.over()
		r.deps.Logger.Info("requests.waiting", attributes...)
		return
	}
	if err != nil {
		r.deps.Logger.Warn("requests.start_failed", append(attributes, slog.String("error", err.Error()))...)
		r.outage.noticed()
		r.saveCode(ctx, request)
		return
	}
	r.outage.over()
	if err := r.deps.Store.WorkflowRequestDone(ctx, request.ID); err != nil {
		r.deps.Logger.Warn("requests.not_closed", append(attributes, slog.String("error", err.Error()))...)
	}
}

// errStillRunning: the request waits for a workflow to end, which is no fault.
var errStillRunning = errors.New("a workflow with this ID is running")

func (r *Requests) start(ctx context.Context, request db.WorkflowRequest) error {
	options := client.StartWorkflowOptions{
		TaskQueue:             contract.TaskQueue,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
	}
	switch request.Kind {
	case db.RequestTokenRefresh:
		options.ID = contract.TokenRefreshID(request.Subject)
		key := temporal.NewSearchAttributeKeyKeyword(contract.SearchAttributeVehicleID)
		options.TypedSearchAttributes = temporal.NewSearchAttributes(key.ValueSet(request.Subject))
		_, err := r.deps.Temporal.SignalWithStartWorkflow(ctx, options.ID, request.Signal, nil, options,
			contract.TokenRefreshWorkflow, contract.TokenRefreshInput{SmartcarVehicleID: request.Subject})
		return err
	case db.RequestConnectVehicles:
		options.ID = contract.ConnectVehiclesID(request.Subject)
		return r.startOnce(ctx, options, contract.ConnectVehiclesWorkflow, contract.ConnectVehiclesInput{ConsentID: request.Subject})
	case db.RequestReconcile:
		// One that is running may have looked too early: the request is claimed again until it has ended.
		options.ID = contract.ReconcileID
		options.WorkflowExecutionErrorWhenAlreadyStarted = true
		_, err := r.deps.Temporal.ExecuteWorkflow(ctx, options, contract.ReconcileWorkflow, contract.ReconcileInput{})
		if isStartedAlready(err) {
			return errStillRunning
		}
		return err
	default:
		options.ID = contract.DeliverNoticeID(request.Subject)
		return r.startOnce(ctx, options, contract.DeliverNoticeWorkflow, contract.DeliverNoticeInput{NoticeID: request.Subject})
	}
}

// startOnce takes a workflow that is running, or has completed, for started.
func (r *Requests) startOnce(ctx context.Context, options client.StartWorkflowOptions, workflow string, input any) error {
	options.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
	options.WorkflowExecutionErrorWhenAlreadyStarted = true
	_, err := r.deps.Temporal.ExecuteWorkflow(ctx, options, workflow, input)
	if isStartedAlready(err) {
		return nil
	}
	return err
}

func isStartedAlready(err error) bool {
	_, already := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err)
	return already
}

// saveCode exchanges the code of a consent whose workflow cannot be started, for
// whatever reason: it may not live for as long as that lasts. The workflow finds it done.
func (r *Requests) saveCode(ctx context.Context, request db.WorkflowRequest) {
	if request.Kind != db.RequestConnectVehicles || r.deps.Codes == nil {
		return
	}
	if _, err := r.deps.Codes.ExchangeCode(ctx, contract.ExchangeCodeInput{ConsentID: request.Subject}); err != nil {
		r.deps.Logger.Warn("requests.code_not_saved", slog.String("error", err.Error()))
	}
}
