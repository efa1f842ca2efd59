package stack_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// herd is how many vehicles have tokens that expire in the same minute; `make herd` takes 10,000.
var herd = flag.Int("herd", 300, "vehicles whose tokens expire in the same minute")

const (
	// herdCalls is what Milepost may ask of Smartcar in a second, herdLimit what the simulated one takes.
	herdCalls = 100
	herdLimit = 120
	// lifePerVehicle lets two cores keep up: refreshes are spread over two fifths of the life.
	lifePerVehicle = 75 * time.Millisecond
	lifeOfOne      = 45 * time.Second
	// shortestLife leaves 18 seconds, a tenth, after the last refresh for a machine that stands still.
	shortestLife = 3 * time.Minute
)

// TestAHerdOfTokensThatExpireTogetherIsRefreshedSpreadOut gives a fleet tokens that
// all expire at the same moment, each vehicle a family of its own, and lets Smartcar
// refuse what comes too fast.
//
//nolint:paralleltest // tests under load run one at a time
func TestAHerdOfTokensThatExpireTogetherIsRefreshedSpreadOut(t *testing.T) {
	c := setupCustody(t, *herd, stack.Options{Environment: map[string]string{
		"MILEPOST_SMARTCAR_CALLS_PER_SECOND": strconv.Itoa(herdCalls),
	}})
	limit := c.platform.Limit(smartcartest.Limit{Path: tokenPath, PerSecond: herdLimit, Burst: herdLimit})
	begin := time.Now()
	expiry := begin.Add(max(shortestLife, lifeOfOne+time.Duration(*herd)*lifePerVehicle))
	c.connectHerd(expiry)
	t.Logf("%d vehicles connected in %s; their tokens expire in %s", *herd,
		time.Since(begin).Round(time.Second), time.Until(expiry).Round(time.Second))
	refreshed := 0
	require.Eventually(t, func() bool {
		refreshed = c.count(`SELECT count(*) FROM smartcar_tokens WHERE generation > 1`)
		return refreshed == *herd
	}, time.Until(expiry)+soon, time.Second, "not all tokens were refreshed")

	require.Zero(t, c.count(`SELECT count(*) FROM smartcar_tokens WHERE issued_at >= $1`, expiry), "tokens expired before they were refreshed")
	require.Zero(t, limit.Limited(), "Smartcar's limit was exceeded")
	for _, family := range c.platform.Families() {
		require.Equal(t, 1, family.Refreshes, "a token was refreshed more than needed")
		require.Equal(t, 1, family.MaxInFlight)
	}
	first, last, busiest := c.spread()
	t.Logf("refreshed over %s, %s before expiry at the latest; at most %d calls in one second, %d in any tenth of the time (even: %d)",
		last.Sub(first).Round(time.Second), expiry.Sub(last).Round(time.Second),
		c.platform.PeakRate(tokenPath, time.Second), busiest, *herd/10)
	// Twice the even share is much. More than that is made up by a machine that stood still, but never half of all.
	require.Less(t, busiest, *herd/2, "the refreshes are not spread out")
	c.measureHerd()
	c.requireNoTokenAtRest()
}

// connectHerd stores a family for each car, whose access token expires at the given moment.
func (c *custody) connectHerd(expiry time.Time) {
	c.t.Helper()
	group, ctx := errgroup.WithContext(c.t.Context())
	group.SetLimit(4)
	ownerID, err := c.Store.Owner(c.t.Context(), "herd@milepost.example", "")
	require.NoError(c.t, err)
	for _, car := range c.cars {
		group.Go(func() error { return c.connectUntil(ctx, ownerID, car, expiry) })
	}
	require.NoError(c.t, group.Wait())
}

func (c *custody) connectUntil(ctx context.Context, ownerID int64, car smartcartest.Car, expiry time.Time) error {
	access, refresh := c.platform.Issue(car.UserID, []string{car.VehicleID})
	tokenID, err := c.Vault.AddTokens(ctx, ownerID, db.TokenPair{
		AccessToken: access, RefreshToken: refresh, ExpiresIn: time.Until(expiry),
	})
	if err != nil {
		return err
	}
	_, err = c.Store.ConnectVehicle(ctx, db.ConnectedVehicle{SmartcarVehicleID: car.VehicleID, OwnerID: ownerID, TokenID: tokenID})
	return err
}

// spread says when the refreshes happened, and how many in the busiest tenth of that time.
func (c *custody) spread() (first, last time.Time, busiest int) {
	c.t.Helper()
	var moments []time.Time
	for _, family := range c.platform.Families() {
		moments = append(moments, family.LastIssuedAt)
	}
	first, last = slices.MinFunc(moments, time.Time.Compare), slices.MaxFunc(moments, time.Time.Compare)
	tenths := make([]int, 10)
	for _, moment := range moments {
		tenths[min(9, int(10*moment.Sub(first)/max(1, last.Sub(first))))]++
	}
	return first, last, slices.Max(tenths)
}

// measureHerd prints what the fleet costs.
func (c *custody) measureHerd() {
	c.t.Helper()
	var events, bytes, most int64
	const sample = 100
	vehicles := c.cars[:min(sample, len(c.cars))]
	for _, car := range vehicles {
		described := c.describe(car.VehicleID)
		events += described.GetHistoryLength()
		bytes += described.GetHistorySizeBytes()
		most = max(most, described.GetHistoryLength())
	}
	require.Less(c.t, most, int64(contract.DefaultContinueAfter))
	counted := int64(len(vehicles))
	c.t.Logf("history of a vehicle: %d events, %d bytes on average, %d events at most", events/counted, bytes/counted, most)
	c.t.Logf("resident memory: milepost %s, Temporal %s; database %d MiB",
		residentMemory(c.Milepost.Process().Pid()), residentMemory(c.Temporal.Process().Pid()),
		c.count(`SELECT pg_database_size(current_database()) / 1024 / 1024`))
}

// residentMemory reads what Linux says of a process; elsewhere it is not known.
func residentMemory(pid int) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "unknown"
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}
