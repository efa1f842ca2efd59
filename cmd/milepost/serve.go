package main

import (
	"context"
	"io"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/cmd/internal/wiring"
)

func serveCommand(environment map[string]string, logs io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "receive webhooks and process them, until SIGINT or SIGTERM",
		Description: "Needs DATABASE_URL and SMARTCAR_MANAGEMENT_TOKEN; finds Temporal by TEMPORAL_ADDRESS\n" +
			"(default localhost:7233). Logs are JSON lines on standard output.",
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
			return wiring.Serve(ctx, wiring.Options{Config: settings, Roles: roles, Logs: logs})
		},
	}
}
