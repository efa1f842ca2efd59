package activities_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// rotating is a car whose tokens come from a simulated Smartcar, which takes a used
// refresh token for a minute of the test's clock.
type rotating struct {
	*polling

	platform *smartcartest.Platform
}

func setupRotating(t *testing.T) *rotating {
	t.Helper()
	b := &rotating{polling: setupPolling(t)}
	clock := func() time.Time { return b.now }
	var err error
	b.platform, err = smartcartest.NewPlatform(smartcartest.PlatformDeps{
		ClientID: "client", ClientSecret: hush + "-secret", RedirectURIs: []string{"https://milepost.example/callback"}, Clock: clock,
		Users: []smartcartest.PlatformUser{{ID: smartcarUser, Cars: []smartcartest.PlatformCar{{Car: smartcartest.Car{VehicleID: car}}}}},
	})
	require.NoError(t, err)
	server := httptest.NewServer(b.platform)
	t.Cleanup(server.Close)
	oauth, err := smartcar.NewOAuth(smartcar.OAuthConfig{
		Hosts: smartcar.Hosts{Auth: server.URL}, ClientID: "client", ClientSecret: hush + "-secret",
		RedirectURI: "https://milepost.example/callback",
	})
	require.NoError(t, err)
	b.vault = b.vault.WithClock(clock)
	b.Activities = b.restart(func(deps *activities.Deps) { deps.OAuth, deps.Vault = oauth, b.vault })

	b.own(car)
	access, refresh := b.platform.Issue(smartcarUser, []string{car})
	status, err := b.vault.Refresh(t.Context(), db.RefreshRequest{SmartcarVehicleID: car}, func(context.Context, string) (db.TokenPair, error) {
		return db.TokenPair{AccessToken: access, RefreshToken: refresh, ExpiresIn: 2 * time.Hour}, nil
	})
	require.NoError(t, err)
	require.EqualValues(t, 2, status.Generation)
	b.execute("DELETE FROM smartcar_token_refreshes")
	b.execute("UPDATE smartcar_tokens SET expires_at = now() - interval '6 days'") // as keepalive has it
	return b
}

// requireKept requires that Smartcar takes what is stored, now and a day later.
func (b *rotating) requireKept(generation int64) {
	b.t.Helper()
	b.now = b.now.Add(24 * time.Hour)
	status, err := b.RefreshTokens(b.t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: car, Generation: generation})
	require.NoError(b.t, err)
	require.Equal(b.t, contract.ConnectionActive, status.State)
	require.Equal(b.t, generation+1, status.Generation)
	b.requireSilence()
}

// TestAPollWhoseRefreshLosesItsAnswerIsHealedWithinTheMinute lets Smartcar rotate the token while both answers get lost.
func TestAPollWhoseRefreshLosesItsAnswerIsHealedWithinTheMinute(t *testing.T) {
	t.Parallel()
	b := setupRotating(t)
	b.platform.Fault(smartcartest.Fault{Path: "/oauth/token", Times: 2, Drop: true})
	result, err := b.PollVehicle(t.Context(), contract.PollVehicleInput{SmartcarVehicleID: car})
	require.NoError(t, err)
	require.Equal(t, contract.PollSmartcarUnavailable, result.Outcome)
	require.True(t, result.TryAgainAt.After(b.now.Add(time.Minute)), "the poll itself comes back too late")

	b.now = b.now.Add(40 * time.Second)
	require.NoError(t, b.RecoverRefreshes(t.Context()))
	require.EqualValues(t, 3, b.status(car).Generation)
	b.requireKept(3)
}

// TestARefreshWhoseLockIsGoneIsMadeAgainAndOneUnderWayIsNot: the lock is all that others see of the process that asked.
func TestARefreshWhoseLockIsGoneIsMadeAgainAndOneUnderWayIsNot(t *testing.T) {
	t.Parallel()
	b := setupRotating(t)
	b.smartcar.on(batchOf(car), shown("1000", b.now))
	hold := make(chan struct{})
	fault := b.platform.Fault(smartcartest.Fault{Path: "/oauth/token", Times: 1, HoldAfter: hold})
	ended := make(chan error, 1)
	go func() {
		_, err := b.PollVehicle(t.Context(), contract.PollVehicleInput{SmartcarVehicleID: car})
		ended <- err
	}()
	<-fault.Arrived()
	require.NoError(t, b.RecoverRefreshes(t.Context()))
	require.EqualValues(t, 2, b.status(car).Generation)
	require.Equal(t, 1, b.platform.Requests("/oauth/token"), "nobody else asks while the answer may still come")

	b.loseLocks() // they are gone a moment later
	require.Eventually(t, func() bool {
		return b.RecoverRefreshes(t.Context()) == nil && b.status(car).Generation == 3
	}, time.Minute, 10*time.Millisecond)
	close(hold) // the answer that nobody expects any more must not replace the later one
	require.NoError(t, <-ended)
	b.requireKept(3)
}
