package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api"
)

func TestVerifyIsAnsweredWhateverItsSignature(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bodies := payloads(t)
	for name, challenge := range map[string]string{
		"verify-v4": "challenge_9fK2mQ7xT4vB1zLd", "verify-minimal": "nsQsLU7wY9WKt2IU",
		"legacy-v2-verify": "3f1c9a52-6d0e-4b7a-8c41-d2e5f6a7b8c9",
	} {
		body := bodies[name]
		want := fmt.Sprintf(`{"challenge":%q}`, b.keyring.Sign([]byte(challenge)))
		good := b.keyring.Sign([]byte(body))
		for _, signatures := range [][]string{nil, {good}, {strings.Repeat("0", 64)}, {"rubbish"}, {good, good}} {
			got := b.do(t, http.MethodPost, webhookPath, strings.NewReader(body), signed(signatures...))
			require.Equal(t, http.StatusOK, got.status)
			require.Equal(t, want, got.body)
		}
	}
	require.Empty(t, b.ledger.appended())
	require.EqualValues(t, 15, b.counted(t, "result=verify", "event_type=VERIFY"))
	require.Equal(t, 9, strings.Count(b.logs.String(), `"msg":"signature.mismatch"`))
}

func TestVerifyDoesNotSignForgeries(t *testing.T) {
	t.Parallel()
	forged := payloads(t)["vehicle-state-ev-full-v4"]
	for _, challenge := range []any{forged, "", "abc", "with space", strings.Repeat("a", 129), 12345, nil, map[string]any{}, []any{}} {
		b := setup(t)
		for _, form := range []string{`{"eventType":"VERIFY","data":{"challenge":%s}}`, `{"eventName":"verify","payload":{"challenge":%s}}`} {
			encoded, err := json.Marshal(challenge)
			require.NoError(t, err)
			body := fmt.Sprintf(form, encoded)
			for _, got := range []reply{b.deliverUnsigned(t, body), b.deliver(t, body)} {
				require.Equal(t, http.StatusBadRequest, got.status)
				require.NotContains(t, got.body, b.keyring.Sign([]byte(fmt.Sprint(challenge))))
			}
		}
		require.EqualValues(t, 4, b.counted(t, "result=verify_refused"))
	}
}

func TestVerifyIsRateLimited(t *testing.T) {
	t.Parallel()
	b := setup(t, func(deps *api.Deps, _ *fakeLedger) { deps.VerifyRate, deps.VerifyBurst = 0.0001, 2 })
	body := payloads(t)["verify-minimal"]
	require.Equal(t, http.StatusOK, b.deliverUnsigned(t, body).status)
	require.Equal(t, http.StatusOK, b.deliver(t, body).status)
	for _, got := range []reply{b.deliverUnsigned(t, body), b.deliver(t, body)} {
		require.Equal(t, http.StatusTooManyRequests, got.status)
		require.NotEmpty(t, got.header.Get("Retry-After"))
	}
	require.Equal(t, http.StatusOK, b.deliver(t, `{"eventType":"VEHICLE_STATE"}`).status, "events are not limited")
	require.EqualValues(t, 2, b.counted(t, "result=rate_limited"))
}

func TestOnlyShortBodiesAreLookedIntoUnsigned(t *testing.T) {
	t.Parallel()
	b := setup(t)
	long := `{"eventType":"VERIFY","data":{"challenge":"abcdef"}` + strings.Repeat(" ", 64<<10) + `}`
	require.Equal(t, http.StatusUnauthorized, b.deliverUnsigned(t, long).status)
	require.Equal(t, http.StatusOK, b.deliver(t, long).status)
}
