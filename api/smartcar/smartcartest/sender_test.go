package smartcartest_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

const (
	token = "9c7b0e52-4f1d-4a63-8b0e-2f9d6c1a5e47"
	// fast makes the 175 s of all attempts 175 ms.
	fast = 0.001
)

type request struct {
	header http.Header
	body   []byte
}

// receiver answers each request with the next of its statuses, the last for ever.
type receiver struct {
	*httptest.Server

	mu       sync.Mutex
	statuses []int
	requests []request
}

func (r *receiver) ServeHTTP(response http.ResponseWriter, got *http.Request) {
	body, err := io.ReadAll(got.Body)
	if err != nil {
		response.WriteHeader(http.StatusBadRequest)

		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request{header: got.Header, body: body})
	status := r.statuses[0]
	if len(r.statuses) > 1 {
		r.statuses = r.statuses[1:]
	}
	if status == http.StatusFound {
		response.Header().Set("Location", "/elsewhere")
	}
	response.WriteHeader(status)
}

func (r *receiver) received() []request {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.requests
}

type senderBundle struct {
	receiver *receiver
	sender   *smartcartest.Sender
	keyring  smartcar.Keyring
	body     []byte
}

func setup(t *testing.T, change func(*smartcartest.SenderDeps), statuses ...int) *senderBundle {
	t.Helper()

	bundle := &senderBundle{receiver: &receiver{statuses: statuses}}
	bundle.receiver.Server = httptest.NewServer(bundle.receiver)
	t.Cleanup(bundle.receiver.Close)

	var ids, seconds atomic.Int64
	deps := smartcartest.SenderDeps{
		URL: bundle.receiver.URL, Token: token, TimeScale: fast,
		Clock: func() time.Time { return time.Unix(1795183500+seconds.Add(1), 0) },
		NewID: func() string { return "delivery-" + strconv.FormatInt(ids.Add(1), 10) },
	}
	change(&deps)
	var err error
	bundle.sender, err = smartcartest.NewSender(deps)
	require.NoError(t, err)
	bundle.keyring, err = smartcar.NewKeyring(token)
	require.NoError(t, err)
	state := exampleState()
	state.DeliveryID = "delivery-0"
	bundle.body = smartcartest.BuildVehicleState(state)

	return bundle
}

func unchanged(*smartcartest.SenderDeps) {}

func TestSenderRetriesAsSmartcarDoes(t *testing.T) {
	t.Parallel()
	bundle := setup(t, unchanged, http.StatusServiceUnavailable, http.StatusUnauthorized, http.StatusFound, http.StatusNoContent)

	report, err := bundle.sender.Send(t.Context(), bundle.body)
	require.NoError(t, err)
	require.True(t, report.Acknowledged)
	require.Equal(t, http.StatusNoContent, report.Status)
	require.Zero(t, report.DroppedAfter)

	statuses := make([]int, 0, len(report.Attempts))
	for i, attempt := range report.Attempts {
		statuses = append(statuses, attempt.Status)
		earliest := []int64{0, 25, 75, 175}[i]
		require.GreaterOrEqual(t, attempt.After.Milliseconds(), earliest)
	}
	require.Equal(t, []int{503, 401, 302, 204}, statuses, "a redirect is a failure, and not followed")

	for i, got := range bundle.receiver.received() {
		require.NoError(t, bundle.keyring.Verify(got.header.Get(smartcar.SignatureHeader), got.body), "signed anew")
		delivery, err := smartcar.Decode(got.body)
		require.NoError(t, err)
		require.Equal(t, "event-1", delivery.Events[0].ID)
		require.Equal(t, "delivery-"+strconv.Itoa(i+1), delivery.DeliveryID)
		require.Equal(t, int64(1795183501+i), delivery.DeliveredAt.Unix())
		require.Equal(t, "application/json", got.header.Get("Content-Type"))
		require.Contains(t, got.header.Get("User-Agent"), "Smartcar/")
	}
}

func TestSenderDropsAfterTheFourthFailure(t *testing.T) {
	t.Parallel()
	bundle := setup(t, unchanged, http.StatusInternalServerError)

	report, err := bundle.sender.Send(t.Context(), bundle.body)
	require.NoError(t, err)
	require.False(t, report.Acknowledged)
	require.Equal(t, http.StatusInternalServerError, report.Status)
	require.GreaterOrEqual(t, report.DroppedAfter, 175*time.Millisecond)
	require.Len(t, report.Attempts, 4)
	require.Len(t, bundle.receiver.received(), 4)
}

func TestSenderTakesAnyFailureToAnswerForOne(t *testing.T) {
	t.Parallel()

	t.Run("a refused connection", func(t *testing.T) {
		t.Parallel()
		bundle := setup(t, unchanged, http.StatusOK)
		bundle.receiver.Close()
		report, err := bundle.sender.Send(t.Context(), bundle.body)
		require.NoError(t, err)
		require.Len(t, report.Attempts, 4)
		require.Zero(t, report.Status)
		require.Error(t, report.Attempts[3].Err)
	})

	t.Run("an answer that is too late", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		t.Cleanup(slow.Close)
		t.Cleanup(func() { close(release) })
		bundle := setup(t, func(deps *smartcartest.SenderDeps) {
			deps.URL, deps.Timeout = slow.URL, time.Millisecond
		}, http.StatusOK)
		report, err := bundle.sender.Send(t.Context(), bundle.body)
		require.NoError(t, err)
		require.Len(t, report.Attempts, 4)
		require.ErrorIs(t, report.Attempts[0].Err, context.DeadlineExceeded)
	})
}

func TestSenderStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	busy := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, _ *http.Request) {
		response.WriteHeader(http.StatusServiceUnavailable)
		cancel()
	}))
	t.Cleanup(busy.Close)
	bundle := setup(t, func(deps *smartcartest.SenderDeps) { deps.URL, deps.TimeScale = busy.URL, 1 }, http.StatusOK)

	report, err := bundle.sender.Send(ctx, bundle.body)
	require.ErrorIs(t, err, context.Canceled)
	require.LessOrEqual(t, len(report.Attempts), 1)
	require.False(t, report.Acknowledged)
}

func TestSenderOptions(t *testing.T) {
	t.Parallel()

	t.Run("unsigned leaves the signature out", func(t *testing.T) {
		t.Parallel()
		bundle := setup(t, func(deps *smartcartest.SenderDeps) { deps.Token, deps.Unsigned = "", true }, http.StatusOK)
		_, err := bundle.sender.Send(t.Context(), bundle.body)
		require.NoError(t, err)
		require.Empty(t, bundle.receiver.received()[0].header.Values(smartcar.SignatureHeader))
	})

	t.Run("keep delivery sends the same bytes each time", func(t *testing.T) {
		t.Parallel()
		bundle := setup(t, func(deps *smartcartest.SenderDeps) { deps.KeepDelivery = true },
			http.StatusServiceUnavailable, http.StatusOK)
		_, err := bundle.sender.Send(t.Context(), bundle.body)
		require.NoError(t, err)
		received := bundle.receiver.received()
		require.Len(t, received, 2)
		require.Equal(t, bundle.body, received[0].body)
		require.Equal(t, bundle.body, received[1].body)
	})

	t.Run("duplicates deliver an acknowledged event again", func(t *testing.T) {
		t.Parallel()
		bundle := setup(t, func(deps *smartcartest.SenderDeps) { deps.Duplicates = 2 }, http.StatusOK)
		report, err := bundle.sender.Send(t.Context(), bundle.body)
		require.NoError(t, err)
		require.Len(t, report.Attempts, 3)
		seen := make(map[string]bool)
		for _, got := range bundle.receiver.received() {
			delivery, err := smartcar.Decode(got.body)
			require.NoError(t, err)
			require.Equal(t, "event-1", delivery.Events[0].ID)
			seen[delivery.DeliveryID] = true
		}
		require.Len(t, seen, 3)
	})

	t.Run("that make no sense are refused together", func(t *testing.T) {
		t.Parallel()
		_, err := smartcartest.NewSender(smartcartest.SenderDeps{TimeScale: -1})
		require.ErrorIs(t, err, smartcar.ErrNoManagementToken)
		require.ErrorContains(t, err, "URL")
		require.ErrorContains(t, err, "negative")
	})
}
