package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
	"github.com/milepost/milepost/db/keyset"
)

// migrateBundle is a fleet under v2, and a Smartcar whose user has consented to all of its cars.
type migrateBundle struct {
	t        *testing.T
	store    *db.Store
	tokenID  int64
	platform *smartcartest.Platform
	tokens   *smartcar.ApplicationTokens
	client   *smartcar.V3Client
}

const consentingUser = "consenting-user"

func setupMigrate(t *testing.T, cars ...string) *migrateBundle {
	t.Helper()
	b := &migrateBundle{t: t}
	var err error
	b.store, err = db.Open(t.Context(), db.Config{URL: dbtest.New(t), MaxConnections: 2})
	require.NoError(t, err)
	t.Cleanup(b.store.Close)
	cipher, err := keyset.New()
	require.NoError(t, err)
	ownerID, err := b.store.Owner(t.Context(), "owner@milepost.example", "")
	require.NoError(t, err)
	b.tokenID, err = db.NewVault(b.store, cipher).AddTokens(t.Context(), ownerID, db.TokenPair{
		AccessToken: "access", RefreshToken: "refresh", ExpiresIn: time.Hour,
	})
	require.NoError(t, err)

	user := smartcartest.PlatformUser{ID: consentingUser}
	for _, car := range cars {
		user.Cars = append(user.Cars, smartcartest.PlatformCar{Car: smartcartest.Car{VehicleID: car}})
	}
	b.platform, err = smartcartest.NewPlatform(smartcartest.PlatformDeps{
		ClientID: "client", ClientSecret: "secret", APIClientID: "api-client", APIClientSecret: "api-secret",
		RedirectURIs: []string{"https://milepost.example/callback"}, Users: []smartcartest.PlatformUser{user},
	})
	require.NoError(t, err)
	access, _ := b.platform.Issue(consentingUser, cars)
	require.NotEmpty(t, access)
	server := httptest.NewServer(b.platform)
	t.Cleanup(server.Close)
	hosts := b.platform.Hosts(server.URL)
	b.tokens, err = smartcar.NewApplicationTokens(smartcar.ApplicationTokensConfig{
		Hosts: hosts, ClientID: "api-client", ClientSecret: "api-secret",
	})
	require.NoError(t, err)
	b.client, err = smartcar.NewV3Client(smartcar.ClientConfig{Hosts: hosts})
	require.NoError(t, err)
	return b
}

func (b *migrateBundle) connect(car, smartcarUserID string) {
	b.t.Helper()
	_, err := b.store.ConnectVehicle(b.t.Context(), db.ConnectedVehicle{
		SmartcarVehicleID: car, SmartcarUserID: smartcarUserID, OwnerEmail: "owner@milepost.example", TokenID: b.tokenID,
	})
	require.NoError(b.t, err)
}

func (b *migrateBundle) migrate(finder vehicleFinder) (*migration, error) {
	b.t.Helper()
	migration := &migration{store: b.store, tokens: b.tokens, vehicles: finder, progress: &bytes.Buffer{}}
	err := migration.run(b.t.Context())
	return migration, err
}

func (b *migrateBundle) left() (ids []string) {
	b.t.Helper()
	vehicles, err := b.store.VehiclesToMigrate(b.t.Context(), "", 100)
	require.NoError(b.t, err)
	for _, vehicle := range vehicles {
		ids = append(ids, vehicle.SmartcarVehicleID)
	}
	return ids
}

func TestAVehicleIsMovedToV3UnderItsOwnersConsentOnly(t *testing.T) {
	t.Parallel()
	b := setupMigrate(t, "hers", "somebody-else-consented-to-it-since", "of-unknown-user")
	b.connect("hers", consentingUser)
	b.connect("somebody-else-consented-to-it-since", "owner-of-before")
	b.connect("of-unknown-user", "")
	migrated, err := b.migrate(b.client)
	require.EqualError(t, err, "1 vehicles stay on v2")
	require.Equal(t, 2, migrated.Moved)
	require.Equal(t, map[string]string{
		"somebody-else-consented-to-it-since": "v3 has no connection of this vehicle with its owner",
	}, migrated.Reasons)
	require.Equal(t, []string{"somebody-else-consented-to-it-since"}, b.left())
}

func TestAnApplicationTokenThatIsRefusedIsReplacedOnce(t *testing.T) {
	t.Parallel()
	b := setupMigrate(t, "car")
	b.connect("car", consentingUser)
	refused := b.platform.Fault(smartcartest.Fault{Path: "/v3/connections", Status: http.StatusUnauthorized, Body: "{}"})
	_, err := b.migrate(b.client)
	require.ErrorIs(t, err, smartcar.ErrUnauthorized)
	require.Equal(t, 2, b.platform.Requests("/v3/connections"))
	refused.Clear()
	b.platform.Fault(smartcartest.Fault{Path: "/v3/connections", Times: 1, Status: http.StatusUnauthorized, Body: "{}"})
	migrated, err := b.migrate(b.client)
	require.NoError(t, err)
	require.Equal(t, 1, migrated.Moved)
}

// disconnecting is a client during whose call the vehicle is disconnected.
type disconnecting struct {
	vehicleFinder

	store *db.Store
}

func (d disconnecting) FindVehicle(
	ctx context.Context, credential smartcar.Credential, vehicleID string,
) (smartcar.VehicleRef, error) {
	if err := d.store.DisconnectVehicle(ctx, vehicleID); err != nil {
		return smartcar.VehicleRef{}, err
	}
	return d.vehicleFinder.FindVehicle(ctx, credential, vehicleID)
}

func TestAVehicleThatIsDisconnectedMeanwhileIsNotCountedAsMoved(t *testing.T) {
	t.Parallel()
	b := setupMigrate(t, "car")
	b.connect("car", consentingUser)
	migrated, err := b.migrate(disconnecting{vehicleFinder: b.client, store: b.store})
	require.NoError(t, err)
	require.Zero(t, migrated.Moved)
	require.Zero(t, migrated.Stayed)
}
