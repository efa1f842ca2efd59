package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"slices"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	limitFlag         = "limit"
	defaultListLimit  = 50
	defaultRetryLimit = 1000
)

func eventsCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "events",
		Usage: "see what Smartcar sent, what became of it, and retry what failed",
		Commands: []*cli.Command{
			eventsListCommand(environment, output),
			eventsShowCommand(environment, output),
			eventsRetryCommand(environment, output),
		},
	}
}

func eventsListCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list events, newest first",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "status", Usage: "received, started, processed or failed"},
			&cli.StringFlag{Name: "class", Usage: "only this failure class, such as unknown_vehicle"},
			&cli.StringFlag{Name: "vehicle", Usage: "only this Smartcar vehicle id"},
			&cli.Int32Flag{Name: limitFlag, Value: defaultListLimit, Usage: "at most so many"},
			jsonFlag(),
		},
		Action: withStore(environment, func(ctx context.Context, command *cli.Command, store *db.Store) error {
			filter, err := eventFilter(command)
			if err != nil {
				return err
			}
			events, err := store.ListEvents(ctx, filter)
			if err != nil {
				return err
			}
			if command.Bool("json") {
				return writeJSON(output, events)
			}
			return writeEventTable(output, events)
		}),
	}
}

func eventsShowCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show one event and what was done to it",
		ArgsUsage: "EVENT-ID",
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "payload", Usage: "print only the signed bytes (they may hold a location and a VIN)"},
		},
		Action: withStore(environment, func(ctx context.Context, command *cli.Command, store *db.Store) error {
			eventID, err := oneEventID(command)
			if err != nil {
				return err
			}
			if command.Bool("payload") {
				payload, err := store.EventPayload(ctx, eventID)
				if err == nil && len(payload) == 0 {
					err = store.ExplainEmptyPayload(ctx, eventID)
				}
				if err != nil {
					return explain(err, eventID)
				}
				_, err = output.Write(payload)
				return err
			}
			event, err := store.ShowEvent(ctx, eventID)
			if err != nil {
				return explain(err, eventID)
			}
			if command.Bool("json") {
				return writeJSON(output, event)
			}
			return writeEvent(output, event)
		}),
	}
}

func eventsRetryCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "retry",
		Usage: "retry failed events; works while Temporal is down, too",
		Description: "Sets failed events back to received, with an audit row. The starter runs their workflows\n" +
			"again under the same ID. Give event ids, or --class (and --vehicle) for all that match.",
		ArgsUsage: "[EVENT-ID ...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "class", Usage: "every failed event of this failure class"},
			&cli.StringFlag{Name: "vehicle", Usage: "every failed event of this Smartcar vehicle id"},
			&cli.StringFlag{Name: "reason", Usage: "why, for the audit row"},
			&cli.BoolFlag{Name: "confirm-reading", Usage: "vouch for readings that were held to be implausible"},
			&cli.Int32Flag{Name: limitFlag, Value: defaultRetryLimit, Usage: "at most so many"},
			jsonFlag(),
		},
		Action: withStore(environment, func(ctx context.Context, command *cli.Command, store *db.Store) error {
			eventIDs, err := eventsToRetry(ctx, command, store)
			if err != nil {
				return err
			}
			for _, eventID := range eventIDs {
				err := store.RetryEvent(ctx, db.Retry{
					EventID: eventID, Actor: actor(), Reason: command.String("reason"),
					ConfirmReading: command.Bool("confirm-reading"),
				})
				if err != nil {
					return explain(err, eventID)
				}
			}
			if command.Bool("json") {
				return writeJSON(output, map[string]any{"retried": eventIDs})
			}
			_, err = fmt.Fprintf(output, "%d set back to received; see `milepost events list` for how they end\n", len(eventIDs))
			return err
		}),
	}
}

func eventsToRetry(ctx context.Context, command *cli.Command, store *db.Store) ([]string, error) {
	given := command.Args().Slice()
	filter, err := eventFilter(command)
	if err != nil {
		return nil, err
	}
	selects := filter.FailureClass != "" || filter.SmartcarVehicleID != ""
	switch {
	case len(given) > 0 && selects:
		return nil, errors.New("give either event ids or --class/--vehicle, not both")
	case len(given) > 0:
		return given, nil
	case selects:
		eventIDs, err := store.FailedEventIDs(ctx, filter)
		return append([]string{}, eventIDs...), err
	default:
		return nil, errors.New("say which: event ids, --class or --vehicle")
	}
}

func eventFilter(command *cli.Command) (db.EventFilter, error) {
	filter := db.EventFilter{
		Status: command.String("status"), FailureClass: command.String("class"),
		SmartcarVehicleID: command.String("vehicle"), Limit: command.Int32(limitFlag),
	}
	statuses := []string{"", db.StatusReceived, db.StatusStarted, db.StatusProcessed, db.StatusFailed}
	if !slices.Contains(statuses, filter.Status) {
		return filter, fmt.Errorf("there is no status %q: choose from %v", filter.Status, statuses[1:])
	}
	class := contract.FailureClass(filter.FailureClass)
	if class != "" && !slices.Contains(contract.FailureClasses(), class) {
		return filter, fmt.Errorf("there is no failure class %q: choose from %v", class, contract.FailureClasses())
	}
	if filter.Limit < 1 {
		return filter, errors.New("--limit must be at least 1")
	}
	return filter, nil
}

func oneEventID(command *cli.Command) (string, error) {
	if command.Args().Len() != 1 {
		return "", errors.New("give exactly one event id; `milepost events list` shows them")
	}
	return command.Args().First(), nil
}

func explain(err error, eventID string) error {
	switch {
	case errors.Is(err, db.ErrNotFound):
		return fmt.Errorf("there is no event %q; `milepost events list` shows what there is", eventID)
	case errors.Is(err, db.ErrNotFailed):
		return fmt.Errorf("event %q has not failed: only failed events can be retried", eventID)
	case errors.Is(err, db.ErrPayloadTrimmed):
		return fmt.Errorf("event %q: %w; MILEPOST_PAYLOAD_RETENTION says how long payloads are kept", eventID, err)
	default:
		return err
	}
}

// actor names who ran the command, for the audit row.
func actor() string {
	current, err := user.Current()
	if err != nil {
		return "cli"
	}
	return "cli:" + current.Username
}

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print JSON"} }

func withStore(
	environment map[string]string, action func(context.Context, *cli.Command, *db.Store) error,
) cli.ActionFunc {
	return func(ctx context.Context, command *cli.Command) error {
		settings, err := config.LoadDatabase(environment)
		if err != nil {
			return err
		}
		store, err := db.Open(ctx, db.Config{URL: settings.URL.Reveal(), MaxConnections: 2})
		if err != nil {
			return err
		}
		defer store.Close()
		return action(ctx, command, store)
	}
}
