package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/api/smartcar"
)

func TestLedgerThatFailsMakesSmartcarDeliverAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before func(context.Context) error
		took   time.Duration
	}{
		"error":             {func(context.Context) error { return errors.New("no connection") }, 0},
		"waits for context": {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 1500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBundle(t, func(_ *api.Deps, ledger *fakeLedger) { ledger.before = test.before })
				body := `{"eventType":"VEHICLE_STATE"}`
				request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, webhookPath, strings.NewReader(body))
				request.Header.Set(smartcar.SignatureHeader, b.keyring.Sign([]byte(body)))
				recorder := httptest.NewRecorder()
				started := time.Now()
				b.handler.ServeHTTP(recorder, request)
				require.Equal(t, test.took, time.Since(started))
				require.Equal(t, http.StatusServiceUnavailable, recorder.Code)
				require.Equal(t, "5", recorder.Header().Get("Retry-After"))
				require.EqualValues(t, 1, b.counted(t, "result=unavailable", "event_type=VEHICLE_STATE"))
			})
		})
	}
}

// orderWriter notes whether the ledger had returned when the status was written.
type orderWriter struct {
	*httptest.ResponseRecorder

	ledger *fakeLedger
	early  bool
}

func (w *orderWriter) WriteHeader(status int) {
	w.early = w.early || !w.ledger.returned
	w.ResponseRecorder.WriteHeader(status)
}

func TestNothingIsAnsweredBeforeTheLedgerReturned(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	b := newBundle(t, func(_ *api.Deps, ledger *fakeLedger) {
		ledger.before = func(context.Context) error { close(entered); <-release; return nil }
	})
	body := `{"eventType":"VEHICLE_STATE"}`
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, webhookPath, strings.NewReader(body))
	request.Header.Set(smartcar.SignatureHeader, b.keyring.Sign([]byte(body)))
	writer := &orderWriter{ResponseRecorder: httptest.NewRecorder(), ledger: b.ledger}
	answered := make(chan struct{})
	go func() { defer close(answered); b.handler.ServeHTTP(writer, request) }()
	<-entered
	select {
	case <-answered:
		t.Error("answered while the ledger was still busy")
	default:
	}
	close(release)
	<-answered
	require.Equal(t, http.StatusOK, writer.Code)
	require.False(t, writer.early)
}

func TestClientThatLeavesCancelsTheLedger(t *testing.T) {
	t.Parallel()
	ctx, leave := context.WithCancel(t.Context())
	b := newBundle(t, func(_ *api.Deps, ledger *fakeLedger) {
		ledger.before = func(ctx context.Context) error { leave(); <-ctx.Done(); return ctx.Err() }
	})
	body := `{"eventType":"VEHICLE_STATE"}`
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, webhookPath, strings.NewReader(body))
	request.Header.Set(smartcar.SignatureHeader, b.keyring.Sign([]byte(body)))
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, request)
	require.Equal(t, http.StatusServiceUnavailable, recorder.Code)
	require.EqualValues(t, 1, b.counted(t, "result=aborted"))
}

func TestLogNamesTheEventAndNothingPersonal(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := payloads(t)["vehicle-state-ev-full-v4"]
	require.Equal(t, http.StatusOK, b.deliver(t, body).status)
	logs := b.logs.String()
	for _, message := range []string{"webhook.received", "signature.verified"} {
		require.Equal(t, 1, strings.Count(logs, `"msg":"`+message+`"`))
	}
	require.Equal(t, 2, strings.Count(logs, `"eventId":"b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7d3001","eventType":"VEHICLE_STATE",`+
		`"vehicleId":"a4c1b7d2-8e0f-4b6a-9f3d-2d5e6c7b8a90","deliveryId":"c2a3f0d8-6f0b-43c4-9d31-5be9b0c13001"`))
	for _, secret := range []string{"YSMVSEDE6NL000042", "59.334591", "42506", b.keyring.Sign([]byte(body)), currentToken} {
		require.NotContains(t, logs, secret)
	}
}
