package stack_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

const noticeSecret = "whsec_bWlsZXBvc3Qtbm90aWNlLXNlY3JldC1mb3ItdGVzdHM="

// exampleOwner owns the vehicles that every stack begins with.
const exampleOwner = "driver@milepost.example"

// application takes notices, as the one that Milepost stands behind.
type application struct {
	*httptest.Server

	mutex    sync.Mutex
	notices  []string // the types, in the order of arrival
	received bytes.Buffer
}

// newApplication takes notices whose signature verifies; it refuses the first one once.
func newApplication(t *testing.T) *application {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(noticeSecret)
	require.NoError(t, err)
	a := &application{}
	refused := false
	a.Server = httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		a.mutex.Lock()
		defer a.mutex.Unlock()
		body, err := io.ReadAll(request.Body)
		if err != nil || verifier.Verify(body, request.Header) != nil || !refused {
			refused = true
			response.WriteHeader(http.StatusInternalServerError)
			return
		}
		if strings.Contains(string(body), exampleOwner) {
			return // the vehicles that every stack begins with
		}
		_, kind, _ := strings.Cut(string(body), `"type":"`)
		kind, _, _ = strings.Cut(kind, `"`)
		a.notices = append(a.notices, kind)
		_, _ = a.received.Write(body) // it never fails
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *application) taken() []string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return append([]string{}, a.notices...)
}

// TestNoTokenIsReadableAnywhere leads one car through everything that can happen to
// its tokens, and then looks for every token and code that Smartcar has ever issued
// in the logs, in Temporal's histories, in a dump of the database, in the answers of
// Milepost and in what its commands print.
func TestNoTokenIsReadableAnywhere(t *testing.T) {
	t.Parallel()
	told := newApplication(t)
	c := setupCustody(t, 2, stack.Options{Environment: map[string]string{
		"MILEPOST_NOTICE_URL": told.URL, "MILEPOST_NOTICE_SECRET": noticeSecret, "MILEPOST_LOG_LEVEL": "DEBUG",
		"SMARTCAR_WEBHOOK_ID": "f1a0c2d4-5b6e-4f70-8a91-b2c3d4e5f601",
	}})
	car := c.cars[0]
	answers := &bytes.Buffer{}
	c.consent(answers, "ada@milepost.example", "", smartcartest.ConsentAnswer{UserID: car.UserID, VehicleIDs: []string{car.VehicleID}})
	c.awaitSleeping(car.VehicleID)

	c.platform.Fault(smartcartest.Fault{Path: tokenPath, Times: 1, Drop: true}) // an answer is lost
	c.refreshNow(car.VehicleID)
	c.awaitGeneration(car.VehicleID, 2)
	// Seven calls are more than the workflow makes before it waits by itself.
	c.platform.Fault(smartcartest.Fault{Path: tokenPath, Times: 7, Status: http.StatusBadGateway, Body: "<html>", ContentType: "text/html"})
	c.refreshNow(car.VehicleID)
	c.awaitGeneration(car.VehicleID, 3)

	require.True(t, c.platform.RevokeUser(car.UserID))
	c.refreshNow(car.VehicleID)
	c.awaitState(car.VehicleID, db.StateReauthRequired)
	c.consent(answers, "ada@milepost.example", "", smartcartest.ConsentAnswer{UserID: car.UserID, VehicleIDs: []string{car.VehicleID}})
	c.awaitState(car.VehicleID, db.StateConnected)
	c.awaitSleeping(car.VehicleID)

	require.True(t, c.platform.BlockUser(car.UserID))
	c.refreshNow(car.VehicleID)
	c.awaitState(car.VehicleID, db.StateReauthRequired)
	c.consent(answers, "ada@milepost.example", car.VehicleID, smartcartest.ConsentAnswer{UserID: car.UserID, VehicleIDs: []string{car.VehicleID}})
	c.awaitState(car.VehicleID, db.StateConnected)

	printed := c.milepost("vehicles", "list", "--json") + c.milepost("vehicles", "show", car.VehicleID) +
		c.milepost("keys", "status") + c.milepost("vehicles", "migrate-to-v3", "--dry-run")
	printed += c.milepost("vehicles", "disconnect", car.VehicleID)
	c.awaitState(car.VehicleID, db.StateDisconnected)
	require.Zero(t, c.count(`SELECT count(*) FROM smartcar_tokens`), "tokens that nobody needs are deleted")

	second := c.cars[1] // one whose tokens are there when the database is dumped
	c.consent(answers, "grace@milepost.example", "", smartcartest.ConsentAnswer{UserID: second.UserID, VehicleIDs: []string{second.VehicleID}})
	c.awaitSleeping(second.VehicleID)
	require.Eventually(t, func() bool { return len(told.taken()) >= 7 }, soon, 20*time.Millisecond, "%v", told.taken())
	require.ElementsMatch(t, []string{
		db.NoticeConnected, db.NoticeReauthRequired, db.NoticeReauthResolved, db.NoticeReauthRequired, db.NoticeReauthResolved,
		db.NoticeDisconnected, db.NoticeConnected,
	}, told.taken())
	for _, path := range []string{"/ready", "/health"} {
		c.fetch(answers, c.URL()+path)
	}
	c.fetch(answers, c.AdminURL()+"/metrics")

	c.requireNoToken(map[string][]byte{
		"answers": answers.Bytes(), "printed": []byte(printed), "notices": told.received.Bytes(),
		"dump": c.dump(), "tables": c.tables(), "histories": c.histories(), "temporal workflow show": c.temporalShow(),
	})
	c.recordHistories(car.VehicleID)
}

// consent leads an owner through Connect by HTTP, keeping every answer of Milepost's.
func (c *custody) consent(answers *bytes.Buffer, user, vehicle string, answer smartcartest.ConsentAnswer) {
	c.t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(c.t, err)
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(address string) (status int, location string) {
		request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, address, nil)
		require.NoError(c.t, err)
		response, err := browser.Do(request)
		require.NoError(c.t, err)
		require.NoError(c.t, response.Header.Write(answers))
		_, err = io.Copy(answers, response.Body)
		require.NoError(c.t, err)
		require.NoError(c.t, response.Body.Close())
		return response.StatusCode, response.Header.Get("Location")
	}
	_, smartcarPage := get(c.connectLink(user, vehicle))
	callback, err := c.platform.Consent(c.t.Context(), smartcarPage, answer)
	require.NoError(c.t, err)
	_, statusPage := get(callback)
	require.Eventually(c.t, func() bool {
		mark := answers.Len()
		status, _ := get(c.URL() + statusPage)
		require.Equal(c.t, http.StatusOK, status)
		return bytes.Contains(answers.Bytes()[mark:], []byte(`data-phase="connected"`))
	}, soon, 50*time.Millisecond, "the owner is not told that the car is connected")
	again, _ := get(callback)
	require.Equal(c.t, http.StatusConflict, again, "a callback that is opened again")
}

func (c *custody) fetch(answers *bytes.Buffer, address string) {
	c.t.Helper()
	response, err := http.Get(address) //nolint:noctx // a test
	require.NoError(c.t, err)
	_, err = io.Copy(answers, response.Body)
	require.NoError(c.t, err)
	require.NoError(c.t, response.Body.Close())
}

func (c *custody) awaitState(vehicle, state string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		status, err := c.Vault.TokenStatus(c.t.Context(), vehicle)
		return err == nil && status.State == state
	}, soon, 10*time.Millisecond, "the vehicle is not %s", state)
}

// recordHistories keeps what ran for the replay test of workflows.
func (c *custody) recordHistories(vehicle string) {
	c.t.Helper()
	for _, run := range c.executions() {
		id, name := run.GetWorkflowId(), ""
		switch {
		case id == contract.TokenRefreshID(vehicle):
			name = "token_refresh"
		case strings.HasPrefix(id, "connect/"):
			name = "connect_vehicles"
		case strings.HasPrefix(id, "notice/"):
			name = "deliver_notice"
		}
		if name != "" {
			c.replayHistory(name, c.historyOf(id, ""))
		}
	}
}
