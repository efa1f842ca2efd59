package db_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func TestConsentsGoWhenNobodyNeedsThem(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	consent := func(id, changed string) {
		_, err := b.vault.BeginConsent(t.Context(), db.NewConsent{
			ID: id, State: id, Browser: "browser", OwnerEmail: "family@milepost.example", API: db.APIv2, ExpiresAt: time.Now().Add(time.Minute),
		})
		require.NoError(t, err)
		b.change(t, "UPDATE smartcar_consents SET "+changed+" WHERE id = '"+id+"'")
	}
	const long, lately = "interval '91 days'", "interval '89 days'"
	for i := range 3 {
		consent(fmt.Sprint("never answered ", i), "expires_at = now() - interval '25 hours'")
		consent(fmt.Sprint("failed long ago ", i), "phase = 'failed', closed_at = now() - "+long)
	}
	consent("connected long ago", fmt.Sprint("phase = 'connected', token_id = ", b.tokenID, ", closed_at = now() - ", long))
	consent("expired today", "expires_at = now() - interval '23 hours'")
	consent("failed lately", "phase = 'failed', closed_at = now() - "+lately)
	consent("connected lately", "phase = 'connected', closed_at = now() - "+lately)
	consent("still connecting", "phase = 'answered', expires_at = now() - "+long)
	consent("to be started", "phase = 'failed', closed_at = now() - "+long)
	require.NoError(t, b.store.RequestWorkflow(t.Context(), db.WorkflowRequest{Kind: db.RequestConnectVehicles, Subject: "to be started"}))

	b.requireTrimmed(t, "unansweredConsents", 3)
	b.requireTrimmed(t, "closedConsents", 4)
	require.Equal(t, []string{"connected lately", "consent", "expired today", "failed lately", "still connecting", "to be started"},
		b.texts(t, "SELECT id FROM smartcar_consents ORDER BY id"))
	require.Equal(t, "access-1", b.tokenOf(firstOfFamily).Token, "what came of a consent stays")
}

func TestACodeThatNobodyExchangedInTimeIsForgottenWithItsConsent(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	for id, answered := range map[string]string{"old": "61 minutes", "fresh": "59 minutes", "being exchanged": "61 minutes"} {
		_, err := b.vault.BeginConsent(t.Context(), db.NewConsent{
			ID: id, State: id, Browser: "browser", OwnerEmail: "family@milepost.example", API: db.APIv2, ExpiresAt: time.Now().Add(time.Minute),
		})
		require.NoError(t, err)
		b.change(t, "UPDATE smartcar_consents SET phase = 'answered', code = '\\x01', code_key_id = 1, answered_at = now() - interval '"+
			answered+"' WHERE id = '"+id+"'")
	}
	connection, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, connection.Close(context.WithoutCancel(t.Context()))) })
	exchanging, err := connection.Begin(t.Context())
	require.NoError(t, err)
	_, err = exchanging.Exec(t.Context(), "SELECT FROM smartcar_consents WHERE id = 'being exchanged' FOR NO KEY UPDATE")
	require.NoError(t, err)

	step := b.step(t, "expiredCodes")
	forgotten, err := step.Trim(t.Context(), step.OlderThan, 10)
	require.NoError(t, err)
	require.EqualValues(t, 1, forgotten)
	status, err := b.store.ConsentStatus(t.Context(), "old")
	require.NoError(t, err)
	require.Equal(t, db.ConsentStatus{Phase: db.ConsentFailed, Reason: "code_expired"}, status)
	require.NoError(t, exchanging.Rollback(t.Context()))
	b.requireTrimmed(t, "expiredCodes", 1)
	require.Equal(t, []string{"fresh"}, b.texts(t, "SELECT id FROM smartcar_consents WHERE code IS NOT NULL ORDER BY id"))
}
