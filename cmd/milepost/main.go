// Command milepost is the product: it serves the receiver, the starter and the
// worker, migrates the database, and gives support staff their tools.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"
)

// version is set by the build (-X main.version=…).
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args, environment(), os.Stdout, os.Stderr)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "milepost:", err) // nothing is left to tell the caller with
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, environment map[string]string, output, logs io.Writer) error {
	return (&cli.Command{
		Name:      "milepost",
		Usage:     "the durable back end between Smartcar and an application that keeps odometer readings",
		Version:   version,
		Writer:    output,
		ErrWriter: logs,
		Commands: []*cli.Command{
			serveCommand(environment, output),
			migrateCommand(environment, output, logs),
			eventsCommand(environment, output),
			vehiclesCommand(environment, output, logs),
			keysCommand(environment, output, logs),
			trimCommand(environment, output),
			reconcileCommand(environment, output, logs),
			explainCommand(environment, output),
		},
	}).Run(ctx, arguments)
}

func environment() map[string]string {
	variables := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		variables[name] = value
	}
	return variables
}
