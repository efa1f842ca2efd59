package db_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/keyset"
)

// vaultBundle is a database with one owner and a family of two vehicles.
type vaultBundle struct {
	*bundle

	t        *testing.T
	vault    *db.Vault
	cipher   *keyset.Keyset
	tokenID  int64
	calls    atomic.Int64
	inFlight atomic.Int64
	most     atomic.Int64
}

const (
	firstOfFamily  = "family-vehicle-1"
	secondOfFamily = "family-vehicle-2"
)

func setupVault(t *testing.T) *vaultBundle {
	t.Helper()
	b := &vaultBundle{t: t, bundle: setup(t)}
	var err error
	b.cipher, err = keyset.New()
	require.NoError(t, err)
	b.vault = db.NewVault(b.store, b.cipher)
	_, err = b.vault.BeginConsent(t.Context(), db.NewConsent{
		ID: "consent", State: "state", Browser: "browser", OwnerEmail: "family@milepost.example", API: db.APIv2,
		ExpiresAt: time.Now().Add(time.Minute),
	})
	require.NoError(t, err)
	consent, err := b.vault.Consent(t.Context(), "consent")
	require.NoError(t, err)
	b.tokenID, err = b.vault.AddTokens(t.Context(), consent.OwnerID, db.TokenPair{
		AccessToken: "access-1", RefreshToken: "refresh-1", ExpiresIn: 2 * time.Hour,
	})
	require.NoError(t, err)
	for _, vehicle := range []string{firstOfFamily, secondOfFamily} {
		_, err := b.store.ConnectVehicle(t.Context(), db.ConnectedVehicle{
			SmartcarVehicleID: vehicle, OwnerID: consent.OwnerID, TokenID: b.tokenID,
		})
		require.NoError(t, err)
	}
	return b
}

// rotate answers as Smartcar does, and watches how many calls are under way at once.
func (b *vaultBundle) rotate(ctx context.Context, _ string) (db.TokenPair, error) {
	now := b.inFlight.Add(1)
	defer b.inFlight.Add(-1)
	if b.most.Load() < now {
		b.most.Store(now)
	}
	call := b.calls.Add(1) + 1
	return db.TokenPair{
		AccessToken: fmt.Sprintf("access-%d", call), RefreshToken: fmt.Sprintf("refresh-%d", call), ExpiresIn: 2 * time.Hour,
	}, ctx.Err()
}

func (b *vaultBundle) refresh(vehicle string, generation int64, exchange db.Exchange) (db.TokenStatus, error) {
	return b.vault.Refresh(b.t.Context(), db.RefreshRequest{SmartcarVehicleID: vehicle, Generation: generation}, exchange)
}

// tokenOf decrypts the stored access token of a vehicle's family.
func (b *vaultBundle) tokenOf(vehicle string) db.AccessToken {
	b.t.Helper()
	status, err := b.vault.TokenStatus(b.t.Context(), vehicle)
	require.NoError(b.t, err)
	token, err := b.vault.AccessTokenOfFamily(b.t.Context(), status.TokenID)
	require.NoError(b.t, err)
	return token
}

// usesNext requires that the next refresh uses this token.
func (b *vaultBundle) usesNext(refreshToken string) {
	b.t.Helper()
	var used string
	_, err := b.vault.Refresh(b.t.Context(), db.RefreshRequest{SmartcarVehicleID: firstOfFamily, EvenIfInvalid: true},
		func(_ context.Context, refreshToken string) (db.TokenPair, error) {
			used = refreshToken
			return db.TokenPair{}, errors.New("not now")
		})
	require.Error(b.t, err)
	require.Equal(b.t, refreshToken, used)
}

func (b *vaultBundle) column(query string, arguments ...any) []string {
	b.t.Helper()
	connection, err := pgx.Connect(b.t.Context(), b.url)
	require.NoError(b.t, err)
	defer func() { require.NoError(b.t, connection.Close(context.WithoutCancel(b.t.Context()))) }()
	rows, err := connection.Query(b.t.Context(), query, arguments...)
	require.NoError(b.t, err)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(b.t, err)
	return values
}

func TestARefreshStoresBothTokensAndTheNextOneUsesTheNew(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	status, err := b.refresh(firstOfFamily, 1, b.rotate)
	require.NoError(t, err)
	require.Equal(t, int64(2), status.Generation)
	require.True(t, status.Valid)
	require.Equal(t, "access-2", b.tokenOf(secondOfFamily).Token, "both vehicles share the family")
	require.Equal(t, []string{"stored"}, b.column(`SELECT outcome FROM smartcar_token_refreshes`))
	b.usesNext("refresh-2")
}

func TestNothingButCiphertextIsStored(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	_, err := b.refresh(firstOfFamily, 1, b.rotate)
	require.NoError(t, err)
	for _, row := range b.column(`SELECT encode(smartcar_access_token, 'escape') || encode(smartcar_refresh_token, 'escape') FROM smartcar_tokens`) {
		require.NotContains(t, row, "access-")
		require.NotContains(t, row, "refresh-")
	}
}

func TestACiphertextOpensInItsOwnRowAndColumnOnly(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	consent, err := b.vault.Consent(t.Context(), "consent")
	require.NoError(t, err)
	_, err = b.vault.AddTokens(t.Context(), consent.OwnerID, db.TokenPair{AccessToken: "other", RefreshToken: "other", ExpiresIn: time.Hour})
	require.NoError(t, err)
	b.column(`UPDATE smartcar_tokens SET smartcar_access_token = (SELECT smartcar_access_token FROM smartcar_tokens WHERE id <> $1)
		WHERE id = $1 RETURNING id::text`, b.tokenID)
	_, err = b.vault.AccessTokenOfFamily(t.Context(), b.tokenID)
	require.ErrorIs(t, err, db.ErrUndecryptable)
	b.column(`UPDATE smartcar_tokens SET smartcar_access_token = smartcar_refresh_token WHERE id = $1 RETURNING id::text`, b.tokenID)
	_, err = b.vault.AccessTokenOfFamily(t.Context(), b.tokenID)
	require.ErrorIs(t, err, db.ErrUndecryptable)
}

func TestManyWhoFindOneFamilyWantingMakeOneExchange(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	other, err := db.Open(t.Context(), db.Config{URL: b.url, MaxConnections: 4})
	require.NoError(t, err)
	t.Cleanup(other.Close)
	vaults := []*db.Vault{b.vault, db.NewVault(other, b.cipher)}
	var group sync.WaitGroup
	failures := make(chan error, 20)
	for i := range 20 {
		group.Go(func() {
			vehicle := []string{firstOfFamily, secondOfFamily}[i%2]
			status, err := vaults[i%2].Refresh(t.Context(), db.RefreshRequest{SmartcarVehicleID: vehicle, Generation: 1}, b.rotate)
			if err == nil && status.Generation != 2 {
				err = fmt.Errorf("generation %d", status.Generation)
			}
			failures <- err
		})
	}
	group.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	require.Equal(t, int64(1), b.calls.Load())
	require.Equal(t, int64(1), b.most.Load())
}

func TestTheAttemptIsCommittedBeforeSmartcarIsAsked(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	_, err := b.refresh(firstOfFamily, 1, func(ctx context.Context, token string) (db.TokenPair, error) {
		require.Equal(t, []string{"1"}, b.column(`SELECT count(*)::text FROM smartcar_token_refreshes WHERE finished_at IS NULL`))
		return b.rotate(ctx, token)
	})
	require.NoError(t, err)
}

func TestACallWithoutAnAnswerIsLeftToBeRecovered(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	lost := &db.RefreshError{Kind: "smartcar_unavailable", UnknownOutcome: true, Err: errors.New("reset")}
	_, err := b.refresh(firstOfFamily, 1, func(context.Context, string) (db.TokenPair, error) { return db.TokenPair{}, lost })
	require.ErrorIs(t, err, lost)
	unfinished, err := b.vault.UnfinishedRefreshes(t.Context(), time.Now(), 0)
	require.NoError(t, err)
	require.Empty(t, unfinished, "what is older than Smartcar's grace cannot be recovered at once")
	unfinished, err = b.vault.UnfinishedRefreshes(t.Context(), time.Now(), time.Minute)
	require.NoError(t, err)
	require.Len(t, unfinished, 1)
	require.Equal(t, int64(1), unfinished[0].Generation)
	status, err := b.vault.TokenStatus(t.Context(), firstOfFamily)
	require.NoError(t, err)
	require.Equal(t, "smartcar_unavailable", status.LastError)
	require.Equal(t, db.StateConnected, status.State)
	status, err = b.refresh(unfinished[0].SmartcarVehicleID, unfinished[0].Generation, b.rotate)
	require.NoError(t, err)
	require.Empty(t, status.LastError)
	unfinished, err = b.vault.UnfinishedRefreshes(t.Context(), time.Now(), time.Minute)
	require.NoError(t, err)
	require.Empty(t, unfinished)
	require.Equal(t, []string{"stored", "unknown"}, b.column(`SELECT outcome FROM smartcar_token_refreshes ORDER BY outcome`))
}

func TestATransientFaultChangesNothing(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	limited := &db.RefreshError{Kind: "smartcar_rate_limited", Err: errors.New("429")}
	_, err := b.refresh(firstOfFamily, 1, func(context.Context, string) (db.TokenPair, error) { return db.TokenPair{}, limited })
	require.ErrorIs(t, err, limited)
	require.Equal(t, []string{"failed"}, b.column(`SELECT outcome FROM smartcar_token_refreshes`))
	require.Equal(t, []string{"connected", "connected"},
		b.column(`SELECT connection_state FROM smartcar_vehicles WHERE token_id = $1`, b.tokenID))
	b.usesNext("refresh-1")
}

func refuse(context.Context, string) (db.TokenPair, error) {
	return db.TokenPair{}, &db.RefreshError{Kind: "invalid_grant", Err: db.ErrRefreshRefused}
}

func TestARefusedFamilyNeedsItsOwnerAndTheApplicationIsToldOnce(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	for range 3 {
		status, err := b.refresh(firstOfFamily, 1, refuse)
		require.NoError(t, err)
		require.False(t, status.Valid)
		require.Equal(t, db.StateReauthRequired, status.State)
		require.True(t, status.Active, "readings that still come are still taken")
	}
	told := `SELECT smartcar_vehicle_id FROM notices WHERE notice_type = $1 ORDER BY 1`
	require.Equal(t, []string{firstOfFamily, secondOfFamily}, b.column(told, db.NoticeReauthRequired))
	b.usesNext("refresh-1")
	_, err := b.vault.Refresh(t.Context(), db.RefreshRequest{SmartcarVehicleID: secondOfFamily, EvenIfInvalid: true}, b.rotate)
	require.NoError(t, err)
	status, err := b.vault.TokenStatus(t.Context(), firstOfFamily)
	require.NoError(t, err)
	require.Equal(t, db.StateConnected, status.State)
	require.Equal(t, []string{firstOfFamily, secondOfFamily}, b.column(told, db.NoticeReauthResolved))
}

// TestARefusalThatAnotherRefreshExplainsIsNone: whoever loses its lock with its
// connection may find the token used by somebody else.
func TestARefusalThatAnotherRefreshExplainsIsNone(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	// Without the row's lock, as after a lost connection, somebody else stores a pair meanwhile.
	_, err := b.refresh(firstOfFamily, 1, func(ctx context.Context, token string) (db.TokenPair, error) {
		b.column(`SELECT pg_terminate_backend(pid)::text FROM pg_locks JOIN pg_class ON oid = relation
			WHERE relname = 'smartcar_tokens' AND mode = 'RowShareLock' AND pid <> pg_backend_pid()
			  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
		_, err := b.vault.Refresh(ctx, db.RefreshRequest{SmartcarVehicleID: secondOfFamily, Generation: 1}, b.rotate)
		require.NoError(t, err)
		return refuse(ctx, token)
	})
	require.ErrorIs(t, err, db.ErrUnavailable, "the lock is gone; the caller tries again and finds it done")
	status, err := b.refresh(firstOfFamily, 1, refuse)
	require.NoError(t, err)
	require.True(t, status.Valid)
	require.Equal(t, int64(2), status.Generation)
	b.usesNext("refresh-2")
}

func TestAPairThatCouldNotBeStoredIsStoredWhenTheDatabaseIsBack(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	status, err := b.refresh(firstOfFamily, 1, func(ctx context.Context, token string) (db.TokenPair, error) {
		b.column(`SELECT pg_terminate_backend(pid)::text FROM pg_locks JOIN pg_class ON oid = relation
			WHERE relname = 'smartcar_tokens' AND mode = 'RowShareLock' AND pid <> pg_backend_pid()
			  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
		return b.rotate(ctx, token)
	})
	require.NoError(t, err)
	require.Equal(t, int64(2), status.Generation)
	b.usesNext("refresh-2")
}

func TestThePairOfALaterAttemptStays(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	status, err := b.refresh(firstOfFamily, 1, func(ctx context.Context, _ string) (db.TokenPair, error) {
		b.column(`SELECT pg_terminate_backend(pid)::text FROM pg_locks JOIN pg_class ON oid = relation
			WHERE relname = 'smartcar_tokens' AND mode = 'RowShareLock' AND pid <> pg_backend_pid()
			  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
		_, err := b.vault.Refresh(ctx, db.RefreshRequest{SmartcarVehicleID: secondOfFamily, Generation: 1}, b.rotate)
		require.NoError(t, err)
		return db.TokenPair{AccessToken: "late", RefreshToken: "late", ExpiresIn: time.Hour}, nil
	})
	require.NoError(t, err)
	require.Equal(t, int64(2), status.Generation)
	b.usesNext("refresh-2")
}

func TestACancelledCallerDoesNotLoseAnAnswer(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.vault.Refresh(ctx, db.RefreshRequest{SmartcarVehicleID: firstOfFamily, Generation: 1},
		func(ctx context.Context, token string) (db.TokenPair, error) {
			cancel()
			return b.rotate(ctx, token)
		})
	require.ErrorIs(t, err, context.Canceled)
	b.usesNext("refresh-2")
}
