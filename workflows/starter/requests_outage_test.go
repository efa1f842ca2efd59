package starter_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
	"github.com/milepost/milepost/workflows/starter"
)

// away has Temporal answer with an error until the returned function is called.
func (b *requestsBundle) away(failure error) (back func()) {
	var isAway atomic.Bool
	isAway.Store(true)
	b.temporal.before = func(context.Context, string) error {
		if isAway.Load() {
			return failure
		}
		return nil
	}
	return func() { isAway.Store(false) }
}

func TestAnOutageLosesNoRequestAndSavesOnlyCodes(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{
		"when Temporal is away":    serviceerror.NewUnavailable("away"),
		"when Temporal refuses us": serviceerror.NewPermissionDenied("the key has expired", ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireNoRequestIsLost(t, failure)
		})
	}
}

func requireNoRequestIsLost(t *testing.T, failure error) {
	t.Helper()
	b := setupRequests(t)
	back := b.away(failure)
	b.request(t, connecting(consent), refreshing(vehicle, db.SignalDisconnect), delivering(notice))
	b.store.lease = briefLease
	begun := time.Now()
	working := runRequests(t, b.deps())

	// The lease is over before each of the pauses, so every claim finds all requests.
	const claims, pauses = 4, (250 + 500 + 1000) * time.Millisecond
	eventually(t, func() bool { return b.store.claims.Load() >= claims })
	require.GreaterOrEqual(t, time.Since(begun), pauses, "Temporal is not hammered against")
	require.Equal(t, 3, b.left(t))
	require.Equal(t, []string{consent}, b.codes.consents())

	back()
	b.awaitRemoved(t, 3)
	working.stop(t)
	require.Zero(t, b.left(t))
	signals, _ := b.temporal.signalled()
	require.Equal(t, []string{contract.SignalDisconnect}, signals)
}

func TestACodeIsSavedWhenTemporalDoesNotAnswer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		failure error
		saved   []string
	}{
		"because it is unavailable":   {serviceerror.NewUnavailable("away"), []string{consent}},
		"because it takes too long":   {serviceerror.NewDeadlineExceeded("slow"), []string{consent}},
		"because the client gives up": {context.DeadlineExceeded, []string{consent}},
		"because it limits the rate":  {serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT, "busy"), []string{consent}},
		"because it refuses requests": {serviceerror.NewPermissionDenied("the key has expired", ""), []string{consent}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupRequests(t)
			var failed atomic.Bool
			b.temporal.before = func(context.Context, string) error {
				if failed.CompareAndSwap(false, true) {
					return test.failure
				}
				return nil
			}
			b.request(t, connecting(consent))
			b.store.lease = shortLease
			working := runRequests(t, b.deps())
			b.awaitRemoved(t, 1)
			working.stop(t)
			require.Len(t, b.temporal.tried(), 2)
			require.Equal(t, test.saved, b.codes.consents())
		})
	}
}

func TestACodeThatCannotBeSavedIsLeftToTheWorkflow(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*requestsBundle, *starter.RequestsDeps){
		"since Smartcar is away, too": func(b *requestsBundle, _ *starter.RequestsDeps) { b.codes.refuse = errors.New("away") },
		"since nobody can":            func(_ *requestsBundle, deps *starter.RequestsDeps) { deps.Codes = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupRequests(t)
			back := b.away(serviceerror.NewUnavailable("away"))
			deps := b.deps()
			b.store.lease = shortLease
			prepare(b, &deps)
			b.request(t, connecting(consent))
			working := runRequests(t, deps)
			eventually(t, func() bool { return len(b.temporal.tried()) >= 2 })
			require.Equal(t, 1, b.left(t))
			back()
			b.awaitRemoved(t, 1)
			working.stop(t)
			require.Zero(t, b.left(t))
		})
	}
}
