package activities

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// WorkflowLister is the part of the Temporal client that CheckFleet uses.
type WorkflowLister interface {
	ListWorkflow(
		ctx context.Context, request *workflowservice.ListWorkflowExecutionsRequest,
	) (*workflowservice.ListWorkflowExecutionsResponse, error)
}

const (
	fleetPage = 500
	// mostPerCheck bounds what one check brings back of each kind; the next one goes on.
	mostPerCheck = 1000
	// lostAfter is how long a consent or a notice may be open before its workflow is asked for again.
	lostAfter         = 10 * time.Minute
	runningTokensOnly = "WorkflowType = '" + contract.TokenRefreshWorkflow + "' AND ExecutionStatus = 'Running'"
)

// CheckFleet makes the set of running TokenRefresh workflows equal the set of
// vehicles that have tokens: it asks for those that are missing, and lets those look
// at the database again that ought to have ended. Events that failed for want of
// their vehicle while it was being connected are received again, and the workflows of
// consents and notices that are open for long are asked for again, in case Temporal
// has lost them.
//
// Idempotent: a workflow that is asked for twice is started once, to look again
// does no harm, as when Temporal's list lags behind, and an event that is received
// again is not failed any more. Tried again while the database or
// Temporal is away.
func (a *Activities) CheckFleet(ctx context.Context) (contract.CheckFleetResult, error) {
	if a.deps.Workflows == nil {
		return contract.CheckFleetResult{}, classify(errNotConfigured)
	}
	running, err := a.runningTokenRefreshes(ctx)
	if err != nil {
		return contract.CheckFleetResult{}, classify(err)
	}
	var result contract.CheckFleetResult
	for after := ""; ; {
		vehicles, err := a.deps.Store.VehiclesWithTokens(ctx, after, fleetPage)
		if err != nil {
			return result, classify(err)
		}
		for _, vehicle := range vehicles {
			result.Vehicles++
			if !running[vehicle] {
				result.Started++
				err = errors.Join(err, a.requestTokenRefresh(ctx, vehicle))
			}
			delete(running, vehicle)
		}
		if err != nil {
			return result, classify(err)
		}
		if len(vehicles) < fleetPage {
			break
		}
		after = vehicles[len(vehicles)-1]
		activity.RecordHeartbeat(ctx, after)
	}
	for vehicle := range running {
		result.Nudged++
		if err := a.requestTokenRefresh(ctx, vehicle); err != nil {
			return result, classify(err)
		}
	}
	if err := a.bringBack(ctx, &result); err != nil {
		return result, classify(err)
	}
	if result.Started > 0 || result.Nudged > 0 || result.Requeued > 0 {
		a.deps.Logger.Info("fleet.corrected", slog.Int("vehicles", result.Vehicles),
			slog.Int("started", result.Started), slog.Int("nudged", result.Nudged), slog.Int("requeued", result.Requeued))
	}
	return result, nil
}

// bringBack sees to what is neither a vehicle's nor failed for good, and was left behind.
func (a *Activities) bringBack(ctx context.Context, result *contract.CheckFleetResult) (err error) {
	if result.Requeued, err = a.deps.Store.RequeueConnected(ctx, mostPerCheck); err != nil {
		return err
	}
	result.Requested, err = a.deps.Store.RequestLostWorkflows(ctx, lostAfter, mostPerCheck)
	return err
}

func (a *Activities) requestTokenRefresh(ctx context.Context, vehicle string) error {
	return a.deps.Store.RequestWorkflow(ctx, db.WorkflowRequest{
		Kind: db.RequestTokenRefresh, Subject: vehicle, Signal: db.SignalReconnected,
	})
}

func (a *Activities) runningTokenRefreshes(ctx context.Context) (map[string]bool, error) {
	running := map[string]bool{}
	request := &workflowservice.ListWorkflowExecutionsRequest{PageSize: fleetPage, Query: runningTokensOnly}
	for {
		page, err := a.deps.Workflows.ListWorkflow(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("list workflows: %w", err)
		}
		for _, execution := range page.GetExecutions() {
			if vehicle, found := contract.TokenRefreshVehicle(execution.GetExecution().GetWorkflowId()); found {
				running[vehicle] = true
			}
		}
		if len(page.GetNextPageToken()) == 0 {
			return running, nil
		}
		request.NextPageToken = page.GetNextPageToken()
		activity.RecordHeartbeat(ctx)
	}
}
