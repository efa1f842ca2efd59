package wiring

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"go.temporal.io/sdk/client"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
)

// receiver is the public handler; without the role it answers health checks only.
func (p *process) receiver() (http.Handler, error) {
	var tokens []string
	for _, token := range p.options.Config.ManagementTokens {
		tokens = append(tokens, token.Reveal())
	}
	keyring, err := smartcar.NewKeyring(tokens...)
	if err != nil {
		return nil, fmt.Errorf("read management tokens: %w", err)
	}
	deps := api.Deps{
		Keyring: keyring.WithSigningKeys(p.options.Config.WebhookSecret.Reveal()),
		Ready:   p.ready,
		Logger:  p.logger,
		Meter:   p.metrics.Meter(meterName),
	}
	if p.options.Roles.Has(RoleReceiver) {
		deps.Ledger = &receiverLedger{ledger: db.NewLedger(p.ledger), wake: p.starter.Wake}
		p.addConnect(&deps)
		if p.options.Config.Quarantine == "on" {
			// Not on the ledger's own pool: a forger's deliveries must not hold up genuine ones.
			deps.Quarantine = receiverQuarantine{db.NewQuarantine(p.store, db.QuarantineBounds{})}
		}
	}
	return api.NewHandler(deps)
}

// ready reports the dependencies. Temporal is not required: while it is away,
// deliveries are still acknowledged, and a load balancer must keep sending them.
func (p *process) ready(ctx context.Context) []api.DependencyStatus {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	var databaseErr, temporalErr error
	var asked sync.WaitGroup
	// At once: one that hangs must not use up the time of the other.
	asked.Go(func() { databaseErr = p.ledger.Ping(ctx) })
	asked.Go(func() { _, temporalErr = p.temporal.CheckHealth(ctx, &client.CheckHealthRequest{}) })
	asked.Wait()
	return []api.DependencyStatus{
		api.NewDependencyStatus("database", true, databaseErr),
		api.NewDependencyStatus("temporal", false, temporalErr),
	}
}

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
	if errors.Is(err, db.ErrUnavailable) {
		return nil, fmt.Errorf("%w: %w", api.ErrLedgerUnavailable, err)
	}
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
