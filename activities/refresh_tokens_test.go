package activities_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

func TestAVehicleThatIsBeingDisconnectedIsNotRefreshed(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.family(car)
	b.smartcar.on(tokenEndpoint, oauthFailure(401, "invalid_client"))
	input := contract.RefreshTokensInput{SmartcarVehicleID: car, Generation: 1}
	_, err := b.RefreshTokens(t.Context(), input)
	requireTransient(t, err, credentials, operatorsTurn)
	b.smartcar.forget()
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), car))
	status, err := b.RefreshTokens(t.Context(), input)
	require.NoError(t, err)
	require.Equal(t, contract.ConnectionDisconnecting, status.State)
	require.Empty(t, b.smartcar.requests(tokenEndpoint))
}

func TestAPairOfAnotherFamilyIsNotRefreshedForTheOldOne(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	old := b.family(car)
	renewed := b.family(car)
	require.NotEqual(t, old, renewed)
	status, err := b.RefreshTokens(t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: car, TokenID: old, Generation: 57})
	require.NoError(t, err)
	require.Equal(t, renewed, status.TokenID)
	require.EqualValues(t, 1, status.Generation)
	require.Empty(t, b.smartcar.requests(tokenEndpoint))
}

// TestAFamilyThatIsReplacedWhileItsLockIsAwaitedDoesNotEndTheVehicle: the vehicle has another one then.
func TestAFamilyThatIsReplacedWhileItsLockIsAwaitedDoesNotEndTheVehicle(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	old := b.family(car)
	consent := b.consent(driver, db.APIv2)
	renewed, err := b.vault.AddTokens(t.Context(), consent.OwnerID, db.TokenPair{AccessToken: hush, RefreshToken: hush, ExpiresIn: time.Hour})
	require.NoError(t, err)
	reconnecting, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	defer func() { require.NoError(t, reconnecting.Close(context.WithoutCancel(t.Context()))) }()
	transaction, err := reconnecting.Begin(t.Context())
	require.NoError(t, err)
	_, err = transaction.Exec(t.Context(), "UPDATE smartcar_vehicles SET token_id = $1 WHERE token_id = $2", renewed, old)
	require.NoError(t, err)
	_, err = transaction.Exec(t.Context(), "DELETE FROM smartcar_tokens WHERE id = $1", old)
	require.NoError(t, err)

	type outcome struct {
		status contract.TokenStatus
		err    error
	}
	answers := make(chan outcome, 1)
	go func() {
		status, err := b.RefreshTokens(t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: car, TokenID: old, Generation: 1})
		answers <- outcome{status, err}
	}()
	require.Eventually(t, func() bool {
		return texts(t, b.url, `SELECT count(*)::text FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%LockTokens%'`)[0] == "1"
	}, time.Minute, 10*time.Millisecond, "the refresh does not wait for the lock")
	require.NoError(t, transaction.Commit(t.Context()))
	got := <-answers
	require.NoError(t, got.err)
	require.Equal(t, contract.ConnectionActive, got.status.State)
	require.Equal(t, renewed, got.status.TokenID)
	require.Empty(t, b.smartcar.requests(tokenEndpoint))
}
