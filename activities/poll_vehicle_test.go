package activities_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
	"github.com/milepost/milepost/workflows/contract"
)

const chargeSignal = "tractionbattery-stateofcharge"

func TestAPolledReadingBecomesAnEventAndItsMeterEntrySaysPoll(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	observedAt := b.now.Add(-time.Hour).Add(123 * time.Millisecond)
	b.smartcar.on(batchOf(car), shown("42506.3", observedAt))
	require.Equal(t, "ready", b.standing(car))
	result := b.poll(car)
	require.Equal(t, contract.PollVehicleResult{Outcome: contract.PollReceived, EventID: result.EventID}, result)
	require.JSONEq(t, `{"requests":[{"path":"/odometer"}]}`, b.smartcar.requests(batchOf(car))[0].body)

	event := b.event(result.EventID)
	require.Equal(t, []string{db.EventTypePoll, car, "LIVE", db.StatusReceived},
		[]string{event.EventType, event.SmartcarVehicleID, event.Mode, event.Status})
	require.Equal(t, requestID, event.LastDeliveryID, "what Smartcar's support asks for")
	require.Equal(t, contract.OutcomeMeterEntry, b.processed(result.EventID).Written.Outcome)
	require.Equal(t, []string{"42506.3 poll: Smartcar poll"}, b.written())
	require.Equal(t, []string{"poll oem_updated_at true"}, texts(t, b.url, "SELECT source_type || ' ' || observed_at_source || ' ' || (observed_at = '"+
		observedAt.Format(time.RFC3339Nano)+"') FROM odometer_readings"))
	require.Empty(t, b.standing(car), "it has been heard from")
	b.requireSilence()
}

func TestInventedReadingsArePolledAndNeverStored(t *testing.T) {
	t.Parallel()
	b := setupPolling(t, func(c *connected) { c.deps.Mode = smartcar.ModeSimulated })
	b.own(car)
	b.smartcar.on(batchOf(car), shown("42506.3", b.now.Add(-time.Hour)))
	loaded, err := b.LoadEvent(t.Context(), contract.LoadEventInput{EventID: b.poll(car).EventID})
	require.NoError(t, err)
	require.Equal(t, contract.KindTest, loaded.Kind)
	require.Nil(t, loaded.Odometer)
}

func TestWhatIsKnownIsNotKeptAgain(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(b *polling, observedAt time.Time){
		"when it was polled":                          func(b *polling, _ time.Time) { b.processed(b.poll(car).EventID) },
		"when it was polled and is not processed yet": func(b *polling, _ time.Time) { b.poll(car) },
		"when a webhook brought it": func(b *polling, observedAt time.Time) {
			require.Equal(b.t, contract.OutcomeMeterEntry, b.webhook("webhook", "42506.3", observedAt))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupPolling(t)
			b.own(car)
			observedAt := b.now.Add(-time.Hour)
			b.smartcar.on(batchOf(car), shown("42506.3", observedAt))
			prepare(b, observedAt)
			events := b.count("smartcar_webhook_events")
			b.now = b.now.Add(pollInterval)
			result := b.poll(car)
			require.Equal(t, contract.PollNothingNew, result.Outcome)
			require.Equal(t, events, b.count("smartcar_webhook_events"))
			for _, id := range b.polledEvents() {
				if b.event(id).Status == db.StatusReceived {
					b.processed(id)
				}
			}
			require.Len(t, b.written(), 1)
		})
	}
}

func TestAWebhookOfWhatWasPolledIsADuplicate(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	observedAt := b.now.Add(-time.Hour)
	b.smartcar.on(batchOf(car), shown("42506.3", observedAt))
	polled := b.poll(car).EventID
	require.Equal(t, contract.OutcomeMeterEntry, b.processed(polled).Written.Outcome)
	require.Equal(t, contract.OutcomeDuplicateReading, b.webhook("webhook", "42506.3", observedAt))
	require.Equal(t, []string{"42506.3 poll: Smartcar poll"}, b.written())
	require.Equal(t, "1", b.count("odometer_readings"))
	require.Equal(t, string(contract.OutcomeMeterEntry), *b.event(polled).Outcome)
}

func TestALateWebhookDecidesAgainWhatWasPolled(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	b.smartcar.on(batchOf(car), shown("1200", b.now.Add(-time.Hour)))
	polled := b.poll(car).EventID
	b.processed(polled)
	require.Equal(t, contract.OutcomeMeterEntry, b.webhook("fits", "1100", b.now.Add(-9*time.Hour)))
	require.Equal(t, []string{"1100 webhook: Smartcar webhook", "1200 poll: Smartcar poll"}, b.written())

	require.Equal(t, contract.OutcomeMeterEntry, b.webhook("overtakes", "1300", b.now.Add(-5*time.Hour)))
	require.Equal(t, []string{"1100 webhook: Smartcar webhook", "1300 webhook: Smartcar webhook"}, b.written())
	require.Equal(t, string(contract.OutcomeLowerReading), *b.event(polled).Outcome)
}

func TestAnImplausiblePollFailsAndAPersonCanConfirmIt(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	b.webhook("before", "1000", b.now.Add(-24*time.Hour))
	b.smartcar.on(batchOf(car), shown("9000", b.now))
	polled := b.poll(car).EventID
	require.Equal(t, contract.FailureImplausibleReading, b.processed(polled).Written.FailureClass)
	require.Equal(t, db.StatusFailed, b.event(polled).Status)

	require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: polled, Actor: "support", ConfirmReading: true}))
	require.Equal(t, contract.OutcomeMeterEntry, b.processed(polled).Written.Outcome)
	require.Equal(t, []string{"1000 webhook: Smartcar webhook", "9000 poll: Smartcar poll"}, b.written())
}

func TestAPollWithoutAUnitIsMarkedAsAssumed(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	b.smartcar.on(batchOf(car), batch(200, `{"distance":7}`, "sc-data-age", b.now.Format(time.RFC3339)))
	b.processed(b.poll(car).EventID)
	require.Equal(t, []string{"7 poll: Smartcar poll; no unit was given, kilometres assumed"}, b.written())
}

func TestAnAnswerWithoutTimesIsAsOldAsThePoll(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	b.smartcar.on(batchOf(car), batch(200, `{"distance":7}`, "sc-unit-system", "imperial"))
	first := b.poll(car)
	b.processed(first.EventID)
	require.Equal(t, []string{"11.265 at " + b.now.Format(time.DateTime)}, texts(t, b.url,
		"SELECT odometer_km::float8 || ' at ' || to_char(entry_date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM meter_entries"))
	b.now = b.now.Add(24 * time.Hour)
	require.Equal(t, contract.PollNothingNew, b.poll(car).Outcome, "the same value is no news")
}

func TestAnOdometerWithoutAValueIsNotGiven(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]http.HandlerFunc{
		"null":       batch(200, `{"distance":null}`, "sc-unit-system", "metric"),
		"absent":     batch(200, `{}`),
		"no number":  batch(200, `{"distance":"far"}`),
		"no answers": answer(200, `{"responses":[]}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupPolling(t)
			b.own(car)
			b.smartcar.on(batchOf(car), reply)
			result := b.poll(car)
			require.Equal(t, contract.PollNotGiven, result.Outcome)
			require.Zero(t, result.TryAgainAt)
			if result.EventID != "" {
				require.Equal(t, contract.OutcomeNoOdometer, b.processed(result.EventID).Written.Outcome)
			}
			require.Empty(t, b.written())
			b.now = b.now.Add(patience)
			require.Empty(t, b.standing(car))
		})
	}
}

func TestAnOdometerThatACarWillNeverGiveIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	b.smartcar.on(batchOf(car), batch(501, failure(501, "COMPATIBILITY", "VEHICLE_NOT_CAPABLE")))
	result := b.poll(car)
	require.Equal(t, contract.PollNotSupported, result.Outcome)
	require.Equal(t, contract.OutcomeNoOdometer, b.processed(result.EventID).Written.Outcome)
	require.Equal(t, "- - - COMPATIBILITY/VEHICLE_NOT_CAPABLE unavailable unsupported", b.signal(car, smartcar.CodeOdometer))
	b.execute("UPDATE smartcar_polls SET outcome = ''")
	b.now = b.now.Add(patience + time.Second)
	require.Equal(t, "not_supported", b.standing(car), "the signal itself says so")
}

func TestV3GivesTheOtherSignalsThatTheCarHasEverGiven(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.ownV3(car)
	b.send(car, charge("webhook", 1, 0, 55))
	b.smartcar.on(signalsOf(car), signals(
		signal("location-preciselocation", `{"latitude":`+latitude+`,"longitude":-122.1}`, b.now),
		signal(smartcar.CodeOdometer, `{"value":42506.3,"unit":"km"}`, b.now),
		signal(chargeSignal, `{"value":62,"unit":"percent"}`, b.now),
	))
	result := b.poll(car)
	require.Equal(t, contract.PollReceived, result.Outcome)
	require.Equal(t, []string{hush + "-application-1"}, b.smartcar.bearers(signalsOf(car)))
	b.processed(result.EventID)
	require.Equal(t, []string{"42506.3 poll: Smartcar poll"}, b.written())
	require.Equal(t, []string{smartcar.CodeOdometer, chargeSignal},
		texts(t, b.url, "SELECT data_type FROM vehicle_data WHERE event_id LIKE 'poll:%' ORDER BY id"), "and nobody asked where it is")
	require.Contains(t, b.signal(car, chargeSignal), "62 ")

	// The car has not moved since, but is charging.
	observedAt := b.now
	b.now = b.now.Add(pollInterval)
	b.smartcar.on(signalsOf(car), signals(
		signal(smartcar.CodeOdometer, `{"value":42506.3,"unit":"km"}`, observedAt),
		signal(chargeSignal, `{"value":70,"unit":"percent"}`, b.now),
	))
	result = b.poll(car)
	require.Equal(t, contract.PollNothingNew, result.Outcome)
	b.processed(result.EventID)
	require.Len(t, b.written(), 1)
	require.Equal(t, []string{"duplicate_reading", "meter_entry"},
		texts(t, b.url, "SELECT outcome FROM smartcar_webhook_events WHERE event_id LIKE 'poll:%' ORDER BY outcome"))
	require.Contains(t, b.signal(car, chargeSignal), "70 ")
}

func TestAVehicleThatIsNotConnectedAnyMoreIsNotAsked(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car, otherCar)
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), car))
	b.execute("UPDATE smartcar_vehicles SET token_id = NULL WHERE smartcar_vehicle_id = '" + otherCar + "'")
	require.Equal(t, contract.PollVehicleResult{Outcome: contract.PollDisconnected}, b.poll(car))
	require.Equal(t, contract.PollVehicleResult{Outcome: contract.PollDisconnected}, b.poll("unheard of"))
	require.Equal(t, contract.PollVehicleResult{Outcome: contract.PollNeedsOwner}, b.poll(otherCar))
	require.Empty(t, b.smartcar.asked)
	require.Equal(t, "0", b.count("smartcar_polls"))
}

func TestAPollThatDiedLeavesItsCallsSpentSoThatTheNextIsPutOff(t *testing.T) {
	t.Parallel()
	b := setupPolling(t)
	b.own(car)
	ctx, cancel := context.WithCancel(t.Context())
	b.smartcar.on(batchOf(car), func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := b.PollVehicle(ctx, contract.PollVehicleInput{SmartcarVehicleID: car})
	require.Error(t, err)
	result := b.poll(car)
	require.Equal(t, contract.PollVehicleResult{Outcome: contract.PollDeferred, TryAgainAt: b.now.Add(pollInterval)}, result)
	require.Len(t, b.smartcar.requests(batchOf(car)), 1)
	require.Equal(t, "deferred", b.standing(car))
}

// TestReconcileWaitsOutADeadDatabase: an error that is not final is tried again.
func TestReconcileWaitsOutADeadDatabase(t *testing.T) {
	t.Parallel()
	server := dbtest.NewServer(t)
	store, err := db.Open(t.Context(), db.Config{URL: server.URL()})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	a, err := activities.New(activities.Deps{
		Store: store, Vault: db.NewVault(store, newKeyset(t)), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	require.NoError(t, server.Kill())
	_, err = a.PlanReconcile(t.Context(), contract.PlanReconcileInput{})
	requireTransient(t, err, "database_unavailable", 0)
	_, err = a.PollVehicle(t.Context(), contract.PollVehicleInput{SmartcarVehicleID: car})
	requireTransient(t, err, "database_unavailable", 0)
}
