package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/cmd/internal/telemetry"
	"github.com/milepost/milepost/cmd/internal/wiring"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

func migrateCommand(environment map[string]string, output, logs io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "migrate",
		Usage: "bring the database schema up to date, and register the search attributes with Temporal",
		Description: "Safe to run again and at the same time from several machines. The search attributes, all\n" +
			"of type Keyword, are " + strings.Join(contract.SearchAttributes(), ", ") + ".",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "database-only", Usage: "leave Temporal alone"},
		},
		Action: func(ctx context.Context, command *cli.Command) error {
			settings, err := config.LoadDatabase(environment)
			if err != nil {
				return err
			}
			if err := db.Migrate(ctx, settings.URL.Reveal()); err != nil {
				return err
			}
			if _, err := fmt.Fprintln(output, "database: up to date"); err != nil {
				return fmt.Errorf("write output: %w", err)
			}
			if command.Bool("database-only") {
				return nil
			}
			return registerSearchAttributes(ctx, output, logs)
		},
	}
}

func registerSearchAttributes(ctx context.Context, output, logs io.Writer) error {
	temporal, namespace, err := wiring.NewTemporalClient(telemetry.NewLogger(logs, slog.LevelWarn), nil)
	if err != nil {
		return err
	}
	defer temporal.Close()
	if err := wiring.RegisterSearchAttributes(ctx, temporal, namespace); err != nil {
		return fmt.Errorf("%w\nThe database is migrated. Start Temporal and run this again, or use --database-only", err)
	}
	_, err = fmt.Fprintf(output, "temporal namespace %s: search attributes registered\n", namespace)
	return err
}
