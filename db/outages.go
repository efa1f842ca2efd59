package db

import (
	"context"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// DefaultShortestOutage is the least silence of the ledger that can have lost a
// webhook: Smartcar gives up after its fourth attempt, 175 s after the first. Source:
// Smartcar, "Delivery behaviour".
const DefaultShortestOutage = 175 * time.Second

// leastExpected is how many deliveries must have been due in a silence for it to be
// an outage: by chance, so many fail to appear once in 22,000 silences.
const leastExpected = 10

// Outage is a time for which webhooks may be lost.
type Outage struct {
	StartedAt time.Time `json:"startedAt"`
	// EndedAt is zero while it lasts.
	EndedAt time.Time `json:"endedAt,omitzero"`
	// Expected is how many deliveries were due meanwhile; 0 when an operator named the outage.
	Expected   float64   `json:"expected,omitempty"`
	DetectedAt time.Time `json:"detectedAt"`
	// Source is "ledger" or "requested".
	Source string `json:"source"`
}

// DetectOutages searches what the ledger has received since the last search for
// silences in which deliveries were due, whatever was down: the receiver, its
// database or its network. It gives those that are new, and those known before that
// have ended since. One search is under way at a time, across all processes.
func (s *Store) DetectOutages(ctx context.Context, shortest time.Duration, now time.Time) (outages []Outage, err error) {
	err = s.inTransaction(ctx, "detect outages", func(queries *dbsqlc.Queries) error {
		// A statement of its own, so that the search sees what the one before it has stored.
		if _, err := queries.LockPolling(ctx); err != nil {
			return translate("lock the search for outages", err)
		}
		rows, err := queries.DetectOutages(ctx, dbsqlc.DetectOutagesParams{
			AskedAt: now, ShortestSeconds: shortest.Seconds(), LeastExpected: leastExpected, PollEventType: EventTypePoll,
		})
		for _, row := range rows {
			outages = append(outages, outageOf(dbsqlc.ListOutagesRow(row)))
		}
		return translate("detect outages", err)
	})
	return outages, err
}

// RequestReconcile names a time for which webhooks may be lost, and asks for the
// workflow that polls once on that account every vehicle that has not been heard from
// since until, or since now if until is later. ErrRejected when since is not before it.
func (s *Store) RequestReconcile(ctx context.Context, since, until time.Time) error {
	return s.inTransaction(ctx, "request reconciliation", func(queries *dbsqlc.Queries) error {
		err := queries.RequestOutage(ctx, dbsqlc.RequestOutageParams{StartedAt: since, EndedAt: until})
		if err != nil {
			return translate("name outage", err)
		}
		return requestWorkflow(ctx, queries, WorkflowRequest{Kind: RequestReconcile, Subject: "requested"})
	})
}

// Outages lists up to limit outages, the newest first.
func (s *Store) Outages(ctx context.Context, limit int32) ([]Outage, error) {
	rows, err := s.queries.ListOutages(ctx, limit)
	if err != nil {
		return nil, translate("list outages", err)
	}
	outages := make([]Outage, len(rows))
	for i, row := range rows {
		outages[i] = outageOf(row)
	}
	return outages, nil
}

func outageOf(row dbsqlc.ListOutagesRow) Outage {
	return Outage{
		StartedAt: row.StartedAt.UTC(), EndedAt: valueOr(row.EndedAt, time.Time{}).UTC(), Expected: row.Expected,
		DetectedAt: row.DetectedAt.UTC(), Source: row.Source,
	}
}
