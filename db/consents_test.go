package db_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

const (
	givenState   = "the-state-of-128-random-bits"
	givenBrowser = "the-browser-of-128-random-bits"
	givenCode    = "the-authorization-code"
)

// setupConsent is a vault in which an owner has just been asked.
func setupConsent(t *testing.T) *vaultBundle {
	t.Helper()
	b := setupVault(t)
	_, err := b.vault.BeginConsent(t.Context(), db.NewConsent{
		ID: "asked", State: givenState, Browser: givenBrowser, OwnerEmail: "asked@milepost.example", OwnerName: "Asked",
		API: db.APIv2, ExpiresAt: time.Now().Add(time.Minute),
	})
	require.NoError(t, err)
	return b
}

func (b *vaultBundle) answer(change func(*db.ConsentAnswer)) error {
	answer := db.ConsentAnswer{
		State: givenState, Browser: givenBrowser, Code: givenCode, SmartcarUserID: "somebody", ReceivedAt: time.Now(),
	}
	change(&answer)
	_, err := b.vault.AnswerConsent(b.t.Context(), answer)
	return err
}

func asGiven(*db.ConsentAnswer) {}

func (b *vaultBundle) exchangeCode(exchange db.Exchange) error {
	return b.vault.ExchangeCode(b.t.Context(), "asked", exchange)
}

func TestAnAnswerIsTakenOnceAndAsksForTheWorkflow(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	require.NoError(t, b.answer(asGiven))
	consent, err := b.vault.Consent(t.Context(), "asked")
	require.NoError(t, err)
	require.Equal(t, db.ConsentAnswered, consent.Phase)
	require.Equal(t, "somebody", consent.SmartcarUserID)
	require.Zero(t, consent.TokenID)
	require.ErrorIs(t, b.answer(asGiven), db.ErrConsentUsed)
	require.Equal(t, []string{"asked"}, b.column(`SELECT subject FROM workflow_requests WHERE kind = $1`, db.RequestConnectVehicles))
}

func TestAnAnswerThatIsNotAcceptedConsumesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*db.ConsentAnswer)
		want   error
	}{
		"an unknown state": {func(a *db.ConsentAnswer) { a.State = "guessed" }, db.ErrConsentState},
		"no state":         {func(a *db.ConsentAnswer) { a.State = "" }, db.ErrConsentState},
		"another browser":  {func(a *db.ConsentAnswer) { a.Browser = "another" }, db.ErrConsentBrowser},
		"no browser":       {func(a *db.ConsentAnswer) { a.Browser = "" }, db.ErrConsentBrowser},
		"too late":         {func(a *db.ConsentAnswer) { a.ReceivedAt = time.Now().Add(time.Hour) }, db.ErrConsentExpired},
		"another browser, too late": {func(a *db.ConsentAnswer) {
			a.Browser, a.ReceivedAt = "another", time.Now().Add(time.Hour)
		}, db.ErrConsentBrowser},
		"a failure from another browser": {func(a *db.ConsentAnswer) { a.Browser, a.Failure = "another", "access_denied" }, db.ErrConsentBrowser},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupConsent(t)
			err := b.answer(test.change)
			require.ErrorIs(t, err, test.want)
			for _, secret := range []string{givenState, givenBrowser, givenCode} {
				require.NotContains(t, err.Error(), secret)
			}
			require.Empty(t, b.column(`SELECT subject FROM workflow_requests WHERE kind = $1`, db.RequestConnectVehicles))
			require.NoError(t, b.answer(asGiven), "the owner's own answer is still taken")
		})
	}
}

func TestOfManyAnswersAtOnceOneIsTaken(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	var group sync.WaitGroup
	answers := make([]error, 10)
	for i := range answers {
		group.Go(func() { answers[i] = b.answer(asGiven) })
	}
	group.Wait()
	taken := 0
	for _, err := range answers {
		if err == nil {
			taken++
			continue
		}
		require.ErrorIs(t, err, db.ErrConsentUsed)
	}
	require.Equal(t, 1, taken)
}

func TestOnlyHashesAndCiphertextOfAConsentAreStored(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	require.NoError(t, b.answer(asGiven))
	rows := strings.Join(b.column(`SELECT id || ' ' || encode(state_hash, 'escape') || ' ' || encode(browser_hash, 'escape') || ' ' ||
		encode(code, 'escape') || ' ' || to_jsonb(consent)::text FROM smartcar_consents AS consent WHERE id = 'asked'`), "\n")
	for _, secret := range []string{givenState, givenBrowser, givenCode} {
		require.NotContains(t, rows, secret)
		require.NotContains(t, rows, fmt.Sprintf("%x", secret), "nor as bytes")
	}
	counts, err := b.vault.KeyRows(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[uint32]int64{b.cipher.PrimaryID(): 2}, counts, "a code counts among what its key is needed for")
}

func TestACodeIsExchangedOnceAndGoneThen(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	require.NoError(t, b.exchangeCode(b.rotate), "there is no code yet")
	require.NoError(t, b.answer(asGiven))
	failure := errors.New("not now")
	require.ErrorIs(t, b.exchangeCode(func(_ context.Context, code string) (db.TokenPair, error) {
		require.Equal(t, givenCode, code)
		return db.TokenPair{}, failure
	}), failure)
	require.Equal(t, []string{"1"}, b.column(`SELECT count(*)::text FROM smartcar_consents WHERE code IS NOT NULL`), "it can be tried again")

	var group sync.WaitGroup
	errs := make([]error, 5)
	for i := range errs {
		group.Go(func() { errs[i] = b.exchangeCode(b.rotate) })
	}
	group.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, b.calls.Load())
	consent, err := b.vault.Consent(t.Context(), "asked")
	require.NoError(t, err)
	token, err := b.vault.AccessTokenOfFamily(t.Context(), consent.TokenID)
	require.NoError(t, err)
	require.Equal(t, "access-2", token.Token)
	require.Equal(t, []string{"0"}, b.column(`SELECT count(*)::text FROM smartcar_consents WHERE code IS NOT NULL OR code_key_id IS NOT NULL`))
}

func TestExchangedTokensAreStoredThoughTheDatabaseWasAway(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	require.NoError(t, b.answer(asGiven))
	require.NoError(t, b.exchangeCode(func(ctx context.Context, code string) (db.TokenPair, error) {
		b.column(`SELECT pg_terminate_backend(pid)::text FROM pg_locks JOIN pg_class ON oid = relation
			WHERE relname = 'smartcar_consents' AND mode = 'RowShareLock'
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()`)
		return b.rotate(ctx, code)
	}))
	require.EqualValues(t, 1, b.calls.Load(), "a code is good for one exchange")
	consent, err := b.vault.Consent(t.Context(), "asked")
	require.NoError(t, err)
	require.NotZero(t, consent.TokenID)
}

func TestACancelledCallerDoesNotLoseExchangedTokens(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	require.NoError(t, b.answer(asGiven))
	ctx, cancel := context.WithCancel(t.Context())
	err := b.vault.ExchangeCode(ctx, "asked", func(ctx context.Context, code string) (db.TokenPair, error) {
		cancel()
		return b.rotate(ctx, code)
	})
	require.NoError(t, err)
	consent, err := b.vault.Consent(t.Context(), "asked")
	require.NoError(t, err)
	require.NotZero(t, consent.TokenID)
}

func TestAFailureThatSmartcarReportsEndsTheConsent(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	refused := db.ConsentCar{Make: "LADA", Model: "Niva", Year: 1993}
	require.NoError(t, b.answer(func(a *db.ConsentAnswer) { a.Failure, a.RefusedCar = "vehicle_incompatible", refused }))
	status, err := b.store.ConsentStatus(t.Context(), "asked")
	require.NoError(t, err)
	require.Equal(t, db.ConsentStatus{Phase: db.ConsentFailed, Reason: "vehicle_incompatible", Cars: []db.ConsentCar{refused}}, status)
	require.Empty(t, b.column(`SELECT subject FROM workflow_requests WHERE kind = $1`, db.RequestConnectVehicles))
	require.Equal(t, []string{"1"}, b.column(`SELECT count(*)::text FROM smartcar_consents WHERE closed_at IS NOT NULL AND code IS NULL`))
	require.ErrorIs(t, b.answer(asGiven), db.ErrConsentUsed)
}

func TestAReauthenticationIsForAVehicleOfTheOwners(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	begin := func(id, owner string) error {
		_, err := b.vault.BeginConsent(t.Context(), db.NewConsent{
			ID: id, State: id, Browser: givenBrowser, OwnerEmail: owner, SmartcarVehicleID: firstOfFamily, API: db.APIv2,
			ExpiresAt: time.Now().Add(time.Minute),
		})
		return err
	}
	require.NoError(t, begin("own", "family@milepost.example"))
	require.ErrorIs(t, begin("other", "other@milepost.example"), db.ErrNotOwned)
	require.Equal(t, []string{"0"}, b.column(`SELECT count(*)::text FROM users WHERE email = 'other@milepost.example'`), "nothing of it is kept")
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), firstOfFamily))
	require.ErrorIs(t, begin("gone", "family@milepost.example"), db.ErrNotOwned)
}

func TestAConsentIsAskedForAgainOnlyWhilePermissionsAreMissing(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	misses := func(id, owner string) bool {
		begun, err := b.vault.BeginConsent(t.Context(), db.NewConsent{
			ID: id, State: id, Browser: givenBrowser, OwnerEmail: owner, API: db.APIv2, ExpiresAt: time.Now().Add(time.Minute),
		})
		require.NoError(t, err)
		return begun.MissesPermissions
	}
	require.False(t, misses("before", "family@milepost.example"))
	b.change(t, `INSERT INTO vehicle_errors (smartcar_vehicle_id, error_type, code, signal, reaction, opened_at)
		VALUES ('`+firstOfFamily+`', 'PERMISSION', '', 'odometer-traveleddistance', 'reconsent', now())`)
	require.True(t, misses("missing", "family@milepost.example"))
	require.False(t, misses("other", "other@milepost.example"))
	b.change(t, "UPDATE vehicle_errors SET resolved_at = now()")
	require.False(t, misses("after", "family@milepost.example"))
}

func TestAnOwnerKeepsTheNameThatSmartcarWasGiven(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	names := map[string]bool{}
	for i, owner := range []string{"asked@milepost.example", "asked@milepost.example", "another@milepost.example"} {
		begun, err := b.vault.BeginConsent(t.Context(), db.NewConsent{
			ID: fmt.Sprint("again-", i), State: fmt.Sprint("again-", i), Browser: givenBrowser, OwnerEmail: owner, API: db.APIv2,
			ExpiresAt: time.Now().Add(time.Minute),
		})
		require.NoError(t, err)
		require.NotContains(t, begun.ExternalID, "@", "it says nothing of the owner")
		names[begun.ExternalID] = true
	}
	require.Len(t, names, 2)
	require.Equal(t, []string{"Asked"}, b.column(`SELECT name FROM users WHERE email = 'asked@milepost.example'`), "no name leaves the known one")
	_, err := b.vault.Consent(t.Context(), "unheard-of")
	require.ErrorIs(t, err, db.ErrNotFound)
	_, err = b.store.ConsentStatus(t.Context(), "unheard-of")
	require.ErrorIs(t, err, db.ErrNotFound)
}

func TestTokensThatNoVehicleCameToNeedAreForgotten(t *testing.T) {
	t.Parallel()
	b := setupConsent(t)
	require.NoError(t, b.answer(asGiven))
	require.NoError(t, b.exchangeCode(b.rotate))
	stored := `SELECT count(*)::text FROM smartcar_tokens WHERE id <> $1`
	require.Equal(t, []string{"1"}, b.column(stored, b.tokenID))
	require.NoError(t, b.store.CloseConsent(t.Context(), "asked", db.ConsentFailed, "no_vehicles"))
	require.Equal(t, []string{"0"}, b.column(stored, b.tokenID))
	require.NoError(t, b.store.CloseConsent(t.Context(), "asked", db.ConsentConnected, ""), "it is closed already")
	status, err := b.store.ConsentStatus(t.Context(), "asked")
	require.NoError(t, err)
	require.Equal(t, "no_vehicles", status.Reason)
	_, err = b.vault.AccessTokenOfFamily(t.Context(), b.tokenID)
	require.NoError(t, err, "a family with vehicles stays")
}
