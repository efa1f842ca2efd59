package smartcartest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

func TestAWebhookPostsInItsForm(t *testing.T) {
	t.Parallel()
	for _, form := range forms() {
		t.Run(form.String(), func(t *testing.T) {
			t.Parallel()
			bundle := setupWebhooks(t, nil)
			bundle.hook.Form = form
			require.NoError(t, bundle.webhooks.Register(t.Context(), bundle.hook))
			verify, err := smartcar.Decode(bundle.receiver.verifies[0].body)
			require.NoError(t, err)
			require.Equal(t, smartcar.TypeVerify, verify.Type)
			require.Equal(t, isVersion2(form), verify.Version == "2.0")

			require.NoError(t, bundle.webhooks.Subscribe(hookID, bundle.cars[0].VehicleID))
			bundle.report(t)
			bundle.idle(t)
			received := bundle.receiver.received(t)
			if form == smartcartest.EventBased {
				require.Len(t, received, 1, "no first delivery")
				require.Equal(t, smartcar.EventType("CHARGING_STARTED"), received[0].Type)
				return
			}
			require.Len(t, received, 2)
			for _, delivery := range received {
				require.Equal(t, smartcar.TypeVehicleState, delivery.Type)
				odometer, ok := delivery.Events[0].Odometer()
				require.True(t, ok)
				require.JSONEq(t, "18204.6", string(odometer.Value))
				require.Equal(t, "km", odometer.Unit)
				require.Equal(t, form == smartcartest.Documents, delivery.Events[0].PowertrainType == "BEV")
			}
			if isVersion2(form) {
				require.NotEqual(t, received[0].Events[0].ID, received[1].Events[0].ID)
			}
			if form != smartcartest.SeedStyle && form != smartcartest.Autumn2025 {
				require.Equal(t, hookID, received[0].WebhookID)
			}
		})
	}
}

func TestARepetitionIsKnownAgainInEveryForm(t *testing.T) {
	t.Parallel()
	for _, form := range forms() {
		t.Run(form.String(), func(t *testing.T) {
			t.Parallel()
			bundle := setupWebhooks(t, nil)
			bundle.start(t)
			bundle.receiver.set(func(r *hookReceiver) {
				r.answer = func(number int) int { return []int{http.StatusServiceUnavailable, http.StatusOK}[number-1] }
			})
			_, err := bundle.webhooks.ReportState(bundle.cars[0].VehicleID, func(state *smartcartest.VehicleState) { state.Form = form })
			require.NoError(t, err)
			require.NoError(t, bundle.clock.AwaitSleepers(limited(t), 1))
			bundle.clock.Advance(25 * time.Second)
			bundle.idle(t)
			received := bundle.receiver.received(t)
			require.Len(t, received, 2)
			require.Equal(t, received[0].Events[0].ID, received[1].Events[0].ID)
			if !isVersion2(form) && form != smartcartest.SeedStyle {
				require.NotEqual(t, received[0].DeliveryID, received[1].DeliveryID)
				require.Equal(t, int64(25), received[1].DeliveredAt.Unix()-received[0].DeliveredAt.Unix())
			}
		})
	}
}

func TestSamplesAndSimulatedReadingsAreNotLiveInAnyForm(t *testing.T) {
	t.Parallel()
	for _, form := range forms() {
		t.Run(form.String(), func(t *testing.T) {
			t.Parallel()
			bundle := setupWebhooks(t, nil)
			bundle.hook.Form = form
			bundle.start(t)
			simulated := func(state *smartcartest.VehicleState) { state.Mode = smartcar.ModeSimulated }
			if form == smartcartest.SeedStyle {
				_, err := bundle.webhooks.PressTestButton(hookID)
				require.ErrorIs(t, err, smartcartest.ErrForm)
				_, err = bundle.webhooks.ReportState(bundle.cars[0].VehicleID, simulated)
				require.ErrorIs(t, err, smartcartest.ErrForm)
				return
			}
			eventID, err := bundle.webhooks.PressTestButton(hookID)
			require.NoError(t, err)
			_, err = bundle.webhooks.ReportState(bundle.cars[0].VehicleID, simulated)
			require.NoError(t, err)
			bundle.idle(t)
			received := bundle.receiver.received(t)
			require.Equal(t, smartcar.ModeTest, received[0].Mode)
			require.NotEqual(t, bundle.cars[0].VehicleID, received[0].Events[0].VehicleID)
			require.Equal(t, smartcar.ModeSimulated, received[1].Mode)
			sample, ok := bundle.webhooks.Delivery(eventID)
			require.True(t, ok)
			require.Equal(t, smartcar.ModeTest, sample.Mode)
		})
	}
}
