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

const (
	// A flood of forgeries must not become a flood of transactions.
	quarantineRate    = rate.Limit(4)
	quarantineBurst   = 5
	quarantineTimeout = 250 * time.Millisecond
	// Enough to tell every usual mistake from another; Smartcar's own is one of 64 bytes.
	maxKeptSignatures     = 4
	maxKeptSignatureBytes = 256
)

// The values of QuarantinedDelivery.Reason.
const (
	QuarantineMissing   = "missing"   // no signature
	QuarantineSeveral   = "several"   // more than one
	QuarantineMalformed = "malformed" // not 64 hexadecimal digits
	QuarantineMismatch  = "mismatch"  // made with no key of the keyring
)

// The values of the metric attribute result.
const (
	quarantineKept        = "kept"
	quarantineRateLimited = "rate_limited"
	quarantineFailed      = "failed"
)

// Quarantine is where deliveries that were refused for their signature are kept for people to look at, as the
// receiver sees it. It must have bounds of its own: anybody can send such deliveries.
type Quarantine interface {
	// Keep keeps one delivery. It returns when ctx ends. The text of its error is logged and must repeat nothing of
	// the delivery.
	Keep(ctx context.Context, delivery QuarantinedDelivery) error
}

// QuarantinedDelivery is a delivery that was refused for its signature: nothing in it can be trusted.
type QuarantinedDelivery struct {
	// ReceivedAt is UTC.
	ReceivedAt time.Time
	// Reason is one of the Quarantine constants.
	Reason string
	// Signatures are the SC-Signature headers as received, the first 4 and of each the first 256 bytes, valid UTF-8
	// without NUL. They are secrets: one may be right for a key that is accepted tomorrow.
	Signatures []string
	// Body is as received, at most 256 KiB.
	Body []byte
}

// refused is what there is to quarantine of a request; nil when nothing.
func (w *webhook) refused(header http.Header, body []byte, cause error) *QuarantinedDelivery {
	if w.deps.Quarantine == nil {
		return nil
	}
	received := header.Values(smartcar.SignatureHeader)
	delivery := &QuarantinedDelivery{ReceivedAt: w.deps.Clock().UTC(), Body: body, Signatures: []string{}}
	for _, signature := range received[:min(len(received), maxKeptSignatures)] {
		delivery.Signatures = append(delivery.Signatures, storable(signature, maxKeptSignatureBytes))
	}
	switch {
	case len(received) == 0:
		delivery.Reason = QuarantineMissing
	case len(received) > 1:
		delivery.Reason = QuarantineSeveral
	case errors.Is(cause, smartcar.ErrSignatureMalformed):
		delivery.Reason = QuarantineMalformed
	default:
		delivery.Reason = QuarantineMismatch
	}
	return delivery
}

// quarantine keeps what was refused, once the answer is on its way: the sender never waits for it, and its failure
// is nobody's but the log's. The sender may hang up meanwhile, so the request's end does not end it.
func (w *webhook) quarantine(c *gin.Context, refused *QuarantinedDelivery) {
	if refused == nil {
		return
	}
	ctx := context.WithoutCancel(c.Request.Context())
	if !w.keep.Allow() {
		w.metrics.countQuarantine(ctx, quarantineRateLimited)
		return
	}
	// One too long to be answered without a signature is still no event.
	if _, isVerify := smartcar.ReadChallenge(refused.Body); isVerify {
		return
	}
	c.Writer.Flush()
	ctx, cancel := context.WithTimeout(ctx, quarantineTimeout)
	defer cancel()
	if err := w.deps.Quarantine.Keep(ctx, *refused); err != nil {
		w.metrics.countQuarantine(ctx, quarantineFailed)
		w.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "quarantine.failed", slog.String("error", err.Error()))
		return
	}
	w.metrics.countQuarantine(ctx, quarantineKept)
}
