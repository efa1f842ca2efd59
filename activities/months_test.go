package activities_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
	"github.com/milepost/milepost/db/keyset"
	"github.com/milepost/milepost/workflows"
	"github.com/milepost/milepost/workflows/contract"
)

const (
	day          = 24 * time.Hour
	months       = 61 * day
	refreshLife  = 60 * day
	accessLife   = 2 * time.Hour
	redirectURI  = "http://127.0.0.1:8080/api/smartcar/callback"
	clientID     = "3f6d1f0a-5f55-4b53-8f0e-6f6b1f2d9c01"
	clientSecret = "4c1f0d9e-7a6b-4c5d-8e9f-0a1b2c3d4e5f"
)

// TestForSixtyOneDaysNoTokenGoesIdleAndNoneIsRefreshedMoreThanNeeded lets the real
// workflows and activities keep two families, of two vehicles and of one, for 61
// days on a clock that skips, against a simulated Smartcar and a real database.
func TestForSixtyOneDaysNoTokenGoesIdleAndNoneIsRefreshedMoreThanNeeded(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct {
		refreshing              activities.Refreshing
		fewest, most            int
		shortestGap, longestGap time.Duration
	}{
		// An access token lives for two hours and is replaced after 50 to 90 % of them.
		{activities.RefreshProactively, 61 * 24 / 2, 61 * 24, time.Hour, 108*time.Minute + time.Second},
		// Weekly, within the day before the week is over.
		{activities.RefreshToKeepAlive, 61 / 7, 61/6 + 1, 6 * day, 7*day + time.Hour + time.Second},
	} {
		t.Run(string(mode.refreshing), func(t *testing.T) {
			t.Parallel()
			m := setupMonths(t, mode.refreshing)
			m.run()
			for _, family := range m.platform.Families() {
				require.True(t, family.CurrentRefresh, "the refresh token is dead")
				require.Zero(t, family.Refused)
				require.Equal(t, 1, family.MaxInFlight)
				require.GreaterOrEqual(t, family.Refreshes, mode.fewest)
				require.LessOrEqual(t, family.Refreshes, mode.most)
				t.Logf("%s: %d refreshes of a family with %d vehicles", mode.refreshing, family.Refreshes, len(family.VehicleIDs))
			}
			require.Len(t, m.gaps(), len(m.platform.Families()))
			for family, gaps := range m.gaps() {
				for _, gap := range gaps {
					require.GreaterOrEqual(t, gap, mode.shortestGap, "family %d is refreshed more than needed", family)
					require.LessOrEqual(t, gap, mode.longestGap, "family %d is left for too long", family)
					require.Less(t, gap, refreshLife)
				}
			}
		})
	}
}

// monthsBundle is a fleet of three vehicles in two families, on the workflow environment's clock.
type monthsBundle struct {
	*testsuite.TestWorkflowEnvironment

	t        *testing.T
	platform *smartcartest.Platform
	vault    *db.Vault
	vehicles []string

	mutex sync.Mutex
	seen  map[int64][]time.Time // when each family was issued a pair
}

func setupMonths(t *testing.T, refreshing activities.Refreshing) *monthsBundle {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	m := &monthsBundle{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t, seen: map[int64][]time.Time{}}
	m.SetStartTime(noon())
	m.SetTestTimeout(5 * time.Minute)
	store, err := db.Open(t.Context(), db.Config{URL: dbtest.New(t), MaxConnections: 8})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	cipher, err := keyset.New()
	require.NoError(t, err)
	m.vault = db.NewVault(store, cipher).WithClock(m.Now)
	users := []smartcartest.PlatformUser{
		{ID: "couple", Cars: []smartcartest.PlatformCar{{Car: smartcartest.Car{VehicleID: "his"}}, {Car: smartcartest.Car{VehicleID: "hers"}}}},
		{ID: "single", Cars: []smartcartest.PlatformCar{{Car: smartcartest.Car{VehicleID: "own"}}}},
	}
	m.platform, err = smartcartest.NewPlatform(smartcartest.PlatformDeps{
		ClientID: clientID, ClientSecret: clientSecret, RedirectURIs: []string{redirectURI}, Users: users, Clock: m.Now,
	})
	require.NoError(t, err)
	server := httptest.NewServer(m.platform)
	t.Cleanup(server.Close)
	oauth, err := smartcar.NewOAuth(smartcar.OAuthConfig{
		Hosts: m.platform.Hosts(server.URL), ClientID: clientID, ClientSecret: clientSecret, RedirectURI: redirectURI,
	})
	require.NoError(t, err)
	m.connect(store, users)
	kept, err := activities.New(activities.Deps{
		Store: store, Logger: slog.New(slog.DiscardHandler), Vault: m.vault, OAuth: oauth,
		Refreshing: refreshing, Clock: m.Now,
	})
	require.NoError(t, err)
	workflows.Register(m)
	m.replace(contract.LoadTokenStatusActivity, kept.LoadTokenStatus)
	m.replace(contract.RefreshTokensActivity,
		func(ctx context.Context, input contract.RefreshTokensInput) (contract.TokenStatus, error) {
			status, err := kept.RefreshTokens(ctx, input)
			m.note(ctx, input.SmartcarVehicleID)
			return status, err
		})
	return m
}

func (m *monthsBundle) replace(name string, function any) {
	m.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
}

func (m *monthsBundle) connect(store *db.Store, users []smartcartest.PlatformUser) {
	m.t.Helper()
	for _, user := range users {
		var vehicles []string
		for _, car := range user.Cars {
			vehicles = append(vehicles, car.VehicleID)
		}
		ownerID, err := store.Owner(m.t.Context(), user.ID+"@milepost.example", "")
		require.NoError(m.t, err)
		access, refresh := m.platform.Issue(user.ID, vehicles)
		tokenID, err := m.vault.AddTokens(m.t.Context(), ownerID, db.TokenPair{
			AccessToken: access, RefreshToken: refresh, ExpiresIn: accessLife,
		})
		require.NoError(m.t, err)
		for _, vehicle := range vehicles {
			_, err := store.ConnectVehicle(m.t.Context(), db.ConnectedVehicle{
				SmartcarVehicleID: vehicle, OwnerID: ownerID, TokenID: tokenID,
			})
			require.NoError(m.t, err)
			m.note(m.t.Context(), vehicle)
		}
		m.vehicles = append(m.vehicles, vehicles...)
	}
}

// note remembers when a vehicle's family was issued its pair.
func (m *monthsBundle) note(ctx context.Context, vehicle string) {
	status, err := m.vault.TokenStatus(ctx, vehicle)
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if seen := m.seen[status.TokenID]; err == nil && (len(seen) == 0 || seen[len(seen)-1].Before(status.IssuedAt)) {
		m.seen[status.TokenID] = append(seen, status.IssuedAt)
	}
}

func (m *monthsBundle) gaps() map[int64][]time.Duration {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	gaps := map[int64][]time.Duration{}
	for family, seen := range m.seen {
		for i := 1; i < len(seen); i++ {
			gaps[family] = append(gaps[family], seen[i].Sub(seen[i-1]))
		}
	}
	return gaps
}

// run lets the vehicles' workflows run side by side on one clock.
func (m *monthsBundle) run() {
	m.t.Helper()
	fleet := func(ctx workflow.Context) error {
		for _, vehicle := range m.vehicles {
			child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: contract.TokenRefreshID(vehicle)})
			started := workflow.ExecuteChildWorkflow(child, contract.TokenRefreshWorkflow, contract.TokenRefreshInput{SmartcarVehicleID: vehicle})
			if err := started.GetChildWorkflowExecution().Get(ctx, nil); err != nil {
				return err
			}
		}
		return workflow.Sleep(ctx, months)
	}
	m.RegisterWorkflowWithOptions(fleet, workflow.RegisterOptions{Name: "Fleet"})
	m.ExecuteWorkflow("Fleet")
	require.True(m.t, m.IsWorkflowCompleted())
	require.NoError(m.t, m.GetWorkflowError())
}
