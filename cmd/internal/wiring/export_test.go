package wiring

import (
	"context"
	"log/slog"

	"go.temporal.io/sdk/client"
)

// Poller is poller.
type Poller = poller

// KeepAll is keepAll.
func KeepAll(ctx context.Context, logger *slog.Logger, kinds ...func(fatal func(error)) Poller) {
	keepAll(ctx, logger, kinds...)
}

// KeepSchedules is keepSchedules of a process with nothing but a client.
func KeepSchedules(ctx context.Context, temporalClient client.Client, options Options) {
	withClient(temporalClient, options).keepSchedules(ctx)
}

// Restore is restore of such a process.
func Restore(ctx context.Context, temporalClient client.Client, options Options) {
	withClient(temporalClient, options).restore(ctx)
}

func withClient(temporalClient client.Client, options Options) *process {
	return &process{
		options: options, logger: slog.New(slog.DiscardHandler), temporal: temporalClient, namespace: client.DefaultNamespace,
	}
}
