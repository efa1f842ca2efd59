package db_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
)

func TestAnEventIsKeptOnceHoweverOftenItIsDelivered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const deliveries = 1000
	var fresh atomic.Int64
	var group sync.WaitGroup
	for range deliveries {
		group.Go(func() {
			receipts, err := b.ledger.Append(t.Context(), []db.Delivery{delivery("one")})
			if err == nil && !receipts[0].Duplicate {
				fresh.Add(1)
			}
		})
	}
	group.Wait()

	require.EqualValues(t, 1, fresh.Load(), "exactly one delivery is told that it was the first")
	require.EqualValues(t, deliveries, b.show(t, "one").DeliveryCount)
}

func TestEachDeliveryOfABatchGetsItsOwnReceipt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "old")

	receipts, err := b.ledger.Append(t.Context(), []db.Delivery{delivery("z"), delivery("old"), delivery("a"), delivery("z")})
	require.NoError(t, err)
	require.Equal(t, []db.Receipt{
		{EventID: "z"}, {EventID: "old", Duplicate: true}, {EventID: "a"}, {EventID: "z", Duplicate: true},
	}, receipts)
}

func TestTheFirstPayloadIsTheOneThatStays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := delivery("one"), delivery("one")
	first.Payload, second.Payload = []byte("{ \"n\": 104.0 }"), []byte(`{"n":2}`)
	second.DeliveryID = "second delivery"
	for _, each := range []db.Delivery{first, second} {
		_, err := b.ledger.Append(t.Context(), []db.Delivery{each})
		require.NoError(t, err)
	}

	payload, err := b.store.EventPayload(t.Context(), "one")
	require.NoError(t, err)
	require.Equal(t, first.Payload, payload, "byte for byte")
	require.Equal(t, "second delivery", b.show(t, "one").LastDeliveryID)
}

func TestARefusedDeliveryDoesNotTakeItsNeighboursWithIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bad := delivery("bad")
	bad.EventType = "not \x00 text"
	var group sync.WaitGroup
	var good atomic.Int64
	const each = 40 // every one may cost a statement, and all of them together have two seconds
	for i := range each {
		group.Go(func() {
			if _, err := b.ledger.Append(t.Context(), []db.Delivery{delivery(fmt.Sprint("good ", i))}); err == nil {
				good.Add(1)
			}
		})
		group.Go(func() {
			_, err := b.ledger.Append(t.Context(), []db.Delivery{bad})
			if err == nil {
				good.Add(1000)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, each, good.Load())

	_, err := b.ledger.Append(t.Context(), []db.Delivery{bad})
	require.ErrorIs(t, err, db.ErrRejected)
}

func TestAnAbsurdStampDoesNotLoseADelivery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	absurd := delivery("absurd")
	absurd.DeliveredAt = time.Date(400000, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := b.ledger.Append(t.Context(), []db.Delivery{absurd})
	require.NoError(t, err)

	event, err := b.store.EventForProcessing(t.Context(), "absurd")
	require.NoError(t, err)
	require.True(t, event.DeliveredAt.IsZero())
}

func TestADeadDatabaseIsUnavailableAtOnceAndServesAgainWhenItIsBack(t *testing.T) {
	t.Parallel()
	server := dbtest.NewServer(t)
	store, err := db.Open(t.Context(), db.Config{URL: server.URL(), MaxConnections: 4})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	ledger := db.NewLedger(store)
	_, err = ledger.Append(t.Context(), []db.Delivery{delivery("before")})
	require.NoError(t, err)

	require.NoError(t, server.Kill())
	// Sessions that were open notice the death of the server's main process a moment later.
	require.Eventually(t, func() bool {
		_, err := ledger.Append(t.Context(), []db.Delivery{delivery("meanwhile")})
		return errors.Is(err, db.ErrUnavailable)
	}, 30*time.Second, time.Millisecond)
	started := time.Now()
	_, err = ledger.Append(t.Context(), []db.Delivery{delivery("meanwhile")})
	require.ErrorIs(t, err, db.ErrUnavailable)
	require.Less(t, time.Since(started), 10*time.Second)

	require.NoError(t, server.Start(t.Context()))
	require.Eventually(t, func() bool {
		_, err := ledger.Append(t.Context(), []db.Delivery{delivery("after")})
		return err == nil
	}, 30*time.Second, 50*time.Millisecond)
	for _, eventID := range []string{"before", "after"} {
		_, err := store.ShowEvent(t.Context(), eventID)
		require.NoError(t, err)
	}
}

func TestACallerThatGivesUpIsNotKeptWaiting(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.ledger.Append(ctx, []db.Delivery{delivery("late")})
	require.ErrorIs(t, err, db.ErrUnavailable)
}
