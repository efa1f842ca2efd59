package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.opentelemetry.io/otel/metric"
)

const (
	// So many in a row open the breaker, but only when the ledger has not answered for breakerPatience: one broken
	// connection fails all deliveries of its batch while the next batch is stored.
	breakerFailures = 3
	breakerPatience = time.Second
	// breakerPause is from one probe's failure to the next probe, which is a delivery like any other.
	breakerPause = time.Second
)

var errNotTried = errors.New("api: not tried, since the ledger kept being unavailable")

// ledgerBreaker spares the deliveries of an outage the wait for a ledger that is away: they are refused at once, all but
// one a second. While it is open, requests do not pile up, and Smartcar's next attempt finds a receiver with room.
type ledgerBreaker struct {
	next    Ledger
	circuit *gobreaker.CircuitBreaker[[]LedgerReceipt]
	// answered is when the ledger last stored, or refused, something; in nanoseconds since began.
	answered atomic.Int64
	began    time.Time
}

func newLedgerBreaker(next Ledger, logger *slog.Logger, meter metric.Meter) (*ledgerBreaker, error) {
	b := &ledgerBreaker{next: next, began: time.Now()}
	b.circuit = gobreaker.NewCircuitBreaker[[]LedgerReceipt](gobreaker.Settings{
		Name: "ledger", MaxRequests: 1, Timeout: breakerPause,
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			return counts.ConsecutiveFailures >= breakerFailures && b.silence() >= breakerPatience
		},
		IsSuccessful: func(err error) bool { return !errors.Is(err, ErrLedgerUnavailable) },
		IsExcluded:   func(err error) bool { return errors.Is(err, context.Canceled) },
		OnStateChange: func(name string, from, to gobreaker.State) {
			logger.Warn("breaker.changed", slog.String("breaker", name),
				slog.String("from", from.String()), slog.String("to", to.String()))
		},
	})
	_, err := meter.Int64ObservableGauge("milepost_ledger_breaker_open",
		metric.WithDescription("1 while deliveries are refused without asking the ledger, 0 otherwise."),
		metric.WithInt64Callback(func(_ context.Context, observer metric.Int64Observer) error {
			observer.Observe(b.gauge())
			return nil
		}))
	if err != nil {
		return nil, fmt.Errorf("make the breaker's gauge: %w", err)
	}
	return b, nil
}

// Append implements Ledger. A delivery that is not tried fails with ErrLedgerUnavailable.
func (b *ledgerBreaker) Append(ctx context.Context, deliveries []LedgerDelivery) ([]LedgerReceipt, error) {
	receipts, err := b.circuit.Execute(func() ([]LedgerReceipt, error) {
		receipts, err := b.next.Append(ctx, deliveries)
		if !errors.Is(err, ErrLedgerUnavailable) {
			b.answered.Store(int64(time.Since(b.began)))
		}
		return receipts, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return nil, fmt.Errorf("%w: %w", ErrLedgerUnavailable, errNotTried)
	}
	return receipts, err //nolint:wrapcheck // What the ledger said.
}

func (b *ledgerBreaker) silence() time.Duration {
	return time.Since(b.began) - time.Duration(b.answered.Load())
}

// ready reports the ledger as failing until the next delivery would be tried, not until one was stored: a load balancer
// that sends none to an instance which is not ready would otherwise keep it so.
func (b *ledgerBreaker) ready(context.Context) []DependencyStatus {
	var err error
	if b.circuit.State() == gobreaker.StateOpen {
		err = errNotTried
	}
	return []DependencyStatus{NewDependencyStatus(b.circuit.Name(), true, err)}
}

// gauge counts a probe's time as open: the others are refused meanwhile.
func (b *ledgerBreaker) gauge() int64 {
	if b.circuit.State() == gobreaker.StateClosed {
		return 0
	}
	return 1
}
