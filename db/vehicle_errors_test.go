package db_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

// fail reports an error of the first vehicle that needs its owner, or its end.
func (b *vaultBundle) fail(t *testing.T, eventID string, at time.Time, resolved bool) {
	t.Helper()
	b.failWith(t, eventID, at, db.VehicleErrorReport{
		Type: "CONNECTED_SERVICES_ACCOUNT", Code: "AUTHENTICATION_FAILED", Resolved: resolved, Reaction: db.ReactionReauthenticate,
	})
}

// failWith reports errors of the first vehicle.
func (b *vaultBundle) failWith(t *testing.T, eventID string, at time.Time, reports ...db.VehicleErrorReport) {
	t.Helper()
	one := delivery(eventID)
	one.SmartcarVehicleID = firstOfFamily
	_, err := b.ledger.Append(t.Context(), []db.Delivery{one})
	require.NoError(t, err)
	require.NoError(t, b.store.CloseVehicleErrors(t.Context(), db.VehicleErrors{
		Closing: db.Closing{
			EventID: eventID, Outcome: "vehicle_error", SyncType: "vehicle_error", SyncData: []byte("{}"), ReportedAt: at,
		},
		SmartcarVehicleID: firstOfFamily, Reports: reports,
	}))
}

func (b *vaultBundle) state(t *testing.T) string {
	t.Helper()
	status, err := b.vault.TokenStatus(t.Context(), firstOfFamily)
	require.NoError(t, err)
	return status.State
}

func (b *vaultBundle) requests() []string {
	return b.column(`SELECT signal FROM workflow_requests WHERE kind = 'token_refresh' AND subject = $1 ORDER BY id`, firstOfFamily)
}

func TestAnErrorAsksTheOwnerAndLetsTheTokensWorkflowLook(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	before := len(b.requests())
	now := time.Now()
	b.fail(t, "began", now, false)
	require.Equal(t, db.StateReauthRequired, b.state(t))
	require.Len(t, b.requests(), before+1)
	require.Equal(t, db.SignalReconnected, b.requests()[before])
	require.Equal(t, []string{firstOfFamily}, b.listed(db.VehicleFilter{State: db.StateReauthRequired}), "the other vehicle works")

	b.fail(t, "ended", now.Add(time.Second), true)
	require.Equal(t, db.StateConnected, b.state(t))
	require.Len(t, b.requests(), before+2)
	require.Equal(t, []string{"authentication_failed", "-"}, b.column(`SELECT coalesce(body::json->'data'->>'reason', '-')
		FROM notices WHERE notice_type LIKE '%reauth%' ORDER BY created_at`))
	require.Equal(t, []string{"2"}, b.column(`SELECT count(*)::text FROM smartcar_sync_logs WHERE sync_type = 'vehicle_error'`))
}

func TestTheEndOfAnErrorDoesNotMakeRefusedTokensGood(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	now := time.Now()
	b.fail(t, "began", now, false)
	_, err := b.refresh(firstOfFamily, 1, refuse)
	require.NoError(t, err)
	b.fail(t, "ended", now.Add(time.Second), true)
	require.Equal(t, db.StateReauthRequired, b.state(t))
	require.Equal(t, []string{"vehicle.reauth_required"}, b.column(
		`SELECT notice_type FROM notices WHERE notice_type LIKE '%reauth%' AND smartcar_vehicle_id = $1`, firstOfFamily), "asked once for both")
}

func TestAnErrorOfADisconnectedVehicleIsKeptAndBothersNobody(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), firstOfFamily))
	b.fail(t, "began", time.Now(), false)
	require.Equal(t, db.StateDisconnecting, b.state(t))
	require.Equal(t, []string{"open"}, b.column(`SELECT state FROM vehicle_errors`))
	require.Equal(t, []string{"0"}, b.column(`SELECT count(*)::text FROM notices WHERE notice_type LIKE '%reauth%'`))
}

func TestAnErrorOfAVehicleThatNobodyConnectedIsKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receive(t, "began")
	require.NoError(t, b.store.CloseVehicleErrors(t.Context(), db.VehicleErrors{
		Closing:           db.Closing{EventID: "began", Outcome: "vehicle_error", ReportedAt: time.Now()},
		SmartcarVehicleID: vehicle,
		Reports:           []db.VehicleErrorReport{{Type: "SERVER \x00", Reaction: db.ReactionReauthenticate}},
	}))
	require.Equal(t, db.StatusProcessed, b.show(t, "began").Status)
}

func TestAReportIsDatedByItsDeliveryUnlessThatCannotBe(t *testing.T) {
	t.Parallel()
	received := time.Now()
	for stamped, expected := range map[time.Time]time.Time{
		{}:                             received,
		received.Add(-time.Hour):       received.Add(-time.Hour),
		received.Add(time.Hour):        received.Add(time.Hour),
		received.Add(48 * time.Hour):   received,
		received.AddDate(100, 0, 0):    received,
		received.Add(-480 * time.Hour): received.Add(-480 * time.Hour),
	} {
		event := db.LedgerEvent{ReceivedAt: received, DeliveredAt: stamped}
		require.Equal(t, expected, event.ReportedAt(), fmt.Sprint(stamped))
	}
}

func TestGoodTokensDoNotEndAnErrorThatNeedsTheOwner(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	b.fail(t, "began", time.Now(), false)
	_, err := b.refresh(secondOfFamily, 1, b.rotate)
	require.NoError(t, err)
	require.Equal(t, db.StateReauthRequired, b.state(t))
	before := len(b.requests())
	require.NoError(t, b.store.ResolveReauthentication(t.Context(), firstOfFamily))
	require.Equal(t, db.StateConnected, b.state(t))
	require.Len(t, b.requests(), before+1)
}
