package stack_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

func TestAThousandConcurrentPostsOfOneEventHaveOneEffect(t *testing.T) { //nolint:paralleltest // see underLoad
	const posts = 1000
	b := setup(t, stack.Options{})
	fleet := b.load(posts)
	eventID := uuid.NewString()
	body := fleet.Body(0, eventID)
	var refused atomic.Int64
	err := fleet.Each(t.Context(), posts, func(ctx context.Context, _ int) error {
		stamped, err := smartcartest.Restamp(body, uuid.NewString(), time.Now())
		if err != nil {
			return err
		}
		repeated, err := deliver(ctx, fleet, stamped)
		refused.Add(int64(repeated))
		return err
	})
	require.NoError(t, err, "every post is answered 2xx")
	t.Logf("%d posts acknowledged, after %d 503s", posts, refused.Load())

	require.Equal(t, "meter_entry", b.ended(eventID))
	require.Equal(t, 1, b.count("SELECT count(*) FROM smartcar_webhook_events"))
	deliveries := b.count("SELECT delivery_count FROM smartcar_webhook_events")
	require.GreaterOrEqual(t, deliveries, posts)
	require.LessOrEqual(t, deliveries, posts+int(refused.Load()), "what was answered 503 may have been kept")
	require.Equal(t, 1, b.count("SELECT count(*) FROM meter_entries"))
	require.Eventually(t, func() bool {
		answer, err := b.temporal.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{
			Query: "WorkflowType = '" + contract.ProcessEventWorkflow + "'",
		})
		return err == nil && answer.GetCount() == 1
	}, soon, 50*time.Millisecond, "one workflow")
}

func TestAVerifyThatCarriesAnEventIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, stack.Options{})
	event, err := json.Marshal(string(b.load(1).Body(0, uuid.NewString())))
	require.NoError(t, err)
	body := fmt.Sprintf(`{"eventType":"VERIFY","data":{"challenge":%s}}`, event)
	response, err := http.Post(b.URL()+webhookPath, "application/json", strings.NewReader(body)) //nolint:noctx // a test
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.Zero(t, b.count("SELECT count(*) FROM smartcar_webhook_events"))
}

func TestAnEventWaitsForItsVehicleAndIsRepairedByConnectingIt(t *testing.T) {
	t.Parallel()
	b := setup(t, stack.Options{Environment: map[string]string{"MILEPOST_UNKNOWN_VEHICLE_GRACE": "1s"}})
	fleet := b.load(1)
	vehicle, eventID := uuid.NewString(), uuid.NewString()
	b.post(fleet, bytes.ReplaceAll(fleet.Body(0, eventID), []byte(fleet.Vehicle(0)), []byte(vehicle)))
	require.Equal(t, "unknown_vehicle", b.ended(eventID))
	b.replay([]string{eventID})
	require.Contains(t, b.milepost("events", "list", "--status", "failed"), eventID)

	_, err := b.Store.ConnectVehicle(t.Context(), db.ConnectedVehicle{SmartcarVehicleID: vehicle, OwnerEmail: "late@milepost.example"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return b.ended(eventID) == "meter_entry" }, soon, 50*time.Millisecond)
}

func TestSupportRetriesAFailedEvent(t *testing.T) {
	t.Parallel()
	b := setup(t, stack.Options{})
	fleet := b.load(1)
	eventID := uuid.NewString()
	b.post(fleet, bytes.ReplaceAll(fleet.Body(0, eventID), []byte(`"unit":"km"`), []byte(`"unit":"furlongs"`)))
	require.Equal(t, "unit_unknown", b.ended(eventID))
	b.replay([]string{eventID})
	require.Contains(t, b.milepost("events", "retry", "--reason", "looking again", eventID), "1 set back")
	require.Eventually(t, func() bool {
		return b.count("SELECT count(*) FROM smartcar_webhook_events WHERE event_id = $1 AND status = 'failed'", eventID) == 1
	}, soon, 20*time.Millisecond, "it runs again under the same ID, and fails again")
	var shown struct {
		FailureClass string `json:"failureClass"`
		Audits       []struct{ Reason string }
	}
	require.NoError(t, json.Unmarshal([]byte(b.milepost("events", "show", "--json", eventID)), &shown))
	require.Equal(t, "unit_unknown", shown.FailureClass)
	require.Equal(t, "looking again", shown.Audits[0].Reason)
}

func TestAResetInTheTemporalUIReachesTheSameEndState(t *testing.T) {
	t.Parallel()
	b := setup(t, stack.Options{})
	fleet := b.load(1)
	eventID := uuid.NewString()
	b.post(fleet, fleet.Body(0, eventID))
	require.Equal(t, "meter_entry", b.ended(eventID))
	run := b.temporal.GetWorkflow(t.Context(), eventID, "")
	require.NoError(t, run.Get(t.Context(), nil))

	answer, err := b.temporal.ResetWorkflowExecution(t.Context(), &workflowservice.ResetWorkflowExecutionRequest{
		Namespace:         "default",
		WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: eventID, RunId: run.GetRunID()},
		Reason:            "test", WorkflowTaskFinishEventId: 4, RequestId: uuid.NewString(),
	})
	require.NoError(t, err)
	var result struct{ Outcome string }
	require.NoError(t, b.temporal.GetWorkflow(t.Context(), eventID, answer.GetRunId()).Get(t.Context(), &result))
	require.Equal(t, "meter_entry", result.Outcome)
	require.Equal(t, 1, b.count("SELECT count(*) FROM meter_entries"))
	require.Equal(t, 1, b.count("SELECT count(*) FROM vehicle_data"))
}

func TestRolesServeEachInAProcessOfItsOwn(t *testing.T) {
	t.Parallel()
	b := setup(t, stack.Options{Roles: "receiver"})
	fleet := b.load(4)
	eventID := uuid.NewString()
	b.post(fleet, fleet.Body(0, eventID))
	require.Equal(t, 1, b.count("SELECT count(*) FROM smartcar_webhook_events WHERE status = 'received'"))

	for _, role := range []string{"starter", "worker"} {
		b.serveAlone(role)
	}
	require.Equal(t, "meter_entry", b.ended(eventID))
}

func TestHealthReadinessAndMetricsAreServed(t *testing.T) {
	t.Parallel()
	b := setup(t, stack.Options{})
	require.Equal(t, 200, b.get(b.URL()+"/health"))
	b.awaitReady()
	require.Equal(t, 404, b.get(b.URL()+"/metrics"), "metrics are not public")
	fleet := b.load(1)
	eventID := uuid.NewString()
	b.post(fleet, fleet.Body(0, eventID))
	b.ended(eventID)
	names := []string{
		"milepost_ack_seconds_bucket", `milepost_events_closed_total{result="meter_entry"} 1`,
		"milepost_backlog_depth", "milepost_backlog_age_seconds", "temporal_request",
	}
	if b.refused == 0 { // else it may have been a duplicate
		names = append(names, `milepost_deliveries_total{event_type="VEHICLE_STATE",mode="LIVE",result="accepted"} 1`)
	}
	for _, name := range names {
		// An event is counted after the transaction that closes it.
		require.Eventually(t, func() bool { return strings.Contains(b.metrics(), name) }, soon, 50*time.Millisecond, name)
	}
}
