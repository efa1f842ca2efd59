package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	reconcileDescription = "Milepost asks Smartcar by itself for vehicles that have been silent for longer than is usual for them, and\n" +
		"for all that have not been heard from since an outage that it noticed. Without flags: the outages, and the\n" +
		"vehicles that should have been heard from.\n\n" +
		"--since names an outage that it cannot have noticed. Every active vehicle is then asked once, within\n" +
		"Smartcar's limits, and what comes is decided like a webhook. Smartcar gives a vehicle's newest reading, not the\n" +
		"ones between. The request is kept: it is seen to when Temporal is back, and goes on when this command ends."

	// longestOutage is more than any reading is worth asking for twice.
	longestOutage = 30 * 24 * time.Hour
	// reconcilePause is the time between two looks at what has been done.
	reconcilePause = 2 * time.Second
	// reconcilePatience ends the wait for what Smartcar's limits put off: calls come back by the minute or the hour.
	reconcilePatience = 30 * time.Second
)

// reconcileTools is what the reconcile command works with.
type reconcileTools struct {
	environment map[string]string
	// output is for what was asked for, progress for what a person may like to know.
	output, progress io.Writer
	pause, patience  time.Duration // reconcilePause and reconcilePatience
}

func reconcileCommand(environment map[string]string, output, logs io.Writer) *cli.Command {
	return reconcileTools{
		environment: environment, output: output, progress: logs, pause: reconcilePause, patience: reconcilePatience,
	}.command()
}

func (t reconcileTools) command() *cli.Command {
	return &cli.Command{
		Name:        "reconcile",
		Usage:       "see which vehicles should have been heard from, and have readings fetched that no webhook brought",
		Description: reconcileDescription,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "since", Usage: "have every active vehicle polled: 2026-11-20T10:00:00Z, or so long ago, such as 2h"},
			&cli.BoolFlag{Name: "no-wait", Usage: "with --since: do not wait for what comes of it"},
			&cli.Int32Flag{Name: limitFlag, Value: defaultListLimit, Usage: "list at most so many outages, and so many vehicles"},
			jsonFlag(),
		},
		Action: withStore(t.environment, t.run),
	}
}

func (t reconcileTools) run(ctx context.Context, command *cli.Command, store *db.Store) error {
	switch {
	case command.Args().Present():
		return errors.New("reconcile takes no arguments; `milepost reconcile --since 2h` has all vehicles asked")
	case command.Int32(limitFlag) < 1:
		return errors.New("--limit must be at least 1")
	case command.IsSet("since"):
		return t.request(ctx, command, store)
	case command.Bool("no-wait"):
		return errors.New("--no-wait goes with --since")
	default:
		return t.show(ctx, command, store)
	}
}

// silence is what `milepost reconcile` prints.
type silence struct {
	Outages []db.Outage `json:"outages"`
	// Silent counts the vehicles that should have been heard from; Vehicles are the first of them.
	Silent   int             `json:"silent"`
	Vehicles []silentVehicle `json:"vehicles"`
}

type silentVehicle struct {
	SmartcarVehicleID string    `json:"smartcarVehicleId"`
	HeardAt           time.Time `json:"heardAt"`
	// Why is silent or after_outage.
	Why      string               `json:"why"`
	LastPoll contract.PollOutcome `json:"lastPoll,omitempty"`
	// Obstacle is absent when the next look may poll it.
	Obstacle contract.PollOutcome `json:"obstacle,omitempty"`
	NextTry  time.Time            `json:"nextTry,omitzero"`
	Advice   string               `json:"advice"`
}

func (t reconcileTools) show(ctx context.Context, command *cli.Command, store *db.Store) error {
	limit := command.Int32(limitFlag)
	outages, err := store.Outages(ctx, limit)
	if err != nil {
		return err
	}
	candidates, err := store.PollCandidates(ctx, activities.OdometerSignal(), time.Now())
	if err != nil {
		return err
	}
	found := silence{Outages: outages, Silent: len(candidates), Vehicles: []silentVehicle{}}
	for _, candidate := range candidates[:min(len(candidates), int(limit))] {
		found.Vehicles = append(found.Vehicles, silentVehicleOf(candidate))
	}
	if command.Bool("json") {
		return writeJSON(t.output, found)
	}
	return writeSilence(t.output, found)
}

func silentVehicleOf(candidate db.PollCandidate) silentVehicle {
	named := activities.NotRestored(candidate)
	vehicle := silentVehicle{
		SmartcarVehicleID: candidate.SmartcarVehicleID, HeardAt: candidate.HeardAt, Why: "silent",
		LastPoll: contract.PollOutcome(candidate.Outcome), Obstacle: contract.PollOutcome(candidate.Obstacle),
		NextTry: named.TryAgainAt, Advice: advice(named.Reason),
	}
	if candidate.AfterOutage {
		vehicle.Why = "after_outage"
	}
	return vehicle
}

// advice says what a person can do about a vehicle that is not heard from.
func advice(reason contract.PollOutcome) string {
	switch reason {
	case contract.PollReceived, contract.PollNothingNew:
		return "nothing: polled at the next look"
	case contract.PollDeferred:
		return "nothing: polled as soon as Smartcar's limits allow"
	case contract.PollNotGiven:
		return "nothing: Smartcar has no odometer of it now; polled again by itself"
	case contract.PollVehicleUnreachable:
		return "nothing: the car or its maker does not answer now; polled again by itself"
	case contract.PollSmartcarUnavailable:
		return "nothing: Smartcar does not answer now; polled again by itself"
	case contract.PollNeedsOwner:
		return "have its owner connect it again: milepost vehicles link --user … --vehicle …"
	case contract.PollNoPermission:
		return "have its owner grant " + smartcar.PermissionOdometer + ": milepost vehicles link --user … --vehicle …"
	case contract.PollNotSupported:
		return "nothing: this car does not give its odometer to Smartcar"
	case contract.PollNeedsOperator:
		return "check plan, credentials and settings at Smartcar; the log's vehicle.poll_refused says which"
	case contract.PollRefused:
		return "see vehicle.poll_refused in the log"
	case contract.PollDisconnected:
		return "nothing: it is not connected any more"
	case contract.PollFailed:
		return "see the workflow " + contract.ReconcileID + " in the Temporal UI"
	default:
		return "nothing: polled at the next look"
	}
}

// outageSince reads when an outage began: a time, or a duration before now.
func outageSince(given string, now time.Time) (time.Time, error) {
	since, err := time.Parse(time.RFC3339, given)
	if err != nil {
		ago, notDuration := time.ParseDuration(given)
		if notDuration != nil {
			return time.Time{}, fmt.Errorf("--since %q is neither a time such as 2026-11-20T10:00:00Z nor a duration such as 2h", given)
		}
		since = now.Add(-ago)
	}
	switch {
	case !since.Before(now):
		return time.Time{}, fmt.Errorf("--since %q does not lie in the past", given)
	case since.Before(now.Add(-longestOutage)):
		return time.Time{}, fmt.Errorf("--since %q lies more than 30 days (720h) back", given)
	default:
		return since.UTC().Truncate(time.Microsecond), nil
	}
}
