package db

import (
	"context"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// The bounds of a quarantine when none are given.
const (
	DefaultQuarantineRows  = 1000
	DefaultQuarantineBytes = 16 << 20
	DefaultQuarantineAge   = 7 * 24 * time.Hour
)

// Why a delivery is in quarantine.
const (
	QuarantineMissing   = "missing"   // no signature
	QuarantineSeveral   = "several"   // more than one
	QuarantineMalformed = "malformed" // not 64 hexadecimal digits
	QuarantineMismatch  = "mismatch"  // made with no key of the keyring
)

// QuarantineBounds says how much a quarantine holds; a zero field means its default.
type QuarantineBounds struct {
	Rows  int64
	Bytes int64 // of bodies and signatures
	Age   time.Duration
}

// QuarantinedDelivery is a delivery that was refused for its signature. Nothing in it can be
// trusted. Signatures and the reason are valid UTF-8 without NUL.
type QuarantinedDelivery struct {
	ReceivedAt time.Time
	Reason     string   // one of the Quarantine constants
	Signatures []string // the SC-Signature headers: secrets, since they may be right for another key
	Body       []byte   // as received
}

// QuarantineRow is one delivery in quarantine.
type QuarantineRow struct {
	QuarantinedDelivery

	ID int64
}

// QuarantineSummary is a row for a list: without the body and the signatures.
type QuarantineSummary struct {
	ID         int64     `json:"id"`
	ReceivedAt time.Time `json:"receivedAt"`
	Reason     string    `json:"reason"`
	BodyBytes  int32     `json:"bodyBytes"`
}

// Quarantine keeps refused deliveries for inspection, within bounds. Safe for concurrent use.
type Quarantine struct {
	store  *Store
	bounds QuarantineBounds
}

// NewQuarantine returns the quarantine of a store.
func NewQuarantine(store *Store, bounds QuarantineBounds) *Quarantine {
	if bounds.Rows == 0 {
		bounds.Rows = DefaultQuarantineRows
	}
	if bounds.Bytes == 0 {
		bounds.Bytes = DefaultQuarantineBytes
	}
	if bounds.Age == 0 {
		bounds.Age = DefaultQuarantineAge
	}
	return &Quarantine{store: store, bounds: bounds}
}

// Keep adds one delivery and, in the same transaction, drops the oldest ones beyond the bounds,
// which hold over all processes. A delivery larger than the bound in bytes empties the quarantine and is not kept.
func (q *Quarantine) Keep(ctx context.Context, delivery QuarantinedDelivery) error {
	size := int64(len(delivery.Body))
	for _, signature := range delivery.Signatures {
		size += int64(len(signature))
	}
	return q.store.inTransaction(ctx, "keep in quarantine", func(queries *dbsqlc.Queries) error {
		if err := queries.LockQuarantine(ctx); err != nil {
			return translate("lock quarantine", err)
		}
		err := queries.InsertQuarantined(ctx, dbsqlc.InsertQuarantinedParams{
			ReceivedAt: delivery.ReceivedAt, Reason: delivery.Reason,
			Signatures: append([]string{}, delivery.Signatures...), Body: delivery.Body, SizeBytes: size,
		})
		if err != nil {
			return translate("keep in quarantine", err)
		}
		return translate("bound quarantine", queries.BoundQuarantine(ctx, dbsqlc.BoundQuarantineParams{
			MaxRows: q.bounds.Rows, MaxBytes: q.bounds.Bytes, MaxAgeSeconds: q.bounds.Age.Seconds(),
		}))
	})
}

// List gives up to limit deliveries, the newest first.
func (q *Quarantine) List(ctx context.Context, limit int32) ([]QuarantineSummary, error) {
	rows, err := q.store.queries.ListQuarantined(ctx, limit)
	if err != nil {
		return nil, translate("list quarantine", err)
	}
	summaries := make([]QuarantineSummary, len(rows))
	for i, row := range rows {
		summaries[i] = QuarantineSummary(row)
	}
	return summaries, nil
}

// Get gives one delivery; ErrNotFound when it is not, or no longer, there.
func (q *Quarantine) Get(ctx context.Context, id int64) (QuarantineRow, error) {
	row, err := q.store.queries.Quarantined(ctx, id)
	if err != nil {
		return QuarantineRow{}, translate("read quarantine", err)
	}
	return QuarantineRow{
		ID: row.ID,
		QuarantinedDelivery: QuarantinedDelivery{
			ReceivedAt: row.ReceivedAt.UTC(), Reason: row.Reason, Signatures: row.Signatures, Body: row.Body,
		},
	}, nil
}

// Delete takes one delivery away. That it is gone already is no error.
func (q *Quarantine) Delete(ctx context.Context, id int64) error {
	return translate("delete from quarantine", q.store.queries.DeleteQuarantined(ctx, id))
}

// QuarantineToTrim counts the deliveries received longer than olderThan ago.
func (s *Store) QuarantineToTrim(ctx context.Context, olderThan time.Duration) (int64, error) {
	due, err := s.queries.QuarantineToTrim(ctx, olderThan.Seconds())
	return due, translate("count what to trim from quarantine", err)
}

// TrimQuarantine deletes up to limit deliveries received longer than olderThan ago, the oldest
// first, and gives their number. Keep does the same, but only when something is kept.
func (s *Store) TrimQuarantine(ctx context.Context, olderThan time.Duration, limit int32) (int64, error) {
	deleted, err := s.queries.TrimQuarantine(ctx, dbsqlc.TrimQuarantineParams{
		AgeSeconds: olderThan.Seconds(), MaxRows: limit,
	})
	return deleted, translate("trim quarantine", err)
}
