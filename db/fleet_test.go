package db_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func (b *vaultBundle) connectVehicle(vehicle db.ConnectedVehicle) (int64, error) {
	return b.store.ConnectVehicle(b.t.Context(), vehicle)
}

func (b *vaultBundle) listed(filter db.VehicleFilter) (ids []string) {
	b.t.Helper()
	filter.Limit = 100
	vehicles, err := b.store.ListVehicles(b.t.Context(), filter)
	require.NoError(b.t, err)
	for _, vehicle := range vehicles {
		ids = append(ids, vehicle.SmartcarVehicleID)
	}
	return ids
}

func TestManyWhoConnectOneVehicleMakeOne(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	var group sync.WaitGroup
	ids, errs := make([]int64, 10), make([]error, 10)
	for i := range ids {
		group.Go(func() {
			ids[i], errs[i] = b.connectVehicle(db.ConnectedVehicle{
				SmartcarVehicleID: fmt.Sprint("new-id-", i%2), OwnerEmail: "family@milepost.example", VIN: "ONECAR",
			})
		})
	}
	group.Wait()
	for i := range ids {
		require.NoError(t, errs[i])
		require.Equal(t, ids[0], ids[i], "two new ids with one VIN are one car")
	}
	require.Equal(t, []string{"1"}, b.column(`SELECT count(*)::text FROM vehicles WHERE vin = 'ONECAR'`))
	require.Equal(t, []string{"2"}, b.column(`SELECT count(*)::text FROM notices WHERE smartcar_vehicle_id LIKE 'new-id-%'`))
}

func TestTwoOwnersWhoConnectOneVehicleAtOnceDoNotBothGetIt(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	var group sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		group.Go(func() {
			_, errs[i] = b.connectVehicle(db.ConnectedVehicle{SmartcarVehicleID: "wanted", OwnerEmail: fmt.Sprintf("owner-%d@milepost.example", i)})
		})
	}
	group.Wait()
	connected := 0
	for _, err := range errs {
		if err == nil {
			connected++
			continue
		}
		if !errors.Is(err, db.ErrConflict) { // which is tried again, and is then clear
			require.ErrorIs(t, err, db.ErrOtherOwner)
		}
	}
	require.Equal(t, 1, connected)
	require.Equal(t, []string{"1"}, b.column(`SELECT count(*)::text FROM notices WHERE smartcar_vehicle_id = 'wanted'`))
}

func TestOnlyEventsThatWantedAVehicleThatIsConnectedAreReceivedAgain(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	failed := func(eventID, vehicle, class string) {
		one := delivery(eventID)
		one.SmartcarVehicleID = vehicle
		_, err := b.ledger.Append(t.Context(), []db.Delivery{one})
		require.NoError(t, err)
		require.NoError(t, b.store.CloseEvent(t.Context(), db.Closing{EventID: eventID, FailureClass: class}))
	}
	requeued := func(limit int32) int {
		count, err := b.store.RequeueConnected(t.Context(), limit)
		require.NoError(t, err)
		return count
	}
	for i := range 5 {
		failed(fmt.Sprint("unknown-", i), firstOfFamily, "unknown_vehicle")
	}
	failed("inactive", firstOfFamily, "vehicle_inactive")
	failed("other class", firstOfFamily, "implausible_reading")
	failed("nobody's", "unheard-of", "unknown_vehicle")
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), secondOfFamily))
	failed("disconnected", secondOfFamily, "vehicle_inactive")

	require.Equal(t, []int{4, 2, 0}, []int{requeued(4), requeued(4), requeued(4)}, "no more at once than allowed")
	require.Equal(t, []string{"disconnected", "nobody's", "other class"},
		b.column(`SELECT event_id FROM smartcar_webhook_events WHERE status = 'failed' ORDER BY event_id`))
	require.Equal(t, []string{"6"}, b.column(`SELECT count(DISTINCT event_id)::text FROM smartcar_webhook_event_audits
		WHERE action = 'retry: vehicle connected' AND actor = 'milepost'`))
	require.Equal(t, []string{"received"}, b.column(`SELECT status FROM smartcar_webhook_events
		WHERE event_id = 'inactive' AND failure_class IS NULL AND failure_detail IS NULL AND closed_at IS NULL`))
}

func TestWhatSmartcarDoesNotSayThisTimeStays(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	full := db.ConnectedVehicle{
		SmartcarVehicleID: "car", SmartcarUserID: "user", OwnerEmail: "owner@milepost.example", OwnerName: "Owner",
		Make: "POLESTAR", Model: "Polestar 2", Year: 2023, VIN: "VIN", Permissions: []string{"read_odometer"},
	}
	id, err := b.connectVehicle(full)
	require.NoError(t, err)
	again, err := b.connectVehicle(db.ConnectedVehicle{SmartcarVehicleID: "car", OwnerEmail: "owner@milepost.example"})
	require.NoError(t, err)
	require.Equal(t, id, again)
	require.Equal(t, []string{"user POLESTAR Polestar 2 2023 VIN Owner user {}"}, b.column(`
		SELECT concat_ws(' ', vehicle.smartcar_user_id, make, model, year, vin, name, connection.smartcar_user_id, permissions::text)
		FROM vehicles AS vehicle JOIN users ON users.id = your_app_user_id
		JOIN smartcar_vehicles AS connection ON connection.vehicle_id = vehicle.id WHERE vehicle.id = $1`, id), "permissions are as granted now")
}

func TestADisconnectionIsBegunOnceAndEndedOnce(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), firstOfFamily))
	require.ErrorIs(t, b.store.DisconnectVehicle(t.Context(), firstOfFamily), db.ErrNotFound)
	require.ErrorIs(t, b.store.DisconnectVehicle(t.Context(), "unheard-of"), db.ErrNotFound)
	status, err := b.vault.TokenStatus(t.Context(), firstOfFamily)
	require.NoError(t, err)
	require.Equal(t, db.StateDisconnecting, status.State)
	require.False(t, status.Active)
	for range 2 {
		require.NoError(t, b.store.DisconnectEnded(t.Context(), firstOfFamily, b.tokenID))
	}
	require.Equal(t, []string{firstOfFamily}, b.column(`SELECT smartcar_vehicle_id FROM notices WHERE notice_type = $1`, db.NoticeDisconnected))
	require.Equal(t, b.tokenID, b.tokenOf(secondOfFamily).TokenID, "the other vehicle needs the family")

	require.NoError(t, b.store.DisconnectEnded(t.Context(), secondOfFamily, b.tokenID), "one that is connected stays so")
	require.Equal(t, []string{secondOfFamily}, b.listed(db.VehicleFilter{State: db.StateConnected}))
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), secondOfFamily))
	require.NoError(t, b.store.DisconnectEnded(t.Context(), secondOfFamily, b.tokenID))
	_, err = b.vault.AccessTokenOfFamily(t.Context(), b.tokenID)
	require.ErrorIs(t, err, db.ErrNotFound)
}

func TestAVehicleThatSmartcarKnowsNothingOfIsDisconnectedAtOnce(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	for api, state := range map[string]string{db.APIv2: db.StateDisconnected, db.APIv3: db.StateDisconnecting} {
		_, err := b.connectVehicle(db.ConnectedVehicle{SmartcarVehicleID: "without-tokens-" + api, OwnerEmail: "owner@milepost.example", API: api})
		require.NoError(t, err)
		require.NoError(t, b.store.DisconnectVehicle(t.Context(), "without-tokens-"+api))
		require.Equal(t, []string{"without-tokens-" + api}, b.listed(db.VehicleFilter{State: state}))
	}
}

func TestVehiclesWithTokensAreListedInPages(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	_, err := b.connectVehicle(db.ConnectedVehicle{SmartcarVehicleID: "v3", OwnerEmail: "owner@milepost.example", API: db.APIv3})
	require.NoError(t, err)
	page := func(after string) []string {
		ids, err := b.store.VehiclesWithTokens(t.Context(), after, 1)
		require.NoError(t, err)
		return ids
	}
	require.Equal(t, []string{firstOfFamily}, page(""))
	require.Equal(t, []string{secondOfFamily}, page(firstOfFamily))
	require.Empty(t, page(secondOfFamily))
	require.NoError(t, b.store.DisconnectVehicle(t.Context(), "v3"))
	require.Equal(t, []string{"v3"}, page(secondOfFamily), "Smartcar is still to be told")
	_, err = b.connectVehicle(db.ConnectedVehicle{
		SmartcarVehicleID: secondOfFamily, SmartcarUserID: "user", OwnerEmail: "family@milepost.example",
	})
	require.NoError(t, err)
	vehicles, err := b.store.VehiclesToMigrate(t.Context(), "", 10)
	require.NoError(t, err)
	require.Equal(t, []db.VehicleToMigrate{
		{SmartcarVehicleID: firstOfFamily}, {SmartcarVehicleID: secondOfFamily, SmartcarUserID: "user"},
	}, vehicles)
}

func TestAVehicleIsMovedToV3OnceAndItsTokensStay(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	for _, want := range []bool{true, false} {
		moved, err := b.store.MoveVehicleToV3(t.Context(), firstOfFamily, "user")
		require.NoError(t, err)
		require.Equal(t, want, moved)
	}
	status, err := b.vault.TokenStatus(t.Context(), firstOfFamily)
	require.NoError(t, err)
	require.Equal(t, []any{db.APIv3, "user", b.tokenID}, []any{status.API, status.SmartcarUserID, status.TokenID})
	moved, err := b.store.MoveVehicleToV3(t.Context(), "unheard-of", "user")
	require.NoError(t, err)
	require.False(t, moved)
}

func TestTokensThatAreRefusedAskNobodyWhoseVehicleMovedToV3(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	moved, err := b.store.MoveVehicleToV3(t.Context(), firstOfFamily, "user")
	require.NoError(t, err)
	require.True(t, moved)
	_, err = b.refresh(secondOfFamily, 1, refuse)
	require.NoError(t, err)
	require.Equal(t, []string{secondOfFamily}, b.listed(db.VehicleFilter{State: db.StateReauthRequired}))
	require.Equal(t, []string{secondOfFamily}, b.column(`SELECT smartcar_vehicle_id FROM notices WHERE notice_type = $1`, db.NoticeReauthRequired))

	// Nor do they stand in the way of withdrawing what an error has asked for.
	now := time.Now()
	b.fail(t, "began", now, false)
	require.Equal(t, db.StateReauthRequired, b.state(t))
	b.fail(t, "ended", now.Add(time.Second), true)
	require.Equal(t, db.StateConnected, b.state(t))
}

func TestAVehicleThatWaitsForItsOwnerOnlyForItsTokensGoesOnUnderV3(t *testing.T) {
	t.Parallel()
	for name, isNeeded := range map[string]bool{"nothing else is wrong": false, "an error needs the owner": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupVault(t)
			_, err := b.refresh(firstOfFamily, 1, refuse)
			require.NoError(t, err)
			if isNeeded {
				b.fail(t, "began", time.Now(), false)
			}
			moved, err := b.store.MoveVehicleToV3(t.Context(), firstOfFamily, "user")
			require.NoError(t, err)
			require.True(t, moved)
			resolved := b.column(`SELECT smartcar_vehicle_id FROM notices WHERE notice_type = $1`, db.NoticeReauthResolved)
			if isNeeded {
				require.Equal(t, db.StateReauthRequired, b.state(t))
				require.Empty(t, resolved)
				return
			}
			require.Equal(t, []string{"connected true"}, b.column(`SELECT concat_ws(' ', connection_state, (reauth_since IS NULL)::text)
				FROM smartcar_vehicles WHERE smartcar_vehicle_id = $1`, firstOfFamily))
			require.Equal(t, []string{firstOfFamily}, resolved)
			require.Equal(t, []string{secondOfFamily}, b.listed(db.VehicleFilter{State: db.StateReauthRequired}))
		})
	}
}

func TestAReauthenticationIsResolvedOnce(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	require.NoError(t, b.store.ResolveReauthentication(t.Context(), firstOfFamily), "one that does not wait is left alone")
	_, err := b.refresh(firstOfFamily, 1, refuse)
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, b.store.ResolveReauthentication(t.Context(), firstOfFamily))
	}
	require.Equal(t, []string{firstOfFamily}, b.column(`SELECT smartcar_vehicle_id FROM notices WHERE notice_type = $1`, db.NoticeReauthResolved))
	require.Equal(t, []string{secondOfFamily}, b.listed(db.VehicleFilter{State: db.StateReauthRequired}))
}

func TestListsOfVehiclesAreNarrowed(t *testing.T) {
	t.Parallel()
	b := setupVault(t)
	_, err := b.connectVehicle(db.ConnectedVehicle{SmartcarVehicleID: "another", OwnerEmail: "another@milepost.example"})
	require.NoError(t, err)
	require.NoError(t, b.store.VehicleSubscribed(t.Context(), "another", "webhook"))
	require.Equal(t, []string{"another", firstOfFamily, secondOfFamily}, b.listed(db.VehicleFilter{}))
	require.Equal(t, []string{firstOfFamily, secondOfFamily}, b.listed(db.VehicleFilter{Owner: "family@milepost.example"}))
	require.Empty(t, b.listed(db.VehicleFilter{Owner: "family@milepost.example", SmartcarVehicleID: "another"}))
	vehicles, err := b.store.ListVehicles(t.Context(), db.VehicleFilter{SmartcarVehicleID: "another", Limit: 1})
	require.NoError(t, err)
	require.Equal(t, "webhook", vehicles[0].SubscribedWebhookID)
	require.Nil(t, vehicles[0].TokenStatus)
}
