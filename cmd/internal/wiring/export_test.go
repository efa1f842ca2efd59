package wiring

import (
	"context"
	"log/slog"
)

// Poller is poller.
type Poller = poller

// KeepAll is keepAll.
func KeepAll(ctx context.Context, logger *slog.Logger, kinds ...func(fatal func(error)) Poller) {
	keepAll(ctx, logger, kinds...)
}
