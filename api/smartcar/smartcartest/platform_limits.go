package smartcartest

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bucket is full with Size requests and gets one back each Refill. The zero one is no limit.
type Bucket struct {
	Size   int
	Refill time.Duration
}

func (b Bucket) isValid() bool { return b.Size > 0 && b.Refill > 0 || b == Bucket{} }

// RESTLimits are Smartcar's own. Application is one bucket for all calls of v2 and of the vehicle host of v3; its 429 has
// no Retry-After. Vehicle is one for each vehicle's reads by v2 and its commands, with Retry-After. Source: Smartcar, "rate limits".
type RESTLimits struct{ Application, Vehicle Bucket }

// DocumentedRESTLimits are those of an application that has asked for no more, and of the strictest maker.
func DocumentedRESTLimits() RESTLimits {
	return RESTLimits{
		Application: Bucket{Size: 120, Refill: 30 * time.Second},
		Vehicle:     Bucket{Size: 20, Refill: 72 * time.Minute},
	}
}

// bucket is nil for no limit.
type bucket struct{ limiter *rate.Limiter }

func newBucket(size Bucket) *bucket {
	if size == (Bucket{}) {
		return nil
	}
	return &bucket{limiter: rate.NewLimiter(rate.Every(size.Refill), size.Size)}
}

// take tells how long to wait; 0 when the request was taken.
func (b *bucket) take(now time.Time) time.Duration {
	if b == nil {
		return 0
	}
	reserved := b.limiter.ReserveN(now, 1)
	wait := reserved.DelayFrom(now)
	if wait > 0 {
		reserved.CancelAt(now)
	}
	return wait
}

func (p *Platform) overApplicationLimit(now time.Time) *refusal {
	if p.application.take(now) == 0 {
		return nil
	}
	p.limits.count()
	return rateLimited("SMARTCAR_API", "")
}

func (p *Platform) overVehicleLimit(vehicleID string, now time.Time) *refusal {
	p.mu.Lock()
	limit, ok := p.vehicles[vehicleID]
	if !ok {
		limit = newBucket(p.deps.RESTLimits.Vehicle)
		p.vehicles[vehicleID] = limit
	}
	p.mu.Unlock()
	wait := limit.take(now)
	if wait == 0 {
		return nil
	}
	p.limits.count()
	return rateLimited("VEHICLE", wholeSeconds(wait))
}

func rateLimited(code, retryAfter string) *refusal {
	return &refusal{
		status: http.StatusTooManyRequests, kind: "RATE_LIMIT", code: code, resolution: "RETRY_LATER", retryAfter: retryAfter,
		description: "Too many requests.", toUse: "Your car is temporarily unavailable.",
	}
}

// Limit refuses requests that come faster than it says.
type Limit struct {
	// Path is a prefix as in Fault.
	Path string
	// PerSecond is how many requests are taken each second in the long run, Burst how many at once; 0 is one.
	PerSecond float64
	Burst     int
	// Status is 429 when 0. RetryAfter is by default the seconds until a request would be taken.
	Status     int
	RetryAfter string
}

// InjectedLimit is a Limit at work.
type InjectedLimit struct {
	limit   Limit
	list    *limitList
	bucket  *bucket
	limited int
}

// Clear ends the limit.
func (l *InjectedLimit) Clear() { l.list.remove(l) }

// Limited counts the requests refused by this limit.
func (l *InjectedLimit) Limited() int {
	l.list.mu.Lock()
	defer l.list.mu.Unlock()
	return l.limited
}

// Limit sets a limit. It counts by the platform's clock.
func (p *Platform) Limit(limit Limit) *InjectedLimit {
	injected := &InjectedLimit{
		limit: limit, list: &p.limits,
		bucket: &bucket{limiter: rate.NewLimiter(rate.Limit(limit.PerSecond), max(limit.Burst, 1))},
	}
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	p.limits.active = append(p.limits.active, injected)
	return injected
}

// Limited counts the requests refused by any limit, those of RESTLimits too.
func (p *Platform) Limited() int {
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	return p.limits.limited
}

type limitList struct {
	mu      sync.Mutex
	active  []*InjectedLimit
	limited int
}

func (l *limitList) remove(ended *InjectedLimit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active = slices.DeleteFunc(l.active, func(limit *InjectedLimit) bool { return limit == ended })
}

func (l *limitList) count() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limited++
}

// refuse answers a request that is over a limit, in the form of its endpoint.
func (l *limitList) refuse(answer *recordedAnswer, call arrival, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, candidate := range l.active {
		if !strings.HasPrefix(call.path, candidate.limit.Path) {
			continue
		}
		wait := candidate.bucket.take(now)
		if wait == 0 {
			continue
		}
		candidate.limited++
		l.limited++
		refused := rateLimited("SMARTCAR_API", candidate.limit.RetryAfter)
		if refused.retryAfter == "" {
			refused.retryAfter = wholeSeconds(wait)
		}
		if candidate.limit.Status != 0 {
			refused.status = candidate.limit.Status
		}
		refused.write(answer, call.path)
		return true
	}
	return false
}

// write takes the form of the endpoint.
func (f *refusal) write(response http.ResponseWriter, path string) {
	switch {
	case strings.HasPrefix(path, "/oauth"):
		f.setRetryAfter(response)
		writeJSON(response, f.status, oauthError{"rate_limit", f.description})
	case strings.HasPrefix(path, "/v3/"):
		f.writeV3(response)
	default:
		f.writeV2(response)
	}
}

func wholeSeconds(wait time.Duration) string {
	const longest = 24 * time.Hour
	return strconv.Itoa(int(math.Ceil(min(wait, longest).Seconds())))
}
