package main

import (
	"context"
	"io"
	"runtime/debug"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/cmd/internal/wiring"
)

// garbageCollectionPercent trades memory, of which Milepost needs little, for
// processor time: the live heap is small, so that Go's default collects it often.
// GOGC wins over it.
const garbageCollectionPercent = 400

func serveCommand(environment map[string]string, logs io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "receive webhooks and process them, until SIGINT or SIGTERM",
		Description: "Needs DATABASE_URL, SMARTCAR_MANAGEMENT_TOKEN and MILEPOST_KEYSET_FILE (or MILEPOST_KEYSET: see\n" +
			"`milepost keys new`); finds Temporal by TEMPORAL_ADDRESS (default localhost:7233). Logs are JSON lines on\n" +
			"standard output.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "roles", Value: "all", Usage: "comma-separated: receiver, starter, worker"},
		},
		Action: func(ctx context.Context, command *cli.Command) error {
			roles, err := wiring.ParseRoles(command.String("roles"))
			if err != nil {
				return err
			}
			settings, err := config.LoadServe(environment)
			if err != nil {
				return err
			}
			if environment["GOGC"] == "" {
				debug.SetGCPercent(garbageCollectionPercent)
			}
			return wiring.Serve(ctx, wiring.Options{Config: settings, Roles: roles, Logs: logs})
		},
	}
}
