package main

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

func TestSinceNamesAnOutageAndAsksForTheWorkflowWithoutWaiting(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	b.connect("one", time.Minute)
	b.connect("two", time.Minute)
	b.connect("gone", time.Minute)
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), "gone"))
	since := time.Now().Add(-2 * time.Hour).UTC().Truncate(time.Second)
	require.NoError(t, b.run("--since", since.Format(time.RFC3339), "--no-wait", "--json"))
	require.Empty(t, b.progress.String())
	members := decoded[map[string]json.RawMessage](b)
	require.NotContains(t, members, "result", "nobody looked")
	require.JSONEq(t, `2`, string(members["asked"]))
	require.JSONEq(t, `"not_waited"`, string(members["end"]))
	require.JSONEq(t, `"`+since.Format(time.RFC3339)+`"`, string(members["since"]))

	require.Equal(t, 1, b.started())
	outages, err := b.store.Outages(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, outages, 1)
	require.Equal(t, since, outages[0].StartedAt)
	require.WithinDuration(t, time.Now(), outages[0].EndedAt, time.Minute)
	require.Equal(t, "requested", outages[0].Source)

	require.NoError(t, b.run("--since", "1h", "--no-wait"))
	require.Regexp(t, `^asked for +2 vehicles, from \S+Z to \S+Z\n\nasked for; .milepost reconcile. shows how it stands\n$`, b.out.String())
}

// finish is what the workflow does in the test of the report, line of progress by line of progress.
func (b *reconcileBundle) finish(later time.Time) []func() {
	return []func(){
		func() {
			require.Equal(b.t, 1, b.started())
			b.received("a-entry", "a-duplicate")
		},
		func() {
			b.processed("a-entry", contract.OutcomeMeterEntry)
			b.processed("a-duplicate", contract.OutcomeDuplicateReading)
			b.received("a-lower", "a-failed")
			b.answered("b-known", contract.PollNothingNew)
		},
		func() {
			b.processed("a-lower", contract.OutcomeLowerReading)
			b.failed("a-failed", contract.FailureImplausibleReading)
			b.webhook("c-by-itself")
			b.answered("d-unsupported", contract.PollNotSupported)
			b.putOff("e-put-off", contract.PollSmartcarUnavailable, later)
			require.NoError(b.t, b.store.DisconnectVehicle(b.t.Context(), "f-disconnected"))
		},
	}
}

func TestSinceWaitsForEveryVehicleAndReportsWhatCameOfIt(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for _, id := range []string{
		"a-entry", "a-duplicate", "a-lower", "a-failed", "b-known", "c-by-itself", "d-unsupported", "e-put-off", "f-disconnected",
	} {
		b.connect(id, time.Hour)
	}
	b.connect("g-owner", time.Hour, withoutTokens)
	b.progress.steps = b.finish(later)
	require.NoError(t, b.run("--since", "3h"))
	require.Equal(t, "asked for 10 vehicles; the work goes on without this command\n"+
		"3 of 10 vehicles settled: 2 received (2 being processed), 0 heard from, 0 nothing new, 1 not restored\n"+
		"6 of 10 vehicles settled: 4 received (2 being processed), 0 heard from, 1 nothing new, 1 not restored\n"+
		"10 of 10 vehicles settled: 4 received (0 being processed), 1 heard from, 1 nothing new, 4 not restored\n", b.progress.String())
	require.Regexp(t, `^asked for +10 vehicles, from \S+Z to \S+Z
received +4
  duplicate_reading +1
  lower_reading +1
  meter_entry +1
  failed: implausible_reading +1, see milepost events list --class implausible_reading
  being processed +0
heard from by webhook +1
nothing new +1
still to be polled +0
not restored +4

NOT RESTORED +REASON +NEXT TRY +WHAT TO DO
d-unsupported +not_supported +- +nothing: this car does not give its odometer to Smartcar
e-put-off +smartcar_unavailable +`+later.Format(time.RFC3339)+` +nothing: Smartcar does not answer now; polled again by itself
f-disconnected +disconnected +- +nothing: it is not connected any more
g-owner +needs_owner +- +have its owner connect it again: milepost vehicles link --user … --vehicle …

done; .*\n$`, b.out.String())
}

func TestTheReportForProgramsHasTheSameCounts(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for _, id := range []string{
		"a-entry", "a-duplicate", "a-lower", "a-failed", "b-known", "c-by-itself", "d-unsupported", "e-put-off", "f-disconnected",
	} {
		b.connect(id, time.Hour)
	}
	b.progress.steps = b.finish(later)
	require.NoError(t, b.run("--since", "3h", "--json", "--limit", "2"))
	done := decoded[reconciliation](b)
	require.WithinDuration(t, time.Now().Add(-3*time.Hour), done.Since, time.Minute)
	require.Equal(t, 9, done.Asked)
	require.Equal(t, endDone, done.End)
	require.Equal(t, &reconcileResult{
		Received: 4,
		Outcomes: map[contract.Outcome]int{
			contract.OutcomeMeterEntry: 1, contract.OutcomeDuplicateReading: 1, contract.OutcomeLowerReading: 1,
		},
		Failures: map[contract.FailureClass]int{contract.FailureImplausibleReading: 1},
		Heard:    1, NothingNew: 1, NotRestored: 3,
		Vehicles: []notRestoredVehicle{
			{SmartcarVehicleID: "d-unsupported", Reason: contract.PollNotSupported, Advice: advice(contract.PollNotSupported)},
			{
				SmartcarVehicleID: "e-put-off", Reason: contract.PollSmartcarUnavailable, NextTry: later,
				Advice: advice(contract.PollSmartcarUnavailable),
			},
		},
	}, done.Result)
}

func TestWhatWasPolledBeforeTheRequestIsNoAnswerToIt(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	b.connect("car", time.Hour)
	b.received("car")
	b.processed("car", contract.OutcomeMeterEntry)
	b.progress.steps = []func(){func() {}, func() { b.answered("car", contract.PollNothingNew) }}
	require.NoError(t, b.run("--since", "2h", "--json"))
	require.Contains(t, b.progress.String(), "\n0 of 1 vehicles settled: 0 received")
	done := decoded[reconciliation](b)
	require.Equal(t, endDone, done.End)
	require.Equal(t, 1, done.Result.NothingNew)
	require.Zero(t, done.Result.Received)
}

func TestAPollThatWasNotMadeIsNoAnswerAndTakesNoneBack(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	later := time.Now().Add(time.Hour)
	for _, id := range []string{"answered", "answered-before"} {
		b.connect(id, time.Hour)
	}
	b.answered("answered-before", contract.PollNothingNew)
	b.progress.steps = []func(){func() {
		b.answered("answered", contract.PollNothingNew)
		for _, id := range []string{"answered", "answered-before"} {
			b.putOff(id, contract.PollDeferred, later)
		}
	}}
	require.NoError(t, b.run("--since", "2h", "--json"))
	done := decoded[reconciliation](b)
	require.Equal(t, 1, done.Result.NothingNew)
	require.Len(t, done.Result.Vehicles, 1)
	require.Equal(t, "answered-before", done.Result.Vehicles[0].SmartcarVehicleID)
	require.Equal(t, contract.PollDeferred, done.Result.Vehicles[0].Reason)
}

func TestAnEmptyFleetIsDoneAtOnce(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	require.NoError(t, b.run("--since", "2h", "--json"))
	done := decoded[reconciliation](b)
	require.Zero(t, done.Asked)
	require.Equal(t, endDone, done.End)
}

func TestReconcileSaysWhyNothingMovesInsteadOfWaitingForEver(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	b.connect("one", time.Hour)
	b.connect("two", time.Hour)
	require.NoError(t, b.run("--since", "2h"))
	require.Regexp(t, `still to be polled +2\n`, b.out.String())
	require.Contains(t, b.out.String(), "\nnot begun yet: ")

	b.progress.steps = []func(){func() {}, func() {
		require.Equal(t, 2, b.started(), "one of the run before")
		b.received("one")
		b.processed("one", contract.OutcomeMeterEntry)
	}}
	require.NoError(t, b.run("--since", "2h"))
	require.Regexp(t, `received +1\n`, b.out.String())
	require.Regexp(t, `still to be polled +1\n`, b.out.String())
	require.Contains(t, b.out.String(), "\nnothing moves any more: the rest waits for Smartcar's limits")
	require.NoError(t, b.run("--since", "2h", "--json"))
	require.Equal(t, endNotStarted, decoded[reconciliation](b).End)
}

func TestAnAnswerThatIsProcessedAgainIsBeingProcessed(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	b.connect("car", time.Hour)
	b.progress.steps = []func(){func() {
		require.Equal(t, 1, b.started())
		b.received("car")
		b.failed("car", contract.FailureImplausibleReading)
		require.NoError(t, b.store.RetryEvent(t.Context(), db.Retry{EventID: "car", Actor: "test"}))
	}}
	require.NoError(t, b.run("--since", "2h"))
	require.Regexp(t, `received +1\n +being processed +1\n`, b.out.String())
	require.Contains(t, b.out.String(), "\neverything is fetched, but not processed yet")
}

func TestOfTwoAnswersTheNewerCounts(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	b.connect("car", time.Hour)
	b.progress.steps = []func(){func() {
		for eventID, outcome := range map[string]contract.Outcome{"first": contract.OutcomeMeterEntry, "second": contract.OutcomeLowerReading} {
			b.receivedAs(eventID, "car")
			b.processed(eventID, outcome)
		}
		b.change("UPDATE smartcar_webhook_events SET created_at = created_at + interval '1 minute' WHERE event_id = 'second'")
	}}
	require.NoError(t, b.run("--since", "2h", "--json"))
	done := decoded[reconciliation](b)
	require.Equal(t, 1, done.Result.Received, "it is one vehicle")
	require.Equal(t, map[contract.Outcome]int{contract.OutcomeLowerReading: 1}, done.Result.Outcomes)
}

func TestWhoInterruptsReconcileIsToldThatTheWorkGoesOn(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	b.connect("one", time.Hour)
	b.connect("two", time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	b.progress.steps = []func(){func() { b.answered("one", contract.PollNothingNew) }, cancel}
	require.NoError(t, b.runUntil(ctx, "--since", "2h"))
	require.Regexp(t, `nothing new +1\n`, b.out.String())
	require.Contains(t, b.out.String(), "\ninterrupted: the work goes on without this command")
	require.Equal(t, 1, b.started(), "the request stays")

	ctx, cancel = context.WithCancel(t.Context())
	b.progress.steps = []func(){cancel}
	require.NoError(t, b.runUntil(ctx, "--since", "2h", "--json"))
	stopped := decoded[reconciliation](b)
	require.Equal(t, endInterrupted, stopped.End)
	require.Nil(t, stopped.Result, "it was interrupted before the first look")
}

func TestADatabaseThatGoesAwayIsAnErrorAndWhatIsKnownIsPrinted(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	b.connect("one", time.Hour)
	b.connect("two", time.Hour)
	b.progress.steps = []func(){
		func() { b.answered("one", contract.PollNothingNew) },
		func() { b.change("ALTER TABLE smartcar_polls RENAME TO out_of_the_way") },
	}
	require.ErrorContains(t, b.run("--since", "2h", "--json"), "see what was reconciled")
	known := decoded[reconciliation](b)
	require.Equal(t, endUnknown, known.End)
	require.Equal(t, 1, known.Result.NothingNew)
}
