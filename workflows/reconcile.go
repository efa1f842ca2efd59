package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows/contract"
)

// concurrentPolls is few, since each may take minutes and refreshes share the queue.
const concurrentPolls = 4

// Reconcile fetches what webhooks should have brought and did not: it finds outages
// and vehicles whose silence is unusual, and polls those for which Smartcar's limits
// leave room, once. What it cannot do now is left to a later run; a schedule starts
// one every few minutes.
func Reconcile(ctx workflow.Context, input contract.ReconcileInput) (contract.ReconcileResult, error) {
	state := &reconcile{}
	if err := state.setup(ctx, input); err != nil {
		return contract.ReconcileResult{}, err
	}
	return state.run(ctx)
}

type reconcile struct {
	waiting []string
	result  contract.ReconcileResult
	// ready and polled count vehicles.
	ready, polled int
	// stopped is set when Smartcar's limits leave no room for anybody.
	stopped bool
}

func (r *reconcile) setup(ctx workflow.Context, _ contract.ReconcileInput) error {
	workflow.SetCurrentDetails(ctx, "Looking for silent vehicles")
	var plan contract.PlanReconcileResult
	planning := workflow.WithActivityOptions(ctx, untilDone())
	err := workflow.ExecuteActivity(planning, contract.PlanReconcileActivity, contract.PlanReconcileInput{}).Get(planning, &plan)
	if err != nil {
		return err
	}
	r.waiting, r.ready = plan.SmartcarVehicleIDs, plan.Ready
	r.result = contract.ReconcileResult{
		Outages: plan.Outages, Silent: plan.Silent, Outcomes: plan.Obstacles, NotRestored: plan.NotRestored,
	}
	if r.result.Outcomes == nil {
		r.result.Outcomes = map[contract.PollOutcome]int{}
	}
	return nil
}

func (r *reconcile) run(ctx workflow.Context) (contract.ReconcileResult, error) {
	var failed error
	group := workflow.NewWaitGroup(ctx)
	for range min(concurrentPolls, len(r.waiting)) {
		group.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer group.Done()
			for !r.stopped && failed == nil && len(r.waiting) > 0 {
				vehicle := r.waiting[0]
				r.waiting = r.waiting[1:]
				failed = r.poll(ctx, vehicle)
			}
		})
	}
	group.Wait(ctx)
	r.result.Left = r.ready - r.polled
	r.show(ctx)
	return r.result, failed
}

// poll asks for one vehicle. Its error ends the run; one vehicle's trouble does not.
func (r *reconcile) poll(ctx workflow.Context, vehicle string) error {
	polled, err := callSmartcar[contract.PollVehicleInput, contract.PollVehicleResult](
		ctx, contract.PollVehicleActivity, contract.PollVehicleInput{SmartcarVehicleID: vehicle})
	switch {
	case temporal.IsCanceledError(err):
		return err
	case err != nil:
		polled.Outcome = contract.PollFailed
	case !polled.StopUntil.IsZero():
		r.stopped = true
	}
	r.polled++
	r.result.Outcomes[polled.Outcome]++
	if polled.Outcome != contract.PollReceived && polled.Outcome != contract.PollNothingNew &&
		len(r.result.NotRestored) < contract.MaxNotRestored {
		r.result.NotRestored = append(r.result.NotRestored, contract.NotRestored{
			SmartcarVehicleID: vehicle, Reason: polled.Outcome, TryAgainAt: polled.TryAgainAt,
		})
	}
	r.show(ctx)
	return nil
}

func (r *reconcile) show(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("%d of %d silent vehicles polled, %d new readings",
		r.polled, r.result.Silent, r.result.Outcomes[contract.PollReceived]))
}
