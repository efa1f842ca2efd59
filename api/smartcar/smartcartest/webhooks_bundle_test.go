package smartcartest_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

const hookID = "webhook-1"

// hookReceiver answers VERIFY rightly unless it refuses, and each event as answer says.
type hookReceiver struct {
	*httptest.Server

	keyring smartcar.Keyring

	mu       sync.Mutex
	refuses  bool
	answer   func(number int) int
	verifies []request
	events   []request
}

func (r *hookReceiver) ServeHTTP(response http.ResponseWriter, got *http.Request) {
	body, err := io.ReadAll(got.Body)
	if err != nil {
		response.WriteHeader(http.StatusBadRequest)
		return
	}
	challenge, isVerify := smartcar.ReadChallenge(body)
	r.mu.Lock()
	if isVerify {
		r.verifies = append(r.verifies, request{header: got.Header, body: body})
		given := verifyAnswer{status: http.StatusUnauthorized}
		if !r.refuses {
			given = rightAnswer(r.keyring, challenge)
		}
		r.mu.Unlock()
		response.Header().Set("Content-Type", given.contentType)
		response.WriteHeader(given.status)
		_, _ = io.WriteString(response, given.text)
		return
	}
	r.events = append(r.events, request{header: got.Header, body: body})
	number, answer := len(r.events), r.answer
	r.mu.Unlock()
	response.Header().Set("Location", "/elsewhere")
	response.WriteHeader(answer(number))
}

func (r *hookReceiver) set(change func(*hookReceiver)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

// received decodes the events in the order of their arrival.
func (r *hookReceiver) received(t *testing.T) []smartcar.Delivery {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []smartcar.Delivery
	for _, got := range r.events {
		require.NoError(t, r.keyring.Verify(got.header.Get(smartcar.SignatureHeader), got.body), "signed over the bytes sent")
		delivery, err := smartcar.Decode(got.body)
		require.NoError(t, err)
		all = append(all, delivery)
	}
	return all
}

type hookBundle struct {
	webhooks *smartcartest.Webhooks
	receiver *hookReceiver
	clock    *smartcartest.ManualClock
	hook     smartcartest.Webhook
	cars     []smartcartest.Car
}

func setupWebhooks(t *testing.T, change func(*smartcartest.WebhooksDeps)) *hookBundle {
	t.Helper()
	keyring, err := smartcar.NewKeyring(token)
	require.NoError(t, err)
	bundle := &hookBundle{
		receiver: &hookReceiver{keyring: keyring, answer: func(int) int { return http.StatusNoContent }},
		clock:    smartcartest.NewManualClock(time.UnixMilli(1795183500994)), cars: smartcartest.DefaultCars(),
	}
	bundle.receiver.Server = httptest.NewServer(bundle.receiver)
	t.Cleanup(bundle.receiver.Close)
	deps := smartcartest.WebhooksDeps{
		Clock: bundle.clock.Now, Sleep: bundle.clock.Sleep, Seed: 7,
		CurrentCar: func(vehicleID string) (smartcartest.Car, bool) {
			for _, car := range bundle.cars {
				if car.VehicleID == vehicleID {
					return car, true
				}
			}
			return smartcartest.Car{}, false
		},
	}
	if change != nil {
		change(&deps)
	}
	bundle.webhooks, err = smartcartest.NewWebhooks(deps)
	require.NoError(t, err)
	bundle.hook = smartcartest.Webhook{ID: hookID, URL: bundle.receiver.URL, Token: token}

	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	running.Go(func() { _ = bundle.webhooks.Run(ctx) })
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	return bundle
}

// start registers the webhook and subscribes a car, whose first delivery it waits for and forgets.
func (b *hookBundle) start(t *testing.T) {
	t.Helper()
	require.NoError(t, b.webhooks.Register(t.Context(), b.hook))
	require.NoError(t, b.webhooks.Subscribe(hookID, b.cars[0].VehicleID))
	b.idle(t)
	b.receiver.set(func(r *hookReceiver) { r.events = nil })
}

func (b *hookBundle) idle(t *testing.T) {
	t.Helper()
	require.NoError(t, b.webhooks.Idle(limited(t)))
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// waits are those between the attempts.
func waits() []time.Duration {
	return []time.Duration{25 * time.Second, 50 * time.Second, 100 * time.Second}
}

func (b *hookBundle) report(t *testing.T) string {
	t.Helper()
	ids, err := b.webhooks.ReportState(b.cars[0].VehicleID, nil)
	require.NoError(t, err)
	require.Len(t, ids, 1)
	return ids[0]
}

func isFirst(delivery smartcar.Delivery) bool {
	return len(delivery.Triggers) == 1 && delivery.Triggers[0].Kind == smartcar.TriggerFirstDelivery
}
