package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
	"github.com/milepost/milepost/db/keyset"
)

func TestNewPrintsAKeyset(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	require.NoError(t, b.run("new"))
	require.Len(t, b.printed().KeyIDs(), 1)
	require.NotEqual(t, b.keyset().PrimaryID(), b.printed().PrimaryID())
}

func TestNewDoesNotOverwriteAFile(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	primary := b.keyset().PrimaryID()
	require.ErrorIs(t, b.run("new", "--file", b.file), keyset.ErrExists)
	require.Equal(t, primary, b.keyset().PrimaryID())
}

func TestAddChangesTheFileAndLeavesThePrimaryKey(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	first, second := b.twoKeys(0)
	require.NotEqual(t, first, second)
	require.Equal(t, first, b.keyset().PrimaryID())
	require.Empty(t, b.out.String(), "a keyset in a file is not printed")
	require.Contains(t, b.notes.String(), keyName(second))
	b.environment = nil
	require.NoError(t, b.run("add", "--file", b.file))
	require.Len(t, b.keyset().KeyIDs(), 3)
}

func TestAddPrintsWhatTheVariableIsToBecome(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	primary := b.keyset().PrimaryID()
	b.inVariable()
	require.NoError(t, b.run("add"))
	require.Equal(t, primary, b.printed().PrimaryID())
	require.Len(t, b.printed().KeyIDs(), 2)
	require.Contains(t, b.notes.String(), "restart")
}

func TestWithoutAKeysetCommandsSayHowToMakeOne(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	b.environment = nil
	for _, arguments := range [][]string{{"add"}, {"rotate"}, {"status"}, {"remove", "00000001"}} {
		require.ErrorContains(t, b.run(arguments...), "milepost keys new", arguments[0])
	}
}

func TestRotateMovesEveryRowToTheNewestKey(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	first, second := b.twoKeys(250)
	require.NoError(t, b.run("rotate"))
	require.Equal(t, second, b.keyset().PrimaryID())
	require.Equal(t, map[uint32]int64{first: 0, second: 250}, b.rows.byKey)
	require.Equal(t, "250 rows re-encrypted with key "+keyName(second)+", 0 left under other keys\n", b.out.String())
	require.Contains(t, b.notes.String(), "re-encrypted 200 rows, 50 left")

	require.NoError(t, b.run("rotate", "--json"))
	var end rotation
	b.decode(&end)
	require.Equal(t, rotation{Primary: keyName(second)}, end)
}

func TestRotateWithAVariableAsksForThePromotedKeysetFirst(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	first, second := b.twoKeys(5)
	b.inVariable()
	require.ErrorContains(t, b.run("rotate"), "set it to the keyset printed")
	require.Equal(t, second, b.printed().PrimaryID())
	require.Equal(t, int64(5), b.rows.byKey[first], "nothing is re-encrypted with a key that processes do not use")

	b.set(b.out.String())
	require.NoError(t, b.run("rotate"))
	require.Equal(t, int64(5), b.rows.byKey[second])
}

func TestRotateWaitsForRowsInUse(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	_, second := b.twoKeys(7)
	b.rows.heldFor = 3
	require.NoError(t, b.run("rotate"))
	require.Equal(t, int64(7), b.rows.byKey[second])
	require.Contains(t, b.notes.String(), "waiting for 7 rows")
}

func TestRotateGivesUpOnRowsThatStayInUse(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	b.twoKeys(7)
	b.rows.heldFor = 1_000_000
	require.ErrorContains(t, b.run("rotate"), "7 rows are in use")
}

func TestAnInterruptedRotateSaysWhatIsLeftAndGoesOn(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	_, second := b.twoKeys(30)
	ctx, interrupt := context.WithCancel(t.Context())
	b.rows.after = func() error { interrupt(); return nil }
	err := b.runUntil(ctx, "rotate", "--batch", "10", "--pause", "1h", "--json")
	require.ErrorContains(t, err, "interrupted with 20 rows left")
	var end rotation
	b.decode(&end)
	require.Equal(t, rotation{Primary: keyName(second), Reencrypted: 10, Left: 20}, end)

	b.rows.after = nil
	require.NoError(t, b.run("rotate", "--batch", "10"))
	require.Equal(t, int64(30), b.rows.byKey[second])
	require.Contains(t, b.out.String(), "20 rows re-encrypted")
}

func TestAFailedRotateSaysWhatWentWrongAndWhatIsLeft(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	b.twoKeys(30)
	gone := errors.New("the database is gone")
	b.rows.after = func() error { return gone }
	err := b.run("rotate")
	require.ErrorIs(t, err, gone)
	require.ErrorContains(t, err, "30 rows are left")
}

func TestRotateRefusesSettingsThatCannotBe(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	first, _ := b.twoKeys(1)
	require.Error(t, b.run("rotate", "--batch", "0"))
	require.Error(t, b.run("rotate", "--pause", "-1s"))
	require.Equal(t, first, b.keyset().PrimaryID())
}

func TestStatusShowsWhatEachKeyIsFor(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	first, second := b.twoKeys(3)
	require.NoError(t, b.run("status"))
	require.Equal(t, "KEY       ROLE     ROWS\n"+keyName(first)+"  primary  3\n"+keyName(second)+"  next     0\n", b.out.String())
	require.NoError(t, b.run("rotate"))
	require.NoError(t, b.run("status", "--json"))
	var status keysetStatus
	b.decode(&status)
	require.Equal(t, []keyStatus{
		{Key: keyName(first), Role: roleOld, Rows: 0}, {Key: keyName(second), Role: rolePrimary, Rows: 3},
	}, status.Keys)
}

func TestRowsUnderAMissingKeyAlarm(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	b.rows.byKey[0x0badcafe] = 4
	require.ErrorContains(t, b.run("status"), "4 rows are encrypted with keys that this keyset does not have")
	require.Contains(t, b.out.String(), "0badcafe  missing  4")
	require.ErrorContains(t, b.run("status", "--json"), "4 rows")
	var status keysetStatus
	b.decode(&status)
	require.Equal(t, int64(4), status.Unreadable)
	require.ErrorContains(t, b.run("rotate"), "4 rows", "re-encrypting would fail on them again and again")
}

func TestOnlyAKeyThatNothingNeedsIsRemoved(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	first, second := b.twoKeys(3)
	require.ErrorContains(t, b.run("remove", keyName(first)), "3 rows are still encrypted")
	require.NoError(t, b.run("rotate"))
	require.ErrorContains(t, b.run("remove", keyName(second)), "rows are still encrypted")
	b.rows.byKey[second] = 0
	require.ErrorContains(t, b.run("remove", keyName(second)), "primary")
	for _, wrong := range [][]string{{"remove"}, {"remove", "zebra"}, {"remove", keyName(first), keyName(second)}, {"remove", "1234567890"}} {
		require.ErrorContains(t, b.run(wrong...), "exactly one key id")
	}
	require.Equal(t, []uint32{first, second}, b.keyset().KeyIDs())
	require.NoError(t, b.run("remove", "0x"+keyName(first)))
	require.Equal(t, []uint32{second}, b.keyset().KeyIDs())
	require.ErrorContains(t, b.run("remove", keyName(first)), "has no key")
}

func TestStoredTokensSurviveARotation(t *testing.T) {
	t.Parallel()
	b := setupKeys(t)
	b.commands = func() *cli.Command { return keysCommand(b.environment, b.out, b.notes) }
	b.environment["DATABASE_URL"] = dbtest.New(t)
	store, err := db.Open(t.Context(), db.Config{URL: b.environment["DATABASE_URL"], MaxConnections: 4})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	serving, err := keyset.Open(keyset.SourceConfig{File: b.file})
	require.NoError(t, err)
	vault := db.NewVault(store, serving)
	_, err = vault.BeginConsent(t.Context(), db.NewConsent{
		ID: "consent", State: "state", Browser: "browser", OwnerEmail: "owner@milepost.example", API: db.APIv2,
		ExpiresAt: time.Now().Add(time.Minute),
	})
	require.NoError(t, err)
	consent, err := vault.Consent(t.Context(), "consent")
	require.NoError(t, err)
	var families []int64
	for range 25 {
		family, err := vault.AddTokens(t.Context(), consent.OwnerID, db.TokenPair{
			AccessToken: "access", RefreshToken: "refresh", ExpiresIn: time.Hour,
		})
		require.NoError(t, err)
		families = append(families, family)
	}
	first := b.keyset().PrimaryID()

	require.NoError(t, b.run("add"))
	require.NoError(t, b.run("rotate", "--batch", "10"))
	require.Contains(t, b.out.String(), "25 rows re-encrypted")
	second := b.keyset().PrimaryID()
	require.NotEqual(t, first, second)
	require.NoError(t, b.run("status"))
	require.Contains(t, b.out.String(), keyName(second)+"  primary  25")
	require.NoError(t, b.run("remove", keyName(first)))

	for _, family := range families {
		token, err := vault.AccessTokenOfFamily(t.Context(), family)
		require.NoError(t, err, "a serving process follows the file")
		require.Equal(t, "access", token.Token)
	}
	require.NoError(t, b.run("new", "--file", b.file+".other"))
	require.ErrorContains(t, b.run("status", "--file", b.file+".other"), "25 rows")
	require.Equal(t, 1, strings.Count(b.out.String(), roleMissing))
}
