package db_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func refused(body string) db.QuarantinedDelivery {
	return db.QuarantinedDelivery{
		ReceivedAt: time.Now().UTC().Truncate(time.Microsecond), Reason: db.QuarantineMismatch,
		Signatures: []string{"aa"}, Body: []byte(body),
	}
}

// bodies gives what is in quarantine, the newest first.
func bodies(t *testing.T, quarantine *db.Quarantine) []string {
	t.Helper()
	kept, err := quarantine.List(t.Context(), 5000)
	require.NoError(t, err)
	found := []string{}
	for _, summary := range kept {
		row, err := quarantine.Get(t.Context(), summary.ID)
		require.NoError(t, err)
		require.EqualValues(t, len(row.Body), summary.BodyBytes)
		found = append(found, string(row.Body))
	}
	return found
}

func TestARefusedDeliveryIsKeptAsItCame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	quarantine := db.NewQuarantine(b.store, db.QuarantineBounds{})
	delivery := refused("{\"a\":\"\x00\xff\"}\r\n")
	require.NoError(t, quarantine.Keep(t.Context(), delivery))
	unsigned := refused("{}")
	unsigned.Signatures, unsigned.Reason = nil, db.QuarantineMissing
	require.NoError(t, quarantine.Keep(t.Context(), unsigned))

	kept, err := quarantine.List(t.Context(), 1)
	require.NoError(t, err)
	require.Len(t, kept, 1)
	require.Equal(t, db.QuarantineMissing, kept[0].Reason, "the newest first")
	row, err := quarantine.Get(t.Context(), kept[0].ID-1)
	require.NoError(t, err)
	require.Equal(t, delivery, row.QuarantinedDelivery)

	require.NoError(t, quarantine.Delete(t.Context(), row.ID))
	require.NoError(t, quarantine.Delete(t.Context(), row.ID), "that it is gone is what was wanted")
	_, err = quarantine.Get(t.Context(), row.ID)
	require.ErrorIs(t, err, db.ErrNotFound)
}

func TestTheOldestLeaveTheQuarantineFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	t.Run("beyond the number of rows", func(t *testing.T) {
		quarantine := db.NewQuarantine(b.store, db.QuarantineBounds{Rows: 2})
		for _, body := range []string{"1", "2", "3"} {
			require.NoError(t, quarantine.Keep(t.Context(), refused(body)))
		}
		require.Equal(t, []string{"3", "2"}, bodies(t, quarantine))
	})
	t.Run("beyond the bytes, with those of the signatures", func(t *testing.T) {
		quarantine := db.NewQuarantine(b.store, db.QuarantineBounds{Bytes: 20})
		for _, body := range []string{"a2345678", "b2345678", "c2345678"} {
			require.NoError(t, quarantine.Keep(t.Context(), refused(body)))
		}
		require.Equal(t, []string{"c2345678", "b2345678"}, bodies(t, quarantine))
		require.NoError(t, quarantine.Keep(t.Context(), refused("d23456789")))
		require.Equal(t, []string{"d23456789"}, bodies(t, quarantine), "one byte too many")
		require.NoError(t, quarantine.Keep(t.Context(), refused("longer than all the room there is")))
		require.Empty(t, bodies(t, quarantine))
	})
	t.Run("beyond the age", func(t *testing.T) {
		quarantine := db.NewQuarantine(b.store, db.QuarantineBounds{Age: time.Hour})
		old := refused("old")
		old.ReceivedAt = time.Now().Add(-59 * time.Minute)
		require.NoError(t, quarantine.Keep(t.Context(), old))
		older := refused("older")
		older.ReceivedAt = time.Now().Add(-61 * time.Minute)
		require.NoError(t, quarantine.Keep(t.Context(), older))
		require.NoError(t, quarantine.Keep(t.Context(), refused("new")))
		require.Equal(t, []string{"new", "old"}, bodies(t, quarantine))
	})
}

func TestTheBoundsHoldWhenManyKeepAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	quarantine := db.NewQuarantine(b.store, db.QuarantineBounds{Rows: 10})
	var group sync.WaitGroup
	errs := make([]error, 40)
	for i := range errs {
		group.Go(func() { errs[i] = quarantine.Keep(t.Context(), refused("x")) })
	}
	group.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Len(t, bodies(t, quarantine), 10)
}

func TestADefaultQuarantineHoldsAThousandOrSixteenMebibytes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	quarantine := db.NewQuarantine(b.store, db.QuarantineBounds{})
	const large = 256 << 10
	for range 16<<20/large + 2 {
		delivery := refused("")
		delivery.Body, delivery.Signatures = bytes.Repeat([]byte("x"), large), nil
		require.NoError(t, quarantine.Keep(t.Context(), delivery))
	}
	kept, err := quarantine.List(t.Context(), 5000)
	require.NoError(t, err)
	require.Len(t, kept, 64)
}

func TestTrimmingTheQuarantineTakesTheOldestOfThoseTooOld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	quarantine := db.NewQuarantine(b.store, db.QuarantineBounds{})
	for body, age := range map[string]time.Duration{"a": 50 * time.Hour, "b": 40 * time.Hour, "c": 30 * time.Hour, "d": time.Minute} {
		delivery := refused(body)
		delivery.ReceivedAt = time.Now().Add(-age)
		require.NoError(t, quarantine.Keep(t.Context(), delivery))
	}
	due, err := b.store.QuarantineToTrim(t.Context(), 24*time.Hour)
	require.NoError(t, err)
	require.EqualValues(t, 3, due)
	trimmed, err := b.store.TrimQuarantine(t.Context(), 24*time.Hour, 2)
	require.NoError(t, err)
	require.EqualValues(t, 2, trimmed)
	require.ElementsMatch(t, []string{"c", "d"}, bodies(t, quarantine))
	trimmed, err = b.store.TrimQuarantine(t.Context(), 24*time.Hour, 2)
	require.NoError(t, err)
	require.EqualValues(t, 1, trimmed)
}
