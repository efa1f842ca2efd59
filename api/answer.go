package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/milepost/milepost/api/smartcar"
)

// result is the value of the metric attribute of that name.
type result string

const (
	resultAccepted            result = "accepted"
	resultDuplicate           result = "duplicate"
	resultMalformed           result = "malformed" // Signed, not understood, stored.
	resultVerify              result = "verify"
	resultVerifyRefused       result = "verify_refused"
	resultRateLimited         result = "rate_limited"
	resultBadSignature        result = "bad_signature"
	resultNotObject           result = "not_object"
	resultTooLarge            result = "too_large"
	resultUnsupportedEncoding result = "unsupported_encoding"
	resultUnreadable          result = "unreadable"
	resultUnavailable         result = "unavailable"
	resultAborted             result = "aborted"
)

type errorBody struct {
	Error string `json:"error"`
}

// answer is what the webhook endpoint replies, and what is counted and logged about it.
type answer struct {
	status     int
	result     result
	body       any
	retryAfter time.Duration
	// closes ends the connection: the rest of the request was not read.
	closes bool
	// cause is for the log of a rejection only. It must not repeat anything out of the request.
	cause error
	// refused is what to keep in quarantine once the answer is sent.
	refused *QuarantinedDelivery
	// Zero until the delivery was decoded.
	eventType smartcar.EventType
	mode      smartcar.Mode
}

func rejection(status int, outcome result, text string, cause error) answer {
	return answer{status: status, result: outcome, body: errorBody{text}, cause: cause}
}

func (a answer) rejected() bool { return a.status >= http.StatusMultipleChoices }

func (a answer) send(c *gin.Context) {
	if a.retryAfter > 0 {
		c.Header("Retry-After", strconv.Itoa(int(a.retryAfter.Seconds())))
	}
	if a.closes {
		c.Header("Connection", "close")
	}
	respond(c, a.status, a.body)
}

func (a answer) log(c *gin.Context, logger *slog.Logger) {
	if !a.rejected() {
		return
	}
	attributes := []slog.Attr{slog.Int("status", a.status), slog.String("reason", string(a.result))}
	if a.cause != nil {
		attributes = append(attributes, slog.String("error", a.cause.Error()))
	}
	logger.LogAttrs(c.Request.Context(), slog.LevelWarn, "webhook.rejected", attributes...)
}

func respond(c *gin.Context, status int, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		status, encoded = http.StatusInternalServerError, []byte(`{"error":"the answer could not be encoded"}`)
	}
	// Without a charset, as Smartcar documents the answer to VERIFY.
	c.Data(status, "application/json", encoded)
}

// recovery answers 500 for a panic and logs where it happened. Neither the request nor, unless it comes from the
// runtime, the text of the panic is logged: both may hold what was received.
func recovery(logger *slog.Logger) gin.HandlerFunc {
	return gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, cause any) {
		logger.ErrorContext(c.Request.Context(), "http.panic", "path", c.FullPath(),
			"panic", describePanic(cause), "stack", string(debug.Stack()))
		c.Abort()
		respond(c, http.StatusInternalServerError, errorBody{"internal error; deliver again"})
	})
}

func describePanic(cause any) string {
	if err, ok := cause.(error); ok {
		if fromRuntime, ok := errors.AsType[runtime.Error](err); ok {
			return fromRuntime.Error()
		}
	}
	return fmt.Sprintf("%T", cause)
}
