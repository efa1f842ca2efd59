package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/cmd/internal/telemetry"
	"github.com/milepost/milepost/cmd/internal/wiring"
	"github.com/milepost/milepost/db"
)

const migrationPage = 100

func vehiclesMigrateCommand(environment map[string]string, output, progress io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "migrate-to-v3",
		Usage: "let a fleet be called through v3's application token, vehicle by vehicle",
		Description: "Each active v2 vehicle that Smartcar's v3 knows is moved; the others stay on v2 and are listed. Run it again\n" +
			"at any time: what is moved stays moved. The v2 tokens stay stored. Needs SMARTCAR_IAM_CLIENT_ID and\n" +
			"SMARTCAR_IAM_CLIENT_SECRET (v3's API client). Set SMARTCAR_API=v3 for new vehicles.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be done"},
			&cli.StringFlag{Name: "vehicle", Usage: "only this Smartcar vehicle id"},
			jsonFlag(),
		},
		Action: func(ctx context.Context, command *cli.Command) (err error) {
			settings, err := config.LoadOperator(environment)
			if err != nil {
				return err
			}
			calls, err := wiring.NewSmartcar(settings.Smartcar, telemetry.NewLogger(progress, slog.LevelWarn))
			if err != nil {
				return err
			}
			if calls == nil {
				return errors.New("SMARTCAR_CLIENT_ID is not set: Smartcar cannot be asked")
			}
			store, err := db.Open(ctx, db.Config{URL: settings.URL.Reveal()})
			if err != nil {
				return err
			}
			defer store.Close()
			migration := &migration{
				store: store, tokens: calls.ApplicationTokens, vehicles: calls.V3,
				dryRun: command.Bool("dry-run"), only: command.String("vehicle"), progress: progress,
			}
			err = migration.run(ctx)
			return errors.Join(err, migration.report(output, command.Bool("json")))
		},
	}
}

// vehicleFinder is the part of the v3 client that the migration uses.
type vehicleFinder interface {
	FindVehicle(ctx context.Context, credential smartcar.Credential, vehicleID string) (smartcar.VehicleRef, error)
}

type applicationTokens interface {
	Token(ctx context.Context) (smartcar.Token, error)
	Drop(token smartcar.Token)
}

type migration struct {
	store    *db.Store
	tokens   applicationTokens
	vehicles vehicleFinder
	dryRun   bool
	only     string
	progress io.Writer

	Moved   int               `json:"moved"`
	DryRun  bool              `json:"dryRun,omitempty"`
	Stayed  int               `json:"stayed"`
	Reasons map[string]string `json:"reasons,omitempty"`
}

// run goes through the vehicles in the order of their ids. A vehicle that v3 does not
// know is passed over; when Smartcar cannot be asked, the run ends.
func (m *migration) run(ctx context.Context) error {
	m.Reasons, m.DryRun = map[string]string{}, m.dryRun
	for after := ""; ; {
		vehicles, err := m.store.VehiclesToMigrate(ctx, after, migrationPage)
		if err != nil {
			return err
		}
		for _, vehicle := range vehicles {
			if m.only != "" && m.only != vehicle.SmartcarVehicleID {
				continue
			}
			if err := m.move(ctx, vehicle); err != nil {
				return fmt.Errorf("stopped at vehicle %s; run it again to go on: %w", vehicle.SmartcarVehicleID, err)
			}
		}
		if len(vehicles) < migrationPage {
			break
		}
		after = vehicles[len(vehicles)-1].SmartcarVehicleID
	}
	if m.Stayed > 0 {
		return fmt.Errorf("%d vehicles stay on v2", m.Stayed)
	}
	return nil
}

// move moves one vehicle, unless it was disconnected, or moved by somebody else, meanwhile.
func (m *migration) move(ctx context.Context, vehicle db.VehicleToMigrate) error {
	found, err := m.find(ctx, vehicle)
	if errors.Is(err, smartcar.ErrNotFound) {
		m.Stayed++
		m.Reasons[vehicle.SmartcarVehicleID] = "v3 has no connection of this vehicle with its owner"
		return nil
	}
	if err != nil {
		return err
	}
	if !m.dryRun {
		moved, err := m.store.MoveVehicleToV3(ctx, vehicle.SmartcarVehicleID, found.UserID)
		if err != nil || !moved {
			return err
		}
	}
	m.Moved++
	if m.Moved%migrationPage == 0 {
		_, err = fmt.Fprintf(m.progress, "%d vehicles moved\n", m.Moved)
	}
	return err
}

// find looks up the vehicle's connection in the name of the user whose consent it has: another user may have consented
// to the same car since. An application token that is refused is replaced once. Source: Smartcar, "v3 application token".
func (m *migration) find(ctx context.Context, vehicle db.VehicleToMigrate) (found smartcar.VehicleRef, err error) {
	for range 2 {
		var token smartcar.Token
		if token, err = m.tokens.Token(ctx); err != nil {
			return found, err
		}
		credential := smartcar.Credential{AccessToken: token, UserID: vehicle.SmartcarUserID}
		found, err = m.vehicles.FindVehicle(ctx, credential, vehicle.SmartcarVehicleID)
		if !errors.Is(err, smartcar.ErrUnauthorized) {
			return found, err
		}
		m.tokens.Drop(token)
	}
	return found, err
}

func (m *migration) report(output io.Writer, asJSON bool) error {
	if asJSON {
		return writeJSON(output, m)
	}
	verb := "moved to v3"
	if m.dryRun {
		verb = "would be moved to v3"
	}
	_, err := fmt.Fprintf(output, "%d vehicles %s, %d stay on v2\n", m.Moved, verb, m.Stayed)
	for id, reason := range m.Reasons {
		_, lineErr := fmt.Fprintf(output, "%s: %s\n", id, reason)
		err = errors.Join(err, lineErr)
	}
	return err
}
