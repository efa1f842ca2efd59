package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/api/smartcar"
)

const refusedBody = `{"eventId":"e-1","eventType":"VEHICLE_STATE"}`

// fakeQuarantine keeps what it is given; before, when set, runs first and may fail.
type fakeQuarantine struct {
	mutex  sync.Mutex
	kept   []api.QuarantinedDelivery
	before func(ctx context.Context) error
}

func (q *fakeQuarantine) Keep(ctx context.Context, delivery api.QuarantinedDelivery) error {
	if q.before != nil {
		if err := q.before(ctx); err != nil {
			return err
		}
	}
	q.mutex.Lock()
	defer q.mutex.Unlock()
	q.kept = append(q.kept, delivery)
	return nil
}

func (q *fakeQuarantine) all() []api.QuarantinedDelivery {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return append([]api.QuarantinedDelivery(nil), q.kept...)
}

func setupQuarantine(t *testing.T, before func(context.Context) error) (*bundle, *fakeQuarantine) {
	t.Helper()
	quarantine := &fakeQuarantine{before: before}
	return setup(t, func(deps *api.Deps, _ *fakeLedger) { deps.Quarantine = quarantine }), quarantine
}

// post delivers and waits until the quarantine has counted a result, since it works after the answer.
func (b *bundle) post(t *testing.T, body string, counted string, signatures ...string) reply {
	t.Helper()
	before := b.quarantined(t, counted)
	got := b.do(t, http.MethodPost, webhookPath, strings.NewReader(body), signed(signatures...))
	require.Eventually(t, func() bool { return b.quarantined(t, counted) > before }, 30*time.Second, time.Millisecond)
	return got
}

func (b *bundle) quarantined(t *testing.T, result string) int64 {
	t.Helper()
	var collected metricdata.ResourceMetrics
	require.NoError(t, b.reader.Collect(t.Context(), &collected))
	for _, scope := range collected.ScopeMetrics {
		for _, instrument := range scope.Metrics {
			sum, ok := instrument.Data.(metricdata.Sum[int64])
			if !ok || instrument.Name != "milepost_quarantine" {
				continue
			}
			for _, point := range sum.DataPoints {
				if value, _ := point.Attributes.Value(attribute.Key("result")); value.AsString() == result {
					return point.Value
				}
			}
		}
	}
	return 0
}

func TestARefusedDeliveryIsKeptWithItsReason(t *testing.T) {
	t.Parallel()
	wrong := strings.Repeat("0", 64)
	for reason, signatures := range map[string][]string{
		api.QuarantineMissing:   {},
		api.QuarantineSeveral:   {wrong, wrong},
		api.QuarantineMalformed: {"sha256=" + wrong},
		api.QuarantineMismatch:  {wrong},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			b, quarantine := setupQuarantine(t, nil)
			got := b.post(t, refusedBody+"\n", "kept", signatures...)
			require.Equal(t, http.StatusUnauthorized, got.status)
			require.Equal(t, []api.QuarantinedDelivery{{
				ReceivedAt: b.now, Reason: reason, Signatures: signatures, Body: []byte(refusedBody + "\n"),
			}}, quarantine.all())
			require.Empty(t, b.ledger.appended())
			require.EqualValues(t, 1, b.counted(t, "result=bad_signature"))
			require.NotContains(t, b.logs.String(), wrong[:20])
		})
	}
}

func TestKeptSignaturesAreBounded(t *testing.T) {
	t.Parallel()
	b, quarantine := setupQuarantine(t, nil)
	long := strings.Repeat("é", 1000)
	b.post(t, refusedBody, "kept", long, long, long, long, long, long)
	kept := quarantine.all()[0]
	require.Len(t, kept.Signatures, 4)
	for _, signature := range kept.Signatures {
		require.Equal(t, strings.Repeat("é", 128), signature)
	}
}

func TestWhatIsNotRefusedForItsSignatureIsNotKept(t *testing.T) {
	t.Parallel()
	b, quarantine := setupQuarantine(t, nil)
	verify := payloads(t)["verify-v4"]
	require.Equal(t, http.StatusOK, b.deliver(t, refusedBody).status)
	require.Equal(t, http.StatusOK, b.deliverUnsigned(t, verify).status)
	require.Equal(t, http.StatusOK, b.do(t, http.MethodPost, webhookPath, strings.NewReader(verify), signed("wrong")).status)
	require.Equal(t, http.StatusBadRequest, b.deliverUnsigned(t, "[]").status)
	require.Equal(t, http.StatusBadRequest, b.deliverUnsigned(t, `{"eventType":"VERIFY","data":{"challenge":"{}"}}`).status)
	require.Equal(t, http.StatusRequestEntityTooLarge, b.deliverUnsigned(t, "{"+strings.Repeat(" ", tooLong)).status)
	long := strings.TrimSpace(verify) + strings.Repeat(" ", 64<<10)
	require.Equal(t, http.StatusUnauthorized, b.deliverUnsigned(t, long).status, "too long to be looked into")

	b.post(t, refusedBody, "kept")
	require.Len(t, quarantine.all(), 1, "only the last")
	largest := "{" + strings.Repeat(" ", tooLong-3) + "}"
	b.post(t, largest, "kept")
	require.Len(t, quarantine.all()[1].Body, tooLong-1, "whole, up to the cap")
}

func TestTheAnswerDoesNotWaitForTheQuarantine(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	b, quarantine := setupQuarantine(t, func(context.Context) error {
		select {
		case <-release:
		case <-time.After(30 * time.Second): // So that an answer that waits fails the test instead of hanging it.
		}
		return nil
	})
	require.Equal(t, http.StatusUnauthorized, b.deliverUnsigned(t, refusedBody).status)
	require.Empty(t, quarantine.all(), "it is still at it")
	close(release)
	require.Eventually(t, func() bool { return len(quarantine.all()) == 1 }, 30*time.Second, time.Millisecond)
}

func TestASenderThatHangsUpEndsNoKeeping(t *testing.T) {
	t.Parallel()
	ctx, hangUp := context.WithCancel(t.Context())
	b, quarantine := setupQuarantine(t, func(keeping context.Context) error { hangUp(); return keeping.Err() })
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, webhookPath, strings.NewReader(refusedBody))
	b.handler.ServeHTTP(httptest.NewRecorder(), request)
	require.Len(t, quarantine.all(), 1)
}

func TestAQuarantineThatFailsChangesNoAnswer(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(context.Context) error{
		"error": func(context.Context) error { return errors.New("no connection") },
		"waits for context": func(ctx context.Context) error {
			deadline, bounded := ctx.Deadline()
			if !bounded || time.Until(deadline) > 250*time.Millisecond {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _ := setupQuarantine(t, before)
			require.Equal(t, http.StatusUnauthorized, b.post(t, refusedBody, "failed").status)
			require.Contains(t, b.logs.String(), `"msg":"quarantine.failed"`)
		})
	}
}

func TestAFloodOfForgeriesIsNotKept(t *testing.T) {
	t.Parallel()
	b, quarantine := setupQuarantine(t, nil)
	const forgeries = 200
	started := time.Now()
	for range forgeries {
		require.Equal(t, http.StatusUnauthorized, b.deliverUnsigned(t, refusedBody).status)
	}
	allowed := 5 + 4*time.Since(started).Seconds()
	require.Eventually(t, func() bool { return b.quarantined(t, "kept")+b.quarantined(t, "rate_limited") == forgeries },
		30*time.Second, time.Millisecond)
	require.LessOrEqual(t, float64(len(quarantine.all())), allowed+1)
	require.EqualValues(t, forgeries, b.counted(t, "result=bad_signature"), "counted all the same")
}

func TestAdmitDoesWhatTheReceiverDoes(t *testing.T) {
	t.Parallel()
	for name, body := range payloads(t) {
		b := setup(t)
		signature := b.keyring.Sign([]byte(body))
		entries, err := api.Admit(b.keyring, []string{signature}, []byte(body), b.now)
		require.Equal(t, http.StatusOK, b.deliver(t, body).status)
		if strings.Contains(name, "verify") {
			require.ErrorIs(t, err, api.ErrNothingToAdmit)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, b.ledger.appended(), entries, name)
	}
}

func TestAdmitRefusesWhatTheReceiverRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	right := b.keyring.Sign([]byte(refusedBody))
	admit := func(body string, signatures ...string) error {
		_, err := api.Admit(b.keyring, signatures, []byte(body), b.now)
		return err
	}
	require.NoError(t, admit(refusedBody, right))
	require.NoError(t, admit(`{"eventType":`, b.keyring.Sign([]byte(`{"eventType":`))), "malformed and signed")
	require.ErrorIs(t, admit(refusedBody+"\n", right), smartcar.ErrSignatureMismatch)
	require.ErrorIs(t, admit(refusedBody, "sha256="+right), smartcar.ErrSignatureMalformed)
	require.Error(t, admit(refusedBody))
	require.Error(t, admit(refusedBody, right, right))
	const challenge = "nsQsLU7wY9WKt2IU"
	require.ErrorIs(t, admit(challenge, b.keyring.Sign([]byte(challenge))), api.ErrNothingToAdmit, "a signature got for a challenge")
}
