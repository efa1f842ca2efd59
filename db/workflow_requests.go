package db

import (
	"context"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// The kinds of workflow that can be asked for.
const (
	RequestConnectVehicles = "connect_vehicles"
	RequestTokenRefresh    = "token_refresh"
	RequestDeliverNotice   = "deliver_notice"
	RequestReconcile       = "reconcile"
)

// The signals that a TokenRefresh workflow knows.
const (
	SignalReconnected = "reconnected"
	SignalRefreshNow  = "refresh-now"
	SignalDisconnect  = "disconnect"
)

// WorkflowRequest asks for a workflow to be started, or signalled when it is running.
type WorkflowRequest struct {
	ID      int64
	Kind    string
	Subject string // the consent, vehicle or notice
	Signal  string // "" for none
}

func requestWorkflow(ctx context.Context, queries *dbsqlc.Queries, request WorkflowRequest) error {
	return translate("request workflow", queries.RequestWorkflow(ctx, dbsqlc.RequestWorkflowParams{
		Kind: request.Kind, Subject: request.Subject, Signal: request.Signal,
	}))
}

// RequestWorkflow asks for a workflow. The starter sees to it within a second or
// two of Temporal being there.
func (s *Store) RequestWorkflow(ctx context.Context, request WorkflowRequest) error {
	return requestWorkflow(ctx, s.queries, request)
}

// RequestLostWorkflows asks again for the workflows of up to limit consents and notices
// that have been open for longer than olderThan: Temporal may have lost them. It says
// how many it asked for, those that run included.
func (s *Store) RequestLostWorkflows(ctx context.Context, olderThan time.Duration, limit int32) (requested int, err error) {
	rows, err := s.queries.RequestLostWorkflows(ctx, dbsqlc.RequestLostWorkflowsParams{
		OlderThanSeconds: olderThan.Seconds(), MaxRows: limit,
	})
	return int(rows), translate("request lost workflows", err)
}

// ClaimWorkflowRequests leases up to limit requests of the given kinds, the untried and oldest first.
func (s *Store) ClaimWorkflowRequests(
	ctx context.Context, kinds []string, limit int32, lease time.Duration,
) ([]WorkflowRequest, error) {
	rows, err := s.queries.ClaimWorkflowRequests(ctx, dbsqlc.ClaimWorkflowRequestsParams{
		Kinds: kinds, MaxRows: limit, LeaseSeconds: lease.Seconds(),
	})
	if err != nil {
		return nil, translate("claim workflow requests", err)
	}
	requests := make([]WorkflowRequest, len(rows))
	for i, row := range rows {
		requests[i] = WorkflowRequest(row)
	}
	return requests, nil
}

// WorkflowRequestDone removes a request that has been seen to.
func (s *Store) WorkflowRequestDone(ctx context.Context, id int64) error {
	return translate("close workflow request", s.queries.DeleteWorkflowRequest(ctx, id))
}
