// Command milepost-dev is the workbench: it runs a whole Milepost on one machine,
// sends it webhooks, and measures it.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v3"
)

// version is set by the build (-X main.version=…).
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "milepost-dev:", err) // nothing is left to tell the caller with
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, output, errors io.Writer) error {
	return (&cli.Command{
		Name:      "milepost-dev",
		Usage:     "run, feed and measure Milepost on one machine",
		Version:   version,
		Writer:    output,
		ErrWriter: errors,
		Commands:  []*cli.Command{upCommand(output), sendCommand(output), benchCommand(output, errors)},
	}).Run(ctx, arguments)
}

func dataDirFlag() cli.Flag {
	return &cli.StringFlag{Name: "data-dir", Value: ".milepost", Usage: "where the data, the logs and dev.env are"}
}
