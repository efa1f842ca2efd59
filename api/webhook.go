package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/time/rate"

	"github.com/milepost/milepost/api/smartcar"
)

// Smartcar waits 25 s or more before it delivers again; a client that heeds the header may come sooner.
const unavailableRetryAfter = 5 * time.Second

var errSignatureCount = errors.New("api: there is not exactly one SC-Signature header")

type webhook struct {
	deps    *Deps
	ledger  Ledger // behind its breaker
	metrics *metrics
	verify  *rate.Limiter
	keep    *rate.Limiter // of the quarantine
}

func newWebhook(deps *Deps, ledger Ledger, counters *metrics) *webhook {
	return &webhook{
		deps: deps, ledger: ledger, metrics: counters,
		verify: rate.NewLimiter(deps.VerifyRate, deps.VerifyBurst),
		keep:   rate.NewLimiter(quarantineRate, quarantineBurst),
	}
}

// receive answers one delivery of Smartcar: 200 once it is in the ledger (also when it was there already, or cannot
// be understood but is signed), 401 for a signature that is missing or wrong, 413, 415 and 400 for what no delivery
// looks like, 503 when the ledger does not commit in time, or at once while it is away. VERIFY is answered without a signature.
// Source: Smartcar, "what to answer".
func (w *webhook) receive(c *gin.Context) {
	started := time.Now()
	reply := w.handle(c)
	reply.send(c)
	reply.log(c, w.deps.Logger)
	w.metrics.record(c.Request.Context(), reply, time.Since(started))
	w.quarantine(c, reply.refused)
}

func (w *webhook) handle(c *gin.Context) answer {
	body, refusal := readBody(c)
	if refusal != nil {
		return *refusal
	}
	if err := authenticate(w.deps.Keyring, c.Request.Header.Values(smartcar.SignatureHeader), body); err != nil {
		return w.handleUnsigned(c, body, err)
	}
	delivery, err := smartcar.Decode(body)
	if delivery.Type == smartcar.TypeVerify {
		return w.answerVerify(c.Request.Context(), delivery.Challenge)
	}
	reply := w.store(c.Request.Context(), body, delivery, err)
	reply.eventType, reply.mode = delivery.Type, delivery.Mode
	return reply
}

// store commits the delivery; malformed is the error of decoding it, which does not keep it from being stored:
// delivered again it would be the same.
func (w *webhook) store(ctx context.Context, body []byte, delivery smartcar.Delivery, malformed error) answer {
	entries := ledgerDeliveries(body, delivery, w.deps.Clock().UTC())
	w.logReceipt(ctx, entries, malformed)
	bounded, cancel := context.WithTimeout(ctx, w.deps.AppendTimeout)
	defer cancel()
	receipts, err := w.ledger.Append(bounded, entries)
	if err != nil {
		outcome := resultUnavailable
		if ctx.Err() != nil {
			outcome = resultAborted
		}
		reply := rejection(http.StatusServiceUnavailable, outcome, "the delivery could not be stored; deliver again", err)
		reply.retryAfter = unavailableRetryAfter
		return reply
	}
	outcome := resultAccepted
	if allDuplicates(receipts) {
		outcome = resultDuplicate
	}
	reply := answer{status: http.StatusOK, result: outcome, body: stored{Status: outcome, EventID: entries[0].EventID}}
	if malformed != nil {
		reply.result = resultMalformed
	}
	return reply
}

// stored is the body of a 200; of several events it names the first and says duplicate only if all are.
type stored struct {
	Status  result `json:"status"`
	EventID string `json:"eventId"`
}

func allDuplicates(receipts []LedgerReceipt) bool {
	for _, receipt := range receipts {
		if !receipt.Duplicate {
			return false
		}
	}
	return len(receipts) > 0
}

func (w *webhook) logReceipt(ctx context.Context, entries []LedgerDelivery, malformed error) {
	first := entries[0]
	attributes := []slog.Attr{
		slog.String("eventId", first.EventID),
		slog.String("eventType", first.EventType),
		slog.String("vehicleId", first.SmartcarVehicleID),
		slog.String("deliveryId", first.DeliveryID),
		slog.Int("events", len(entries)),
	}
	w.deps.Logger.LogAttrs(ctx, slog.LevelInfo, "webhook.received", attributes...)
	w.deps.Logger.LogAttrs(ctx, slog.LevelInfo, "signature.verified", attributes...)
	if malformed != nil {
		w.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "webhook.malformed",
			append(attributes, slog.String("error", malformed.Error()))...)
	}
}
