package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/cmd/internal/stack"
)

// stopLimit bounds how long everything may take to stop after Ctrl-C: each of
// Milepost, Temporal and PostgreSQL is killed after 90 seconds.
const stopLimit = 5 * time.Minute

func upCommand(output io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "up",
		Usage: "start PostgreSQL, Temporal with its UI, Milepost and a Smartcar simulator; Ctrl-C stops them",
		Description: "Writes every address and secret to <data-dir>/dev.env and prints `ready` on a line of its own.\n" +
			"DATABASE_URL, when set, is used instead of a PostgreSQL of its own. A child that dies is started again.",
		Flags: []cli.Flag{
			dataDirFlag(),
			&cli.BoolFlag{Name: "ephemeral", Usage: "keep nothing, and use free ports throughout"},
			&cli.BoolFlag{Name: "no-simulator", Usage: "start no simulated cars"},
		},
		Action: func(ctx context.Context, command *cli.Command) error {
			return up(ctx, command, &lines{output: output})
		},
	}
}

func up(ctx context.Context, command *cli.Command, out *lines) (err error) {
	dataDir := command.String("data-dir")
	options := stack.Options{
		DataDir: dataDir, Ephemeral: command.Bool("ephemeral"),
		DatabaseURL: databaseURL(dataDir), ManagementToken: os.Getenv("SMARTCAR_MANAGEMENT_TOKEN"),
		Progress: out.print,
	}
	var simulated *simulation
	if !command.Bool("no-simulator") {
		simulated = &simulation{out: out}
		if !options.Ephemeral {
			simulated.dataDir = dataDir
		}
		options.Smartcar = simulated.start
		defer func() { err = errors.Join(err, simulated.stop()) }()
	}
	running, err := stack.Start(ctx, options)
	if err != nil {
		return err
	}
	defer func() {
		out.print("stopping")
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		err = errors.Join(err, running.Stop(stopping))
	}()
	var background sync.WaitGroup
	defer background.Wait()
	if simulated != nil {
		if err := simulated.drive(ctx, running); err != nil {
			return err
		}
	}
	environment := running.Environment()
	if running.Postgres != nil {
		environment[ownPostgres] = "yes"
	}
	if err := stack.WriteEnvironmentFile(dataDir, environment); err != nil {
		return err
	}
	background.Go(func() { followServeLog(ctx, running.ServeLog(), out) })
	announce(out, environment, dataDir)
	<-ctx.Done()
	return nil
}

// ownPostgres says in dev.env that DATABASE_URL is a PostgreSQL that ends with the stack.
const ownPostgres = "MILEPOST_OWN_POSTGRES"

// databaseURL is the PostgreSQL to use instead of one of the stack's own. A shell that
// sourced dev.env still names the stack's own, which has ended with it.
func databaseURL(dataDir string) string {
	given := os.Getenv("DATABASE_URL")
	environment, err := stack.ReadEnvironmentFile(dataDir)
	if err == nil && environment[ownPostgres] != "" && given == environment["DATABASE_URL"] {
		return ""
	}
	return given // also on the first run, when there is no dev.env
}

func announce(out *lines, environment map[string]string, dataDir string) {
	for _, line := range []struct{ label, variable string }{
		{"receiver", "MILEPOST_URL"},
		{"Temporal UI", "TEMPORAL_UI_URL"},
		{"simulator", "SMARTCARSIM_URL"},
		{"metrics", "MILEPOST_ADMIN_URL"},
	} {
		if address := environment[line.variable]; address != "" {
			if line.variable == "MILEPOST_ADMIN_URL" {
				address += "/metrics"
			}
			out.print(fmt.Sprintf("%-12s %s", line.label, address))
		}
	}
	out.print(fmt.Sprintf("%-12s %s (source it to use `milepost events`, psql or temporal)",
		"settings", stack.EnvironmentFile(dataDir)))
	out.print("ready")
}

// lines prints whole lines from several goroutines.
type lines struct {
	mutex  sync.Mutex
	output io.Writer
}

func (l *lines) print(line string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	_, _ = fmt.Fprintln(l.output, line) // a closed terminal must not stop the stack
}

// followServeLog prints a short line for every event that `milepost serve` has closed.
func followServeLog(ctx context.Context, path string, out *lines) {
	err := follow(ctx, path, func(line []byte) {
		var entry struct {
			Message      string `json:"msg"`
			EventID      string `json:"eventId"`
			EventType    string `json:"eventType"`
			VehicleID    string `json:"vehicleId"`
			Outcome      string `json:"outcome"`
			FailureClass string `json:"failureClass"`
		}
		if json.Unmarshal(line, &entry) != nil {
			return // not a line of ours
		}
		switch entry.Message {
		case "processing.finished":
			out.print(fmt.Sprintf("%s %s %s: %s", entry.EventID, entry.EventType, entry.VehicleID, entry.Outcome))
		case "processing.failed":
			out.print(fmt.Sprintf("%s %s %s: failed, %s", entry.EventID, entry.EventType, entry.VehicleID, entry.FailureClass))
		}
	})
	if err != nil && ctx.Err() == nil {
		out.print("cannot follow the log of milepost serve: " + err.Error())
	}
}
