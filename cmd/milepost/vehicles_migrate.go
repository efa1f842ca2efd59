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
		ids, err := m.store.VehiclesToMigrate(ctx, after, migrationPage)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if m.only != "" && m.only != id {
				continue
			}
			if err := m.move(ctx, id); err != nil {
				return fmt.Errorf("stopped at vehicle %s; run it again to go on: %w", id, err)
			}
		}
		if len(ids) < migrationPage {
			break
		}
		after = ids[len(ids)-1]
	}
	if m.Stayed > 0 {
		return fmt.Errorf("%d vehicles stay on v2", m.Stayed)
	}
	return nil
}

func (m *migration) move(ctx context.Context, id string) error {
	token, err := m.tokens.Token(ctx)
	if err != nil {
		return err
	}
	found, err := m.vehicles.FindVehicle(ctx, smartcar.Credential{AccessToken: token}, id)
	if errors.Is(err, smartcar.ErrNotFound) {
		m.Stayed++
		m.Reasons[id] = "v3 has no connection of this vehicle"
		return nil
	}
	if err != nil {
		return err
	}
	if !m.dryRun {
		if _, err := m.store.MoveVehicleToV3(ctx, id, found.UserID); err != nil {
			return err
		}
	}
	m.Moved++
	if m.Moved%migrationPage == 0 {
		_, err = fmt.Fprintf(m.progress, "%d vehicles moved\n", m.Moved)
	}
	return err
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
