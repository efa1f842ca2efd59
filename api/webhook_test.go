package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/api/smartcar"
)

const tooLong = 256<<10 + 1

func TestEverySignedExampleIsStoredOnceAndAnswered200(t *testing.T) {
	t.Parallel()
	for name, body := range payloads(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			first := b.deliver(t, body)
			require.Equal(t, http.StatusOK, first.status)
			if strings.Contains(name, "verify") {
				require.Contains(t, first.body, `{"challenge":"`)
				require.Empty(t, b.ledger.appended())
				return
			}
			entry := b.ledger.appended()[0]
			require.Equal(t, body, string(entry.Payload))
			require.Equal(t, b.now, entry.ReceivedAt)
			require.JSONEq(t, fmt.Sprintf(`{"status":"accepted","eventId":%q}`, entry.EventID), first.body)
			again := b.deliver(t, body)
			require.Equal(t, http.StatusOK, again.status)
			require.JSONEq(t, fmt.Sprintf(`{"status":"duplicate","eventId":%q}`, entry.EventID), again.body)
			require.EqualValues(t, 1, b.counted(t, "result=accepted"))
			require.EqualValues(t, 1, b.counted(t, "result=duplicate"))
		})
	}
}

func TestLedgerIsToldWhatTheDeliverySays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bodies := payloads(t)
	require.Equal(t, http.StatusOK, b.deliver(t, bodies["vehicle-state-odometer-v4"]).status)
	require.Equal(t, api.LedgerDelivery{
		EventID: "b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7d2001", EventType: "VEHICLE_STATE",
		SmartcarVehicleID: "a4c1b7d2-8e0f-4b6a-9f3d-2d5e6c7b8a90", Mode: "LIVE",
		DeliveryID: "c2a3f0d8-6f0b-43c4-9d31-5be9b0c12001", WebhookID: "1f7ca522-3d41-4f0e-8a7c-6b2e9d5c4a31",
		DeliveredAt: time.UnixMilli(1795183500994).UTC(), ReceivedAt: b.now, Payload: []byte(bodies["vehicle-state-odometer-v4"]),
	}, b.ledger.appended()[0])
	retry := b.deliver(t, bodies["vehicle-state-odometer-v4-retry"])
	require.Contains(t, retry.body, `"duplicate"`)
}

func TestEveryPathTakesWebhooks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := `{"eventId":"e-1","eventType":"VEHICLE_STATE"}`
	for _, path := range []string{webhookPath, "/api/webhooks/smartcar", "/webhooks/smartcar"} {
		got := b.do(t, http.MethodPost, path, strings.NewReader(body), signed(b.keyring.Sign([]byte(body))))
		require.Equal(t, http.StatusOK, got.status, path)
	}
	require.Len(t, b.ledger.appended(), 3)
}

func TestSeveralVehiclesBecomeSeveralEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := `{"version":"2.0","webhookId":"w","eventName":"schedule","mode":"live","payload":{"vehicles":[%s]}}`
	one, two := `{"vehicleId":"a","requestId":"r","data":[]}`, `{"vehicleId":"b","requestId":"r","data":[]}`
	require.Equal(t, http.StatusOK, b.deliver(t, fmt.Sprintf(body, one)).status)
	require.Contains(t, b.deliver(t, fmt.Sprintf(body, one+","+two)).body, `"accepted"`, "one of the two is new")
	require.Contains(t, b.deliver(t, fmt.Sprintf(body, one+","+two)).body, `"duplicate"`)
	entries := b.ledger.appended()
	require.Equal(t, []string{"a", "a", "b"},
		[]string{entries[0].SmartcarVehicleID, entries[1].SmartcarVehicleID, entries[2].SmartcarVehicleID})
	require.NotEqual(t, entries[1].EventID, entries[2].EventID)
}

func TestSignatureDecides(t *testing.T) {
	t.Parallel()
	body := `{"eventId":"e-1","eventType":"VEHICLE_STATE"}`
	sign := func(key string) string {
		ring, err := smartcar.NewKeyring(key)
		require.NoError(t, err)
		return ring.Sign([]byte(body))
	}
	good := sign(currentToken)
	for name, c := range map[string]struct {
		signatures []string
		status     int
	}{
		"current token":   {[]string{good}, http.StatusOK},
		"previous token":  {[]string{sign(previousToken)}, http.StatusOK},
		"webhook secret":  {[]string{sign(webhookSecret)}, http.StatusOK},
		"upper case":      {[]string{strings.ToUpper(good)}, http.StatusOK},
		"none":            {nil, http.StatusUnauthorized},
		"empty":           {[]string{""}, http.StatusUnauthorized},
		"stranger's":      {[]string{sign("stranger")}, http.StatusUnauthorized},
		"two equal":       {[]string{good, good}, http.StatusUnauthorized},
		"two in one":      {[]string{good + "," + good}, http.StatusUnauthorized},
		"cut short":       {[]string{good[:63]}, http.StatusUnauthorized},
		"not hexadecimal": {[]string{strings.Repeat("z", 64)}, http.StatusUnauthorized},
		"of another body": {[]string{strings.Repeat("0", 64)}, http.StatusUnauthorized},
		"with a prefix":   {[]string{"sha256=" + good}, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			got := b.do(t, http.MethodPost, webhookPath, strings.NewReader(body), signed(c.signatures...))
			require.Equal(t, c.status, got.status)
			require.Len(t, b.ledger.appended(), map[bool]int{true: 1}[c.status == http.StatusOK])
			if c.status != http.StatusOK {
				require.EqualValues(t, 1, b.counted(t, "result=bad_signature", "event_type=unknown"))
				require.Contains(t, b.logs.String(), `"msg":"webhook.rejected"`)
				require.NotContains(t, b.logs.String(), good[:40])
			}
		})
	}
}

func TestBodyThatNoDeliveryHasIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	post := func(body io.Reader, header http.Header) reply {
		return b.do(t, http.MethodPost, webhookPath, body, header)
	}
	for _, body := range []string{"", "  ", "[]", `"challenge"`, "12", "challenge_9fK2mQ7xT4vB1zLd"} {
		require.Equal(t, http.StatusBadRequest, b.deliver(t, body).status, body)
	}
	require.Equal(t, http.StatusUnsupportedMediaType, post(strings.NewReader("{}"), http.Header{"Content-Encoding": {"gzip"}}).status)
	require.Equal(t, http.StatusRequestEntityTooLarge, post(strings.NewReader(strings.Repeat(" ", tooLong)), nil).status)
	chunked := io.MultiReader(strings.NewReader("{"), strings.NewReader(strings.Repeat(" ", tooLong)))
	require.Equal(t, http.StatusRequestEntityTooLarge, post(chunked, nil).status)
	require.Empty(t, b.ledger.appended())
	require.EqualValues(t, 2, b.counted(t, "result=too_large"))
	require.EqualValues(t, 1, b.counted(t, "result=unsupported_encoding"))

	plain := `{"eventType":"VEHICLE_STATE"}`
	header := signed(b.keyring.Sign([]byte(plain)))
	header.Set("Content-Encoding", "Identity")
	require.Equal(t, http.StatusOK, post(strings.NewReader(plain), header).status)
	largest := "{" + strings.Repeat(" ", tooLong-3) + "}"
	require.Equal(t, http.StatusOK, b.deliver(t, largest).status)
}

func TestBodyAnnouncedTooLargeIsRefusedUnread(t *testing.T) {
	t.Parallel()
	b := setup(t)
	connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(b.url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() }) // The server may have closed it first.
	_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n", webhookPath, tooLong)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
}

func TestOtherMethodsAndPathsAreAnsweredInJSON(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for path, allowed := range map[string]string{webhookPath: http.MethodPost, "/health": http.MethodGet, "/ready": http.MethodGet} {
		got := b.do(t, http.MethodPut, path, nil, nil)
		require.Equal(t, http.StatusMethodNotAllowed, got.status)
		require.Equal(t, allowed, got.header.Get("Allow"))
		require.Contains(t, got.body, `{"error":`)
	}
	require.Equal(t, http.StatusMethodNotAllowed, b.do(t, http.MethodGet, webhookPath, nil, nil).status)
	require.Equal(t, http.StatusNotFound, b.do(t, http.MethodPost, "/nowhere", nil, nil).status)
	require.Equal(t, http.StatusNotFound, b.do(t, http.MethodPost, webhookPath+"/", nil, nil).status)
}

func TestSignedBodyThatIsNotUnderstoodIsStored(t *testing.T) {
	t.Parallel()
	for body, eventType := range map[string]string{
		`{"eventType":`: "MALFORMED",
		`{}`:            "MALFORMED",
		`{"eventId":"e-1","eventType":"VEHICLE_STATE","data":{"signals":{}}}`:                              "VEHICLE_STATE",
		`{"eventType":"VEHICLE_STATE"} trailing`:                                                           "MALFORMED",
		"{\"eventType\":\"\xff\x00\"}":                                                                     "MALFORMED",
		`{"eventType":"VEHICLE_STATE","vehicleId":"a","data":{"vehicle":{"id":"b"}}}`:                      "VEHICLE_STATE",
		`{"eventType":"\u0000"}`:                                                                           "MALFORMED",
		`{"eventName":"eventBased","payload":{"eventType":"VERIFY"}}`:                                      "MALFORMED",
		`{"eventType":"VEHICLE_ERROR","meta":{"deliveryId":"d\u0000"},"data":{"errors":"` + "\xff" + `"}}`: "VEHICLE_ERROR",
	} {
		b := setup(t)
		got := b.deliver(t, body)
		require.Equal(t, http.StatusOK, got.status, body)
		entries := b.ledger.appended()
		require.Len(t, entries, 1)
		require.Equal(t, eventType, entries[0].EventType, body)
		require.Equal(t, body, string(entries[0].Payload))
		require.NotContains(t, entries[0].DeliveryID, "\x00")
		require.EqualValues(t, 1, b.counted(t, "result=malformed"))
	}
}

func TestUnknownTypesAndLongNamesAreStoredWithinBounds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := fmt.Sprintf(`{"eventType":%q,"vehicleId":%q,"meta":{"mode":%[1]q,"deliveryId":%[2]q,"webhookId":%[2]q}}`,
		strings.Repeat("TY", 50)+"é", "x"+strings.Repeat("é", 100))
	require.Equal(t, http.StatusOK, b.deliver(t, body).status)
	entry := b.ledger.appended()[0]
	require.Equal(t, strings.Repeat("TY", 32), entry.EventType)
	require.Equal(t, "x"+strings.Repeat("é", 63), entry.SmartcarVehicleID)
	require.LessOrEqual(t, len(entry.Mode), 128)
	require.EqualValues(t, 1, b.counted(t, "event_type=other", "mode=other"))
}
