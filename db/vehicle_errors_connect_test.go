package db_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

// forOwner are one error of each kind that waits for the owner.
func forOwner() []db.VehicleErrorReport {
	return []db.VehicleErrorReport{
		{Type: "CONNECTED_SERVICES_ACCOUNT", Code: "AUTHENTICATION_FAILED", Reaction: db.ReactionReauthenticate},
		{Type: "CONNECTED_SERVICES_ACCOUNT", Code: "SUBSCRIPTION", Reaction: db.ReactionOwnerAction},
		{Type: "PERMISSION", Reaction: db.ReactionReconsent},
	}
}

// notForOwner are errors that the owner's consent changes nothing about.
func notForOwner() []db.VehicleErrorReport {
	return []db.VehicleErrorReport{
		{Type: "COMPATIBILITY", Code: "VEHICLE_NOT_CAPABLE", Signal: "wheel-tires", Reaction: db.ReactionUnsupportedSignals},
		{Type: "VEHICLE_STATE", Code: "ASLEEP", Reaction: db.ReactionWait},
	}
}

// reconnect is what an owner does who connects the first vehicle again; after a disconnection it may be another one.
func (b *vaultBundle) reconnect(owner string) {
	b.t.Helper()
	_, err := b.connectVehicle(db.ConnectedVehicle{SmartcarVehicleID: firstOfFamily, OwnerEmail: owner})
	require.NoError(b.t, err)
}

func (b *vaultBundle) openErrors() []string {
	return b.column(`SELECT reaction FROM vehicle_errors WHERE state = 'open' ORDER BY reaction`)
}

func (b *vaultBundle) isDegraded() string {
	b.t.Helper()
	listed, err := b.store.ListVehicles(b.t.Context(), db.VehicleFilter{SmartcarVehicleID: firstOfFamily, Limit: 1})
	require.NoError(b.t, err)
	require.Len(b.t, listed, 1)
	return strconv.FormatBool(listed[0].Degraded)
}

func (b *vaultBundle) reauthNotices() []string {
	return b.column(`SELECT notice_type FROM notices WHERE notice_type LIKE '%reauth%' ORDER BY created_at`)
}

func TestWhatTheOwnerWasAskedForEndsWhenTheOwnerConnects(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(b *vaultBundle){
		"by connecting once more": func(b *vaultBundle) { b.reconnect("family@milepost.example") },
		"by re-authenticating": func(b *vaultBundle) {
			require.NoError(t, b.store.ResolveReauthentication(t.Context(), firstOfFamily))
		},
		"as another owner": func(b *vaultBundle) {
			require.NoError(t, b.store.DisconnectVehicle(t.Context(), firstOfFamily))
			b.reconnect("another@milepost.example")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupVault(t)
			b.failWith(t, "began", time.Now(), append(forOwner(), notForOwner()...)...)
			require.Equal(t, []string{"reauth_required", "true"}, []string{b.state(t), b.isDegraded()})
			again(b)
			require.Equal(t, []string{"unsupported_signals", "wait"}, b.openErrors())
			require.Equal(t, []string{"connected", "false"}, []string{b.state(t), b.isDegraded()})

			// The ends were lost. An error of another kind is asked for and withdrawn all the same.
			now := time.Now()
			b.failWith(t, "permission", now, forOwner()[2])
			require.Equal(t, db.StateReauthRequired, b.state(t))
			ended := forOwner()[2]
			ended.Resolved = true
			b.failWith(t, "permission ended", now.Add(time.Millisecond), ended)
			require.Equal(t, db.StateConnected, b.state(t))
			b.failWith(t, "began again", now.Add(time.Second), forOwner()[:2]...)
			require.Equal(t, []string{"reauth_required", "true"}, []string{b.state(t), b.isDegraded()})
		})
	}
}

func TestAReauthenticationThatNobodyAskedForEndsErrorsToo(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	b.failWith(t, "began", time.Now(), forOwner()[1])
	require.Equal(t, []string{"connected", "true"}, []string{b.state(t), b.isDegraded()})
	require.NoError(t, b.store.ResolveReauthentication(t.Context(), firstOfFamily))
	require.Equal(t, "false", b.isDegraded())
	require.Empty(t, b.reauthNotices())
}

// TestAnErrorFromBeforeTheConnectionAsksNobody: its event failed while the vehicle was inactive, and connecting retries it.
func TestAnErrorFromBeforeTheConnectionAsksNobody(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	weeksAgo := time.Now().AddDate(0, 0, -21)
	b.failWith(t, "stale", weeksAgo, append(forOwner(), notForOwner()...)...)
	require.Equal(t, []string{"connected", "false"}, []string{b.state(t), b.isDegraded()})
	require.Empty(t, b.reauthNotices())
	require.Equal(t, []string{"unsupported_signals", "wait"}, b.openErrors())
	require.Equal(t, []string{"5"}, b.column(`SELECT count(*)::text FROM vehicle_errors WHERE opened_event_id = 'stale'`))

	b.fail(t, "its end", weeksAgo.Add(time.Hour), true)
	require.Equal(t, []string{"its end"}, b.column(`SELECT resolved_event_id FROM vehicle_errors
		WHERE code = 'AUTHENTICATION_FAILED' AND resolved_at < now() - interval '20 days'`), "Smartcar's word is the better one")
}

// TestAnErrorThatOvertakesItsConnectionAsks: between the owner's consent and the stored connection lies a call to Smartcar.
func TestAnErrorThatOvertakesItsConnectionAsks(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	consented := time.Now().Add(-time.Hour)
	b.change(t, `UPDATE smartcar_consents SET phase = 'answered', answered_at = $1, smartcar_vehicle_id = $2`, consented, firstOfFamily)
	for name, connect := range map[string]func() error{
		"connected": func() error {
			_, err := b.connectVehicle(db.ConnectedVehicle{
				SmartcarVehicleID: firstOfFamily, OwnerEmail: "family@milepost.example", ConsentID: "consent",
			})
			return err
		},
		"re-authenticated": func() error { return b.store.ResolveReauthentication(t.Context(), firstOfFamily) },
	} {
		b.change(t, `DELETE FROM vehicle_errors`)
		b.change(t, `UPDATE smartcar_vehicles SET connected_at = now() - interval '1 day'`)
		b.failWith(t, name+" after", consented.Add(time.Minute), forOwner()[0])
		b.failWith(t, name+" before", consented.Add(-time.Minute), forOwner()[1])
		require.NoError(t, connect(), name)
		require.Equal(t, []string{"reauthenticate"}, b.openErrors(), name)
		b.failWith(t, name+" after, retried", consented.Add(2*time.Minute), forOwner()[0])
		require.Equal(t, db.StateReauthRequired, b.state(t), name)
	}
}
