package main

import (
	"context"
	"errors"
	"io"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/db"
)

// oneVehicleArgument is what oneVehicle takes.
const oneVehicleArgument = "SMARTCAR-VEHICLE-ID"

func vehiclesSignalsCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "signals",
		Usage: "show the newest reading of each signal of a vehicle, and why a signal has none",
		Description: "OBSERVED is when the reading was true, and TIME FROM says how that is known: oem_updated_at is the maker's own time.\n" +
			"A signal that is unavailable keeps its last reading; one that is unsupported is not to be expected of this car.\n" +
			"Values that tell where the car is, or whose it is, are not shown.",
		ArgsUsage: oneVehicleArgument,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "with-personal-data", Usage: "print VIN, position and other personal values, too"},
			jsonFlag(),
		},
		Action: withStore(environment, func(ctx context.Context, command *cli.Command, store *db.Store) error {
			vehicle, err := oneVehicle(ctx, command, store)
			if err != nil {
				return err
			}
			signals, err := store.SignalsOfVehicle(ctx, vehicle.SmartcarVehicleID)
			if err != nil {
				return err
			}
			if !command.Bool("with-personal-data") {
				hidePersonalValues(signals)
			}
			if command.Bool("json") {
				return writeJSON(output, signals)
			}
			return writeSignalTable(output, signals)
		}),
	}
}

func vehiclesErrorsCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "errors",
		Usage: "show what Smartcar says is wrong with a vehicle, and what is to be done about it",
		Description: "OWNER ASKED is when the owner was last asked to sign in to the maker, or to connect the car, again while the error\n" +
			"was open; \"no\" means that the error calls for it and the owner was not asked. OPENED is of the newest report.",
		ArgsUsage: oneVehicleArgument,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "those that are over, too"},
			jsonFlag(),
		},
		Action: withStore(environment, func(ctx context.Context, command *cli.Command, store *db.Store) error {
			vehicle, err := oneVehicle(ctx, command, store)
			if err != nil {
				return err
			}
			failures, err := store.ErrorsOfVehicle(ctx, vehicle.SmartcarVehicleID, command.Bool("all"))
			if err != nil {
				return err
			}
			advised := adviseOn(failures)
			if command.Bool("json") {
				return writeJSON(output, advised)
			}
			return writeVehicleErrorTable(output, advised)
		}),
	}
}

func vehiclesReadingsCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "readings",
		Usage: "show the odometer readings of a vehicle, and what became of each, newest first",
		Description: "Shows the whole car: readings that came by its other Smartcar ids are there, too. An entry is superseded when a\n" +
			"reading that came late has overtaken it, and the verdict says what it is since; `milepost events show` tells of the event.",
		ArgsUsage: oneVehicleArgument,
		Flags: []cli.Flag{
			&cli.Int32Flag{Name: limitFlag, Value: defaultListLimit, Usage: "at most so many"},
			jsonFlag(),
		},
		Action: withStore(environment, func(ctx context.Context, command *cli.Command, store *db.Store) error {
			if command.Int32(limitFlag) < 1 {
				return errors.New("--limit must be at least 1")
			}
			vehicle, err := oneVehicle(ctx, command, store)
			if err != nil {
				return err
			}
			readings, err := store.NewestReadings(ctx, vehicle.VehicleID, command.Int32(limitFlag))
			if err != nil {
				return err
			}
			if command.Bool("json") {
				return writeJSON(output, readings)
			}
			return writeReadingTable(output, readings)
		}),
	}
}

// advisedError is an error with what a person is to do about it.
type advisedError struct {
	db.VehicleErrorSummary

	ToDo string `json:"toDo"`
}

func adviseOn(failures []db.VehicleErrorSummary) []advisedError {
	advised := make([]advisedError, len(failures))
	for i, failure := range failures {
		advised[i] = advisedError{VehicleErrorSummary: failure, ToDo: toDo(failure)}
	}
	return advised
}

func toDo(failure db.VehicleErrorSummary) string {
	if !failure.Open {
		return "nothing: it is over"
	}
	switch failure.Reaction {
	case db.ReactionReauthenticate:
		return "the owner signs in to the maker again (`milepost vehicles link --vehicle`)"
	case db.ReactionReconsent:
		return "the owner connects the car again and grants what is missing (`milepost vehicles link`)"
	case db.ReactionOwnerAction:
		return "the owner puts it right in the maker's account or in the car"
	case db.ReactionUnsupportedSignals:
		return "nothing: this car does not have these signals"
	case db.ReactionIgnore:
		return "nothing: Milepost does not need these signals"
	default: // ReactionWait, which is the reaction to what nobody knows, too.
		return "wait: it passes by itself"
	}
}
