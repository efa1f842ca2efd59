package db_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/keyset"
)

func TestRotationReencryptsEverythingAndLeavesWhatIsBeingRefreshed(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	consent, err := b.vault.Consent(t.Context(), "consent")
	require.NoError(t, err)
	for i := range 5 {
		_, err := b.vault.AddTokens(t.Context(), consent.OwnerID, db.TokenPair{
			AccessToken: fmt.Sprint("a", i), RefreshToken: fmt.Sprint("r", i), ExpiresIn: time.Hour,
		})
		require.NoError(t, err)
	}
	added, err := b.cipher.Add()
	require.NoError(t, err)
	rotated, err := added.Promote()
	require.NoError(t, err)
	vault := db.NewVault(b.store, rotated)
	require.NoError(t, vault.Verify(t.Context()))
	_, err = b.refresh(firstOfFamily, 1, func(ctx context.Context, token string) (db.TokenPair, error) {
		result, err := vault.Reencrypt(t.Context(), 2)
		require.NoError(t, err)
		require.Equal(t, db.Reencrypted{Done: 2, Left: 4}, result)
		result, err = vault.Reencrypt(t.Context(), 100)
		require.NoError(t, err)
		require.Equal(t, db.Reencrypted{Done: 3, Left: 1}, result, "the family that is being refreshed is passed over")
		return b.rotate(ctx, token)
	})
	require.NoError(t, err)
	result, err := vault.Reencrypt(t.Context(), 100)
	require.NoError(t, err)
	require.Equal(t, db.Reencrypted{Done: 1}, result)
	rows, err := vault.KeyRows(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[uint32]int64{rotated.PrimaryID(): 6}, rows)
	b.vault = vault
	b.usesNext("refresh-2")
}

func TestTokensDoNotPrint(t *testing.T) {
	t.Parallel()
	const secret = "opaque-token"
	held := struct {
		Pair   db.TokenPair
		Access db.AccessToken
		Either any
	}{db.TokenPair{AccessToken: secret, RefreshToken: secret}, db.AccessToken{Token: secret}, &db.AccessToken{Token: secret}}
	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&printed, verb, held)
		fmt.Fprintf(&printed, verb, held.Pair)
	}
	slog.New(slog.NewJSONHandler(&printed, nil)).Info("held", slog.Any("held", held), slog.Any("pair", held.Pair))
	slog.New(slog.NewTextHandler(&printed, nil)).Info("held", slog.Any("held", held), slog.Any("pair", held.Pair))
	require.NoError(t, json.NewEncoder(&printed).Encode(held))
	for _, form := range []string{secret, hex.EncodeToString([]byte(secret))} {
		require.NotContains(t, printed.String(), form)
	}
	require.Contains(t, printed.String(), "db.TokenPair(masked)")
}

func TestAWrongKeysetIsNoticed(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	other, err := keyset.New()
	require.NoError(t, err)
	require.ErrorIs(t, db.NewVault(b.store, other).Verify(t.Context()), db.ErrUndecryptable)
}
