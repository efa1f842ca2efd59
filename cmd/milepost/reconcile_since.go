package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// reconcileEnd says why the command waits no longer; the work goes on without it, if there is any left.
type reconcileEnd string

const (
	// endDone: every vehicle has been settled, or cannot be now.
	endDone reconcileEnd = "done"
	// endLimits: vehicles are left and nothing moves, as when Smartcar's limits are used up.
	endLimits reconcileEnd = "limits"
	// endNotStarted: nothing moves, since the workflow has not been started.
	endNotStarted reconcileEnd = "not_started"
	// endProcessing: nothing moves, but some of what was received is still being processed.
	endProcessing reconcileEnd = "processing"
	// endInterrupted and endNotWaited are what the caller wanted.
	endInterrupted reconcileEnd = "interrupted"
	endNotWaited   reconcileEnd = "not_waited"
	// endUnknown: the database could not be asked.
	endUnknown reconcileEnd = "unknown"
)

// reconciliation is what `milepost reconcile --since` asked for, and what has come of it.
type reconciliation struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Asked counts the vehicles that were active at Until.
	Asked int          `json:"asked"`
	End   reconcileEnd `json:"end"`
	// Result is absent when nobody looked.
	Result *reconcileResult `json:"result,omitempty"`

	vehicles []string
	limit    int
}

// reconcileResult has every vehicle in one of its counts.
type reconcileResult struct {
	// Received counts polls that brought a new reading: each is in Processing, Outcomes or Failures.
	Received   int                           `json:"received"`
	Processing int                           `json:"processing"`
	Outcomes   map[contract.Outcome]int      `json:"outcomes"`
	Failures   map[contract.FailureClass]int `json:"failures"`
	// Heard counts vehicles that were heard from by webhook meanwhile.
	Heard      int `json:"heard"`
	NothingNew int `json:"nothingNew"`
	// Left counts vehicles that are still to be polled.
	Left int `json:"left"`
	// NotRestored counts those of which no reading came; Vehicles are the first of them.
	NotRestored int                  `json:"notRestored"`
	Vehicles    []notRestoredVehicle `json:"notRestoredVehicles"`
}

type notRestoredVehicle struct {
	SmartcarVehicleID string               `json:"smartcarVehicleId"`
	Reason            contract.PollOutcome `json:"reason"`
	NextTry           time.Time            `json:"nextTry,omitzero"`
	Advice            string               `json:"advice"`
}

func (t reconcileTools) request(ctx context.Context, command *cli.Command, store *db.Store) error {
	now := time.Now().UTC().Truncate(time.Microsecond)
	since, err := outageSince(command.String("since"), now)
	if err != nil {
		return err
	}
	asked := &reconciliation{Since: since, Until: now, End: endNotWaited, limit: int(command.Int32(limitFlag))}
	if err := store.RequestReconcile(ctx, asked.Since, asked.Until); err != nil {
		return err
	}
	candidates, err := store.PollCandidates(ctx, activities.OdometerSignal(), asked.Until)
	if err != nil {
		return fmt.Errorf("the request is stored, and is seen to; what comes of it cannot be shown: %w", err)
	}
	for _, candidate := range candidates { // the outage has just ended: nobody has been heard from since
		asked.vehicles = append(asked.vehicles, candidate.SmartcarVehicleID)
	}
	asked.Asked = len(asked.vehicles)
	if !command.Bool("no-wait") {
		err = t.wait(ctx, store, asked)
	}
	if command.Bool("json") {
		return errors.Join(err, writeJSON(t.output, asked))
	}
	return errors.Join(err, writeReconciliation(t.output, asked))
}

// wait ends when there is nothing more to see. That somebody interrupts it is no error: the work goes on.
func (t reconcileTools) wait(ctx context.Context, store *db.Store, asked *reconciliation) error {
	err := t.follow(ctx, store, asked)
	if err == nil {
		return nil
	}
	asked.End = endUnknown
	if ctx.Err() != nil {
		asked.End, err = endInterrupted, nil
	}
	return err
}

func (t reconcileTools) follow(ctx context.Context, store *db.Store, asked *reconciliation) error {
	if _, err := fmt.Fprintf(t.progress, "asked for %d vehicles; the work goes on without this command\n", asked.Asked); err != nil {
		return err
	}
	shown := ""
	for still := time.Duration(0); ; still += t.pause {
		if err := asked.look(ctx, store); err != nil {
			return err
		}
		if line := asked.progress(); line != shown {
			shown, still = line, 0
			if _, err := fmt.Fprintln(t.progress, line); err != nil {
				return err
			}
		}
		switch {
		case asked.Result.Left+asked.Result.Processing == 0:
			asked.End = endDone
			return nil
		case still >= t.patience:
			return asked.stalled(ctx, store)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(t.pause):
		}
	}
}

// stalled says why nothing moves.
func (r *reconciliation) stalled(ctx context.Context, store *db.Store) error {
	requested, err := store.IsReconcileRequested(ctx)
	switch {
	case err != nil:
		return err
	case r.Result.Left == 0:
		r.End = endProcessing
	case requested:
		r.End = endNotStarted
	default:
		r.End = endLimits
	}
	return nil
}

// look brings the result up to date.
func (r *reconciliation) look(ctx context.Context, store *db.Store) error {
	vehicles, err := store.ReconciledVehicles(ctx, r.vehicles, activities.OdometerSignal(), r.Until)
	if err != nil {
		return err
	}
	candidates, err := store.PollCandidates(ctx, activities.OdometerSignal(), time.Now())
	if err != nil {
		return err
	}
	obstructed := map[string]db.PollCandidate{}
	for _, candidate := range candidates {
		if candidate.Obstacle != "" {
			obstructed[candidate.SmartcarVehicleID] = candidate
		}
	}
	r.Result = &reconcileResult{
		Outcomes: map[contract.Outcome]int{}, Failures: map[contract.FailureClass]int{}, Vehicles: []notRestoredVehicle{},
	}
	for _, vehicle := range vehicles {
		r.count(vehicle, obstructed)
	}
	return nil
}

func (r *reconciliation) count(vehicle db.ReconciledVehicle, obstructed map[string]db.PollCandidate) {
	obstacle, isObstructed := obstructed[vehicle.SmartcarVehicleID]
	outcome := contract.PollOutcome(vehicle.Outcome)
	switch {
	case outcome == contract.PollReceived:
		r.Result.received(vehicle)
	case outcome == contract.PollNothingNew:
		r.Result.NothingNew++
	case vehicle.Heard:
		r.Result.Heard++
	case outcome != "":
		r.notRestored(vehicle, outcome, time.Time{})
	case !vehicle.Active:
		r.notRestored(vehicle, contract.PollDisconnected, time.Time{})
	case isObstructed:
		named := activities.NotRestored(obstacle)
		r.notRestored(vehicle, named.Reason, named.TryAgainAt)
	default:
		r.Result.Left++
	}
}

func (r *reconcileResult) received(vehicle db.ReconciledVehicle) {
	r.Received++
	switch {
	case vehicle.EventOutcome != "":
		r.Outcomes[contract.Outcome(vehicle.EventOutcome)]++
	case vehicle.FailureClass != "":
		r.Failures[contract.FailureClass(vehicle.FailureClass)]++
	default:
		r.Processing++
	}
}

func (r *reconciliation) notRestored(vehicle db.ReconciledVehicle, reason contract.PollOutcome, nextTry time.Time) {
	r.Result.NotRestored++
	if len(r.Result.Vehicles) < r.limit {
		r.Result.Vehicles = append(r.Result.Vehicles, notRestoredVehicle{
			SmartcarVehicleID: vehicle.SmartcarVehicleID, Reason: reason, NextTry: nextTry, Advice: advice(reason),
		})
	}
}
