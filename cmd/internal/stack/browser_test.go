package stack_test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/db"
)

// requireBrowser is the variable that makes it a fault that no browser is installed.
const requireBrowser = "MILEPOST_REQUIRE_BROWSER"

// browserLimit bounds all that a test does in its browser.
const browserLimit = 10 * time.Minute

// browser opens a headless Chromium with a profile of its own, or skips the test
// where none is installed. CI installs one, and says with MILEPOST_REQUIRE_BROWSER
// that its absence is a fault.
func browser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		require.Empty(t, os.Getenv(requireBrowser), "no Chromium is installed: apt-get install chromium")
		t.Skip("no Chromium is installed (apt-get install chromium): the consent pages are not tested in a real browser")
	}
	// A profile that chromedp makes is its own to remove, with all processes that still use it.
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	)
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx)) // the browser lives as long as the context of the first call
	return ctx
}

// connectLink is what the application would send the owner's browser to.
func (c *custody) connectLink(user, vehicle string) string {
	return api.SignedConnectURL(c.URL(), api.ConnectLink{
		User: user, Name: "Ada Example", VehicleID: vehicle, ExpiresAt: time.Now().Add(time.Minute),
	}, c.ConnectSecret())
}

// phaseIs waits for a page of Milepost's that says so.
func phaseIs(phase string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitReady(chromedp.CSS(`body[data-phase="` + phase + `"]`))
}

func click(id string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.CSS("#" + id)) }

// tick chooses a car whether or not the page has done so already.
func tick(id string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		ticked, err := chromedp.Evaluate[bool](`document.getElementById("`+id+`").checked`)(ctx, target)
		if err != nil || ticked {
			return chromedp.Void{}, err
		}
		return click(id)(ctx, target)
	}
}

func inPage(t *testing.T, ctx context.Context, expression string) string { //nolint:revive // the context is the browser
	t.Helper()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
	require.NoError(t, err)
	return value
}

func TestAnOwnerConnectsACarInARealBrowser(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	c := setupCustody(t, 2, stack.Options{Environment: map[string]string{"SMARTCAR_WEBHOOK_ID": "f1a0c2d4-5b6e-4f70-8a91-b2c3d4e5f601"}})
	car := c.cars[0]
	ctx, cancel := context.WithTimeout(ctx, browserLimit)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx,
		chromedp.Navigate(c.connectLink("ada@milepost.example", "")),
		click("user-"+car.UserID),
		tick("car-"+car.VehicleID),
		click("allow"),
		phaseIs("connected"),
	))
	require.Contains(t, strings.ToLower(inPage(t, ctx, `document.querySelector("h1").textContent`)), "connected")
	visited, err := url.Parse(inPage(t, ctx, `location.href`))
	require.NoError(t, err)
	require.Empty(t, visited.Query().Get("code"), "the code must not stay in the address bar")
	require.Empty(t, visited.Query().Get("state"))

	c.awaitSleeping(car.VehicleID)
	// Subscribing comes after the owner was told.
	require.Eventually(t, func() bool {
		return c.count(`SELECT count(*) FROM smartcar_vehicles AS connection JOIN vehicles ON vehicles.id = vehicle_id
			JOIN users ON users.id = your_app_user_id
			WHERE smartcar_vehicle_id = $1 AND is_active AND email = 'ada@milepost.example' AND users.name = 'Ada Example'
			  AND make = 'POLESTAR' AND vin <> '' AND vehicles.smartcar_user_id = $2 AND 'read_odometer' = ANY (permissions)
			  AND subscribed_webhook_id <> ''`, car.VehicleID, car.UserID) == 1
	}, soon, 50*time.Millisecond, "the car is not stored, or not subscribed")
	c.requireNothingLostOf(car.VehicleID)
	require.Equal(t, []string{db.NoticeConnected}, c.list(`SELECT notice_type FROM notices WHERE smartcar_vehicle_id = $1`, car.VehicleID))

	// The owner changes her mind about another car.
	require.NoError(t, chromedp.Do(ctx,
		chromedp.Navigate(c.connectLink("ada@milepost.example", "")),
		click("deny"),
		phaseIs("failed"),
	))
	require.Equal(t, "access_denied", inPage(t, ctx, `document.body.dataset.reason`))
	c.requireNoTokenAtRest()
}
