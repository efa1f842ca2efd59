package db_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

// dawn is when the ledgers of these tests begin.
func dawn() time.Time { return time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC) }

const day = 24 * time.Hour

// arrive receives a delivery at from, and every so often before until.
func (b *bundle) arrive(t *testing.T, from, until time.Time, every time.Duration) {
	t.Helper()
	b.arriveAs(t, "VEHICLE_STATE", from, until, every)
}

func (b *bundle) arriveAs(t *testing.T, eventType string, from, until time.Time, every time.Duration) {
	t.Helper()
	b.change(t, `INSERT INTO smartcar_webhook_events (event_id, event_type, created_at, payload)
		SELECT $1 || ' ' || at, $1, at, '' FROM generate_series($2::timestamptz, $3, make_interval(secs => $4)) AS at WHERE at < $3`,
		eventType, from, until, every.Seconds())
}

// search gives the outages that are found, or have ended, as "begin-end" since dawn; the end is "" while it lasts.
func (b *bundle) search(t *testing.T, now time.Time) (found []string) {
	t.Helper()
	outages, err := b.store.DetectOutages(t.Context(), db.DefaultShortestOutage, now)
	require.NoError(t, err)
	return described(outages)
}

func described(outages []db.Outage) (all []string) {
	for _, outage := range outages {
		text := fmt.Sprint(outage.StartedAt.Sub(dawn()), "-")
		if !outage.EndedAt.IsZero() {
			text += outage.EndedAt.Sub(dawn()).String()
		}
		all = append(all, text)
	}
	return all
}

// known are all outages that are stored, the newest first.
func (b *bundle) known(t *testing.T) []db.Outage {
	t.Helper()
	outages, err := b.store.Outages(t.Context(), many)
	require.NoError(t, err)
	return outages
}

func TestASilenceOfABusyLedgerIsAnOutage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive(t, dawn(), dawn().Add(30*time.Hour), 10*time.Second)
	last := dawn().Add(30 * time.Hour).Add(-10 * time.Second)
	first := last.Add(10 * time.Minute)
	b.arrive(t, first, first.Add(time.Hour), 10*time.Second)
	now := first.Add(time.Hour)

	found, err := b.store.DetectOutages(t.Context(), db.DefaultShortestOutage, now)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, []time.Time{last, first, now}, []time.Time{found[0].StartedAt, found[0].EndedAt, found[0].DetectedAt})
	require.InDelta(t, 60, found[0].Expected, 1, "one in ten seconds")
	require.Equal(t, "ledger", found[0].Source)
	require.Equal(t, found, b.known(t))
	require.Empty(t, b.search(t, now), "it is found once")
}

func TestASilenceThatSmartcarsRepetitionsBridgeIsNoOutage(t *testing.T) {
	t.Parallel()
	for silence, expected := range map[time.Duration][]string{
		174 * time.Second: nil,
		175 * time.Second: {"30h0m0s-30h2m55s"},
	} {
		t.Run(silence.String(), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			gone := dawn().Add(30 * time.Hour)
			b.arrive(t, dawn(), gone.Add(time.Second), 5*time.Second)
			b.arrive(t, gone.Add(silence), gone.Add(time.Hour), 5*time.Second)
			require.Equal(t, expected, b.search(t, gone.Add(time.Hour)))
		})
	}
}

func TestAQuietFleetIsMissedOnlyWhenTenDeliveriesWereDue(t *testing.T) {
	t.Parallel()
	for silence, expected := range map[time.Duration][]string{
		95 * time.Minute:  nil,
		130 * time.Minute: {"60h0m0s-62h10m0s"},
	} {
		t.Run(silence.String(), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			gone := dawn().Add(60 * time.Hour)
			b.arrive(t, dawn(), gone.Add(time.Second), 10*time.Minute)
			b.arrive(t, gone.Add(silence), gone.Add(day), 10*time.Minute)
			require.Equal(t, expected, b.search(t, gone.Add(day)))
		})
	}
}

func TestTheFleetsNightIsNoOutage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for number := range 4 {
		morning := dawn().Add(time.Duration(number)*day + 6*time.Hour)
		b.arrive(t, morning, morning.Add(16*time.Hour), time.Minute)
	}
	require.Equal(t, []string{"21h59m0s-30h0m0s"}, b.search(t, dawn().Add(32*time.Hour)), "nobody can know in the first night")
	for _, hour := range []int{44, 48, 50, 54, 60, 72, 90} {
		require.Empty(t, b.search(t, dawn().Add(time.Duration(hour)*time.Hour)), hour)
	}

	b.change(t, "DELETE FROM smartcar_webhook_events WHERE created_at >= $1 AND created_at < $2",
		dawn().Add(90*time.Hour+time.Minute), dawn().Add(91*time.Hour))
	require.Equal(t, []string{"90h0m0s-91h0m0s"}, b.search(t, dawn().Add(92*time.Hour)), "by day it is")
	require.Equal(t, []string{"93h59m0s-"}, b.search(t, dawn().Add(103*time.Hour)), "and so is a night that does not end")
}

func TestWhatANewFleetSendsAtOnceIsNotItsRhythm(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive(t, dawn(), dawn().Add(9*time.Second), time.Second)
	for _, hour := range []int{1, 5, 20, 48} {
		require.Empty(t, b.search(t, dawn().Add(time.Duration(hour)*time.Hour)), hour)
	}
	empty := setup(t)
	require.Empty(t, empty.search(t, dawn()))
	require.Zero(t, empty.count(t, "SELECT count(ledger_checked_until) FROM smartcar_polling"))
}

func TestAnOutageOfAYoungLedgerIsFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive(t, dawn(), dawn().Add(10*time.Minute+time.Second), time.Second)
	b.arrive(t, dawn().Add(30*time.Minute), dawn().Add(40*time.Minute), time.Second)
	found, err := b.store.DetectOutages(t.Context(), db.DefaultShortestOutage, dawn().Add(40*time.Minute))
	require.NoError(t, err)
	require.Equal(t, []string{"10m0s-30m0s"}, described(found))
	require.InDelta(t, 601, found[0].Expected, 0.1, "as many as have ever come, and no more")
}

func TestAnOutageThatLastsGetsItsEndOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gone := dawn().Add(30 * time.Hour)
	b.arrive(t, dawn(), gone.Add(time.Second), time.Minute)
	require.Empty(t, b.search(t, gone.Add(5*time.Minute)), "not yet")
	require.Equal(t, []string{"30h0m0s-"}, b.search(t, gone.Add(15*time.Minute)))
	require.Empty(t, b.search(t, gone.Add(30*time.Minute)), "it is known already")
	require.True(t, b.known(t)[0].EndedAt.IsZero())
	b.arriveAs(t, db.EventTypePoll, gone.Add(31*time.Minute), gone.Add(59*time.Minute), time.Minute)
	require.Empty(t, b.search(t, gone.Add(59*time.Minute)), "polls are no sign of webhooks arriving")

	b.arrive(t, gone.Add(time.Hour), gone.Add(2*time.Hour), time.Minute)
	require.Equal(t, []string{"30h0m0s-31h0m0s"}, b.search(t, gone.Add(2*time.Hour)))
	require.Empty(t, b.search(t, gone.Add(2*time.Hour+time.Minute)))
	outages := b.known(t)
	require.Equal(t, []string{"30h0m0s-31h0m0s"}, described(outages))
	require.Equal(t, gone.Add(15*time.Minute), outages[0].DetectedAt, "when it was found first")
	require.InDelta(t, 60, outages[0].Expected, 1, "of its whole length")
}

func TestPollsAreNotWhatAFleetSends(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive(t, dawn(), dawn().Add(60*time.Hour), time.Hour)
	b.arriveAs(t, db.EventTypePoll, dawn(), dawn().Add(60*time.Hour), 30*time.Second)
	b.arrive(t, dawn().Add(65*time.Hour), dawn().Add(66*time.Hour), time.Hour)
	require.Empty(t, b.search(t, dawn().Add(66*time.Hour)), "five hours of an hourly fleet are too little to say")
}

func TestASearchGoesOnWhereTheLastOneEnded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive(t, dawn(), dawn().Add(30*time.Hour+time.Second), time.Minute)
	require.Empty(t, b.search(t, dawn().Add(30*time.Hour)))
	b.change(t, "DELETE FROM smartcar_webhook_events WHERE created_at > $1 AND created_at < $2",
		dawn().Add(20*time.Hour), dawn().Add(21*time.Hour))
	require.Empty(t, b.search(t, dawn().Add(30*time.Hour)), "what was searched is not searched again")

	// No worker looks for 20 days, while the receiver works, but for three days and an hour.
	b.arrive(t, dawn().Add(102*time.Hour), dawn().Add(15*day), time.Minute)
	b.arrive(t, dawn().Add(15*day+time.Hour), dawn().Add(20*day), time.Minute)
	require.ElementsMatch(t, []string{"30h0m0s-102h0m0s", "359h59m0s-361h0m0s"}, b.search(t, dawn().Add(20*day)))
}

func TestTheFirstSearchLooksBackAWeekAndToTheDeliveryBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.arrive(t, dawn(), dawn().Add(2*day), time.Minute)
	b.arrive(t, dawn().Add(3*day), dawn().Add(5*day), time.Minute)
	b.arrive(t, dawn().Add(7*day), dawn().Add(13*day), time.Minute)
	require.Equal(t, []string{"119h59m0s-168h0m0s"}, b.search(t, dawn().Add(13*day)))
}

// A delivery is stamped before it is committed, and by another clock.
func TestADeliveryThatIsCommittedLateEndsItsOutage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gone := dawn().Add(30 * time.Hour)
	b.arrive(t, dawn(), gone.Add(time.Second), time.Minute)
	require.Equal(t, []string{"30h0m0s-"}, b.search(t, gone.Add(time.Hour)))
	b.arrive(t, gone.Add(time.Hour-time.Second), gone.Add(time.Hour), time.Second)
	require.Equal(t, []string{"30h0m0s-30h59m59s"}, b.search(t, gone.Add(61*time.Minute)))
}

func TestADeliveryWithAStampOfTheFutureHidesNoOutageBehindIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gone := dawn().Add(30 * time.Hour)
	b.arrive(t, dawn(), gone.Add(time.Second), time.Minute)
	b.arriveAs(t, "VEHICLE_ERROR", gone.Add(90*time.Minute), gone.Add(91*time.Minute), time.Hour)
	require.Empty(t, b.search(t, gone.Add(time.Minute)), "nor is it the end of one")
	b.arrive(t, gone.Add(time.Minute), gone.Add(10*time.Minute), time.Minute)
	require.Equal(t, []string{"30h9m0s-"}, b.search(t, gone.Add(30*time.Minute)))
	b.arrive(t, gone.Add(40*time.Minute), gone.Add(80*time.Minute), time.Minute)
	require.Equal(t, []string{"30h9m0s-30h40m0s"}, b.search(t, gone.Add(80*time.Minute)))
}

func TestTwoSearchesAtOnceFindAnOutageOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gone := dawn().Add(30 * time.Hour)
	b.arrive(t, dawn(), gone.Add(time.Second), time.Minute)
	for round, now := range []time.Time{gone.Add(time.Hour), gone.Add(3 * time.Hour)} {
		var group sync.WaitGroup
		found, errs := make([][]db.Outage, 6), make([]error, 6)
		for i := range found {
			group.Go(func() {
				found[i], errs[i] = b.store.DetectOutages(t.Context(), db.DefaultShortestOutage, now)
			})
		}
		group.Wait()
		var all []string
		for i := range found {
			require.NoError(t, errs[i])
			all = append(all, described(found[i])...)
		}
		require.Equal(t, [][]string{{"30h0m0s-"}, {"30h0m0s-32h0m0s"}}[round], all)
		if round == 0 {
			b.arrive(t, gone.Add(2*time.Hour), gone.Add(3*time.Hour), time.Minute)
		}
	}
	require.Len(t, b.known(t), 1)
}

func TestAnOutageIsNamedTogetherWithTheRequestForItsWorkflow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	now := time.Now()
	since, until := now.Add(-10*day).UTC().Truncate(time.Second), now.Add(-9*day).UTC().Truncate(time.Second)
	require.NoError(t, b.store.RequestReconcile(t.Context(), since, until))
	outages := b.known(t)
	require.Len(t, outages, 1)
	require.Equal(t, db.Outage{StartedAt: since, EndedAt: until, DetectedAt: outages[0].DetectedAt, Source: "requested"}, outages[0])
	require.WithinDuration(t, now, outages[0].DetectedAt, time.Minute, "an old outage that is named now counts from now")
	require.Equal(t, []string{"reconcile requested"}, b.texts(t, "SELECT kind || ' ' || subject FROM workflow_requests"))

	require.NoError(t, b.store.RequestReconcile(t.Context(), since, now.Add(day)), "the same beginning again")
	outages = b.known(t)
	require.Len(t, outages, 1)
	require.WithinDuration(t, now, outages[0].EndedAt, time.Minute, "what is still to come has lost nothing")
	require.EqualValues(t, 2, b.count(t, "SELECT count(*) FROM workflow_requests"))
}

func TestAnOutageThatEndsBeforeItBeginsIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	now := time.Now()
	for _, until := range []time.Time{now.Add(-time.Hour), now.Add(-2 * time.Hour), {}} {
		require.ErrorIs(t, b.store.RequestReconcile(t.Context(), now.Add(-time.Hour), until), db.ErrRejected)
	}
	require.ErrorIs(t, b.store.RequestReconcile(t.Context(), now.Add(time.Hour), now.Add(2*time.Hour)), db.ErrRejected)
	require.Empty(t, b.known(t))
	require.Zero(t, b.count(t, "SELECT count(*) FROM workflow_requests"), "nothing is asked for either")
}
