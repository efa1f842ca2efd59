package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/db"
)

func trimCommand(environment map[string]string, output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "trim",
		Usage: "remove now what has been kept for long enough, as Milepost does every day by itself",
		Description: "Empties the payloads of events that were processed longer than MILEPOST_PAYLOAD_RETENTION ago (720h); the\n" +
			"events stay, and so do the payloads of failed ones. Deletes sync logs older than MILEPOST_LOG_RETENTION\n" +
			"(9600h), consents that nobody answered a day after they expired, authorization codes that nobody exchanged\n" +
			"within an hour, closed consents and delivered notices after 90 days, and deliveries in quarantine after a\n" +
			"week. It can be interrupted, and run again at any time.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "only count what would be removed"},
			jsonFlag(),
		},
		Action: withStore(environment, func(ctx context.Context, command *cli.Command, store *db.Store) error {
			settings, err := config.LoadRetention(environment)
			if err != nil {
				return err
			}
			run := &trimming{store: store, periods: db.RetentionPeriods(settings), DryRun: command.Bool("dry-run"), Rows: map[string]int64{}}
			err = run.run(ctx)
			if command.Bool("json") {
				return errors.Join(err, writeJSON(output, run))
			}
			return errors.Join(err, run.write(output))
		}),
	}
}

// trimming is one run, and what it has done so far, however it ends.
type trimming struct {
	store   *db.Store
	periods db.RetentionPeriods

	DryRun bool             `json:"dryRun,omitempty"`
	Rows   map[string]int64 `json:"rows"`
}

func (t *trimming) run(ctx context.Context) error {
	if !t.DryRun {
		return t.store.Trim(ctx, t.periods, func(kind string, rows int64) { t.Rows[kind] += rows })
	}
	for _, step := range t.store.RetentionSteps(t.periods) {
		rows, err := step.Due(ctx, step.OlderThan)
		if err != nil {
			return err
		}
		t.Rows[step.Kind] = rows
	}
	return nil
}

func (t *trimming) write(output io.Writer) error {
	table := tabwriter.NewWriter(output, 0, 0, columnPadding, ' ', 0)
	heading := "TRIMMED"
	if t.DryRun {
		heading = "WOULD BE TRIMMED"
	}
	_, err := fmt.Fprintf(table, "%s\tROWS\tKEPT FOR\n", heading)
	for _, step := range t.store.RetentionSteps(t.periods) {
		rows, tried := t.Rows[step.Kind]
		if !tried {
			continue
		}
		_, rowErr := fmt.Fprintf(table, "%s\t%d\t%s\n", step.Kind, rows, step.OlderThan)
		err = errors.Join(err, rowErr)
	}
	return errors.Join(err, table.Flush())
}
