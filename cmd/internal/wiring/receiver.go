package wiring

import (
	"context"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/db"
)

// receiverLedger gives the receiver its ledger and wakes the starter after each commit.
type receiverLedger struct {
	ledger *db.Ledger
	wake   func()
}

// Append implements api.Ledger.
func (l *receiverLedger) Append(ctx context.Context, deliveries []api.LedgerDelivery) ([]api.LedgerReceipt, error) {
	rows := make([]db.Delivery, len(deliveries))
	for i, delivery := range deliveries {
		rows[i] = db.Delivery(delivery)
	}
	committed, err := l.ledger.Append(ctx, rows)
	if err != nil {
		return nil, err
	}
	l.wake()
	receipts := make([]api.LedgerReceipt, len(committed))
	for i, receipt := range committed {
		receipts[i] = api.LedgerReceipt(receipt)
	}
	return receipts, nil
}

// receiverQuarantine keeps deliveries with a bad signature.
type receiverQuarantine struct{ quarantine *db.Quarantine }

// Keep implements api.Quarantine.
func (q receiverQuarantine) Keep(ctx context.Context, delivery api.QuarantinedDelivery) error {
	return q.quarantine.Keep(ctx, db.QuarantinedDelivery(delivery))
}
