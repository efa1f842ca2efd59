package db_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func TestACallThatIsUnderWayIsNotToBeRecovered(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	_, err := b.refresh(firstOfFamily, 1, func(ctx context.Context, token string) (db.TokenPair, error) {
		unfinished, err := b.vault.UnfinishedRefreshes(ctx, time.Now(), time.Minute)
		require.NoError(t, err)
		require.Empty(t, unfinished)
		return b.rotate(ctx, token)
	})
	require.NoError(t, err)
}

func TestADefiniteFaultDoesNotSettleTheCallBeforeIt(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	for _, fault := range []*db.RefreshError{
		{Kind: "smartcar_unavailable", UnknownOutcome: true, Err: errors.New("reset")},
		{Kind: "smartcar_rate_limited", Err: errors.New("429")},
	} {
		_, err := b.refresh(firstOfFamily, 1, func(context.Context, string) (db.TokenPair, error) { return db.TokenPair{}, fault })
		require.ErrorIs(t, err, fault)
	}
	require.Equal(t, []string{"unfinished", "failed"}, b.column(`SELECT coalesce(outcome, 'unfinished') FROM smartcar_token_refreshes ORDER BY id`))
	unfinished, err := b.vault.UnfinishedRefreshes(t.Context(), time.Now().Add(20*time.Second), time.Minute)
	require.NoError(t, err)
	require.Equal(t, []db.UnfinishedRefresh{{SmartcarVehicleID: firstOfFamily, TokenID: b.tokenID, Generation: 1}}, unfinished)
}

// TestAnOutageIsNotAnsweredWithAStorm asks every second for five minutes what is to be refreshed, while no answer comes.
func TestAnOutageIsNotAnsweredWithAStorm(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	began := time.Now()
	now := began
	vault := b.vault.WithClock(func() time.Time { return now })
	lose := func() {
		_, err := vault.Refresh(t.Context(), db.RefreshRequest{SmartcarVehicleID: firstOfFamily},
			func(context.Context, string) (db.TokenPair, error) {
				return db.TokenPair{}, &db.RefreshError{Kind: "smartcar_unavailable", UnknownOutcome: true, Err: errors.New("reset")}
			})
		require.Error(t, err)
	}
	lose()
	var after []time.Duration
	for ; now.Before(began.Add(5 * time.Minute)); now = now.Add(time.Second) {
		unfinished, err := vault.UnfinishedRefreshes(t.Context(), now, 10*time.Minute)
		require.NoError(t, err)
		if len(unfinished) > 0 {
			after = append(after, now.Sub(began))
			lose()
		}
	}
	require.Equal(t, []time.Duration{0, 15 * time.Second, 45 * time.Second, 90 * time.Second}, after)
	lose() // the next poll
	unfinished, err := vault.UnfinishedRefreshes(t.Context(), now.Add(15*time.Second), 10*time.Minute)
	require.NoError(t, err)
	require.Len(t, unfinished, 1, "what is sent later has a minute of its own")
}

func TestAGenerationCountsInItsOwnFamilyOnly(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	status, err := b.vault.Refresh(t.Context(), db.RefreshRequest{
		SmartcarVehicleID: firstOfFamily, TokenID: b.tokenID + 1, Generation: 57,
	}, b.rotate)
	require.NoError(t, err)
	require.Equal(t, b.tokenID, status.TokenID)
	require.Equal(t, int64(1), status.Generation)
	require.Zero(t, b.calls.Load())
}
