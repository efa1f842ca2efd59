package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/db"
)

// defaultLinkLife is long enough for an owner to open a link that was sent.
const defaultLinkLife = time.Hour

func vehiclesCommand(environment map[string]string, output, progress io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "vehicles",
		Usage: "see which vehicles are connected, connect, disconnect and merge them",
		Commands: []*cli.Command{
			vehiclesListCommand(environment, output),
			vehiclesShowCommand(environment, output),
			vehiclesSignalsCommand(environment, output),
			vehiclesErrorsCommand(environment, output),
			vehiclesReadingsCommand(environment, output),
			vehiclesLinkCommand(environment, output),
			vehiclesRefreshCommand(environment, output),
			vehiclesDisconnectCommand(environment, output),
			vehiclesMergeCommand(environment, output),
			vehiclesMigrateCommand(environment, output, progress),
		},
	}
}

func vehiclesListCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list connections with the state of their tokens",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "owner", Usage: "only this user of the application"},
			&cli.StringFlag{Name: "state", Usage: "connected, reauth_required, disconnecting or disconnected"},
			&cli.BoolFlag{Name: "possible-duplicates", Usage: "list pairs that may be one car under two Smartcar ids instead; see `merge`"},
			&cli.Int32Flag{Name: limitFlag, Value: defaultListLimit, Usage: "at most so many"},
			jsonFlag(),
		},
		Action: withStore(environment, func(ctx context.Context, command *cli.Command, store *db.Store) error {
			if command.Bool("possible-duplicates") {
				return listPossibleDuplicates(ctx, command, store, output)
			}
			state := command.String("state")
			switch state {
			case "", db.StateConnected, db.StateReauthRequired, db.StateDisconnecting, db.StateDisconnected:
			default:
				return fmt.Errorf("there is no state %q: choose connected, reauth_required, disconnecting or disconnected", state)
			}
			vehicles, err := store.ListVehicles(ctx, db.VehicleFilter{
				Owner: command.String("owner"), State: state, Limit: command.Int32(limitFlag),
			})
			if err != nil {
				return err
			}
			if command.Bool("json") {
				return writeJSON(output, vehicles)
			}
			return writeVehicleTable(output, vehicles)
		}),
	}
}

func listPossibleDuplicates(ctx context.Context, command *cli.Command, store *db.Store, output io.Writer) error {
	duplicates, err := store.PossibleDuplicates(ctx, command.Int32(limitFlag))
	if err != nil {
		return err
	}
	if command.Bool("json") {
		return writeJSON(output, duplicates)
	}
	return writeDuplicateTable(output, duplicates)
}

func vehiclesShowCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show one connection",
		ArgsUsage: "SMARTCAR-VEHICLE-ID",
		Flags:     []cli.Flag{jsonFlag()},
		Action: withStore(environment, func(ctx context.Context, command *cli.Command, store *db.Store) error {
			vehicle, err := oneVehicle(ctx, command, store)
			if err != nil {
				return err
			}
			if command.Bool("json") {
				return writeJSON(output, vehicle)
			}
			return writeVehicle(output, vehicle)
		}),
	}
}

func vehiclesLinkCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "link",
		Usage: "make a link with which an owner connects a car, or signs in to the maker again",
		Description: "Whoever opens the link connects cars in the name of --user: send it to that user only. The\n" +
			"application makes its own links in the same way; see \"Connect a car\" in the README.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "user", Required: true, Usage: "the owner's e-mail address, or what the application calls the owner"},
			&cli.StringFlag{Name: "name", Usage: "the owner's name"},
			&cli.StringFlag{Name: "vehicle", Usage: "re-authenticate this Smartcar vehicle id instead of connecting cars"},
			&cli.StringFlag{Name: "make", Usage: "skip the choice of the brand, such as TESLA"},
			&cli.DurationFlag{Name: "for", Value: defaultLinkLife, Usage: "how long the link is good for, at most 24h"},
		},
		Action: func(_ context.Context, command *cli.Command) error {
			settings, err := config.LoadOperator(environment)
			if err != nil {
				return err
			}
			if !settings.Configured() {
				return errors.New("vehicles cannot be connected: set SMARTCAR_CLIENT_ID, SMARTCAR_CLIENT_SECRET, " +
					"SMARTCAR_REDIRECT_URI and MILEPOST_CONNECT_SECRET")
			}
			link := api.ConnectLink{
				User: command.String("user"), Name: command.String("name"), VehicleID: command.String("vehicle"),
				Make: command.String("make"), ExpiresAt: time.Now().Add(command.Duration("for")),
			}
			if err := link.Validate(); err != nil {
				return err
			}
			if command.Duration("for") > api.MaxConnectLinkLife {
				return errors.New("--for must be at most 24h")
			}
			// The callback must find the browser's cookie: the link has the redirect URI's host.
			base, _, found := strings.Cut(settings.RedirectURI, "/api/smartcar/callback")
			if !found {
				return errors.New("SMARTCAR_REDIRECT_URI must end in /api/smartcar/callback")
			}
			secret := strings.TrimSpace(settings.ConnectSecrets[0].Reveal())
			_, err = fmt.Fprintln(output, api.SignedConnectURL(base, link, secret))
			return err
		},
	}
}

func vehiclesRefreshCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:      "refresh",
		Usage:     "refresh the tokens of a vehicle now; its workflow does it as soon as Temporal is there",
		ArgsUsage: "SMARTCAR-VEHICLE-ID",
		Action: withStore(environment, func(ctx context.Context, command *cli.Command, store *db.Store) error {
			vehicle, err := oneVehicle(ctx, command, store)
			if err != nil {
				return err
			}
			err = store.RequestWorkflow(ctx, db.WorkflowRequest{
				Kind: db.RequestTokenRefresh, Subject: vehicle.SmartcarVehicleID, Signal: db.SignalRefreshNow,
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(output, "asked for; `milepost vehicles show` tells when the tokens were issued")
			return err
		}),
	}
}

func vehiclesDisconnectCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "disconnect",
		Usage: "take no more readings of a vehicle, and tell Smartcar; works while Temporal is down, too",
		Description: "The history stays. Smartcar is told, and the tokens are deleted, by the vehicle's workflow. The\n" +
			"owner can connect the car again.",
		ArgsUsage: "SMARTCAR-VEHICLE-ID",
		Action: withStore(environment, func(ctx context.Context, command *cli.Command, store *db.Store) error {
			vehicle, err := oneVehicle(ctx, command, store)
			if err != nil {
				return err
			}
			if err := store.DisconnectVehicle(ctx, vehicle.SmartcarVehicleID); err != nil {
				if errors.Is(err, db.ErrNotFound) {
					return fmt.Errorf("vehicle %s is not active", vehicle.SmartcarVehicleID)
				}
				return err
			}
			_, err = fmt.Fprintln(output, "disconnected:", vehicle.SmartcarVehicleID)
			return err
		}),
	}
}

func vehiclesMergeCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "merge",
		Usage: "confirm that a car that came back under a new Smartcar id is one that is known",
		Description: "Cars with the same VIN are recognised by themselves. Without VINs, `list --possible-duplicates` shows\n" +
			"pairs of the same owner, make, model and year. Readings and connections of the new vehicle go over to the\n" +
			"known one, and are decided by the same rules there. It cannot be undone.",
		ArgsUsage: "NEW-SMARTCAR-VEHICLE-ID",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "into", Required: true, Usage: "a Smartcar vehicle id of the car that is known"},
			&cli.StringFlag{Name: "reason", Required: true, Usage: "how you know; it is kept"},
		},
		Action: withStore(environment, func(ctx context.Context, command *cli.Command, store *db.Store) error {
			from, err := oneVehicle(ctx, command, store)
			if err != nil {
				return err
			}
			into, err := findVehicle(ctx, store, command.String("into"))
			if err != nil {
				return err
			}
			err = activities.MergeVehicles(ctx, store, db.Merge{
				FromVehicleID: from.VehicleID, IntoVehicleID: into.VehicleID, Actor: actor(), Reason: command.String("reason"),
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(output, "vehicle %d continues the history of vehicle %d\n", from.VehicleID, into.VehicleID)
			return err
		}),
	}
}

func oneVehicle(ctx context.Context, command *cli.Command, store *db.Store) (db.VehicleSummary, error) {
	if command.Args().Len() != 1 {
		return db.VehicleSummary{}, errors.New("give one Smartcar vehicle id; `milepost vehicles list` shows them")
	}
	return findVehicle(ctx, store, command.Args().First())
}

func findVehicle(ctx context.Context, store *db.Store, id string) (db.VehicleSummary, error) {
	found, err := store.ListVehicles(ctx, db.VehicleFilter{SmartcarVehicleID: id, Limit: 1})
	if err != nil {
		return db.VehicleSummary{}, err
	}
	if len(found) == 0 || id == "" {
		return db.VehicleSummary{}, fmt.Errorf("there is no vehicle %q; `milepost vehicles list` shows them", id)
	}
	return found[0], nil
}
