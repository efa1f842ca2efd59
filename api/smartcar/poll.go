package smartcar

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// ErrNotProvisioned says that Smartcar has no signals of a vehicle at all: v3 answers 404 or an empty list for one that is
// not subscribed, is still being set up, or whose webhook is disabled. It does not mean that the owner has revoked anything.
// Source: Smartcar, "signals list".
var ErrNotProvisioned = errors.New("smartcar: no signals of the vehicle are available yet")

const statusFailed = "ERROR"

// Poll is what one poll of a vehicle brought.
type Poll struct {
	// Signals are those of the wanted codes that Smartcar answered for, as a webhook would carry them: the same reading has
	// the same code, value and OEMUpdatedAt, and a failed one has a Failure. A wanted signal may be missing; that says
	// nothing about the owner's permission.
	Signals []Signal
	// Calls is how many requests count against Smartcar's limits, also when Readings failed.
	Calls int
	// RequestID is what Smartcar's support asks for; "" when not sent.
	RequestID string
	// Limited is a *CallError when an item of a batch was refused because of a limit, and otherwise nil: it knows the
	// Retry-After, which a SignalFailure does not. The limit of the whole application is named before a vehicle's.
	Limited error `json:"-"`
}

// Readings asks for the signals with the wanted codes in one request, which may wake the vehicle and take up to five
// minutes. Every endpoint behind them counts as a call; nothing is sent when there is none. Values are asked for in metric
// units and have the unit in which they were sent. Source: Smartcar, "REST API v2".
func (c *V2Client) Readings(ctx context.Context, credential Credential, vehicleID string, wanted []string) (Poll, error) {
	const operation = "read signals"
	if !isSegment(vehicleID) {
		return Poll{}, refused(operation, "the vehicle id")
	}
	asked := endpointsFor(wanted)
	if len(asked) == 0 {
		return Poll{}, nil
	}
	requests := make([]map[string]string, 0, len(asked))
	for _, known := range asked {
		requests = append(requests, map[string]string{"path": known.path})
	}
	body, err := json.Marshal(map[string]any{"requests": requests})
	if err != nil {
		return Poll{}, refused(operation, "the paths")
	}
	received, err := c.client.authorized(ctx, credential.AccessToken, call{
		operation: operation, method: http.MethodPost, url: c.base + "/vehicles/" + url.PathEscape(vehicleID) + "/batch",
		header: http.Header{headerUnitSystem: {"metric"}}, body: body, asksVehicle: true,
	})
	if err != nil {
		return failedPoll(err, len(asked)), err
	}
	poll := Poll{Calls: len(asked), RequestID: received.requestID()}
	responses := member(received.object, "responses")
	if kindOf(responses) != kindArray {
		return poll, received.unusable(operation)
	}
	for _, known := range asked {
		for item := range elements(responses) {
			if text(member(item, "path")) == known.path {
				poll.readItem(known, item, received.header.Get(headerUnitSystem))
				break
			}
		}
	}
	return poll, nil
}

// CallsFor is how many calls Readings makes for the wanted codes, for Budget.Allow.
func (c *V2Client) CallsFor(wanted []string) int { return len(endpointsFor(wanted)) }

// readItem reads {path, code, body, headers}. An item without a code succeeded, as in webhooks of 2.0.
func (p *Poll) readItem(from endpoint, item json.RawMessage, usualSystem string) {
	status, headers := http.StatusOK, member(item, "headers")
	if sent := member(item, "code"); !isAbsent(sent) {
		status, _ = integer(sent)
	}
	received := answer{status: status, header: headersOf(headers), body: member(item, "body")}
	if !received.isSuccess() {
		failure := itemError(from.path, received)
		p.note(failure)
		for _, reading := range from.readings {
			signal := reading.empty()
			signal.Failure = &SignalFailure{Status: statusFailed, Type: failure.Type, Code: failure.Code}
			p.Signals = append(p.Signals, signal)
		}
		return
	}
	system := cmp.Or(received.header.Get(headerUnitSystem), usualSystem)
	for _, reading := range from.readings {
		signal := reading.signalOf(received.body, system)
		signal.readHeaders(headers)
		signal.toMilliseconds()
		p.Signals = append(p.Signals, signal)
	}
}

func headersOf(raw json.RawMessage) http.Header {
	header := make(http.Header)
	for name, value := range members(raw) {
		header.Set(string(name), text(value))
	}
	return header
}

// itemError classifies an item as an answer of its own. An item is Smartcar's whatever its body, so that the status alone is
// believed where an answer's would not be.
func itemError(path string, received answer) *CallError {
	failure := apiError("read signals: "+path, received)
	if failure.Type == "" {
		failure.Type = typeOfStatus(received.status)
		failure.Kind = kindOfType(failure.Type)
	}
	return failure
}

// note keeps the limit that matters most.
func (p *Poll) note(failure *CallError) {
	reach := pauseAfter(failure).reach
	if reach == reachNothing {
		return
	}
	if known, ok := errors.AsType[*CallError](p.Limited); ok {
		order := cmp.Or(cmp.Compare(reach, pauseAfter(known).reach), cmp.Compare(failure.RetryAfter, known.RetryAfter))
		if order <= 0 {
			return
		}
	}
	p.Limited = failure
}

// Readings asks for the signals of the wanted codes as Smartcar stored them last, which wakes no vehicle; nothing is sent
// when none is wanted. It needs the credential's user. Every page of the list counts as a call. ErrNotProvisioned says that
// there are no signals at all. Source: Smartcar, "signals list".
func (c *V3Client) Readings(ctx context.Context, credential Credential, vehicleID string, wanted []string) (Poll, error) {
	const operation = "read signals"
	if !isSegment(vehicleID) || !isSegment(credential.UserID) {
		return Poll{}, refused(operation, "the user or vehicle id")
	}
	if len(wanted) == 0 {
		return Poll{}, nil
	}
	var poll Poll
	code := func(signal Signal) string { return signal.Code }
	// The page size is left to Smartcar: the list is a single page where it was seen.
	all, err := collect(ctx, operation, pageSizeV3, code, func(ctx context.Context, number, _ int) (page[Signal], error) {
		received, err := c.signalPage(ctx, operation, credential, vehicleID, number)
		failed := failedPoll(err, 1)
		poll.Calls += failed.Calls
		if err != nil {
			poll.RequestID = failed.RequestID
			return page[Signal]{}, err
		}
		poll.RequestID = received.requestID()
		return received.signals(operation)
	})
	if err != nil {
		return poll, notProvisioned(err)
	}
	if len(all) == 0 {
		return poll, &CallError{
			Operation: operation, Kind: ErrNotProvisioned, HTTPStatus: http.StatusOK, RequestID: poll.RequestID,
		}
	}
	poll.Signals = slices.DeleteFunc(all, func(signal Signal) bool { return !slices.Contains(wanted, signal.Code) })
	return poll, nil
}

// CallsFor is how many calls Readings makes for the wanted codes, for Budget.Allow; more pages than one have not been seen.
func (c *V3Client) CallsFor(wanted []string) int { return min(len(wanted), 1) }

func (c *V3Client) signalPage(
	ctx context.Context, operation string, credential Credential, vehicleID string, number int,
) (answer, error) {
	address := c.vehicle + "/vehicles/" + url.PathEscape(vehicleID) + "/signals"
	if number > 1 {
		address += "?" + url.Values{"page[number]": {strconv.Itoa(number)}}.Encode()
	}
	return c.client.authorized(ctx, credential.AccessToken, call{
		operation: operation, method: http.MethodGet, url: address, header: http.Header{headerUserID: {credential.UserID}},
	})
}

func (a answer) signals(operation string) (page[Signal], error) {
	listed := member(a.object, "data")
	if kindOf(listed) != kindArray {
		return page[Signal]{}, a.unusable(operation)
	}
	part := page[Signal]{total: total(member(member(a.object, "meta"), "totalCount"))}
	for element := range elements(listed) {
		part.sent++
		if signal := resourceSignal(element); signal.Code != "" {
			part.items = append(part.items, signal)
		}
	}
	return part, nil
}

// resourceSignal reads an element of the list. Its meta stands beside attributes, or inside in the documents of 2025.
func resourceSignal(element json.RawMessage) Signal {
	attributes := member(element, "attributes")
	if kindOf(attributes) != kindObject {
		attributes = element
	}
	signal := readSignal(attributes)
	signal.Code = cmp.Or(signal.Code, text(member(element, "id")))
	signal.readTimes(member(element, "meta"))
	if failure := signal.Failure; failure != nil && failure.Type == "PERMISSION" && failure.Code == "UNKNOWN" {
		failure.Code = "" // A webhook has null for it.
	}
	signal.toMilliseconds()
	signal.Unknown = nil // The list says more about a signal than a webhook does.
	return signal
}

// notProvisioned renames the error for a vehicle without signals; that of a wrong address stays.
func notProvisioned(err error) error {
	var failure *CallError
	if errors.As(err, &failure) && errors.Is(err, ErrNotFound) && !failure.isNamed("PATH") && !failure.isNamed("VERSION") {
		failure.Kind = ErrNotProvisioned
	}
	return err
}

// toMilliseconds drops what a webhook's time does not have, so that the same time compares as equal.
func (s *Signal) toMilliseconds() {
	s.OEMUpdatedAt, s.RetrievedAt = s.OEMUpdatedAt.Truncate(time.Millisecond), s.RetrievedAt.Truncate(time.Millisecond)
}

// failedPoll counts the calls of a request unless it was never sent.
func failedPoll(err error, calls int) Poll {
	var failure *CallError
	if !errors.As(err, &failure) {
		return Poll{Calls: calls}
	}
	if !failure.wasSent() {
		calls = 0
	}
	return Poll{Calls: calls, RequestID: failure.RequestID}
}

func (a answer) requestID() string {
	if id := a.header.Get(headerRequestID); isOpaqueID(id) {
		return id
	}
	return ""
}
