package db_test

import (
	"context"
	"fmt"
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

func TestAWrongKeysetIsNoticed(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	other, err := keyset.New()
	require.NoError(t, err)
	require.ErrorIs(t, db.NewVault(b.store, other).Verify(t.Context()), db.ErrUndecryptable)
}
