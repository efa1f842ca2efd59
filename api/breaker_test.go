package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/api/smartcar"
)

const (
	// failureTime is how long the broken ledger takes to fail, on the bubble's clock.
	failureTime = 500 * time.Millisecond
	// untilProbe is over when the next delivery is tried.
	untilProbe = time.Second + time.Nanosecond
)

var errAway = fmt.Errorf("%w: no connection", api.ErrLedgerUnavailable)

// breakerBundle is a receiver without a network, so that time stands still in a synctest bubble while it answers.
type breakerBundle struct {
	*bundle

	failure error // of every append, while it is set
	asked   atomic.Int32
	stored  int // answered 200
}

func setupBreaker(t *testing.T) *breakerBundle {
	t.Helper()
	b := new(breakerBundle)
	b.bundle = newBundle(t, func(_ *api.Deps, ledger *fakeLedger) {
		ledger.before = func(context.Context) error {
			b.asked.Add(1)
			if b.failure != nil {
				time.Sleep(failureTime)
			}
			return b.failure
		}
	})
	return b
}

func (b *breakerBundle) request(t *testing.T, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	request.Header.Set(smartcar.SignatureHeader, b.keyring.Sign([]byte(body)))
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, request)
	return recorder
}

// deliver posts one event and gives the status, after checking that a 200 means stored and a 503 names a time.
func (b *breakerBundle) deliver(t *testing.T) int {
	t.Helper()
	answer := b.request(t, http.MethodPost, webhookPath, fmt.Sprintf(`{"eventId":"e-%d","eventType":"VEHICLE_STATE"}`, b.stored))
	if answer.Code == http.StatusOK {
		b.stored++
	} else {
		require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		require.Equal(t, "5", answer.Header().Get("Retry-After"))
	}
	require.Len(t, b.ledger.appended(), b.stored)
	return answer.Code
}

// requireTried delivers once and requires that the ledger was asked.
func (b *breakerBundle) requireTried(t *testing.T, status int) {
	t.Helper()
	before := b.asked.Load()
	require.Equal(t, status, b.deliver(t))
	require.Equal(t, before+1, b.asked.Load(), "the ledger is asked")
}

// requireRefused delivers once and requires a 503 at once, without the ledger.
func (b *breakerBundle) requireRefused(t *testing.T) {
	t.Helper()
	before, started := b.asked.Load(), time.Now()
	require.Equal(t, http.StatusServiceUnavailable, b.deliver(t))
	require.Equal(t, before, b.asked.Load(), "the ledger is not asked")
	require.Zero(t, time.Since(started))
}

// open fails as many deliveries as it takes, a while after the last good one.
func (b *breakerBundle) open(t *testing.T) {
	t.Helper()
	b.failure = errAway
	for range 3 {
		b.requireTried(t, http.StatusServiceUnavailable)
	}
	b.requireRefused(t)
}

func (b *breakerBundle) gauge(t *testing.T) int64 {
	t.Helper()
	var collected metricdata.ResourceMetrics
	require.NoError(t, b.reader.Collect(t.Context(), &collected))
	for _, scope := range collected.ScopeMetrics {
		for _, instrument := range scope.Metrics {
			if instrument.Name == "milepost_ledger_breaker_open" {
				gauge, ok := instrument.Data.(metricdata.Gauge[int64])
				require.True(t, ok)
				return gauge.DataPoints[0].Value
			}
		}
	}
	require.Fail(t, "there is no gauge")
	return 0
}

func TestALedgerThatIsAwayIsNotAskedUntilAProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setupBreaker(t)
		require.Zero(t, b.gauge(t))
		b.open(t)
		require.EqualValues(t, 1, b.gauge(t))
		time.Sleep(untilProbe)
		b.requireTried(t, http.StatusServiceUnavailable)
		b.requireRefused(t)
		time.Sleep(untilProbe)
		b.failure = nil
		for range 5 {
			b.requireTried(t, http.StatusOK)
		}
		require.Zero(t, b.gauge(t))
		var changes []string
		for line := range strings.Lines(b.logs.String()) {
			if _, change, found := strings.Cut(line, `"msg":"breaker.changed",`); found {
				changes = append(changes, strings.TrimSpace(change))
			}
		}
		require.Equal(t, []string{
			`"breaker":"ledger","from":"closed","to":"open"}`,
			`"breaker":"ledger","from":"open","to":"half-open"}`,
			`"breaker":"ledger","from":"half-open","to":"open"}`,
			`"breaker":"ledger","from":"open","to":"half-open"}`,
			`"breaker":"ledger","from":"half-open","to":"closed"}`,
		}, changes)
		require.EqualValues(t, 6, b.counted(t, "result=unavailable"))
		require.EqualValues(t, 5, b.counted(t, "result=accepted"))
	})
}

func TestWhatIsNoOutageDoesNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{
		"conflict":         errors.New("a concurrent transaction won"),
		"refused values":   errors.New("refused"),
		"sender that left": fmt.Errorf("%w: %w", api.ErrLedgerUnavailable, context.Canceled),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setupBreaker(t)
				b.failure = failure
				for range 20 {
					b.requireTried(t, http.StatusServiceUnavailable)
				}
				b.failure = nil
				b.requireTried(t, http.StatusOK)
			})
		})
	}
	t.Run("bodies that are not stored", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setupBreaker(t)
			b.failure = errAway
			for range 2 {
				b.requireTried(t, http.StatusServiceUnavailable)
			}
			for range 5 {
				require.Equal(t, http.StatusBadRequest, b.request(t, http.MethodPost, webhookPath, "[]").Code)
			}
			b.failure = nil
			b.requireTried(t, http.StatusOK)
		})
	})
}

func TestFailuresBesideSuccessesDoNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setupBreaker(t)
		for range 10 {
			b.failure = errAway
			for range 2 {
				b.requireTried(t, http.StatusServiceUnavailable)
			}
			b.failure = nil
			b.requireTried(t, http.StatusOK)
		}
	})
}

func TestABatchThatBreaksJustAfterAnotherWasStoredDoesNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setupBreaker(t)
		time.Sleep(time.Hour)
		b.requireTried(t, http.StatusOK)
		b.failure = errAway
		const together = 100
		answered := make(chan int)
		for range together {
			go func() {
				answered <- b.request(t, http.MethodPost, webhookPath, `{"eventType":"VEHICLE_STATE"}`).Code
			}()
		}
		for range together {
			require.Equal(t, http.StatusServiceUnavailable, <-answered)
		}
		require.EqualValues(t, together+1, b.asked.Load())
		b.failure = nil
		b.requireTried(t, http.StatusOK)
	})
}

func TestOneDeliveryAtATimeIsTheProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setupBreaker(t)
		b.open(t)
		time.Sleep(untilProbe)
		answered := make(chan int)
		go func() { answered <- b.request(t, http.MethodPost, webhookPath, `{"eventType":"VEHICLE_STATE"}`).Code }()
		synctest.Wait()
		require.EqualValues(t, 1, b.gauge(t))
		b.requireRefused(t)
		require.Equal(t, http.StatusServiceUnavailable, <-answered)
		b.requireRefused(t)
	})
}

func TestAProbeWhoseSenderLeftDecidesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setupBreaker(t)
		b.open(t)
		time.Sleep(untilProbe)
		b.failure = fmt.Errorf("%w: %w", api.ErrLedgerUnavailable, context.Canceled)
		b.requireTried(t, http.StatusServiceUnavailable)
		b.failure = nil
		b.requireTried(t, http.StatusOK)
	})
}

func TestAProbeThatTheLedgerAnswersClosesTheBreakerEvenIfItRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setupBreaker(t)
		b.open(t)
		time.Sleep(untilProbe)
		b.failure = errors.New("refused")
		b.requireTried(t, http.StatusServiceUnavailable)
		require.Zero(t, b.gauge(t))
	})
}

func TestWhileTheBreakerIsOpenVerifyIsAnsweredAndReadyIsNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setupBreaker(t)
		ready := func() (int, string) {
			answer := b.request(t, http.MethodGet, "/ready", "")
			return answer.Code, answer.Body.String()
		}
		status, body := ready()
		require.Equal(t, http.StatusOK, status)
		require.JSONEq(t, `{"status":"ready","dependencies":[{"name":"ledger","ok":true,"required":true}]}`, body)
		b.open(t)
		verify := b.request(t, http.MethodPost, webhookPath, `{"eventType":"VERIFY","data":{"challenge":"challenge_1"}}`)
		require.Equal(t, http.StatusOK, verify.Code)
		status, body = ready()
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.JSONEq(t, `{"status":"unavailable","dependencies":[{"name":"ledger","ok":false,"required":true,"error":"does not answer"}]}`, body)
		time.Sleep(untilProbe)
		status, _ = ready()
		require.Equal(t, http.StatusOK, status, "a load balancer must send the probe")
		b.requireTried(t, http.StatusServiceUnavailable)
	})
}
