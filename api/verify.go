package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/milepost/milepost/api/smartcar"
)

const (
	// Anything longer is not looked into without a signature: a VERIFY is a few hundred bytes.
	maxUnsignedBytes      = 64 << 10
	rateLimitedRetryAfter = time.Second
)

var errVerifyRate = errors.New("api: too many VERIFY deliveries")

type challengeAnswer struct {
	Challenge string `json:"challenge"`
}

// handleUnsigned answers a VERIFY, which comes unsigned, and refuses everything else. Whoever speaks is not known,
// so it looks no further than the challenge. Source: Smartcar, "VERIFY".
func (w *webhook) handleUnsigned(c *gin.Context, body []byte, signature error) answer {
	if len(body) <= maxUnsignedBytes {
		if challenge, isVerify := smartcar.ReadChallenge(body); isVerify {
			if len(c.Request.Header.Values(smartcar.SignatureHeader)) > 0 {
				w.deps.Logger.LogAttrs(c.Request.Context(), slog.LevelWarn, "signature.mismatch",
					slog.String("eventType", string(smartcar.TypeVerify)), slog.String("error", signature.Error()))
			}
			return w.answerVerify(c.Request.Context(), challenge)
		}
	}
	reply := rejection(http.StatusUnauthorized, resultBadSignature,
		"signature missing or wrong; sign the raw body with the application management token in one SC-Signature header", signature)
	reply.refused = w.refused(c.Request.Header, body, signature)
	return reply
}

// answerVerify answers a challenge within the rate limit. The limit stands before the check of the challenge, so
// that guessing at what is hashed is slow as well. Source: Smartcar, "the signing-oracle problem".
func (w *webhook) answerVerify(ctx context.Context, challenge string) answer {
	reply := w.verifyReply(challenge)
	reply.eventType = smartcar.TypeVerify
	if !reply.rejected() {
		w.deps.Logger.LogAttrs(ctx, slog.LevelInfo, "webhook.received", slog.String("eventType", string(smartcar.TypeVerify)))
	}
	return reply
}

func (w *webhook) verifyReply(challenge string) answer {
	if !w.verify.Allow() {
		reply := rejection(http.StatusTooManyRequests, resultRateLimited,
			"too many VERIFY deliveries; try again in a moment", errVerifyRate)
		reply.retryAfter = rateLimitedRetryAfter
		return reply
	}
	hash, err := w.deps.Keyring.AnswerChallenge(challenge)
	if err != nil {
		return rejection(http.StatusBadRequest, resultVerifyRefused,
			"challenge refused; it must match [A-Za-z0-9_.-]{4,128}", err)
	}
	return answer{status: http.StatusOK, result: resultVerify, body: challengeAnswer{hash}}
}
