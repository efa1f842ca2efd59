package smartcartest_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

func TestAnAcknowledgedEventCanComeAgain(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, nil)
	bundle.start(t)
	require.NoError(t, bundle.webhooks.Disturb(smartcartest.Disorder{Duplicates: 2}))
	eventID := bundle.report(t)
	bundle.idle(t)

	received := bundle.receiver.received(t)
	require.Len(t, received, 3)
	seen := make(map[string]bool)
	for _, delivery := range received {
		require.Equal(t, eventID, delivery.Events[0].ID)
		seen[delivery.DeliveryID] = true
	}
	require.Len(t, seen, 3)
	delivery, _ := bundle.webhooks.Delivery(eventID)
	require.Equal(t, []int{204, 204, 204}, delivery.Statuses())
}

// disordered queues five events with three held back, and returns the order in which they were queued and arrived.
func disordered(t *testing.T, seed uint64) (queued, arrived, deliveryIDs []string) {
	t.Helper()
	bundle := setupWebhooks(t, func(deps *smartcartest.WebhooksDeps) { deps.Seed = seed })
	bundle.start(t)
	require.NoError(t, bundle.webhooks.Disturb(smartcartest.Disorder{HoldBack: 3}))
	for range 5 {
		queued = append(queued, bundle.report(t))
	}
	bundle.idle(t)
	require.Len(t, bundle.receiver.received(t), 3, "two are held back")
	bundle.webhooks.Release()
	bundle.idle(t)
	for _, delivery := range bundle.receiver.received(t) {
		arrived = append(arrived, delivery.Events[0].ID)
		deliveryIDs = append(deliveryIDs, delivery.DeliveryID)
	}
	return queued, arrived, deliveryIDs
}

func TestEventsHeldBackComeInAnotherOrderThatTheSeedRepeats(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		queued, arrived, deliveryIDs := disordered(t, seed+1)
		require.NotEqual(t, queued[:3], arrived[:3])
		require.Equal(t, []string{queued[4], queued[3]}, arrived[3:])
		require.ElementsMatch(t, queued, arrived)

		againQueued, againArrived, againDeliveryIDs := disordered(t, seed+1)
		require.Equal(t, queued, againQueued)
		require.Equal(t, arrived, againArrived)
		require.Equal(t, deliveryIDs, againDeliveryIDs)
	}
	one, _, _ := disordered(t, 1)
	two, _, _ := disordered(t, 2)
	require.NotEqual(t, one, two)
}

func TestLessDisorderReleasesWhatWasHeldBack(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, nil)
	bundle.start(t)
	require.NoError(t, bundle.webhooks.Disturb(smartcartest.Disorder{HoldBack: 10}))
	bundle.report(t)
	bundle.idle(t)
	require.Empty(t, bundle.receiver.received(t))
	require.NoError(t, bundle.webhooks.Disturb(smartcartest.Disorder{}))
	bundle.idle(t)
	require.Len(t, bundle.receiver.received(t), 1)
}

func TestStateAndErrorOfOneVehicleArriveAtOnce(t *testing.T) {
	t.Parallel()
	const together = 6
	bundle := setupWebhooks(t, nil)
	bundle.start(t)
	var arrived sync.WaitGroup
	arrived.Add(together)
	bundle.receiver.set(func(r *hookReceiver) {
		r.answer = func(int) int { // Nobody is answered before all are there.
			arrived.Done()
			arrived.Wait()
			return http.StatusOK
		}
	})
	require.NoError(t, bundle.webhooks.Disturb(smartcartest.Disorder{AtOnce: together}))
	for range together / 2 {
		bundle.report(t)
		_, err := bundle.webhooks.ReportError(bundle.cars[0].VehicleID, someErrors(), nil)
		require.NoError(t, err)
	}
	bundle.idle(t)
	var kinds []string
	for _, delivery := range bundle.receiver.received(t) {
		require.Equal(t, bundle.cars[0].VehicleID, delivery.Events[0].VehicleID)
		kinds = append(kinds, string(delivery.Type))
	}
	slices.Sort(kinds)
	require.Equal(t, []string{"VEHICLE_ERROR", "VEHICLE_ERROR", "VEHICLE_ERROR", "VEHICLE_STATE", "VEHICLE_STATE", "VEHICLE_STATE"}, kinds)
	require.Equal(t, together+1, bundle.webhooks.Counts(hookID).Acknowledged)
}

func TestAnErrorAndItsEndAreTwoEvents(t *testing.T) {
	t.Parallel()
	bundle := setupWebhooks(t, nil)
	bundle.start(t)
	failed := someErrors()[:1]
	_, err := bundle.webhooks.ReportError(bundle.cars[0].VehicleID, failed, nil)
	require.NoError(t, err)
	resolved := slices.Clone(failed)
	resolved[0].State = smartcar.StateResolved
	_, err = bundle.webhooks.ReportError(bundle.cars[0].VehicleID, resolved, func(event *smartcartest.VehicleError) {
		event.Envelope.Form, event.Signals = smartcartest.Documents, smartcartest.Mixed
	})
	require.NoError(t, err)
	bundle.idle(t)

	received := bundle.receiver.received(t)
	require.Len(t, received, 2)
	require.NotEqual(t, received[0].Events[0].ID, received[1].Events[0].ID)
	require.Equal(t, failed, received[0].Events[0].Errors)
	require.Equal(t, resolved, received[1].Events[0].Errors)
	require.Equal(t, hookID, received[0].WebhookID)
}
