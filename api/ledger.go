package api

import (
	"context"
	"errors"
	"time"
)

// ErrLedgerUnavailable says that the ledger could not be reached or did not answer in time. After a few in a row the
// receiver refuses deliveries without asking, but for one a second, until the ledger answers.
var ErrLedgerUnavailable = errors.New("api: ledger unavailable")

// Ledger is where deliveries become durable, as the receiver sees it.
type Ledger interface {
	// Append stores all deliveries of one request in one transaction and returns after the commit, with one receipt
	// per delivery in the same order. An event that is there already is no error but a receipt marked Duplicate.
	// It returns when ctx ends, committed or not: the answer must leave in time. Any error makes Smartcar deliver
	// again, so a commit of unknown outcome must be reported as an error. It wraps ErrLedgerUnavailable when the ledger
	// is away, and context.Canceled when the sender left. Its text is logged and must repeat nothing of the payload.
	Append(ctx context.Context, deliveries []LedgerDelivery) ([]LedgerReceipt, error)
}

// LedgerDelivery is one event of one delivery. Strings are valid UTF-8 without NUL, of at most 128 bytes.
type LedgerDelivery struct {
	// EventID matches [A-Za-z0-9][A-Za-z0-9_.:-]{0,127}.
	EventID string
	// EventType is as sent, at most 64 bytes, or "MALFORMED" when none could be read.
	EventType string
	// SmartcarVehicleID is Smartcar's id of the vehicle, "" when none could be read.
	SmartcarVehicleID string
	// Mode is "LIVE", "TEST", "SIMULATED" or another in upper case, "" when not said.
	Mode                  string
	DeliveryID, WebhookID string
	// DeliveredAt is zero when not said. Both times are UTC.
	DeliveredAt, ReceivedAt time.Time
	// Payload is the body exactly as received, shared by all events of a delivery; it must not be modified. It
	// begins as a JSON object but need not be valid JSON or UTF-8.
	Payload []byte
}

// LedgerReceipt says what became of one LedgerDelivery.
type LedgerReceipt struct {
	EventID   string
	Duplicate bool
}
