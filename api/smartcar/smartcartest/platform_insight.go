package smartcartest

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxRequests bounds what is remembered of requests; then the oldest half is forgotten.
const maxRequests = 1 << 20

// arrival is what is known of a request before it takes effect. family is "" unless it is a call for tokens of a family.
type arrival struct{ path, grant, family string }

// traffic remembers requests, without those that control the simulator.
type traffic struct {
	mu       sync.Mutex
	requests []arrivedRequest
	flights  map[string]*flight
}

type arrivedRequest struct {
	path string
	at   time.Time
}

// flight counts the calls of a family that are under way.
type flight struct{ now, most int }

// arrive notes a request and returns what is to be called at the end of its answer.
func (t *traffic) arrive(call arrival, now time.Time) (leave func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.requests) >= maxRequests {
		t.requests = slices.Clone(t.requests[maxRequests/2:])
	}
	t.requests = append(t.requests, arrivedRequest{path: call.path, at: now})
	if call.family == "" {
		return func() {}
	}
	calls := t.flights[call.family]
	if calls == nil {
		calls = &flight{}
		t.flights[call.family] = calls
	}
	calls.now++
	calls.most = max(calls.most, calls.now)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		calls.now--
	}
}

func (t *traffic) mostInFlight(familyID string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if calls := t.flights[familyID]; calls != nil {
		return calls.most
	}
	return 0
}

func (t *traffic) times(pathPrefix string) []time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	var times []time.Time
	for _, request := range t.requests {
		if strings.HasPrefix(request.path, pathPrefix) {
			times = append(times, request.at)
		}
	}
	return times
}

func (p *Platform) familyOf(form url.Values) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if token := p.ledger.RefreshTokens[form.Get("refresh_token")]; token != nil {
		return token.FamilyID
	}
	if code := p.ledger.Codes[form.Get("code")]; code != nil {
		return code.FamilyID
	}
	return ""
}

// Requests counts the requests whose path begins so, whatever became of them; of the last half million at least.
func (p *Platform) Requests(pathPrefix string) int { return len(p.traffic.times(pathPrefix)) }

// PeakRate is the greatest number of requests whose path begins so within any window of this length, by the platform's
// clock. Two requests exactly a window apart are not within one.
func (p *Platform) PeakRate(pathPrefix string, window time.Duration) int {
	times := p.traffic.times(pathPrefix)
	slices.SortFunc(times, time.Time.Compare)
	peak, first := 0, 0
	for last := range times {
		for first < last && times[last].Sub(times[first]) >= window {
			first++
		}
		peak = max(peak, last-first+1)
	}
	return peak
}

// IssuedTokens are every code and access, refresh, application and management token issued since the platform was made,
// and those of its state file, so that a test can look for them where they must not be.
func (p *Platform) IssuedTokens() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.issued)
}

// FamilyStatus is a token family without its tokens.
type FamilyStatus struct {
	ID         string   `json:"id"`
	UserID     string   `json:"userId"`
	VehicleIDs []string `json:"vehicleIds"`
	// Refreshes counts those that gave a pair, Reuses those of them with a superseded token in its grace, Refused those
	// that were invalid_grant, and further exchanges of its code.
	Refreshes int `json:"refreshes"`
	Reuses    int `json:"reuses"`
	Refused   int `json:"refused"`
	// MaxInFlight is the greatest number of calls for tokens under way at the same time since the platform was made, each
	// from the arrival of the request to the end of the answer.
	MaxInFlight  int       `json:"maxInFlight"`
	LastIssuedAt time.Time `json:"lastIssuedAt"`
	// CurrentRefresh tells whether the newest refresh token would be accepted now.
	CurrentRefresh bool `json:"currentRefresh"`
	// Revoked tells of RevokeUser.
	Revoked bool `json:"revoked"`
}

// Families are the token families in the order in which they began.
func (p *Platform) Families() []FamilyStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.deps.Clock()
	everyone := func(*family) bool { return true }
	statuses := make([]FamilyStatus, 0, len(p.ledger.Families))
	for _, found := range selected(p.ledger.Families, everyone, func(f *family) int { return f.Number }) {
		current := p.ledger.RefreshTokens[found.Current]
		statuses = append(statuses, FamilyStatus{
			ID: found.ID, UserID: found.UserID, VehicleIDs: slices.Clone(found.VehicleIDs),
			Refreshes: found.Refreshes, Reuses: found.Reuses, Refused: found.Refused, Revoked: found.Revoked,
			MaxInFlight: p.traffic.mostInFlight(found.ID), LastIssuedAt: found.LastIssuedAt,
			CurrentRefresh: current != nil && p.isAcceptable(current, now),
		})
	}
	return statuses
}

// ValidPair tells whether the two were issued together and the refresh token would be accepted now: it is its family's
// newest, or its grace lasts. The access token may have expired.
func (p *Platform) ValidPair(access, refresh string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	token := p.ledger.RefreshTokens[refresh]
	return token != nil && token.AccessToken == access && p.isAcceptable(token, p.deps.Clock())
}
