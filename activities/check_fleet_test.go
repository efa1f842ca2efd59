package activities_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/testsuite"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// listing is a Temporal that lists running workflows in pages of two.
type listing struct {
	ids     []string
	err     error
	queries []string
}

func (l *listing) ListWorkflow(
	_ context.Context, request *workflowservice.ListWorkflowExecutionsRequest,
) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	l.queries = append(l.queries, request.GetQuery())
	first, _ := strconv.Atoi(string(request.GetNextPageToken())) // no token is the first page
	last := min(first+2, len(l.ids))
	response := &workflowservice.ListWorkflowExecutionsResponse{}
	for _, id := range l.ids[first:last] {
		response.Executions = append(response.Executions, &workflowpb.WorkflowExecutionInfo{
			Execution: &commonpb.WorkflowExecution{WorkflowId: id},
		})
	}
	if last < len(l.ids) {
		response.NextPageToken = []byte(strconv.Itoa(last))
	}
	return response, l.err
}

// checkFleet runs the activity as a worker would: it records heartbeats.
func (b *connected) checkFleet(temporal *listing) (contract.CheckFleetResult, error) {
	b.t.Helper()
	b.deps.Workflows = temporal
	a, err := activities.New(b.deps)
	require.NoError(b.t, err)
	suite := testsuite.WorkflowTestSuite{}
	environment := suite.NewTestActivityEnvironment()
	a.Register(environment)
	value, err := environment.ExecuteActivity(contract.CheckFleetActivity)
	if err != nil {
		return contract.CheckFleetResult{}, err
	}
	var result contract.CheckFleetResult
	require.NoError(b.t, value.Get(&result))
	return result, nil
}

func TestEveryVehicleWithTokensHasItsWorkflowAndNoOtherHasOne(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family("a-running", "b-missing", "c-running", "d-disconnecting", "e-reauth", "f-ended")
	b.connectV3("g-v3")
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), "d-disconnecting"))
	b.execute("UPDATE smartcar_vehicles SET connection_state = 'reauth_required' WHERE smartcar_vehicle_id = 'e-reauth'")
	b.execute("UPDATE smartcar_vehicles SET is_active = false, connection_state = 'disconnected' WHERE smartcar_vehicle_id = 'f-ended'")
	b.execute("DELETE FROM workflow_requests")
	running := func(vehicles ...string) *listing {
		temporal := &listing{ids: []string{"connect/consent", "a-running"}} // not of a vehicle's tokens
		for _, vehicle := range vehicles {
			temporal.ids = append(temporal.ids, contract.TokenRefreshID(vehicle))
		}
		return temporal
	}
	temporal := running("a-running", "c-running", "f-ended", "g-v3", "unheard-of")
	result, err := b.checkFleet(temporal)
	require.NoError(t, err)
	require.Equal(t, contract.CheckFleetResult{Vehicles: 5, Started: 3, Nudged: 3}, result)
	require.Equal(t, []string{"b-missing", "d-disconnecting", "e-reauth", "f-ended", "g-v3", "unheard-of"},
		texts(t, b.url, "SELECT subject FROM workflow_requests WHERE kind = 'token_refresh' AND signal = '"+db.SignalReconnected+"' ORDER BY subject"))
	require.Equal(t, slices.Repeat([]string{"WorkflowType = 'TokenRefresh' AND ExecutionStatus = 'Running'"}, 4), temporal.queries)
	require.Contains(t, b.logs.String(), "fleet.corrected")

	b.execute("DELETE FROM workflow_requests")
	b.logs.Reset()
	result, err = b.checkFleet(running("a-running", "b-missing", "c-running", "d-disconnecting", "e-reauth"))
	require.NoError(t, err)
	require.Equal(t, contract.CheckFleetResult{Vehicles: 5}, result)
	require.Equal(t, "0", b.count("workflow_requests"))
	require.Empty(t, b.logs.String(), "nothing to correct is nothing to say")
}

func TestALargeFleetIsGoneThroughInPages(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	tokenID := b.family(car)
	const vehicles = 1000 // two full pages, and a third one that is empty
	b.execute(fmt.Sprintf(`INSERT INTO smartcar_vehicles (smartcar_vehicle_id, vehicle_id, token_id)
		SELECT 'fleet-' || number, %d, %d FROM generate_series(1, %d) AS number`, b.vehicleID, tokenID, vehicles-1))
	temporal := &listing{ids: []string{contract.TokenRefreshID("fleet-1"), contract.TokenRefreshID("fleet-999")}}
	result, err := b.checkFleet(temporal)
	require.NoError(t, err)
	require.Equal(t, contract.CheckFleetResult{Vehicles: vehicles, Started: vehicles - 2}, result)
	require.Equal(t, fmt.Sprint(vehicles-2), b.count("(SELECT DISTINCT subject FROM workflow_requests) AS asked"))
}

func TestARefusalOfTemporalIsNamedByItsCode(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	_, err := b.checkFleet(&listing{err: serviceerror.NewPermissionDenied(hush, hush)})
	requireTransient(t, err, "temporal_refused", 0)
	require.ErrorContains(t, err, "Temporal answered PermissionDenied")
	b.requireSilence(err.Error())
}

func TestAnErrorThatNothingIsKnownOfIsNamedByItsTypes(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: hush, Err: errors.New(hush)}
	err := activities.Classify(fmt.Errorf("%w and %w", fmt.Errorf(hush+": %w", refused), errors.New(hush)))
	requireTransient(t, err, "unexpected", 0)
	require.ErrorContains(t, err, "*fmt.wrapErrors(*fmt.wrapError(*net.OpError(*errors.errorString)), *errors.errorString)")
	require.NotContains(t, err.Error(), hush)
}

// TestAnEventThatFailsAfterItsVehicleWasConnectedIsReceivedAgain: connecting retries what has failed by then, and
// the workflow, which saw no vehicle at its last look, records that only afterwards.
func TestAnEventThatFailsAfterItsVehicleWasConnectedIsReceivedAgain(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	for _, class := range []contract.FailureClass{contract.FailureUnknownVehicle, contract.FailureVehicleInactive} {
		b.receive(state(string(class), "42506.3", noon()))
		loaded, err := b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: string(class)})
		require.NoError(t, err)
		require.Equal(t, contract.VehicleActive, loaded.VehicleStatus, "it was connected since the workflow's last look")
		for attempt := range 2 { // the second one is a repetition, after the event was received again
			b.recordFailure(string(class), class)
			require.Equal(t, db.StatusFailed, b.event(string(class)).Status)
			result, err := b.checkFleet(&listing{})
			require.NoError(t, err)
			require.Equal(t, contract.CheckFleetResult{Requeued: 1}, result)
			require.Equal(t, db.StatusReceived, b.event(string(class)).Status)
			require.Len(t, b.event(string(class)).Audits, attempt+1)
			require.Equal(t, "milepost", b.event(string(class)).Audits[attempt].Actor)
		}
		result, err := b.checkFleet(&listing{})
		require.NoError(t, err)
		require.Zero(t, result.Requeued)
	}
	require.Contains(t, b.logs.String(), `"requeued":1`)
	require.Equal(t, contract.OutcomeMeterEntry, b.process(string(contract.FailureUnknownVehicle)).Outcome)
}

func TestWorkflowsThatTemporalMayHaveLostAreAskedForAgain(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	lost, fresh, closed := b.consent(driver, db.APIv2), b.consent(driver, db.APIv2), b.consent(driver, db.APIv2)
	require.NoError(t, b.store.CloseConsent(t.Context(), closed.ID, db.ConsentConnected, ""))
	b.execute("UPDATE smartcar_consents SET answered_at = now() - interval '11 minutes' WHERE id <> '" + fresh.ID + "'")
	b.execute(`INSERT INTO notices (id, notice_type, smartcar_vehicle_id, body, created_at, delivered_at, given_up_at)
		SELECT id, 'vehicle.connected', '` + car + `', '{}', now() - age, delivered, given_up
		FROM (VALUES ('lost', interval '11 minutes', NULL::timestamptz, NULL::timestamptz), ('fresh', '9 minutes', NULL, NULL),
			('delivered', '11 minutes', now(), NULL), ('given up', '11 minutes', NULL, now())) AS notice (id, age, delivered, given_up)`)
	b.execute("DELETE FROM workflow_requests") // the starter has seen to them
	for range 2 {
		result, err := b.checkFleet(&listing{})
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"connect_vehicles " + lost.ID, "deliver_notice lost"},
			texts(t, b.url, "SELECT kind || ' ' || subject FROM workflow_requests"), "once, until the starter has seen to it")
		require.Contains(t, []int{2, 0}, result.Requested)
	}
}

func TestTheFleetIsLeftAloneWhileTemporalIsAway(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	_, err := b.checkFleet(&listing{err: errors.New(hush)})
	requireTransient(t, err, "unexpected", 0)
	require.Equal(t, "0", b.count("workflow_requests"))
	b.requireSilence(err.Error())
}
