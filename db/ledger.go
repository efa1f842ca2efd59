package db

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Limits of one group commit. Two statements at a time keep the disk busy while
// the next batch gathers; more only split the batches.
const (
	defaultFlushers = 2
	maxBatch        = 500
	maxPending      = 20_000
	flushTimeout    = 2 * time.Second
)

// Delivery is one webhook delivery to be kept. Text is valid UTF-8 without NUL.
type Delivery struct {
	EventID           string
	EventType         string
	SmartcarVehicleID string // "" when the body names none
	Mode              string
	DeliveryID        string
	WebhookID         string
	DeliveredAt       time.Time // zero when absent
	ReceivedAt        time.Time
	Payload           []byte // the signed bytes
}

// Receipt says that a delivery is committed.
type Receipt struct {
	EventID string
	// Duplicate is true when the ledger had the event already.
	Duplicate bool
}

// Ledger appends deliveries with group commit: what arrives while a statement is
// under way shares the next one. Safe for concurrent use.
type Ledger struct {
	insert func(ctx context.Context, batch []Delivery) ([]Receipt, error)

	mutex    sync.Mutex
	pending  []*appendRequest
	flushing int
}

type appendRequest struct {
	ctx        context.Context //nolint:containedctx // a queued request is abandoned together with its caller
	deliveries []Delivery
	receipts   []Receipt
	err        error
	done       chan struct{}
}

// NewLedger returns the ledger of a store.
func NewLedger(store *Store) *Ledger { return &Ledger{insert: store.appendDeliveries} }

// Append returns once every given delivery is committed, with one receipt for
// each, or with an error when that is not known (ErrUnavailable: the delivery may
// nevertheless have been kept, so the sender's repetition is a duplicate).
func (l *Ledger) Append(ctx context.Context, deliveries []Delivery) ([]Receipt, error) {
	request := &appendRequest{ctx: ctx, deliveries: deliveries, done: make(chan struct{})}
	if !l.enqueue(request) {
		return nil, &Error{Operation: "append to ledger: too many deliveries are waiting", Kind: ErrUnavailable}
	}
	select {
	case <-request.done:
		return request.receipts, request.err
	case <-ctx.Done():
		return nil, &Error{Operation: "append to ledger", Kind: ErrUnavailable, cause: ctx.Err()}
	}
}

func (l *Ledger) enqueue(request *appendRequest) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if len(l.pending) >= maxPending {
		return false
	}
	l.pending = append(l.pending, request)
	if l.flushing < defaultFlushers {
		l.flushing++
		go l.flush(context.WithoutCancel(request.ctx))
	}
	return true
}

// flush commits batches until nothing is pending.
func (l *Ledger) flush(ctx context.Context) {
	for {
		batch := l.take()
		if batch == nil {
			return
		}
		l.commit(ctx, batch)
		for _, request := range batch {
			close(request.done)
		}
	}
}

// take returns the next batch, or nil after giving up the caller's flushing slot.
func (l *Ledger) take() []*appendRequest {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.pending = slices.DeleteFunc(l.pending, func(r *appendRequest) bool { return r.ctx.Err() != nil })
	if len(l.pending) == 0 {
		l.pending = nil
		l.flushing--
		return nil
	}
	size := min(len(l.pending), maxBatch)
	batch := slices.Clone(l.pending[:size])
	l.pending = l.pending[size:]
	return batch
}

func (l *Ledger) commit(ctx context.Context, batch []*appendRequest) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	err := l.commitTogether(ctx, batch)
	if err == nil {
		return
	}
	// A value that PostgreSQL refuses must not take its neighbours down with it.
	alone := errors.Is(err, ErrRejected) && len(batch) > 1
	for _, request := range batch {
		request.err = err
		if alone {
			request.err = l.commitTogether(ctx, []*appendRequest{request})
		}
	}
}

func (l *Ledger) commitTogether(ctx context.Context, batch []*appendRequest) error {
	var deliveries []Delivery
	for _, request := range batch {
		deliveries = append(deliveries, request.deliveries...)
	}
	receipts, err := l.insert(ctx, deliveries)
	if errors.Is(err, ErrConflict) {
		receipts, err = l.insert(ctx, deliveries)
	}
	if err != nil {
		return err
	}
	for _, request := range batch {
		request.receipts = receipts[:len(request.deliveries)]
		request.err = nil
		receipts = receipts[len(request.deliveries):]
	}
	return nil
}

// merged is what one statement needs to know of all deliveries of one event in a batch.
type merged struct {
	Delivery

	count          int32
	lastDeliveryID string
}

// merge folds the deliveries of one event into one row, since a statement cannot
// touch a row twice, and orders the rows so that concurrent statements lock alike.
func merge(deliveries []Delivery) []merged {
	position := make(map[string]int, len(deliveries))
	rows := make([]merged, 0, len(deliveries))
	for _, delivery := range deliveries {
		if at, seen := position[delivery.EventID]; seen {
			rows[at].count++
			rows[at].lastDeliveryID = delivery.DeliveryID
			continue
		}
		position[delivery.EventID] = len(rows)
		rows = append(rows, merged{Delivery: delivery, count: 1, lastDeliveryID: delivery.DeliveryID})
	}
	slices.SortFunc(rows, func(a, b merged) int { return cmp.Compare(a.EventID, b.EventID) })
	return rows
}
