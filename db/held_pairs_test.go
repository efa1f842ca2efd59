package db_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

const soon = 30 * time.Second

// awaitWaiting waits until somebody waits for a lock in this query.
func (b *vaultBundle) awaitWaiting(query string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		return len(b.column(`SELECT pid::text FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'`, query)) > 0
	}, soon, 10*time.Millisecond)
}

// loseLocks ends the sessions that hold rows of this table, as a broken connection does.
func (b *vaultBundle) loseLocks(table string) {
	b.t.Helper()
	b.column(`SELECT pg_terminate_backend(pid)::text FROM pg_locks JOIN pg_class ON oid = relation
		WHERE relname = $1 AND mode = 'RowShareLock' AND pid <> pg_backend_pid()
		  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, table)
}

// behind gives a vault of the same tokens whose connections go through a proxy.
func (b *vaultBundle) behind(proxy *proxy) *db.Vault {
	b.t.Helper()
	store, err := db.Open(b.t.Context(), db.Config{URL: proxy.url, MaxConnections: 4})
	require.NoError(b.t, err)
	b.t.Cleanup(func() {
		proxy.leave() // else pgx waits for the silent ones
		store.Close()
	})
	return db.NewVault(store, b.cipher)
}

// printed collects what is logged.
type printed struct {
	mutex sync.Mutex
	lines bytes.Buffer
}

func (p *printed) Write(line []byte) (int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.lines.Write(line)
}

func (p *printed) String() string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.lines.String()
}

func TestWhoeverWaitsForTheLockFindsThePairOfACancelledCaller(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	ctx, cancel := context.WithCancel(t.Context())
	waiter := make(chan error, 1)
	_, err := b.vault.Refresh(ctx, db.RefreshRequest{SmartcarVehicleID: firstOfFamily, Generation: 1},
		func(ctx context.Context, token string) (db.TokenPair, error) {
			go func() {
				_, err := b.refresh(secondOfFamily, 1, b.rotate)
				waiter <- err
			}()
			b.awaitWaiting("LockTokens")
			cancel()
			return b.rotate(ctx, token)
		})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, <-waiter)
	require.EqualValues(t, 1, b.calls.Load(), "the old token is not sent again")
	b.usesNext("refresh-2")
}

func TestACodeIsSentOnceThoughItsFirstCallerIsGone(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	require.NoError(t, b.answer(asGiven))
	ctx, cancel := context.WithCancel(t.Context())
	waiter := make(chan error, 1)
	err := b.vault.ExchangeCode(ctx, "asked", func(ctx context.Context, code string) (db.TokenPair, error) {
		go func() { waiter <- b.exchangeCode(b.rotate) }()
		b.awaitWaiting("LockConsent")
		cancel()
		return b.rotate(ctx, code)
	})
	require.NoError(t, err)
	require.NoError(t, <-waiter)
	require.EqualValues(t, 1, b.calls.Load())
}

func TestACallerThatIsGoneDoesNotWaitForTheLockOfAConsent(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	require.NoError(t, b.answer(asGiven))
	require.NoError(t, b.exchangeCode(func(ctx context.Context, code string) (db.TokenPair, error) {
		ctx, cancel := context.WithCancel(ctx)
		waiter := make(chan error, 1)
		go func() { waiter <- b.vault.ExchangeCode(ctx, "asked", b.rotate) }()
		b.awaitWaiting("LockConsent")
		cancel()
		require.ErrorIs(t, <-waiter, context.Canceled)
		return b.rotate(t.Context(), code)
	}))
	require.EqualValues(t, 1, b.calls.Load())
}

func TestAPairIsStoredThoughTheDatabasesHostVanished(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	proxy := newProxy(t, b.url)
	vault := b.behind(proxy).WithStoreTimeout(time.Second)
	status, err := vault.Refresh(t.Context(), db.RefreshRequest{SmartcarVehicleID: firstOfFamily, Generation: 1},
		func(ctx context.Context, token string) (db.TokenPair, error) {
			proxy.vanish()
			return b.rotate(ctx, token)
		})
	require.NoError(t, err)
	require.EqualValues(t, 2, status.Generation)
	b.usesNext("refresh-2")
}

func TestAPairIsKeptWhateverTheDatabaseSays(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	logs := &printed{}
	vault := b.vault.WithLogger(slog.New(slog.NewJSONHandler(logs, nil)))
	stored, asked, answered := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() {
		stored <- vault.RefreshFamily(t.Context(), b.tokenID, 1, func(ctx context.Context, token string) (db.TokenPair, error) {
			close(asked)
			<-answered
			return b.rotate(ctx, token)
		})
	}()
	<-asked
	b.loseLocks("smartcar_tokens")
	b.change(t, `ALTER TABLE smartcar_tokens RENAME TO not_restored_yet`)
	close(answered)
	require.Eventually(t, func() bool { return strings.Contains(logs.String(), "tokens.not_stored") }, soon, 10*time.Millisecond)
	require.Equal(t, 1, vault.Held())
	b.change(t, `ALTER TABLE not_restored_yet RENAME TO smartcar_tokens`)
	require.NoError(t, <-stored)
	require.Contains(t, logs.String(), "42P01")
	require.NotContains(t, logs.String(), "refresh-2")
	require.NotContains(t, logs.String(), "access-2")
	b.usesNext("refresh-2")
}

func TestAPairWhoseRowIsGoneIsNotKept(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	require.NoError(t, b.answer(asGiven))
	require.ErrorIs(t, b.exchangeCode(func(ctx context.Context, code string) (db.TokenPair, error) {
		b.loseLocks("smartcar_consents")
		b.change(t, `DELETE FROM smartcar_consents WHERE id = 'asked'`)
		return b.rotate(ctx, code)
	}), db.ErrNotFound)
}

func TestTheEndAwaitsPairsThatADatabaseThatIsAwayHasNotTaken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(b *vaultBundle, vault *db.Vault, exchange db.Exchange) error{
		"of a refresh": func(b *vaultBundle, vault *db.Vault, exchange db.Exchange) error {
			return vault.RefreshFamily(b.t.Context(), b.tokenID, 1, exchange)
		},
		"of a code": func(b *vaultBundle, vault *db.Vault, exchange db.Exchange) error {
			return vault.ExchangeCode(b.t.Context(), "asked", exchange)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupConsent(t)
			require.NoError(t, b.answer(asGiven))
			logs, proxy := &printed{}, newProxy(t, b.url)
			vault := b.behind(proxy).WithLogger(slog.New(slog.NewJSONHandler(logs, nil)))
			stored := make(chan error, 1)
			go func() {
				stored <- test(b, vault, func(ctx context.Context, token string) (db.TokenPair, error) {
					proxy.leave()
					return b.rotate(ctx, token)
				})
			}()
			require.Eventually(t, func() bool { return strings.Contains(logs.String(), "tokens.not_stored") }, soon, 10*time.Millisecond)
			require.Equal(t, 1, vault.Held())
			ended := make(chan struct{})
			go func() {
				vault.AwaitStored()
				close(ended)
			}()
			require.Never(t, func() bool { return isClosed(ended) }, 200*time.Millisecond, 10*time.Millisecond)
			proxy.comeBack()
			require.Eventually(t, func() bool { return isClosed(ended) }, soon, 10*time.Millisecond)
			require.NoError(t, <-stored)
			require.Equal(t, []string{"2"}, b.column(`SELECT sum(generation)::text FROM smartcar_tokens`), "a second pair is there")
		})
	}
}

func isClosed(channel <-chan struct{}) bool {
	select {
	case <-channel:
		return true
	default:
		return false
	}
}

func TestExchangesOfCodesLeaveConnectionsToo(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	require.NoError(t, b.answer(asGiven))
	store, err := db.Open(t.Context(), db.Config{URL: b.url, MaxConnections: 2})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	vault := db.NewVault(store, b.cipher)
	require.NoError(t, vault.ExchangeCode(t.Context(), "asked", func(ctx context.Context, code string) (db.TokenPair, error) {
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		require.Equal(t, 1, vault.Held())
		require.ErrorIs(t, vault.RefreshFamily(cancelled, b.tokenID, 1, b.rotate), context.Canceled, "the only place is taken")
		_, err := vault.Consent(ctx, "asked")
		require.NoError(t, err, "there is a connection for this")
		return b.rotate(ctx, code)
	}))
	require.Zero(t, vault.Held())
}

// TestARefusalIsDoubtedWhileSomebodyMayHoldTheNewPair: after an outage of the database
// the old token is refused for the sake of a pair that its holder is about to store.
func TestARefusalIsDoubtedWhileSomebodyMayHoldTheNewPair(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	other := db.NewVault(b.store, b.cipher)
	_, err := b.refresh(firstOfFamily, 1, func(ctx context.Context, token string) (db.TokenPair, error) {
		b.loseLocks("smartcar_tokens")
		_, err := other.Refresh(ctx, db.RefreshRequest{SmartcarVehicleID: secondOfFamily, Generation: 1}, refuse)
		require.ErrorIs(t, err, db.ErrRefusalInDoubt)
		require.NotErrorIs(t, err, db.ErrRefreshRefused)
		return b.rotate(ctx, token)
	})
	require.NoError(t, err)
	require.Equal(t, []string{"stored", "failed"}, b.column(`SELECT outcome FROM smartcar_token_refreshes ORDER BY id`))
	require.Empty(t, b.column(`SELECT id FROM notices WHERE notice_type = $1`, db.NoticeReauthRequired))
	status, err := b.vault.TokenStatus(t.Context(), secondOfFamily)
	require.NoError(t, err)
	require.Equal(t, db.StateConnected, status.State)
	b.usesNext("refresh-2")
}

func TestADoubtedRefusalIsConfirmedByALaterOne(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	lost := &db.RefreshError{Kind: "smartcar_unavailable", UnknownOutcome: true, Err: errors.New("reset")}
	_, err := b.refresh(firstOfFamily, 1, func(context.Context, string) (db.TokenPair, error) { return db.TokenPair{}, lost })
	require.ErrorIs(t, err, lost)
	now := time.Now()
	vault := b.vault.WithClock(func() time.Time { return now })
	request := db.RefreshRequest{SmartcarVehicleID: firstOfFamily, Generation: 1}
	for range 2 {
		_, err = vault.Refresh(t.Context(), request, refuse)
		require.ErrorIs(t, err, db.ErrRefusalInDoubt)
		now = now.Add(db.RefusalDoubt - time.Second)
	}
	now = now.Add(time.Minute)
	status, err := vault.Refresh(t.Context(), request, refuse)
	require.NoError(t, err)
	require.False(t, status.Valid)
	require.Equal(t, db.StateReauthRequired, status.State)
}
