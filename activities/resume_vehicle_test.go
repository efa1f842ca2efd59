package activities_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// waitForOwner lets Smartcar refuse the tokens of a car, as before a re-authentication.
func (b *connected) waitForOwner() {
	b.t.Helper()
	b.smartcar.on(tokenEndpoint, oauthFailure(400, "invalid_grant"))
	status, err := b.RefreshTokens(b.t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: car})
	require.NoError(b.t, err)
	require.Equal(b.t, contract.ConnectionReauthRequired, status.State)
}

func (b *connected) resume(vehicle string) (contract.ResumeVehicleResult, error) {
	return b.ResumeVehicle(b.t.Context(), contract.ResumeVehicleInput{SmartcarVehicleID: vehicle})
}

func TestAReauthenticationMakesTheOldTokensWorkAgain(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car, otherCar)
	b.waitForOwner()
	b.smartcar.on(tokenEndpoint, b.smartcar.nextPair)
	b.smartcar.forget()
	consent := b.consentOf(db.NewConsent{OwnerEmail: driver, SmartcarVehicleID: car, API: db.APIv2})
	exchanged, err := b.ExchangeCode(t.Context(), contract.ExchangeCodeInput{ConsentID: consent.ID})
	require.NoError(t, err)
	require.Equal(t, contract.ExchangeCodeResult{ReauthenticatedVehicleID: car}, exchanged)
	require.Empty(t, b.smartcar.requests(tokenEndpoint), "a re-authentication brings no code")

	for range 2 {
		resumed, err := b.resume(car)
		require.NoError(t, err)
		require.Empty(t, resumed)
	}
	require.Contains(t, b.smartcar.requests(tokenEndpoint)[0].body, firstRefresh)
	for _, vehicle := range []string{car, otherCar} {
		require.Equal(t, db.StateConnected, b.status(vehicle).State)
		require.Equal(t, []string{db.NoticeReauthRequired, db.NoticeReauthResolved}, b.notices(vehicle))
	}
	require.Contains(t, b.requested(car), db.SignalReconnected)
	b.requireSilence()
}

func TestTokensThatAreRefusedAgainAreAReason(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	b.waitForOwner()
	resumed, err := b.resume(car)
	require.NoError(t, err)
	require.Equal(t, contract.ReasonReauthenticationFailed, resumed.Refused)
	require.Equal(t, db.StateReauthRequired, b.status(car).State)
	require.Equal(t, []string{db.NoticeReauthRequired}, b.notices(car))

	resumed, err = b.resume("unheard-of")
	require.NoError(t, err)
	require.Equal(t, contract.ReasonReauthenticationFailed, resumed.Refused)
}

func TestAResumptionWaitsForSmartcar(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	b.waitForOwner()
	b.smartcar.on(tokenEndpoint, page(502))
	_, err := b.resume(car)
	requireTransient(t, err, unavailable, 0)
	require.Equal(t, db.StateReauthRequired, b.status(car).State)
}

func TestAV3VehicleIsResumedWithoutAProof(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.connectV3(car)
	b.execute("UPDATE smartcar_vehicles SET connection_state = 'reauth_required', reauth_since = now() WHERE smartcar_vehicle_id = '" + car + "'")
	for range 2 {
		resumed, err := b.resume(car)
		require.NoError(t, err)
		require.Empty(t, resumed)
	}
	require.Equal(t, db.StateConnected, b.status(car).State)
	require.Equal(t, []string{db.NoticeReauthResolved}, b.notices(car))
	require.Empty(t, b.smartcar.requests(tokenEndpoint))
}

func TestARefreshOfWhatIsNotThereEnds(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	for _, vehicle := range []string{"unheard-of", smartcarVehicle} { // the second one has no tokens
		status, err := b.RefreshTokens(t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: vehicle})
		require.NoError(t, err)
		require.Equal(t, contract.ConnectionEnded, status.State)
		status, err = b.LoadTokenStatus(t.Context(), contract.LoadTokenStatusInput{SmartcarVehicleID: vehicle})
		require.NoError(t, err)
		require.Equal(t, contract.ConnectionEnded, status.State)
	}
	require.Empty(t, b.smartcar.requests(tokenEndpoint))
}

func TestTheStatusOfTokensFollowsTheVehicle(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	load := func() contract.TokenStatus {
		status, err := b.LoadTokenStatus(t.Context(), contract.LoadTokenStatusInput{SmartcarVehicleID: car})
		require.NoError(t, err)
		return status
	}
	active := load()
	require.Equal(t, contract.ConnectionActive, active.State)
	require.True(t, active.RefreshAt.After(active.IssuedAt) && active.RefreshAt.Before(active.ExpiresAt))
	require.Equal(t, active, load(), "looking again does not move it")

	b.waitForOwner()
	waiting := load()
	require.Equal(t, contract.ConnectionReauthRequired, waiting.State)
	require.Zero(t, waiting.RefreshAt)
	require.Equal(t, "invalid_grant", waiting.LastError)
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), car))
	require.Equal(t, contract.ConnectionDisconnecting, load().State)
	b.smartcar.on(endCar, answer(200, `{}`))
	require.NoError(t, b.disconnect(car))
	require.Equal(t, contract.ConnectionEnded, load().State)
}

// TestWhatAProcessThatDiedHasLeftIsFinished: the call that had no end is made again with the same token.
func TestWhatAProcessThatDiedHasLeftIsFinished(t *testing.T) {
	t.Parallel()
	var passed time.Duration
	b := setupSmartcar(t, func(b *connected) { b.deps.Clock = func() time.Time { return time.Now().Add(passed) } })
	b.family(car, otherCar)
	b.smartcar.on(tokenEndpoint, reset)
	_, err := b.RefreshTokens(t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: car, Generation: 1})
	requireTransient(t, err, unavailable, 0)
	require.NoError(t, b.RecoverRefreshes(t.Context()), "what cannot be recovered now is left to TokenRefresh")
	b.smartcar.on(tokenEndpoint, b.smartcar.nextPair)
	b.smartcar.forget()
	passed = 20 * time.Second
	for range 2 {
		require.NoError(t, b.RecoverRefreshes(t.Context()))
	}
	asked := b.smartcar.requests(tokenEndpoint)
	require.Len(t, asked, 1, "one call recovers the family, and then there is nothing left")
	require.Contains(t, asked[0].body, firstRefresh)
	require.EqualValues(t, 2, b.status(otherCar).Generation)
	b.requireSilence()
}
