package db_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func TestWhatIsNotAnsweredIsCountedUntilThereIsAnAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "car", "gone")
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), "gone"))
	for _, id := range []string{"gone", "unheard of"} {
		_, err := b.store.PollTarget(t.Context(), id)
		require.ErrorIs(t, err, db.ErrNotFound)
	}
	b.change(t, `INSERT INTO vehicle_signals (smartcar_vehicle_id, data_type, reported_at, unsupported_at)
		VALUES ('car', 'given', now(), NULL), ('car', 'taken', now(), now() + interval '1 s'), ('car', 'never', NULL, NULL)`)
	unanswered := func() int32 {
		t.Helper()
		target, err := b.store.PollTarget(t.Context(), "car")
		require.NoError(t, err)
		require.Equal(t, []string{"given"}, target.Signals)
		return target.Unanswered
	}
	require.Zero(t, unanswered())
	silence := db.SettledPoll{SmartcarVehicleID: "car", Outcome: "vehicle_unreachable", NotBefore: today(), Unanswered: true}
	b.poll(t, silence)
	b.poll(t, silence)
	require.EqualValues(t, 2, unanswered())
	b.poll(t, db.SettledPoll{SmartcarVehicleID: "car", Outcome: "deferred", NotBefore: today()})
	require.EqualValues(t, 2, unanswered(), "nobody was asked")
	b.poll(t, answer("car", "needs_owner", 0))
	require.Zero(t, unanswered())
	b.poll(t, silence)
	require.EqualValues(t, 1, unanswered())
	require.Equal(t, []string{"1 vehicle_unreachable true"},
		b.texts(t, "SELECT unchanged || ' ' || outcome || ' ' || (polled_at = '2026-03-20 12:00Z') FROM smartcar_polls"), "the last answer stays")
}

func TestAnObservationIsKnownByItsMomentWhicheverWayItCame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "car")
	b.observe(t, "car", "webhook", time.Hour, time.Hour, 1)
	b.observe(t, "car", "poll", 2*time.Hour, time.Hour, 1)
	target, err := b.store.PollTarget(t.Context(), "car")
	require.NoError(t, err)
	for ago, expected := range map[time.Duration]bool{
		time.Hour: true, 2 * time.Hour: true, time.Hour + time.Microsecond: false, time.Hour - time.Millisecond: false,
	} {
		known, err := b.store.IsObserved(t.Context(), target.VehicleID, today().Add(-ago))
		require.NoError(t, err)
		require.Equal(t, expected, known, ago)
		known, err = b.store.IsObserved(t.Context(), target.VehicleID+1, today().Add(-ago))
		require.NoError(t, err)
		require.False(t, known, "of another vehicle")
	}
}

func TestAnAnswerIsKeptOnceAsAnEventToBeProcessed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one := delivery("poll:1")
	one.EventType = db.EventTypePoll
	for _, added := range []bool{true, false} {
		result, err := b.store.AppendPoll(t.Context(), one)
		require.NoError(t, err)
		require.Equal(t, added, result)
	}
	event := b.show(t, "poll:1")
	require.Equal(t, []string{"POLL", db.StatusReceived}, []string{event.EventType, event.Status})
	claimed, err := b.store.ClaimEvents(t.Context(), many, time.Minute)
	require.NoError(t, err)
	require.Len(t, claimed, 1)
}

// spent is a budget as a caller may keep it.
type spent struct {
	Calls int `json:"calls"`
}

func TestProcessesThatSpendAtOnceNeverSpendMoreThanThereIs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other, err := db.Open(t.Context(), db.Config{URL: b.url, MaxConnections: 8})
	require.NoError(t, err)
	t.Cleanup(other.Close)
	const burst, cars, triesOfEach = 40, 10, 8
	var allowed atomic.Int64
	var group sync.WaitGroup
	for number := range cars {
		car := fmt.Sprint("car ", number)
		b.own(t, car)
		for try := range triesOfEach {
			store := []*db.Store{b.store, other}[try%2]
			group.Go(func() {
				err := store.WithPollBudget(t.Context(), car, func(budget db.PollBudget) (db.PollBudget, error) {
					var application, vehicle spent
					if err := json.Unmarshal(budget.Application, &application); err != nil {
						return budget, err
					}
					if err := json.Unmarshal(budget.Vehicle, &vehicle); err != nil || application.Calls == burst {
						return budget, err
					}
					allowed.Add(1)
					return db.PollBudget{
						Application: fmt.Appendf(nil, `{"calls":%d}`, application.Calls+1), Vehicle: fmt.Appendf(nil, `{"calls":%d}`, vehicle.Calls+1),
					}, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	require.EqualValues(t, burst, allowed.Load())
	require.Equal(t, []string{"40 of 40"},
		b.texts(t, "SELECT sum((poll.budget->>'calls')::integer) || ' of ' || (SELECT budget->>'calls' FROM smartcar_polling) FROM smartcar_polls AS poll"))
}

func TestABudgetStaysAsItWasWhenItsCallerFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(t, "car")
	change := func(car, application, vehicle string, err error) error {
		return b.store.WithPollBudget(t.Context(), car, func(db.PollBudget) (db.PollBudget, error) {
			return db.PollBudget{Application: []byte(application), Vehicle: []byte(vehicle)}, err
		})
	}
	require.NoError(t, change("car", `{"a":1}`, `{"v":1}`, nil))
	failure := errors.New("not now")
	require.ErrorIs(t, change("car", `{"a":2}`, `{"v":2}`, failure), failure)
	require.ErrorIs(t, change("unheard of", `{"a":3}`, `{"v":3}`, nil), db.ErrRejected)
	require.NoError(t, b.store.SettlePoll(t.Context(), answer("car", "received", 0)))
	require.NoError(t, b.store.WithPollBudget(t.Context(), "car", func(budget db.PollBudget) (db.PollBudget, error) {
		require.JSONEq(t, `{"a":1}`, string(budget.Application))
		require.JSONEq(t, `{"v":1}`, string(budget.Vehicle))
		return budget, nil
	}))
}
