package stack_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/deploy/devstack"
	"github.com/milepost/milepost/workflows/contract"
)

// In this test a second stands for a minute, of Smartcar's retries and limits and of Milepost's settings alike.
const (
	minute      = time.Second
	outageLasts = 10 * minute
	// fleetSize is more than the application may poll at once.
	fleetSize    = 40
	allowedBurst = 30
	refill       = minute / 2
	// inTheLedger is how far the beginning of the outage may be from the moment of the kill:
	// the last delivery before it may be older, or its answer may have been lost.
	inTheLedger = 5 * minute
	// drivingLimit bounds the wait for what the fleet must drive for.
	drivingLimit = 5 * time.Minute
)

// driven is a fleet that drives, and reports once a minute, with a receiver that can be taken down.
type driven struct {
	*custody

	webhooks *smartcartest.Webhooks
	hook     string
	address  string
	receiver *devstack.Process
}

// TestReadingsThatWereLostWhileTheReceiverWasDownAreFetched takes the receiver down
// for ten minutes, during which Smartcar gives every delivery up, and lets most of the
// fleet park before it is back.
//
//nolint:paralleltest // tests under load run one at a time
func TestReadingsThatWereLostWhileTheReceiverWasDownAreFetched(t *testing.T) {
	d := setupDriven(t)
	t.Cleanup(func() {
		if t.Failed() {
			d.tell()
		}
	})
	unreachable, unsupported, blocked := d.cars[0], d.cars[1], d.cars[2]
	awake, parked := d.cars[3:6], d.cars[6:]
	d.driveUntil(d.cars, func() bool {
		return d.count(`SELECT count(*) FROM (SELECT FROM odometer_readings GROUP BY vehicle_id HAVING count(*) >= 5) AS known`) == fleetSize
	})
	d.refuse(unreachable, 409, "VEHICLE_STATE", "UNREACHABLE")
	d.refuse(unsupported, 501, "COMPATIBILITY", "VEHICLE_NOT_CAPABLE")
	require.True(t, d.platform.BlockUser(blocked.UserID))

	before := len(d.runs())
	d.driveUntil(d.cars, func() bool { return len(d.runs()) > before }) // so that the next is due only after the outage
	polledBefore := d.polls()
	downSince := time.Now()
	require.NoError(t, d.receiver.Kill())
	<-d.receiver.Exited()
	d.driveUntil(d.cars, func() bool { return time.Since(downSince) >= outageLasts })
	lost := d.awaitDropped()
	pollingSince := time.Now()
	d.receive()
	d.driveUntil(awake, func() bool { return time.Since(pollingSince) >= 3*minute })

	require.Eventually(t, func() bool { return d.restored(parked) == len(parked) }, 2*soon, 100*time.Millisecond,
		"not all readings are restored")
	spent, elapsed := d.polls()-polledBefore, time.Since(pollingSince)
	require.Equal(t, len(parked), d.polledEntries(parked), "an entry that was fetched says so")
	require.Equal(t, len(awake), d.restored(awake), "who drives on is heard from anyway")
	require.LessOrEqual(t, spent, allowedBurst+int(elapsed/refill)+1)
	require.Zero(t, d.platform.Limited(), "Smartcar had to refuse calls")

	require.Eventually(t, func() bool {
		return d.count(`SELECT count(*) FROM webhook_outages
			WHERE source = 'ledger' AND started_at BETWEEN $1 AND $2 AND ended_at > $3`,
			downSince.Add(-inTheLedger), downSince.Add(inTheLedger), downSince.Add(outageLasts)) == 1
	}, soon, 100*time.Millisecond, "the outage is not found with its beginning and end")
	require.Eventually(t, func() bool { return len(d.notRestored()) == len(d.exampleFleet())+3 }, soon, 100*time.Millisecond)
	said := d.notRestored()
	require.Equal(t, contract.PollVehicleUnreachable, said[unreachable.VehicleID])
	require.Equal(t, contract.PollNotSupported, said[unsupported.VehicleID])
	require.Equal(t, contract.PollNeedsOwner, said[blocked.VehicleID])
	for _, vehicle := range d.exampleFleet() {
		require.Equal(t, contract.PollNeedsOwner, said[vehicle], "it has no tokens")
	}
	t.Logf("%d deliveries were lost in ten minutes; %d of %d vehicles restored by %d calls within %.0f minutes, %d in use again, %d named",
		lost, len(parked), fleetSize, spent, elapsed.Seconds(), len(awake), len(said))
	d.requireNoTokenAtRest()
	for _, run := range d.runs() {
		if run.Outcomes[contract.PollReceived] > 0 {
			d.replayHistory("reconcile", d.history(run.id))
			break
		}
	}
}

func setupDriven(t *testing.T) *driven {
	t.Helper()
	d := &driven{hook: "7e0c6bb2-40ce-4f0f-9d57-7f0a3bb1c001"}
	d.custody = setupCustody(t, fleetSize, stack.Options{Roles: "starter,worker", Environment: map[string]string{
		"MILEPOST_RECONCILE_INTERVAL": (25 * minute).String(), "MILEPOST_SHORTEST_OUTAGE": (175 * minute / 60).String(),
		"MILEPOST_POLL_BURST": fmt.Sprint(allowedBurst), "MILEPOST_POLL_REFILL": refill.String(),
		"MILEPOST_POLL_VEHICLE_INTERVAL": (30 * minute).String(),
	}}, func(deps *smartcartest.PlatformDeps) {
		deps.RESTLimits.Application = smartcartest.Bucket{Size: allowedBurst, Refill: refill * 9 / 10}
	})
	d.connectAll()
	d.address = d.freeAddress()
	d.receive()
	var err error
	d.webhooks, err = smartcartest.NewWebhooks(smartcartest.WebhooksDeps{
		CurrentCar: d.platform.CurrentCar, TimeScale: minute.Seconds() / time.Minute.Seconds(), Timeout: 5 * time.Second,
	})
	require.NoError(t, err)
	require.NoError(t, d.webhooks.Register(t.Context(), smartcartest.Webhook{
		ID: d.hook, URL: "http://" + d.address + webhookPath, Token: d.ManagementToken(),
	}))
	for _, car := range d.cars {
		require.NoError(t, d.webhooks.Subscribe(d.hook, car.VehicleID))
	}
	require.NoError(t, d.webhooks.Disturb(smartcartest.Disorder{AtOnce: 8}))
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- d.webhooks.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return d
}

// receive starts a receiver, and waits until it serves.
func (d *driven) receive() {
	d.t.Helper()
	d.receiver = d.another("receiver", d.address)
	require.Eventually(d.t, func() bool {
		response, err := http.Get("http://" + d.address + "/health") //nolint:noctx // a test
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	}, soon, 20*time.Millisecond)
}

// driveUntil lets cars drive, and report every minute, until the condition holds. Only
// one of them does while Milepost, on a busy machine, is behind.
func (d *driven) driveUntil(cars []smartcartest.Car, condition func() bool) {
	d.t.Helper()
	turn := time.NewTicker(minute / time.Duration(len(cars)))
	defer turn.Stop()
	limit, turns := time.Now().Add(drivingLimit), 1
	for n := 0; n%len(cars) != 0 || !condition(); n++ {
		require.True(d.t, time.Now().Before(limit), "the fleet drives on and on")
		if n%len(cars) == 0 || turns > 1 {
			turns = 1
			if d.count(`SELECT count(*) FROM smartcar_webhook_events WHERE status NOT IN ('processed', 'failed')`) > fleetSize {
				turns = len(cars)
			}
		}
		car := cars[n%len(cars)].VehicleID
		require.True(d.t, d.platform.UpdateCar(car, func(car *smartcartest.PlatformCar) {
			car.OdometerKm++
			car.ObservedAt = time.Now()
		}))
		_, err := d.webhooks.ReportState(car, nil)
		require.NoError(d.t, err)
		for range turns {
			<-turn.C
		}
	}
}

// refuse lets every poll of a car fail.
func (d *driven) refuse(car smartcartest.Car, status int, errorType, code string) {
	d.t.Helper()
	d.platform.Fault(smartcartest.Fault{
		Path: "/v2.0/vehicles/" + car.VehicleID + "/batch", Status: http.StatusOK,
		Body: fmt.Sprintf(`{"responses":[{"path":"/odometer","code":%d,"headers":{},"body":{"type":%q,"code":%q,"statusCode":%d}}]}`,
			status, errorType, code, status),
	})
}

// awaitDropped waits until Smartcar has given up what it could not deliver, and counts that.
func (d *driven) awaitDropped() int {
	d.t.Helper()
	require.NoError(d.t, d.webhooks.Idle(d.t.Context()))
	dropped := d.webhooks.Counts(d.hook).Dropped
	require.Positive(d.t, dropped)
	return dropped
}

// polls counts the requests for readings.
func (d *driven) polls() (count int) {
	for _, car := range d.cars {
		count += d.platform.Requests("/v2.0/vehicles/" + car.VehicleID + "/batch")
	}
	return count
}

// restored counts the cars whose newest entry is what they show now.
func (d *driven) restored(cars []smartcartest.Car) (count int) {
	d.t.Helper()
	for _, car := range cars {
		now, found := d.platform.CurrentCar(car.VehicleID)
		require.True(d.t, found)
		count += d.count(`SELECT count(*) FROM (
				SELECT entry.odometer_km FROM meter_entries AS entry JOIN smartcar_vehicles AS connection USING (vehicle_id)
				WHERE smartcar_vehicle_id = $1 AND superseded_at IS NULL ORDER BY entry_date DESC LIMIT 1
			) AS newest WHERE abs(newest.odometer_km - $2) < 0.1`, car.VehicleID, now.OdometerKm)
	}
	return count
}

// polledEntries counts the cars of which an entry was fetched.
func (d *driven) polledEntries(cars []smartcartest.Car) int {
	var vehicles []string
	for _, car := range cars {
		vehicles = append(vehicles, car.VehicleID)
	}
	return d.count(`SELECT count(DISTINCT vehicle_id) FROM meter_entries JOIN smartcar_vehicles USING (vehicle_id)
		WHERE source_type = 'poll' AND notes NOT LIKE '%webhook%' AND superseded_at IS NULL
		  AND smartcar_vehicle_id = ANY ($1)`, vehicles)
}

func (d *driven) exampleFleet() []string {
	return d.list(`SELECT smartcar_vehicle_id FROM smartcar_vehicles WHERE is_active AND token_id IS NULL`)
}

// ended is a run of Reconcile, with the ID that Temporal gave it.
type ended struct {
	contract.ReconcileResult

	id string
}

// runs are the runs of Reconcile that have ended, the newest first.
func (d *driven) runs() []ended {
	d.t.Helper()
	ctx := context.WithoutCancel(d.t.Context())
	listed, err := d.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		Query: "WorkflowType = '" + contract.ReconcileWorkflow + "' AND ExecutionStatus = 'Completed'",
	})
	require.NoError(d.t, err)
	var results []ended
	for _, run := range listed.GetExecutions() {
		execution := run.GetExecution()
		result := ended{id: execution.GetWorkflowId()}
		require.NoError(d.t, d.temporal.GetWorkflow(ctx, execution.GetWorkflowId(), execution.GetRunId()).Get(ctx, &result.ReconcileResult))
		results = append(results, result)
	}
	return results
}

// tell logs what Reconcile did, for whoever must find out why a test failed.
func (d *driven) tell() {
	for _, run := range d.runs() {
		d.t.Logf("%s: %+v", run.id, run.ReconcileResult)
	}
	outages, err := d.Store.Outages(context.WithoutCancel(d.t.Context()), 10)
	d.t.Logf("outages: %+v %v", outages, err)
}

// notRestored is what the runs say of vehicles without a new reading, the newest word of each.
func (d *driven) notRestored() map[string]contract.PollOutcome {
	d.t.Helper()
	said := map[string]contract.PollOutcome{}
	runs := d.runs()
	slices.Reverse(runs)
	for _, run := range runs {
		named := map[string]contract.PollOutcome{}
		for _, vehicle := range run.NotRestored {
			if vehicle.Reason != contract.PollDeferred {
				named[vehicle.SmartcarVehicleID] = vehicle.Reason
			}
		}
		maps.Copy(said, named)
	}
	return said
}
