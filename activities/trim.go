package activities

import (
	"context"
	"log/slog"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// TrimRetained trims the payloads of events that were processed long ago, and
// deletes logs, consents and notices that nobody needs any more, batch by batch. The
// ledger's rows stay: they tell duplicates apart.
//
// Idempotent: what is done is not due any more, so that a new try goes on after the
// last batch that was committed. Tried again while the database is away; the result
// counts what all tries did, as far as the last heartbeat tells.
func (a *Activities) TrimRetained(
	ctx context.Context, input contract.RetentionInput,
) (contract.RetentionResult, error) {
	result := contract.RetentionResult{}
	if activity.HasHeartbeatDetails(ctx) {
		if err := activity.GetHeartbeatDetails(ctx, &result); err != nil {
			a.deps.Logger.Warn("retention.progress_unreadable") // which costs only the count
		}
	}
	if result.Rows == nil {
		result.Rows = map[string]int64{}
	}
	err := a.deps.Store.Trim(ctx, db.RetentionPeriods{
		Payloads: positiveOr(input.Payloads, contract.DefaultPayloadRetention),
		SyncLogs: positiveOr(input.SyncLogs, contract.DefaultLogRetention),
	}, func(kind string, rows int64) {
		result.Rows[kind] += rows
		activity.RecordHeartbeat(ctx, result)
	})
	if err != nil {
		return result, classify(err)
	}
	attributes := make([]any, 0, len(result.Rows))
	for kind, rows := range result.Rows {
		attributes = append(attributes, slog.Int64(kind, rows))
	}
	a.deps.Logger.Info("retention.finished", slog.Group("rows", attributes...))
	return result, nil
}

func positiveOr(given, fallback time.Duration) time.Duration {
	if given > 0 {
		return given
	}
	return fallback
}
