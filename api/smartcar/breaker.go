package smartcar

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// BreakerSettings say when a Breaker opens. A zero field stands for its default.
type BreakerSettings struct {
	// Failures is how many in a row open it; 5.
	Failures uint32
	// OpenFor is how long it refuses requests before it lets some through to see; 30 s.
	OpenFor time.Duration
	// Probes is how many it then lets through at once, which must all succeed; 1.
	Probes uint32
	// OnChange hears of every change of a host's state: "closed", "half-open" and "open". It is optional, must not block
	// and must not call the Breaker.
	OnChange func(host, from, to string)
}

func (s BreakerSettings) withDefaults() BreakerSettings {
	const failures, openFor = 5, 30 * time.Second
	if s.Failures == 0 {
		s.Failures = failures
	}
	if s.OpenFor <= 0 {
		s.OpenFor = openFor
	}
	if s.Probes == 0 {
		s.Probes = 1
	}
	return s
}

// Breaker is an http.RoundTripper that stops asking a host that is down. A failure is a request without an answer in time
// and every 5xx but 501, which is Smartcar's answer about one vehicle; a request that its caller cancelled is neither
// failure nor success. While it refuses, the calls of this package fail with ErrUnavailable, RetryAfter until the next
// probe, and UnknownOutcome false: nothing was sent. It is for use by many goroutines at once, and counts for one process.
type Breaker struct {
	next     http.RoundTripper
	settings BreakerSettings

	mu    sync.Mutex
	hosts map[string]*hostBreaker
}

type hostBreaker struct {
	circuit *gobreaker.CircuitBreaker[*http.Response]
	probeAt atomic.Pointer[time.Time]
}

// errFailing marks an answer that counts as a failure inside the circuit; it never leaves this file.
var errFailing = errors.New("smartcar: the host fails")

// notSentError is the error of a request that was not let through.
type notSentError struct{ retryAfter time.Duration }

func (*notSentError) Error() string { return "smartcar: not sent, since the host kept failing" }

// NewBreaker puts a breaker before next; nil stands for a transport like that of a client without one. Set it as the
// Transport of ClientConfig.HTTP.
func NewBreaker(next http.RoundTripper, settings BreakerSettings) *Breaker {
	if next == nil {
		next = newTransport()
	}
	return &Breaker{next: next, settings: settings.withDefaults(), hosts: make(map[string]*hostBreaker)}
}

// RoundTrip sends the request unless its host kept failing.
func (b *Breaker) RoundTrip(request *http.Request) (*http.Response, error) {
	host := b.host(request.URL.Host)
	response, err := host.circuit.Execute(func() (*http.Response, error) {
		response, err := b.next.RoundTrip(request)
		if err == nil && isFailing(response.StatusCode) {
			err = errFailing
		}
		return response, err
	})
	switch {
	case errors.Is(err, errFailing):
		return response, nil
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		if request.Body != nil {
			_ = request.Body.Close() // As http.RoundTripper demands; nothing was read.
		}
		return nil, &notSentError{retryAfter: b.untilProbe(host)}
	}
	return response, err //nolint:wrapcheck // A RoundTripper hands on what the next one said.
}

func isFailing(status int) bool {
	return status >= firstServerStatus && status != http.StatusNotImplemented
}

// untilProbe is the whole time of being open while a probe is under way: it may fail.
func (b *Breaker) untilProbe(host *hostBreaker) time.Duration {
	if at := host.probeAt.Load(); at != nil {
		if wait := time.Until(*at); wait > 0 {
			return wait
		}
	}
	return b.settings.OpenFor
}

func (b *Breaker) host(name string) *hostBreaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known := b.hosts[name]; known != nil {
		return known
	}
	made := new(hostBreaker)
	made.circuit = gobreaker.NewCircuitBreaker[*http.Response](gobreaker.Settings{ //nolint:bodyclose // Whoever asked closes it.
		Name: name, MaxRequests: b.settings.Probes, Timeout: b.settings.OpenFor,
		ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= b.settings.Failures },
		IsExcluded:  func(err error) bool { return errors.Is(err, context.Canceled) },
		OnStateChange: func(name string, from, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				at := time.Now().Add(b.settings.OpenFor)
				made.probeAt.Store(&at)
			}
			if b.settings.OnChange != nil {
				b.settings.OnChange(name, from.String(), to.String())
			}
		},
	})
	b.hosts[name] = made
	return made
}
