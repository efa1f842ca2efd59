package smartcartest

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const signalBuffer = 4096

// Fault is what the platform does to requests instead of, or besides, answering them as Smartcar does. Of several that
// match, the one set first and not used up acts.
type Fault struct {
	// Path is a prefix such as "/oauth/token"; empty is every path but those that control the simulator.
	Path string
	// GrantType, when set, is that of the request's form.
	GrantType string
	// FamilyID, when set, is that of the token family whose code or refresh token the request's form gives.
	FamilyID string
	// Times is how many requests it acts on; 0 is all until Clear.
	Times int
	// Status, when set, is answered with Body, ContentType (JSON when empty) and RetryAfter instead of taking effect.
	Status            int
	Body, ContentType string
	RetryAfter        string
	// Effect has a request take effect although Status replaces its answer.
	Effect bool
	// Delay is waited before taking effect, in real time.
	Delay time.Duration
	// Drop takes effect, then closes the connection without an answer. DropBefore does so without taking effect.
	Drop, DropBefore bool
	// HoldBefore is waited for before taking effect, HoldAfter after that and before answering. Both waits, and Delay, end
	// when the client goes away; before taking effect the request then has none.
	HoldBefore, HoldAfter <-chan struct{}
}

// InjectedFault is a Fault at work.
type InjectedFault struct {
	fault              Fault
	remaining          int
	list               *faultList
	arrived, abandoned chan struct{}
}

// Clear ends the fault for requests to come. Those it holds stay held.
func (f *InjectedFault) Clear() { f.list.remove(f) }

// Arrived gives a value for each request that hits the fault, of up to 4,096 not yet received.
func (f *InjectedFault) Arrived() <-chan struct{} { return f.arrived }

// Abandoned gives a value for each request whose client was noticed to go away while it was held or delayed, as Arrived
// does. Net/http notices a moment later; who wants a request without effect waits for this before ending HoldBefore.
func (f *InjectedFault) Abandoned() <-chan struct{} { return f.abandoned }

// Fault sets a fault.
func (p *Platform) Fault(fault Fault) *InjectedFault {
	injected := &InjectedFault{
		fault: fault, remaining: fault.Times, list: &p.faults,
		arrived: make(chan struct{}, signalBuffer), abandoned: make(chan struct{}, signalBuffer),
	}
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	p.faults.active = append(p.faults.active, injected)
	return injected
}

// ClearFaults ends all faults for requests to come.
func (p *Platform) ClearFaults() {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	p.faults.active = nil
}

type faultList struct {
	mu     sync.Mutex
	active []*InjectedFault
}

func (l *faultList) remove(ended *InjectedFault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active = slices.DeleteFunc(l.active, func(f *InjectedFault) bool { return f == ended })
}

func (l *faultList) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.active)
}

func (l *faultList) take(call arrival) *InjectedFault {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, candidate := range l.active {
		fault := candidate.fault
		if !fault.matches(call) {
			continue
		}
		if fault.Times > 0 {
			candidate.remaining--
			if candidate.remaining == 0 {
				l.active = slices.Delete(slices.Clone(l.active), i, i+1)
			}
		}
		return candidate
	}
	return nil
}

func (f Fault) matches(call arrival) bool {
	return strings.HasPrefix(call.path, f.Path) && (f.GrantType == "" || f.GrantType == call.grant) &&
		(f.FamilyID == "" || f.FamilyID == call.family)
}

// run returns false when the connection is to be closed without an answer.
func (f *InjectedFault) run(answer *recordedAnswer, request *http.Request, next http.Handler) bool {
	signal(f.arrived)
	fault := f.fault
	if !hold(request.Context(), fault.HoldBefore, fault.Delay) {
		signal(f.abandoned)
		return false
	}
	if fault.DropBefore {
		return false
	}
	if fault.Status == 0 || fault.Effect || fault.Drop {
		next.ServeHTTP(answer, request)
	}
	if !hold(request.Context(), fault.HoldAfter, 0) {
		signal(f.abandoned)
		return false
	}
	if fault.Status != 0 {
		answer.replace(fault)
	}
	return !fault.Drop
}

func (a *recordedAnswer) replace(fault Fault) {
	contentType := fault.ContentType
	if contentType == "" {
		contentType = "application/json"
	}
	a.header = http.Header{headerRequestID: a.header[headerRequestID], "Content-Type": {contentType}}
	if fault.RetryAfter != "" {
		a.header.Set("Retry-After", fault.RetryAfter)
	}
	a.status = fault.Status
	a.body.Reset()
	a.body.WriteString(fault.Body)
}

// hold returns false when the client went away meanwhile.
func hold(ctx context.Context, until <-chan struct{}, delay time.Duration) bool {
	if delay > 0 && pause(ctx, delay) != nil {
		return false
	}
	if until != nil {
		select {
		case <-ctx.Done():
		case <-until:
		}
	}
	return ctx.Err() == nil
}

// signal drops the value rather than wait for a reader.
func signal(channel chan struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}
