package activities_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

const noticeSecret = "whsec_bWlsZXBvc3QtdGVzdHMtYXJlLW5vLXNlY3JldA=="

// application takes notices: it verifies and keeps each post that it gets, and answers as it is told.
type application struct {
	*connected
	*httptest.Server

	verifier *standardwebhooks.Webhook
	mutex    sync.Mutex
	posts    []post
	answers  []http.HandlerFunc // the last one is repeated
}

type post struct{ id, path, body string }

func setupApplication(t *testing.T, answers ...http.HandlerFunc) *application {
	t.Helper()
	return setupApplicationWithin(t, enoughPatience, answers...)
}

// setupApplicationWithin is setupApplication with a time within which an answer is awaited.
func setupApplicationWithin(t *testing.T, patience time.Duration, answers ...http.HandlerFunc) *application {
	t.Helper()
	app := &application{answers: answers}
	app.Server = httptest.NewServer(app)
	t.Cleanup(app.Close)
	var err error
	app.verifier, err = standardwebhooks.NewWebhook(noticeSecret)
	require.NoError(t, err)
	signer, err := activities.NewNoticeSigner(noticeSecret)
	require.NoError(t, err)
	app.connected = setupSmartcar(t, func(b *connected) {
		b.deps.Notices = activities.NoticeTarget{URL: app.URL + "/notices", Signer: signer, HTTP: &http.Client{Timeout: patience}}
	})
	return app
}

// ServeHTTP implements http.Handler.
func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil && r.Method == http.MethodPost {
		err = a.verifier.Verify(body, r.Header)
	}
	if err != nil {
		a.t.Errorf("a post that cannot be believed: %v", err)
	}
	a.mutex.Lock()
	a.posts = append(a.posts, post{id: r.Header.Get("Webhook-Id"), path: r.Method + " " + r.URL.Path, body: string(body)})
	next := a.answers[0]
	if len(a.answers) > 1 {
		a.answers = a.answers[1:]
	}
	a.mutex.Unlock()
	next(w, r)
}

// pending is the id of the one notice that there is: a vehicle has been connected.
func (a *application) pending() string {
	a.t.Helper()
	a.execute("DELETE FROM notices")
	_, err := a.store.ConnectVehicle(a.t.Context(), db.ConnectedVehicle{SmartcarVehicleID: car, OwnerEmail: driver})
	require.NoError(a.t, err)
	ids := texts(a.t, a.url, "SELECT id FROM notices")
	require.Len(a.t, ids, 1)
	require.Equal(a.t, ids, texts(a.t, a.url, "SELECT subject FROM workflow_requests WHERE kind = 'deliver_notice' ORDER BY id DESC LIMIT 1"))
	return ids[0]
}

func (a *application) deliver(id string) error {
	_, err := a.DeliverNotice(a.t.Context(), contract.DeliverNoticeInput{NoticeID: id})
	return err
}

func TestANoticeIsSignedAndDeliveredOnce(t *testing.T) {
	t.Parallel()
	app := setupApplication(t, answer(202, hush))
	id := app.pending()
	for range 2 {
		require.NoError(t, app.deliver(id))
	}
	require.Len(t, app.posts, 1, "what is noted as delivered is not posted again")
	var body struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      struct {
			User              string `json:"user"`
			VehicleID         int64  `json:"vehicleId"`
			SmartcarVehicleID string `json:"smartcarVehicleId"`
		} `json:"data"`
	}
	require.NoError(t, json.Unmarshal([]byte(app.posts[0].body), &body))
	require.Equal(t, db.NoticeConnected, body.Type)
	require.WithinDuration(t, time.Now(), body.Timestamp, time.Minute)
	require.Equal(t, driver, body.Data.User)
	require.Equal(t, car, body.Data.SmartcarVehicleID)
	require.Equal(t, app.summary(car).VehicleID, body.Data.VehicleID)
	notice, err := app.store.Notice(t.Context(), id)
	require.NoError(t, err)
	require.True(t, notice.Delivered)
	app.requireSilence()
	require.NotContains(t, app.logs.String(), driver)
}

// TestANoticeThatIsNotTakenIsPostedAgainUnderTheSameID: whatever the answer, unless it is a 2xx.
func TestANoticeThatIsNotTakenIsPostedAgainUnderTheSameID(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"500":                {answer(500, hush), "it answered 500"},
		"410":                {answer(410, hush), "it answered 410"},
		"404":                {page(404), "it answered 404"},
		"a redirect":         {answer(302, "", "Location", "/elsewhere"), "it answered 302"},
		"a lasting redirect": {answer(308, "", "Location", "/elsewhere"), "it answered 308"},
		"no answer in time":  {silence, "no answer"},
		"a reset":            {reset, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patience := enoughPatience
			if name == "no answer in time" {
				patience = shortPatience
			}
			app := setupApplicationWithin(t, patience, test.answer, answer(200, ""))
			id := app.pending()
			err := app.deliver(id)
			requireTransient(t, err, "notice_not_taken", 0)
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), strings.TrimPrefix(app.URL, "http://"))
			app.requireSilence(err.Error())
			require.NoError(t, app.deliver(id))
			require.Len(t, app.posts, 2)
			require.Equal(t, app.posts[0], app.posts[1], "same id, same place, same bytes")
			require.Equal(t, post{id: id, path: "POST /notices", body: app.posts[0].body}, app.posts[0])
		})
	}
}

func TestANoticeWaitsForAnApplicationThatIsAwayOrNotConfigured(t *testing.T) {
	t.Parallel()
	app := setupApplication(t, answer(200, ""))
	id := app.pending()
	app.Close()
	err := app.deliver(id)
	requireTransient(t, err, "notice_not_taken", 0)
	app.requireSilence(err.Error())

	app.deps.Notices = activities.NoticeTarget{}
	a, err := activities.New(app.deps)
	require.NoError(t, err)
	_, err = a.DeliverNotice(t.Context(), contract.DeliverNoticeInput{NoticeID: id})
	requireTransient(t, err, "notice_not_taken", 0)
	require.ErrorContains(t, err, "MILEPOST_NOTICE_URL")
}

func TestANoticeThatWasGivenUpCanStillBeTaken(t *testing.T) {
	t.Parallel()
	app := setupApplication(t, answer(200, ""))
	id := app.pending()
	input := contract.DeliverNoticeInput{NoticeID: id}
	_, err := app.GiveNoticeUp(t.Context(), input)
	require.NoError(t, err)
	notice, err := app.store.Notice(t.Context(), id)
	require.NoError(t, err)
	require.True(t, notice.GivenUp)
	require.NoError(t, app.deliver(id), "as after a reset of its workflow")
	_, err = app.GiveNoticeUp(t.Context(), input)
	require.NoError(t, err)
	notice, err = app.store.Notice(t.Context(), id)
	require.NoError(t, err)
	require.True(t, notice.Delivered)
	require.False(t, notice.GivenUp, "one that was taken after all stays so")
}

func TestASecretThatIsNoneSaysHowToMakeOne(t *testing.T) {
	t.Parallel()
	_, err := activities.NewNoticeSigner("whsec_" + hush + "!")
	require.ErrorContains(t, err, "openssl rand")
	require.NotContains(t, err.Error(), hush)
}
