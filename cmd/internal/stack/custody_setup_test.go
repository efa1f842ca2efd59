package stack_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// custody is a whole Milepost at a simulated Smartcar that the test holds in its hand.
type custody struct {
	*bundle

	platform *smartcartest.Platform
	cars     []smartcartest.Car
}

// setupCustody starts everything with so many owners of one car each; none is
// connected yet. Changes are to what the simulated Smartcar is like.
func setupCustody(t *testing.T, owners int, options stack.Options, changes ...func(*smartcartest.PlatformDeps)) *custody {
	t.Helper()
	c := &custody{}
	var users []smartcartest.PlatformUser
	for n := range owners {
		car := smartcartest.Car{
			Name: fmt.Sprint("car ", n), VehicleID: uuid.NewString(), UserID: uuid.NewString(),
			Make: "POLESTAR", Model: "Polestar 2", Year: 2023, Unit: "km", OdometerKm: 1000,
		}
		c.cars = append(c.cars, car)
		users = append(users, smartcartest.PlatformUser{
			ID: car.UserID, Name: fmt.Sprint("Owner ", n), Cars: []smartcartest.PlatformCar{{Car: car}},
		})
	}
	var err error
	options.Smartcar = func(_ context.Context, application stack.Application) (string, error) {
		deps := smartcartest.PlatformDeps{
			ClientID: application.ClientID, ClientSecret: application.ClientSecret,
			APIClientID: application.APIClientID, APIClientSecret: application.ClientSecret,
			ManagementToken: application.ManagementToken, RedirectURIs: []string{application.RedirectURI}, Users: users,
			Generation: smartcar.APIVersion(options.Environment["SMARTCAR_API"]),
		}
		for _, change := range changes {
			change(&deps)
		}
		c.platform, err = smartcartest.NewPlatform(deps)
		if err != nil {
			return "", err
		}
		server := httptest.NewServer(c.platform)
		t.Cleanup(server.Close)
		return server.URL, nil
	}
	c.bundle = setup(t, options)
	return c
}

// connectAll gives every car a token family and a TokenRefresh workflow, as a consent would.
func (c *custody) connectAll() {
	c.t.Helper()
	for _, car := range c.cars {
		require.NoError(c.t, c.ConnectSimulated(c.t.Context(), c.platform, car))
	}
	for _, car := range c.cars {
		c.awaitSleeping(car.VehicleID)
	}
}

// tokenStatus asks a vehicle's workflow by its query.
func (c *custody) tokenStatus(vehicle string) (status contract.TokenRefreshStatus, err error) {
	answer, err := c.temporal.QueryWorkflow(c.t.Context(), contract.TokenRefreshID(vehicle), "", contract.QueryTokenRefreshStatus)
	if err != nil {
		return status, err
	}
	return status, answer.Get(&status)
}

// awaitSleeping waits until a vehicle's workflow has nothing to do before the next refresh is due.
func (c *custody) awaitSleeping(vehicle string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		status, err := c.tokenStatus(vehicle)
		return err == nil && status.State == contract.PhaseSleeping
	}, 2*soon, 50*time.Millisecond, "the workflow of %s is not sleeping", vehicle)
}

// refreshNow asks for a refresh as an operator does.
func (c *custody) refreshNow(vehicle string) {
	c.t.Helper()
	require.NoError(c.t, c.Store.RequestWorkflow(c.t.Context(), db.WorkflowRequest{
		Kind: db.RequestTokenRefresh, Subject: vehicle, Signal: db.SignalRefreshNow,
	}))
}

func (c *custody) generation(vehicle string) int64 {
	c.t.Helper()
	status, err := c.Vault.TokenStatus(c.t.Context(), vehicle)
	require.NoError(c.t, err)
	return status.Generation
}

func (c *custody) awaitGeneration(vehicle string, generation int64) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return c.generation(vehicle) >= generation }, soon, 2*time.Millisecond,
		"the tokens of %s are not refreshed", vehicle)
}

// requireNothingLost requires that Smartcar would take what is stored of every
// family, never refused one, and never had two calls for one under way.
func (c *custody) requireNothingLost() {
	c.t.Helper()
	families := map[string]smartcartest.FamilyStatus{}
	for _, family := range c.platform.Families() {
		families[family.VehicleIDs[0]] = family
		require.LessOrEqual(c.t, family.MaxInFlight, 1, "two refreshes of one family were under way at once")
		require.Zero(c.t, family.Refused, "a refresh was refused")
		require.True(c.t, family.CurrentRefresh)
	}
	for _, car := range c.cars {
		require.Contains(c.t, families, car.VehicleID)
		c.requireNothingLostOf(car.VehicleID)
	}
}

// requireNothingLostOf requires that Smartcar would take what is stored of a vehicle.
func (c *custody) requireNothingLostOf(vehicle string) {
	c.t.Helper()
	status, err := c.Vault.TokenStatus(c.t.Context(), vehicle)
	require.NoError(c.t, err)
	require.True(c.t, status.Valid)
	require.Equal(c.t, db.StateConnected, status.State)
	require.True(c.t, c.platform.ValidPair(c.storedPair(vehicle)), "what is stored is not what Smartcar would take")
}

// storedPair decrypts what is stored of a vehicle's family.
func (c *custody) storedPair(vehicle string) (access, refresh string) {
	c.t.Helper()
	status, err := c.Vault.TokenStatus(c.t.Context(), vehicle)
	require.NoError(c.t, err)
	token, err := c.Vault.AccessTokenOfFamily(c.t.Context(), status.TokenID)
	require.NoError(c.t, err)
	// The vault gives refresh tokens to exchanges only.
	_, err = c.Vault.Refresh(c.t.Context(), db.RefreshRequest{SmartcarVehicleID: vehicle},
		func(_ context.Context, refreshToken string) (db.TokenPair, error) {
			refresh = refreshToken
			return db.TokenPair{}, errNotExchanged
		})
	require.ErrorIs(c.t, err, errNotExchanged)
	return token.Token, refresh
}
