package smartcartest_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

func TestAWebhookQueuesNothingBeforeItPassesVerify(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, nil)
	bundle.receiver.set(func(r *hookReceiver) { r.refuses = true })

	require.ErrorIs(t, bundle.webhooks.Register(t.Context(), bundle.hook), smartcartest.ErrVerifyFailed)
	require.NoError(t, bundle.webhooks.Subscribe(hookID, bundle.cars[0].VehicleID))
	ids, err := bundle.webhooks.ReportState(bundle.cars[0].VehicleID, nil)
	require.NoError(t, err)
	require.Empty(t, ids)
	_, err = bundle.webhooks.PressTestButton(hookID)
	require.ErrorIs(t, err, smartcartest.ErrInactive)
	require.Empty(t, bundle.webhooks.Deliveries())

	bundle.receiver.set(func(r *hookReceiver) { r.refuses = false })
	require.NoError(t, bundle.webhooks.VerifyWebhook(t.Context(), hookID))
	require.NoError(t, bundle.webhooks.VerifyWebhook(t.Context(), hookID), "again")
	bundle.idle(t)
	received := bundle.receiver.received(t)
	require.Len(t, received, 1, "once, however often it is verified")
	require.True(t, isFirst(received[0]))
	require.Empty(t, bundle.receiver.verifies[0].header.Values(smartcar.SignatureHeader))
	verify, err := smartcar.Decode(bundle.receiver.verifies[0].body)
	require.NoError(t, err)
	require.Equal(t, hookID, verify.WebhookID)
}

func TestVerifyCanBeSigned(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, nil)
	bundle.hook.SignVerify = true
	require.NoError(t, bundle.webhooks.Register(t.Context(), bundle.hook))
	verify := bundle.receiver.verifies[0]
	require.NoError(t, bundle.receiver.keyring.Verify(verify.header.Get(smartcar.SignatureHeader), verify.body))
}

func TestAWebhookWithAnotherURLHasToPassAnewAndKeepsItsVehicles(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, nil)
	bundle.start(t)

	bundle.receiver.set(func(r *hookReceiver) { r.refuses = true })
	require.ErrorIs(t, bundle.webhooks.Register(t.Context(), bundle.hook), smartcartest.ErrVerifyFailed)
	status := bundle.webhooks.Status()
	require.Len(t, status, 1)
	require.False(t, status[0].Verified)
	require.Equal(t, []string{bundle.cars[0].VehicleID}, status[0].VehicleIDs)
	require.Equal(t, 1, status[0].Acknowledged)
}

func TestADisabledWebhookQueuesNothingAndStartsAnewWhenEnabled(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, nil)
	bundle.start(t)
	require.NoError(t, bundle.webhooks.Subscribe(hookID, bundle.cars[1].VehicleID))
	require.NoError(t, bundle.webhooks.Subscribe(hookID, bundle.cars[2].VehicleID))
	require.NoError(t, bundle.webhooks.Unsubscribe(hookID, bundle.cars[2].VehicleID))
	bundle.idle(t)
	bundle.receiver.set(func(r *hookReceiver) { r.events = nil })

	require.NoError(t, bundle.webhooks.Disable(hookID))
	ids, err := bundle.webhooks.ReportState(bundle.cars[0].VehicleID, nil)
	require.NoError(t, err)
	require.Empty(t, ids)
	_, err = bundle.webhooks.PressTestButton(hookID)
	require.ErrorIs(t, err, smartcartest.ErrInactive)

	require.NoError(t, bundle.webhooks.Enable(hookID))
	require.NoError(t, bundle.webhooks.Enable(hookID), "again")
	bundle.idle(t)
	var vehicles []string
	for _, delivery := range bundle.receiver.received(t) {
		require.True(t, isFirst(delivery))
		vehicles = append(vehicles, delivery.Events[0].VehicleID)
	}
	require.Equal(t, []string{bundle.cars[0].VehicleID, bundle.cars[1].VehicleID}, vehicles)
}

func TestAnEventIsRepeatedByTheClockUntilItIsAcknowledged(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, nil)
	bundle.start(t)
	statuses := []int{http.StatusServiceUnavailable, http.StatusFound, http.StatusUnauthorized, http.StatusNoContent}
	bundle.receiver.set(func(r *hookReceiver) { r.answer = func(number int) int { return statuses[number-1] } })
	began := bundle.clock.Now()

	eventID := bundle.report(t)
	for _, wait := range waits() {
		require.NoError(t, bundle.clock.AwaitSleepers(limited(t), 1))
		bundle.clock.Advance(wait)
	}
	bundle.idle(t)

	received := bundle.receiver.received(t)
	require.Len(t, received, 4, "a redirect is a failure, and not followed")
	seen := make(map[string]bool)
	offsets := []time.Duration{0, 25 * time.Second, 75 * time.Second, 175 * time.Second}
	delivery, ok := bundle.webhooks.Delivery(eventID)
	require.True(t, ok)
	for i, got := range received {
		require.Equal(t, eventID, got.Events[0].ID)
		require.True(t, began.Add(offsets[i]).Equal(got.DeliveredAt))
		require.Equal(t, offsets[i], delivery.Attempts[i].After)
		seen[got.DeliveryID] = true
	}
	require.Len(t, seen, 4)
	require.Equal(t, statuses, delivery.Statuses())
	require.True(t, delivery.Acknowledged)
	require.False(t, delivery.Dropped)
}

func TestAnEventIsDroppedAfterTheFourthFailureAndLaterOnesAreNotHeldUp(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, nil)
	bundle.start(t)
	laterArrived := make(chan struct{})
	bundle.receiver.set(func(r *hookReceiver) {
		r.answer = func(number int) int {
			if number == 2 {
				close(laterArrived)
				return http.StatusOK
			}
			return http.StatusInternalServerError
		}
	})

	failing := bundle.report(t)
	require.NoError(t, bundle.clock.AwaitSleepers(limited(t), 1))
	later := bundle.report(t)
	<-laterArrived
	for _, wait := range waits() {
		require.NoError(t, bundle.clock.AwaitSleepers(limited(t), 1))
		delivery, _ := bundle.webhooks.Delivery(failing)
		require.False(t, delivery.IsOver())
		bundle.clock.Advance(wait)
	}
	bundle.idle(t)

	dropped, _ := bundle.webhooks.Delivery(failing)
	require.True(t, dropped.Dropped)
	require.False(t, dropped.Acknowledged)
	require.Equal(t, []int{500, 500, 500, 500}, dropped.Statuses())
	acknowledged, _ := bundle.webhooks.Delivery(later)
	require.Equal(t, []int{200}, acknowledged.Statuses())
	require.Equal(t, smartcartest.Counts{Sent: 3, Acknowledged: 2, Dropped: 1, Attempts: 6}, bundle.webhooks.Counts(hookID))
}

func TestWhatIsUnderWayFailsWhenRunEnds(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, nil)
	webhooks, err := smartcartest.NewWebhooks(smartcartest.WebhooksDeps{
		CurrentCar: func(string) (smartcartest.Car, bool) { return bundle.cars[0], true },
		Clock:      bundle.clock.Now, Sleep: bundle.clock.Sleep,
	})
	require.NoError(t, err)
	require.NoError(t, webhooks.Register(t.Context(), bundle.hook))
	bundle.receiver.set(func(r *hookReceiver) { r.answer = func(int) int { return http.StatusBadGateway } })
	require.NoError(t, webhooks.Subscribe(hookID, bundle.cars[0].VehicleID))

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- webhooks.Run(ctx) }()
	require.NoError(t, bundle.clock.AwaitSleepers(limited(t), 1))
	cancel()
	require.NoError(t, <-ended)
	require.ErrorIs(t, webhooks.Deliveries()[0].Err, context.Canceled)
	require.False(t, webhooks.Deliveries()[0].Dropped)
}

func TestWebhooksRefuseWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	_, err := smartcartest.NewWebhooks(smartcartest.WebhooksDeps{TimeScale: -1})
	require.ErrorIs(t, err, smartcartest.ErrOptions)
	require.ErrorContains(t, err, "current cars")
	require.ErrorContains(t, err, "negative")

	bundle := setupWebhooks(t, nil)
	require.ErrorIs(t, bundle.webhooks.Register(t.Context(), smartcartest.Webhook{}), smartcartest.ErrOptions)
	require.ErrorIs(t, bundle.webhooks.Register(t.Context(), smartcartest.Webhook{ID: "a", URL: "http://a.example"}), smartcar.ErrNoManagementToken)
	require.ErrorIs(t, bundle.webhooks.Register(t.Context(), smartcartest.Webhook{ID: "a", Token: token}), smartcartest.ErrOptions)
	require.Empty(t, bundle.webhooks.Status())
	require.ErrorIs(t, bundle.webhooks.Subscribe(hookID, bundle.cars[0].VehicleID), smartcartest.ErrUnknownWebhook)
	require.ErrorIs(t, bundle.webhooks.Subscribe(hookID, "nobody's"), smartcartest.ErrUnknownVehicle)
	require.ErrorIs(t, bundle.webhooks.Enable(hookID), smartcartest.ErrUnknownWebhook)
	_, err = bundle.webhooks.ReportState("nobody's", nil)
	require.ErrorIs(t, err, smartcartest.ErrUnknownVehicle)
	require.ErrorIs(t, bundle.webhooks.Disturb(smartcartest.Disorder{HoldBack: -1}), smartcartest.ErrOptions)
}

func TestAnAnswerThatIsTooLateIsAFailure(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, func(deps *smartcartest.WebhooksDeps) { deps.Timeout = 3 * time.Second })
	require.NoError(t, bundle.webhooks.Register(t.Context(), bundle.hook))
	release := make(chan struct{})
	bundle.receiver.set(func(r *hookReceiver) {
		r.answer = func(number int) int {
			if number == 1 {
				<-release
			}
			return http.StatusOK
		}
	})
	eventID, err := bundle.webhooks.PressTestButton(hookID)
	require.NoError(t, err)
	require.NoError(t, bundle.clock.AwaitSleepers(limited(t), 1))
	close(release)
	bundle.clock.Advance(25 * time.Second)
	bundle.idle(t)
	delivery, _ := bundle.webhooks.Delivery(eventID)
	require.Equal(t, []int{0, 200}, delivery.Statuses())
	require.ErrorIs(t, delivery.Attempts[0].Err, context.DeadlineExceeded)
	require.True(t, delivery.Acknowledged)
}

func TestTheTimeScaleMakesTheRealClockFast(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, func(deps *smartcartest.WebhooksDeps) { deps.TimeScale, deps.Clock, deps.Sleep = fast, nil, nil })
	require.NoError(t, bundle.webhooks.Register(t.Context(), bundle.hook))
	bundle.receiver.set(func(r *hookReceiver) { r.answer = func(int) int { return http.StatusBadRequest } })
	eventID, err := bundle.webhooks.PressTestButton(hookID)
	require.NoError(t, err)
	bundle.idle(t)
	delivery, _ := bundle.webhooks.Delivery(eventID)
	require.Equal(t, []int{400, 400, 400, 400}, delivery.Statuses())
	require.GreaterOrEqual(t, delivery.Attempts[3].After, 175*time.Millisecond)
}
