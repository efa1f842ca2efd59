package smartcar_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

func answered(status int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// brokenClient asks a host that answers with the status at hand; 0 is no answer.
type brokenClient struct {
	status  atomic.Int32
	asked   atomic.Int32
	changes []string
	client  *smartcar.V2Client
}

func newBrokenClient(t *testing.T, settings smartcar.BreakerSettings) *brokenClient {
	t.Helper()
	broken := new(brokenClient)
	settings.OnChange = func(host, from, to string) { broken.changes = append(broken.changes, host+" "+from+" "+to) }
	breaker := smartcar.NewBreaker(roundTripper(func(*http.Request) (*http.Response, error) {
		broken.asked.Add(1)
		status := int(broken.status.Load())
		if status == 0 {
			return nil, errors.New("connection refused")
		}
		if status == http.StatusOK {
			return answered(status, `{"id":"user-1"}`)
		}
		return answered(status, `{"type":"TYPE","code":"CODE"}`)
	}), settings)
	client, err := smartcar.NewV2Client(smartcar.ClientConfig{HTTP: &http.Client{Transport: breaker}})
	require.NoError(t, err)
	broken.client = client
	return broken
}

func (b *brokenClient) ask(t *testing.T, status int) error {
	t.Helper()
	b.status.Store(int32(status))
	_, err := b.client.User(t.Context(), credential())
	return err
}

func requireNotSent(t *testing.T, err error, retryAfter time.Duration) {
	t.Helper()
	require.ErrorIs(t, err, smartcar.ErrUnavailable)
	failure := callError(t, err)
	require.False(t, failure.UnknownOutcome)
	require.Zero(t, failure.HTTPStatus)
	require.Equal(t, retryAfter, failure.RetryAfter)
	require.Equal(t, smartcar.ReactionRetryLater, smartcar.ReactionTo(err))
}

func TestAHostThatKeepsFailingIsNotAskedUntilAProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := newBrokenClient(t, smartcar.BreakerSettings{})
		for _, status := range []int{500, 502, 503, 0, 504} {
			err := broken.ask(t, status)
			require.ErrorIs(t, err, smartcar.ErrUnavailable)
			require.Equal(t, status, callError(t, err).HTTPStatus, "the answer is handed on")
		}
		requireNotSent(t, broken.ask(t, 200), 30*time.Second)
		time.Sleep(10 * time.Second) // The bubble's clock.
		requireNotSent(t, broken.ask(t, 200), 20*time.Second)
		require.EqualValues(t, 5, broken.asked.Load())

		time.Sleep(20*time.Second + 1)
		require.ErrorIs(t, broken.ask(t, 503), smartcar.ErrUnavailable)
		require.EqualValues(t, 6, broken.asked.Load(), "a probe")
		requireNotSent(t, broken.ask(t, 200), 30*time.Second)

		time.Sleep(30*time.Second + 1)
		require.NoError(t, broken.ask(t, 200))
		require.NoError(t, broken.ask(t, 200))
		require.EqualValues(t, 8, broken.asked.Load())
		const host = "api.smartcar.com "
		require.Equal(t, []string{
			host + "closed open", host + "open half-open", host + "half-open open", host + "open half-open", host + "half-open closed",
		}, broken.changes)
	})
}

func TestAnswersAboutTheRequestDoNotOpenABreaker(t *testing.T) {
	t.Parallel()
	broken := newBrokenClient(t, smartcar.BreakerSettings{Failures: 2})
	for range 5 {
		for _, status := range []int{400, 401, 403, 404, 409, 429, 430, 501} {
			require.Equal(t, status, callError(t, broken.ask(t, status)).HTTPStatus)
		}
		require.Equal(t, 503, callError(t, broken.ask(t, 503)).HTTPStatus, "one failure at a time")
	}
	require.EqualValues(t, 45, broken.asked.Load())
}

func TestABreakerKnowsHostsApart(t *testing.T) {
	t.Parallel()
	breaker := smartcar.NewBreaker(roundTripper(func(request *http.Request) (*http.Response, error) {
		if request.URL.Host == "management.api.smartcar.com" {
			return answered(503, "")
		}
		return answered(200, `{"data":[{"attributes":{"code":"odometer-traveleddistance","body":{"value":1}}}]}`)
	}), smartcar.BreakerSettings{Failures: 1, OpenFor: time.Hour})
	client, err := smartcar.NewV3Client(smartcar.ClientConfig{HTTP: &http.Client{Transport: breaker}})
	require.NoError(t, err)
	_, err = client.Vehicles(t.Context(), credential())
	require.Equal(t, 503, callError(t, err).HTTPStatus)
	_, err = client.Vehicles(t.Context(), credential())
	require.Zero(t, callError(t, err).HTTPStatus)
	poll, err := client.Readings(t.Context(), credential(), vehicleID, []string{smartcar.CodeOdometer})
	require.NoError(t, err)
	require.Len(t, poll.Signals, 1)
}

func TestAPollThatTheBreakerStoppedCostsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := newBrokenClient(t, smartcar.BreakerSettings{Failures: 1, OpenFor: time.Minute})
		require.ErrorIs(t, broken.ask(t, 0), smartcar.ErrUnavailable)
		budget := newBudget(t, smartcar.BudgetLimits{})
		requireAllowed(t, budget, "a", 1, time.Now())
		poll, err := broken.client.Readings(t.Context(), credential(), vehicleID, []string{smartcar.CodeOdometer})
		requireNotSent(t, err, time.Minute)
		require.Zero(t, poll.Calls)
		budget.Observe("a", poll.Calls, err, time.Now())
		requireWait(t, budget, "a", 1, time.Now(), time.Minute)
		requireWait(t, budget, "b", 1, time.Now(), time.Minute)
	})
}

func TestOneProbeIsUnderWayAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		probed, release := atomic.Int32{}, make(chan struct{})
		breaker := smartcar.NewBreaker(roundTripper(func(*http.Request) (*http.Response, error) {
			if probed.Add(1) == 1 {
				return answered(500, "")
			}
			<-release
			return answered(200, `{"id":"user-1"}`)
		}), smartcar.BreakerSettings{Failures: 1, OpenFor: time.Minute})
		client, err := smartcar.NewV2Client(smartcar.ClientConfig{HTTP: &http.Client{Transport: breaker}})
		require.NoError(t, err)
		_, err = client.User(t.Context(), credential())
		require.Error(t, err)
		time.Sleep(time.Minute + 1)
		done := make(chan error)
		go func() {
			_, err := client.User(t.Context(), credential())
			done <- err
		}()
		synctest.Wait()
		_, err = client.User(t.Context(), credential())
		requireNotSent(t, err, time.Minute)
		close(release)
		require.NoError(t, <-done)
		require.EqualValues(t, 2, probed.Load())
	})
}

func TestACancelledProbeIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		status := http.StatusInternalServerError
		breaker := smartcar.NewBreaker(roundTripper(func(request *http.Request) (*http.Response, error) {
			if status == 0 {
				<-request.Context().Done()
				return nil, request.Context().Err()
			}
			return answered(status, `{"id":"user-1"}`)
		}), smartcar.BreakerSettings{Failures: 1, OpenFor: time.Minute})
		client, err := smartcar.NewV2Client(smartcar.ClientConfig{HTTP: &http.Client{Transport: breaker}})
		require.NoError(t, err)
		_, err = client.User(t.Context(), credential())
		require.Error(t, err)
		time.Sleep(time.Minute + 1)
		status = 0
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = client.User(ctx, credential())
		require.ErrorIs(t, err, context.Canceled)
		status = http.StatusOK
		_, err = client.User(t.Context(), credential())
		require.NoError(t, err)
	})
}

func TestACancelledRequestIsNoFailureButASlowHostIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		breaker := smartcar.NewBreaker(roundTripper(func(request *http.Request) (*http.Response, error) {
			asked++
			<-request.Context().Done()
			return nil, request.Context().Err()
		}), smartcar.BreakerSettings{Failures: 1})
		client, err := smartcar.NewV2Client(smartcar.ClientConfig{HTTP: &http.Client{Transport: breaker}})
		require.NoError(t, err)
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			_, err = client.User(ctx, credential())
			require.ErrorIs(t, err, context.Canceled)
		}
		require.Equal(t, 3, asked)

		started := time.Now()
		_, err = client.Readings(t.Context(), credential(), vehicleID, []string{smartcar.CodeOdometer})
		require.True(t, callError(t, err).UnknownOutcome)
		require.Equal(t, 310*time.Second, time.Since(started), "a vehicle may take that long")
		_, err = client.User(t.Context(), credential())
		requireNotSent(t, err, 30*time.Second)
		require.Equal(t, 4, asked)
	})
}

type closing struct {
	io.Reader

	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

func TestARequestThatIsNotSentIsClosedAndSaysNothingOfItself(t *testing.T) {
	t.Parallel()
	breaker := smartcar.NewBreaker(roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("connection refused")
	}), smartcar.BreakerSettings{Failures: 1})
	body := &closing{Reader: strings.NewReader(secretText)}
	for range 2 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://sim.example/"+secretText, body)
		require.NoError(t, err)
		response, err := breaker.RoundTrip(request) //nolint:bodyclose // There is none.
		require.Nil(t, response)
		require.Error(t, err)
		requireHidden(t, err.Error(), secretText)
	}
	require.True(t, body.closed)
}

func TestABreakerWithoutATransportUsesTheUsualOne(t *testing.T) {
	t.Parallel()
	server := serve(t, reply(200, `{"id":"user-1"}`))
	client, err := smartcar.NewV2Client(smartcar.ClientConfig{
		Hosts: hostsAt(server.URL), HTTP: &http.Client{Transport: smartcar.NewBreaker(nil, smartcar.BreakerSettings{})},
	})
	require.NoError(t, err)
	id, err := client.User(t.Context(), credential())
	require.NoError(t, err)
	require.Equal(t, "user-1", id)
}
