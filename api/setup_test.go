package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/api/smartcar"
)

const (
	currentToken  = "current-management-token"
	previousToken = "previous-management-token"
	webhookSecret = "webhook-secret"
	webhookPath   = "/api/smartcar/webhook"
)

// fakeLedger keeps what is appended; before, when set, runs first and may fail.
type fakeLedger struct {
	mutex    sync.Mutex
	entries  []api.LedgerDelivery
	seen     map[string]bool
	before   func(ctx context.Context) error
	returned bool
}

func (l *fakeLedger) Append(ctx context.Context, deliveries []api.LedgerDelivery) ([]api.LedgerReceipt, error) {
	if l.before != nil {
		if err := l.before(ctx); err != nil {
			return nil, err
		}
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	receipts := make([]api.LedgerReceipt, 0, len(deliveries))
	for _, delivery := range deliveries {
		receipts = append(receipts, api.LedgerReceipt{EventID: delivery.EventID, Duplicate: l.seen[delivery.EventID]})
		l.seen[delivery.EventID] = true
		l.entries = append(l.entries, delivery)
	}
	l.returned = true
	return receipts, nil
}

func (l *fakeLedger) appended() []api.LedgerDelivery {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return append([]api.LedgerDelivery(nil), l.entries...)
}

type safeBuffer struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.String()
}

type bundle struct {
	handler http.Handler
	url     string
	keyring smartcar.Keyring
	ledger  *fakeLedger
	logs    *safeBuffer
	reader  *sdkmetric.ManualReader
	now     time.Time
}

func newBundle(t testing.TB, change func(*api.Deps, *fakeLedger)) *bundle {
	t.Helper()
	ring, err := smartcar.NewKeyring(currentToken, previousToken)
	require.NoError(t, err)
	ring = ring.WithSigningKeys(webhookSecret)
	reader := sdkmetric.NewManualReader()
	b := &bundle{
		keyring: ring, logs: &safeBuffer{}, reader: reader,
		ledger: &fakeLedger{seen: make(map[string]bool)},
		now:    time.Date(2026, 11, 20, 14, 5, 1, 0, time.UTC),
	}
	deps := api.Deps{
		Keyring: ring, Ledger: b.ledger,
		Ready:  func(context.Context) []api.DependencyStatus { return nil },
		Logger: slog.New(slog.NewJSONHandler(b.logs, nil)),
		Meter:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test"),
		Clock:  func() time.Time { return b.now },
	}
	if change != nil {
		change(&deps, b.ledger)
	}
	b.handler, err = api.NewHandler(deps)
	require.NoError(t, err)
	return b
}

func setup(t *testing.T, changes ...func(*api.Deps, *fakeLedger)) *bundle {
	t.Helper()
	b := newBundle(t, func(deps *api.Deps, ledger *fakeLedger) {
		for _, change := range changes {
			change(deps, ledger)
		}
	})
	server := httptest.NewServer(b.handler)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (b *bundle) do(t *testing.T, method, path string, body io.Reader, header http.Header) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, b.url+path, body)
	require.NoError(t, err)
	maps.Copy(request.Header, header)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	answered, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.True(t, json.Valid(answered), "every answer is JSON: %s", answered)
	require.Equal(t, "application/json", response.Header.Get("Content-Type"))
	return reply{status: response.StatusCode, header: response.Header, body: string(answered)}
}

func signed(signatures ...string) http.Header {
	return http.Header{http.CanonicalHeaderKey(smartcar.SignatureHeader): signatures}
}

func (b *bundle) deliver(t *testing.T, body string) reply {
	t.Helper()
	return b.do(t, http.MethodPost, webhookPath, strings.NewReader(body), signed(b.keyring.Sign([]byte(body))))
}

func (b *bundle) deliverUnsigned(t *testing.T, body string) reply {
	t.Helper()
	return b.do(t, http.MethodPost, webhookPath, strings.NewReader(body), nil)
}

// counted sums milepost_deliveries over data points with all the given attributes ("key=value").
func (b *bundle) counted(t *testing.T, attributes ...string) int64 {
	t.Helper()
	var collected metricdata.ResourceMetrics
	require.NoError(t, b.reader.Collect(t.Context(), &collected))
	var total int64
	for _, scope := range collected.ScopeMetrics {
		for _, instrument := range scope.Metrics {
			sum, ok := instrument.Data.(metricdata.Sum[int64])
			if !ok || instrument.Name != "milepost_deliveries" {
				continue
			}
			for _, point := range sum.DataPoints {
				matches := true
				for _, pair := range attributes {
					key, want, _ := strings.Cut(pair, "=")
					value, _ := point.Attributes.Value(attribute.Key(key))
					matches = matches && value.AsString() == want
				}
				if matches {
					total += point.Value
				}
			}
		}
	}
	return total
}

func payloads(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("smartcar", "testdata", "payloads", "*.json"))
	require.NoError(t, err)
	bodies := make(map[string]string)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if strings.HasPrefix(name, "rest-") || strings.HasPrefix(name, "oauth-") || strings.HasPrefix(name, "iam-") {
			continue
		}
		body, err := os.ReadFile(file)
		require.NoError(t, err)
		bodies[name] = string(body)
	}
	require.NotEmpty(t, bodies)
	return bodies
}
