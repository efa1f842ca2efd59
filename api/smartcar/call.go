package smartcar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	tokenTimeout = 30 * time.Second
	// Smartcar answers what it has stored in seconds and asks a vehicle for up to 310.
	restTimeout           = 60 * time.Second
	vehicleTimeout        = 310 * time.Second
	tlsTimeout            = 10 * time.Second
	idleTimeout           = 90 * time.Second
	connectionsPerHost    = 32
	idleConnections       = 8
	maxAnswerHeader       = 64 << 10
	maxAnswerBody         = 1 << 20
	headerRequestID       = "Sc-Request-Id"
	headerUnitSystem      = "Sc-Unit-System"
	contentTypeForm       = "application/x-www-form-urlencoded"
	contentTypeJSON       = "application/json"
	firstSuccess          = 200
	firstRedirect         = 300
	headerContentType     = "Content-Type"
	headerAuthorization   = "Authorization"
	authorizationOfBearer = "Bearer "
)

// client is an http.Client that asks once: it follows no redirect, which would take tokens elsewhere, and keeps no cookies.
type client struct {
	http *http.Client
	// patient is the same for calls that wait for a vehicle.
	patient *http.Client
}

// newClient copies given, or makes a client with limits of its own. A given client without a timeout gets this one, and
// vehicleTimeout for calls that wait for a vehicle.
func newClient(given *http.Client, timeout time.Duration) client {
	own := http.Client{}
	if given != nil {
		own = *given
	} else {
		own.Transport = newTransport()
	}
	own.Jar = nil
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	patient := own
	if own.Timeout <= 0 {
		own.Timeout, patient.Timeout = timeout, vehicleTimeout
	}
	return client{http: &own, patient: &patient}
}

// newTransport is the default transport with limits, unless a program has replaced that by something else.
func newTransport() http.RoundTripper {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	limited := transport.Clone()
	limited.TLSHandshakeTimeout = tlsTimeout
	limited.IdleConnTimeout = idleTimeout
	limited.MaxConnsPerHost = connectionsPerHost
	limited.MaxIdleConnsPerHost = idleConnections
	limited.MaxResponseHeaderBytes = maxAnswerHeader
	return limited
}

type call struct {
	operation, method, url string
	header                 http.Header
	body                   []byte
	// asksVehicle allows the time that a vehicle may take.
	asksVehicle bool
}

// answer is an HTTP answer with its whole body.
type answer struct {
	status int
	header http.Header
	body   []byte
	// object is the body of a success, once it is known to be a JSON object.
	object json.RawMessage
}

func (a answer) isSuccess() bool { return firstSuccess <= a.status && a.status < firstRedirect }

// failure is the error of this answer before anything is known of its body.
func (a answer) failure(operation string) *CallError {
	failure := &CallError{
		Operation: operation, Kind: ErrUnavailable, HTTPStatus: a.status, RetryAfter: retryAfter(a.header.Get("Retry-After")),
	}
	if id := a.header.Get(headerRequestID); isOpaqueID(id) {
		failure.RequestID = id
	}
	return failure
}

// unusable is the error for an answer of success that holds something else than it must.
func (a answer) unusable(operation string) error {
	failure := a.failure(operation)
	failure.UnknownOutcome = true
	return failure
}

// do sends the call and reads the whole answer, whatever its status. Its errors are ErrUnavailable, without the error
// of net/http, which quotes the URL.
func (c client) do(ctx context.Context, call call) (answer, error) {
	if ctx.Err() != nil {
		return answer{}, &CallError{Operation: call.operation, Kind: ErrUnavailable, cause: ctx.Err()}
	}
	var connection progress
	request, err := http.NewRequestWithContext(connection.watch(ctx), call.method, call.url, bytes.NewReader(call.body))
	if err != nil {
		return answer{}, refused(call.operation, "the address")
	}
	request.Header = call.header
	asking := c.http
	if call.asksVehicle {
		asking = c.patient
	}
	response, err := asking.Do(request)
	if err != nil {
		failure := &CallError{
			Operation: call.operation, Kind: ErrUnavailable, UnknownOutcome: connection.mayHaveSent(), cause: ctx.Err(),
		}
		if refusal, ok := errors.AsType[*notSentError](err); ok {
			failure.UnknownOutcome, failure.RetryAfter = false, refusal.retryAfter
		}
		return answer{}, failure
	}
	defer func() { _ = response.Body.Close() }() // Nothing is left to lose: the body was read or is of no use.
	received := answer{status: response.StatusCode, header: response.Header}
	received.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswerBody+1))
	if err != nil || len(received.body) > maxAnswerBody {
		failure := received.failure(call.operation)
		failure.UnknownOutcome, failure.cause = true, ctx.Err()
		return answer{}, failure
	}
	return received, nil
}

// progress tells a request that was never sent from one that may have been.
type progress struct{ asked, connected atomic.Bool }

func (p *progress) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { p.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { p.connected.Store(true) },
	})
}

// mayHaveSent is also true for a transport that does not say.
func (p *progress) mayHaveSent() bool { return p.connected.Load() || !p.asked.Load() }

// form makes a POST of a form. The values must not be changed afterwards.
func form(operation, address string, values url.Values) call {
	return call{
		operation: operation, method: http.MethodPost, url: address, body: []byte(values.Encode()),
		header: http.Header{headerContentType: {contentTypeForm}, "Accept": {contentTypeJSON}},
	}
}

type callCountKey struct{}

// CountCalls lets count grow with each request to an API, tokens aside, that is sent under the context and counts against
// Smartcar's limits; an item of a batch is part of its request. It is to be read when the calls have returned.
func CountCalls(ctx context.Context, count *atomic.Int64) context.Context {
	return context.WithValue(ctx, callCountKey{}, count)
}

func countCall(ctx context.Context, err error) {
	count, isCounted := ctx.Value(callCountKey{}).(*atomic.Int64)
	if failure, failed := errors.AsType[*CallError](err); isCounted && (!failed || failure.wasSent()) {
		count.Add(1)
	}
}

// authorized sends a call with a bearer token to an API and returns its 2xx, whose object is nil when the body is empty.
func (c client) authorized(ctx context.Context, token Token, call call) (answer, error) {
	if !token.isSendable() {
		return answer{}, refused(call.operation, "no access token, or one that cannot be sent")
	}
	header := http.Header{headerAuthorization: {authorizationOfBearer + token.Reveal()}, "Accept": {contentTypeJSON}}
	maps.Copy(header, call.header)
	if len(call.body) > 0 {
		header.Set(headerContentType, contentTypeJSON)
	}
	call.header = header
	received, err := c.do(ctx, call)
	countCall(ctx, err)
	if err != nil {
		return answer{}, err
	}
	if !received.isSuccess() {
		return answer{}, apiError(call.operation, received)
	}
	if len(bytes.TrimSpace(received.body)) == 0 {
		return received, nil
	}
	if received.object, err = oneObject(received.body); err != nil {
		return answer{}, received.unusable(call.operation)
	}
	return received, nil
}

// isSegment reports whether an id can be a segment of a path, which is then escaped. A dot segment would climb.
func isSegment(id string) bool { return isPrintable(id, maxIDLength) && strings.Trim(id, ".") != "" }

func opaqueID(raw []byte) string {
	if id := text(raw); isOpaqueID(id) {
		return id
	}
	return ""
}
