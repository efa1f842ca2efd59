package smartcartest_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

func TestAFaultAnswersInsteadAndIsUsedUp(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	first := bundle.issue(t)
	fault := bundle.platform.Fault(smartcartest.Fault{
		Path: "/oauth/token", GrantType: "refresh_token", Times: 2, Status: 503, Body: "<html>", ContentType: "text/html", RetryAfter: "7",
	})
	_, err := bundle.oauth.Exchange(t.Context(), "code")
	require.ErrorIs(t, err, smartcar.ErrInvalidGrant, "another grant")
	for range 2 {
		_, err = bundle.oauth.Refresh(t.Context(), first.RefreshToken)
		var failure *smartcar.CallError
		require.ErrorAs(t, err, &failure)
		require.Equal(t, []any{503, 7 * time.Second}, []any{failure.HTTPStatus, failure.RetryAfter})
		<-fault.Arrived()
	}
	require.Zero(t, bundle.platform.Families()[0].Refreshes)
	_, err = bundle.oauth.Refresh(t.Context(), first.RefreshToken)
	require.NoError(t, err)
}

func TestAFaultActsUntilItIsCleared(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	fault := bundle.platform.Fault(smartcartest.Fault{Path: "/v3/", Status: 500})
	other := bundle.platform.Fault(smartcartest.Fault{Path: "/v3/webhooks", Status: 502})
	ask := func() int { return bundle.ask(t, http.MethodGet, "/v3/webhooks", "", nil, "").status }
	require.Equal(t, []int{500, 500}, []int{ask(), ask()})
	fault.Clear()
	require.Equal(t, 502, ask())
	other.Clear()
	require.Equal(t, 401, ask())
	bundle.platform.Fault(smartcartest.Fault{Status: 500})
	bundle.platform.ClearFaults()
	require.Equal(t, 401, ask())
}

func TestADroppedAnswerHasTakenEffectAndIsSafeToRepeat(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	first := bundle.issue(t)
	bundle.platform.Fault(smartcartest.Fault{Path: "/oauth/token", Times: 1, Drop: true, Status: 502})
	_, err := bundle.oauth.Refresh(t.Context(), first.RefreshToken)
	var failure *smartcar.CallError
	require.ErrorAs(t, err, &failure)
	require.True(t, failure.UnknownOutcome)
	require.Equal(t, 1, bundle.platform.Families()[0].Refreshes)
	second, err := bundle.oauth.Refresh(t.Context(), first.RefreshToken)
	require.NoError(t, err)
	require.True(t, bundle.isValid(second))
	require.Equal(t, 1, bundle.platform.Families()[0].Reuses)
}

func TestAConnectionClosedBeforeHasNoEffect(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	first := bundle.issue(t)
	bundle.platform.Fault(smartcartest.Fault{Path: "/oauth/token", Times: 1, DropBefore: true})
	_, err := bundle.oauth.Refresh(t.Context(), first.RefreshToken)
	require.ErrorIs(t, err, smartcar.ErrUnavailable)
	require.Zero(t, bundle.platform.Families()[0].Refreshes)
}

func TestAGatewaysErrorCanFollowAnEffect(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	first := bundle.issue(t)
	bundle.platform.Fault(smartcartest.Fault{Path: "/oauth/token", Times: 1, Status: 502, Effect: true})
	_, err := bundle.oauth.Refresh(t.Context(), first.RefreshToken)
	require.ErrorIs(t, err, smartcar.ErrUnavailable)
	require.Equal(t, 1, bundle.platform.Families()[0].Refreshes)
}

// refreshIn refreshes in a goroutine and gives the error.
func (b *platformBundle) refreshIn(ctx context.Context, token smartcar.Token) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := b.oauth.Refresh(ctx, token)
		result <- err
	}()
	return result
}

func TestAHeldRequestWhoseClientWentAwayHasNoEffect(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	first := bundle.issue(t)
	release := make(chan struct{})
	fault := bundle.platform.Fault(smartcartest.Fault{Path: "/oauth/token", Times: 1, HoldBefore: release})
	ctx, cancel := context.WithCancel(t.Context())
	result := bundle.refreshIn(ctx, first.RefreshToken)
	<-fault.Arrived()
	require.Equal(t, 1, bundle.platform.Families()[0].MaxInFlight)
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)
	<-fault.Abandoned()
	close(release)
	require.Zero(t, bundle.platform.Families()[0].Refreshes)
	_, err := bundle.oauth.Refresh(t.Context(), first.RefreshToken)
	require.NoError(t, err)
	require.Zero(t, bundle.platform.Families()[0].Reuses)
}

func TestARequestHeldAfterHasTakenEffect(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	first := bundle.issue(t)
	release := make(chan struct{})
	fault := bundle.platform.Fault(smartcartest.Fault{Path: "/oauth/token", Times: 2, HoldAfter: release})
	ctx, cancel := context.WithCancel(t.Context())
	abandoned, patient := bundle.refreshIn(ctx, first.RefreshToken), bundle.refreshIn(t.Context(), first.RefreshToken)
	<-fault.Arrived()
	<-fault.Arrived()
	require.Eventually(t, func() bool { return bundle.platform.Families()[0].Refreshes == 2 }, 30*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-abandoned, context.Canceled)
	<-fault.Abandoned()
	close(release)
	require.NoError(t, <-patient)
	require.Equal(t, 2, bundle.platform.Families()[0].MaxInFlight)
}

func TestADelayEndsWhenTheClientGoesAway(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	first := bundle.issue(t)
	fault := bundle.platform.Fault(smartcartest.Fault{Path: "/oauth/token", Times: 1, Delay: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	result := bundle.refreshIn(ctx, first.RefreshToken)
	<-fault.Arrived()
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)
	<-fault.Abandoned()
	require.Zero(t, bundle.platform.Families()[0].Refreshes)

	bundle.platform.Fault(smartcartest.Fault{Path: "/oauth/token", Times: 1, Delay: time.Millisecond})
	require.NoError(t, <-bundle.refreshIn(t.Context(), first.RefreshToken))
}

func TestRefreshesOneAfterTheOtherAreNeverInFlightTogether(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair := bundle.issue(t)
	for range 20 {
		var err error
		pair, err = bundle.oauth.Refresh(t.Context(), pair.RefreshToken)
		require.NoError(t, err)
	}
	require.Equal(t, 1, bundle.platform.Families()[0].MaxInFlight)
}

func TestALimitRefusesWhatComesTooFast(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair := bundle.issue(t)
	limit := bundle.platform.Limit(smartcartest.Limit{Path: "/oauth/token", PerSecond: 0.5, Burst: 2})
	for range 2 {
		var err error
		pair, err = bundle.oauth.Refresh(t.Context(), pair.RefreshToken)
		require.NoError(t, err)
	}
	_, err := bundle.oauth.Refresh(t.Context(), pair.RefreshToken)
	var failure *smartcar.CallError
	require.ErrorAs(t, err, &failure)
	require.ErrorIs(t, err, smartcar.ErrRateLimited)
	require.Equal(t, 2*time.Second, failure.RetryAfter)
	require.Equal(t, []int{1, 1}, []int{limit.Limited(), bundle.platform.Limited()})

	bundle.clock.Advance(2 * time.Second)
	pair, err = bundle.oauth.Refresh(t.Context(), pair.RefreshToken)
	require.NoError(t, err)
	limit.Clear()
	_, err = bundle.oauth.Refresh(t.Context(), pair.RefreshToken)
	require.NoError(t, err)

	bundle.platform.Limit(smartcartest.Limit{Path: "/v3/", Status: 503, RetryAfter: "9"})
	received := bundle.ask(t, http.MethodGet, "/v3/webhooks", "", nil, "")
	require.Equal(t, 401, received.status, "the first one is taken")
	received = bundle.ask(t, http.MethodGet, "/v3/webhooks", "", nil, "")
	require.Equal(t, []any{503, "9"}, []any{received.status, received.header.Get("Retry-After")})
	require.Contains(t, received.body, "errors")
}

func TestThePeakRateIsThatOfTheFullestWindow(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	require.Zero(t, bundle.platform.PeakRate("/", time.Second))
	for _, milliseconds := range []int{0, 900, 100, 100, 0, 2000} { // At 0, 900, 1000, 1100, 1100 and 3100 ms.
		bundle.clock.Advance(time.Duration(milliseconds) * time.Millisecond)
		bundle.ask(t, http.MethodGet, "/v3/webhooks", "", nil, "")
	}
	bundle.ask(t, http.MethodGet, "/v2.0/user", "", nil, "")
	require.Equal(t, 6, bundle.platform.Requests("/v3/"))
	require.Equal(t, 7, bundle.platform.Requests("/"))
	require.Equal(t, 4, bundle.platform.PeakRate("/v3/", time.Second))
	require.Equal(t, 4, bundle.platform.PeakRate("/v3/", 1100*time.Millisecond), "the ends are exactly a window apart")
	require.Equal(t, 5, bundle.platform.PeakRate("/v3/", 1101*time.Millisecond))
	require.Equal(t, 2, bundle.platform.PeakRate("/v3/", time.Millisecond))
}

func TestFaultsCanChangeWhileRequestsCome(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair := bundle.issue(t)
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			fault := bundle.platform.Fault(smartcartest.Fault{Path: "/oauth", Times: 1, Status: 500})
			_, _ = bundle.oauth.Refresh(t.Context(), pair.RefreshToken) // Its own fault or another's may act.
			fault.Clear()
		})
	}
	group.Wait()
	require.Zero(t, bundle.platform.Status().Faults)
	require.Equal(t, 10, bundle.platform.Requests("/oauth/token"))
}
