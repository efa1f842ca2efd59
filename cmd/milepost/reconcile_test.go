package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/workflows/contract"
)

func TestReconcileShowsWhoShouldHaveBeenHeardFromAndWhatToDo(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	const day = 24 * time.Hour
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	b.connect("a-lively", time.Hour)
	b.connect("b-never-heard", 6*day)
	b.connect("c-without-tokens", 5*day, withoutTokens)
	b.connect("d-without-permission", 4*day, withoutPermission)
	b.connect("e-put-off", 3*day)
	b.putOff("e-put-off", contract.PollVehicleUnreachable, later)
	b.change(`INSERT INTO webhook_outages (source, started_at, ended_at, expected, detected_at) VALUES
		('ledger', '2026-03-01T10:00:00Z', '2026-03-01T11:00:00Z', 41.7, '2026-03-01T11:00:00Z'),
		('requested', '2026-03-02T10:00:00Z', NULL, 0, '2026-03-02T11:00:00Z')`)

	require.NoError(t, b.run())
	text := b.out.String()
	require.Regexp(t, `OUTAGE FROM +TO +DELIVERIES EXPECTED +SOURCE\n`+
		`2026-03-02T10:00:00Z +still +- +requested\n2026-03-01T10:00:00Z +2026-03-01T11:00:00Z +42 +ledger\n\n`, text)
	require.Regexp(t, `\nb-never-heard +\S+Z +silent +- +- +- +nothing: polled at the next look\n`, text)
	require.Regexp(t, `\nc-without-tokens +\S+Z +silent +- +needs_owner +- +have its owner connect it again`, text)
	require.Regexp(t, `\nd-without-permission +\S+Z +silent +- +no_permission +- +have its owner grant read_odometer`, text)
	require.Regexp(t, `\ne-put-off +\S+Z +silent +vehicle_unreachable +deferred +`+later.Format(time.RFC3339)+` +nothing: the car or its maker`, text)
	require.Contains(t, text, "\n4 vehicles should have been heard from\n")
	require.NotContains(t, text, "a-lively")

	require.NoError(t, b.run("--json", "--limit", "1"))
	found := decoded[silence](b)
	require.Equal(t, 4, found.Silent)
	require.Len(t, found.Outages, 1)
	require.Equal(t, "requested", found.Outages[0].Source)
	require.Len(t, found.Vehicles, 1)
	require.Equal(t, "b-never-heard", found.Vehicles[0].SmartcarVehicleID, "the longest silent first")
	require.WithinDuration(t, time.Now().Add(-6*day), found.Vehicles[0].HeardAt, time.Minute)
	require.NoError(t, b.run("--limit", "1"))
	require.Contains(t, b.out.String(), "4 vehicles should have been heard from, 3 of them not listed: see --limit\n")
}

func TestReconcileHasListsEvenWhenThereIsNothing(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	require.NoError(t, b.run("--json"))
	require.JSONEq(t, `{"outages":[],"silent":0,"vehicles":[]}`, b.out.String())
}

func TestAVehicleIsSaidToBeSilentOrNotHeardFromSinceAnOutage(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	b.connect("car", time.Hour)
	require.NoError(t, b.run("--since", "2h", "--no-wait"))
	require.NoError(t, b.run("--json"))
	found := decoded[silence](b)
	require.Len(t, found.Vehicles, 1)
	require.Equal(t, "after_outage", found.Vehicles[0].Why)
	require.NoError(t, b.run())
	require.Regexp(t, `\ncar +\S+Z +after outage +-`, b.out.String())
	b.received("car")
	require.NoError(t, b.run())
	require.NotContains(t, b.out.String(), "car")
}

func TestFlagsOfReconcileThatDoNotGoTogetherAreRefused(t *testing.T) {
	t.Parallel()
	b := setupReconcile(t)
	for message, arguments := range map[string][]string{
		"--no-wait goes with --since":     {"--no-wait"},
		"--limit must be at least 1":      {"--limit", "0"},
		"reconcile takes no arguments":    {"2h"},
		`--since "" is neither a time`:    {"--since", ""},
		`--since "0s" does not lie in`:    {"--since", "0s"},
		`--since "-2h" does not lie in`:   {"--since=-2h"},
		`--since "2 hours" is neither`:    {"--since", "2 hours"},
		`--since "yesterday" is neither`:  {"--since", "yesterday"},
		`--since "2026-03-01" is neither`: {"--since", "2026-03-01"},
		"lies more than 30 days (720h)":   {"--since", "720h0m1s"},
		"back":                            {"--since", "2020-01-01T00:00:00Z"},
		"does not lie in the past":        {"--since", time.Now().Add(time.Hour).Format(time.RFC3339)},
	} {
		require.ErrorContains(t, b.run(arguments...), message, "%v", arguments)
	}
	require.Zero(t, b.started(), "nothing was asked for")
	outages, err := b.store.Outages(t.Context(), 10)
	require.NoError(t, err)
	require.Empty(t, outages)
}

func TestAnOutageBeginsAtATimeOrSoLongAgo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for given, want := range map[string]time.Time{
		"2h": now.Add(-2 * time.Hour), "720h": now.Add(-30 * 24 * time.Hour),
		"2026-03-01T09:30:00Z": now.Add(-150 * time.Minute), "2026-03-01T09:30:00+01:00": now.Add(-210 * time.Minute),
	} {
		since, err := outageSince(given, now)
		require.NoError(t, err)
		require.Equal(t, want, since, given)
	}
}

func TestEveryOutcomeOfAPollHasItsAdvice(t *testing.T) {
	t.Parallel()
	told := map[string]contract.PollOutcome{}
	for _, outcome := range []contract.PollOutcome{
		contract.PollReceived, contract.PollDeferred, contract.PollNotGiven, contract.PollVehicleUnreachable,
		contract.PollSmartcarUnavailable, contract.PollNeedsOwner, contract.PollNoPermission, contract.PollNotSupported,
		contract.PollNeedsOperator, contract.PollRefused, contract.PollDisconnected, contract.PollFailed,
	} {
		require.NotContains(t, told, advice(outcome), "%s", outcome)
		told[advice(outcome)] = outcome
	}
	require.Equal(t, advice(contract.PollReceived), advice(contract.PollNothingNew), "both were heard from, then")
}
