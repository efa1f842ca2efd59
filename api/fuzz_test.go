package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/api/smartcar"
)

func FuzzReceiver(f *testing.F) {
	for _, body := range payloads(f) {
		f.Add([]byte(body), true, "")
		f.Add([]byte(body), false, strings.Repeat("0", 64))
	}
	f.Add([]byte(`{"eventType":`), true, "")
	f.Add([]byte(`{"eventName":"eventBased","payload":{"eventType":"VERIFY"}}`), true, "")
	f.Add([]byte(`{"eventType":"VERIFY","data":{"challenge":"{}"}}`), false, "")
	b := newBundle(f, func(deps *api.Deps, _ *fakeLedger) {
		deps.VerifyRate, deps.VerifyBurst = 1e9, 1e9
		deps.Logger = slog.New(slog.DiscardHandler)
	})
	f.Fuzz(func(t *testing.T, body []byte, rightlySigned bool, otherSignature string) {
		b.ledger.entries, b.ledger.seen = nil, make(map[string]bool)
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, webhookPath, bytes.NewReader(body))
		request.Header.Set(smartcar.SignatureHeader, otherSignature)
		if rightlySigned {
			request.Header.Set(smartcar.SignatureHeader, b.keyring.Sign(body))
		}
		recorder := httptest.NewRecorder()
		b.handler.ServeHTTP(recorder, request)

		stored := b.ledger.appended()
		_, isVerify := smartcar.ReadChallenge(body)
		accepted := recorder.Code == http.StatusOK
		require.Less(t, recorder.Code, http.StatusInternalServerError, "the ledger is healthy")
		require.True(t, json.Valid(recorder.Body.Bytes()))
		require.Equal(t, accepted && !isVerify, len(stored) > 0, "a 200 means stored, and only that")
		if rightlySigned && !isVerify && len(body) < tooLong && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
			require.True(t, accepted, "signed: delivered again it would be the same")
		}
		if rightlySigned || isVerify {
			return
		}
		require.Empty(t, stored)
		require.False(t, accepted, "unsigned and no VERIFY")
	})
}

type forgetfulLedger struct{}

func (forgetfulLedger) Append(_ context.Context, deliveries []api.LedgerDelivery) ([]api.LedgerReceipt, error) {
	return make([]api.LedgerReceipt, len(deliveries)), nil
}

func BenchmarkReceive(b *testing.B) {
	bundle := newBundle(b, func(deps *api.Deps, _ *fakeLedger) {
		deps.Logger = slog.New(slog.DiscardHandler)
		deps.Ledger = forgetfulLedger{}
	})
	var compact bytes.Buffer
	require.NoError(b, json.Compact(&compact, []byte(payloads(b)["vehicle-state-odometer-v4"])))
	signature := bundle.keyring.Sign(compact.Bytes())
	b.ReportAllocs()
	for b.Loop() {
		request := httptest.NewRequestWithContext(b.Context(), http.MethodPost, webhookPath, bytes.NewReader(compact.Bytes()))
		request.Header.Set(smartcar.SignatureHeader, signature)
		recorder := httptest.NewRecorder()
		bundle.handler.ServeHTTP(recorder, request)
		if recorder.Code != http.StatusOK {
			b.Fatal(recorder.Code)
		}
	}
}
