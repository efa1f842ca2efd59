package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v3"
	"go.temporal.io/sdk/client"

	"github.com/milepost/milepost/cmd/internal/load"
	"github.com/milepost/milepost/cmd/internal/stack"
)

// How much a benchmark does unless it is told otherwise.
const (
	benchDeliveries  = 10_000
	benchEvents      = 5_000
	benchNaiveEvents = 300
	benchConcurrency = 64
)

func benchCommand(output, progress io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure acknowledging and processing against what the machine could do at best",
		Description: "Starts an ephemeral stack (PostgreSQL with its usual durability, Temporal in memory) and stops it again.\n" +
			"Compare figures only within one run: machines are noisy. With --soak it watches the memory of `milepost serve`\n" +
			"over so many deliveries instead.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "deliveries", Value: benchDeliveries, Usage: "posts to measure acknowledging with"},
			&cli.IntFlag{Name: "events", Value: benchEvents, Usage: "events to measure processing with"},
			&cli.IntFlag{Name: "concurrency", Value: benchConcurrency, Usage: "posts under way at once"},
			&cli.IntFlag{Name: "soak", Usage: "post so many deliveries and report resident memory"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
		},
		Action: func(ctx context.Context, command *cli.Command) error {
			settings := benchSettings{
				deliveries: command.Int("deliveries"), events: command.Int("events"),
				concurrency: command.Int("concurrency"), soak: command.Int("soak"), json: command.Bool("json"),
			}
			if settings.deliveries < 1 || settings.events < 1 || settings.concurrency < 1 || settings.soak < 0 {
				return errors.New("--deliveries, --events and --concurrency must be at least 1")
			}
			return runBench(ctx, settings, output, &lines{output: progress})
		},
	}
}

type benchSettings struct {
	deliveries, events, concurrency, soak int
	json                                  bool
}

// figures are what a benchmark prints.
type figures struct {
	AckPerSecond           float64 `json:"ack_per_s"`
	AckMedian              float64 `json:"ack_p50_ms"`
	AckSlow                float64 `json:"ack_p99_ms"`
	InsertFloorPerSecond   float64 `json:"insert_floor_per_s"`
	EventsPerSecond        float64 `json:"events_per_s"`
	WorkflowFloorPerSecond float64 `json:"workflow_floor_per_s"`
	NaiveEventsPerSecond   float64 `json:"naive_events_per_s"`
	HistoryEventsPerEvent  float64 `json:"history_events_per_event"`
	DatabaseBytesPerEvent  float64 `json:"db_bytes_per_event"`
}

// bench is a stack under measurement.
type bench struct {
	*stack.Stack

	settings benchSettings
	progress *lines
	load     *load.Load
	temporal client.Client
	posted   int // events so far
}

func runBench(ctx context.Context, settings benchSettings, output io.Writer, progress *lines) (err error) {
	dataDir, err := os.MkdirTemp("", "milepost-bench-")
	if err != nil {
		return fmt.Errorf("make a directory for the logs: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dataDir)) }()
	running, err := stack.Start(ctx, stack.Options{
		DataDir: dataDir, Ephemeral: true, WithoutUI: true, Progress: progress.print,
		Environment: map[string]string{"MILEPOST_LOG_LEVEL": "WARN"},
	})
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		err = errors.Join(err, running.Stop(stopping))
	}()
	fleet, err := load.New(ctx, load.Deps{
		URL: running.URL() + webhookPath, Token: running.ManagementToken(),
		Vehicles: running.Store, Concurrency: settings.concurrency,
	})
	if err != nil {
		return err
	}
	b := &bench{Stack: running, settings: settings, progress: progress, load: fleet}
	if b.temporal, err = b.dial(); err != nil {
		return err
	}
	defer b.temporal.Close()
	if settings.soak > 0 {
		measured, err := b.soak(ctx)
		if err != nil {
			return err
		}
		return writeFigures(output, settings.json, measured)
	}
	measured, err := b.measure(ctx)
	if err != nil {
		return err
	}
	return writeFigures(output, settings.json, measured)
}

// rounds is how often the phases that are compared take turns: a machine that is
// slower for a while is then slower for all of them.
const rounds = 5

func (b *bench) measure(ctx context.Context) (figures, error) {
	var measured figures
	floor, err := b.openInsertFloor(ctx)
	if err != nil {
		return measured, err
	}
	defer floor.Close()
	var inserts, acks, events, empty, naive pace
	before, err := b.Store.DatabaseBytes(ctx)
	if err != nil {
		return measured, err
	}
	for round := range rounds {
		b.progress.print(fmt.Sprintf("round %d of %d", round+1, rounds))
		for _, phase := range []struct {
			name string
			pace *pace
			run  func(ctx context.Context, pace *pace) error
		}{
			{"single-row inserts", &inserts, func(ctx context.Context, pace *pace) error { return b.insert(ctx, pace, floor) }},
			{"posts", &acks, b.acknowledge},
			{"events until processed", &events, b.process},
			{"empty eager workflows", &empty, b.emptyWorkflows},
			{"workflows with three ordinary activities", &naive, b.naiveWorkflows},
		} {
			if err := phase.run(ctx, phase.pace); err != nil {
				return measured, fmt.Errorf("%s: %w", phase.name, err)
			}
			b.progress.print(fmt.Sprintf("  %-42s %8.1f/s so far", phase.name, phase.pace.perSecond()))
		}
	}
	after, err := b.Store.DatabaseBytes(ctx)
	if err != nil {
		return measured, err
	}
	measured = figures{
		AckPerSecond: acks.perSecond(), AckMedian: percentile(acks.each, median), AckSlow: percentile(acks.each, slow),
		InsertFloorPerSecond: inserts.perSecond(), EventsPerSecond: events.perSecond(),
		WorkflowFloorPerSecond: empty.perSecond(), NaiveEventsPerSecond: naive.perSecond(),
		DatabaseBytesPerEvent: float64(after-before) / float64(b.posted),
	}
	measured.HistoryEventsPerEvent, err = b.historyLength(ctx, b.posted)
	return measured, err
}

// pace is how much was done in which time.
type pace struct {
	count int
	took  time.Duration
	each  []time.Duration // of posts: the time to each acknowledgement
}

func (p *pace) add(count int, started time.Time) {
	p.count += count
	p.took += time.Since(started)
}

func (p *pace) perSecond() float64 { return float64(p.count) / p.took.Seconds() }

func writeFigures[T any](output io.Writer, asJSON bool, measured T) error {
	encoded, err := json.MarshalIndent(measured, "", "  ")
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	if asJSON {
		_, err = fmt.Fprintf(output, "%s\n", encoded)
		return err
	}
	var named map[string]any
	if err := json.Unmarshal(encoded, &named); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return writeTable(output, named)
}
