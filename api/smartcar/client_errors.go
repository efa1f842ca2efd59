package smartcar

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The kinds of a CallError; errors.Is finds them. Source: Smartcar, "OAuth errors", "v2 error body", "v3 errors".
var (
	// ErrInvalidGrant says that a code or refresh token is expired, used, revoked or not ours. It is the only answer
	// that ends a token family, and it also comes to the loser of a race: read the stored tokens again first.
	ErrInvalidGrant = errors.New("smartcar: the code or refresh token is not valid any more")
	// ErrInvalidClient says that the client id or secret is wrong; an operator must correct it.
	ErrInvalidClient = errors.New("smartcar: the client id or secret is wrong")
	// ErrClientRefused says that a token endpoint refused the request for another reason: a fault of ours or of the
	// application's settings, never of the owner's.
	ErrClientRefused = errors.New("smartcar: the application is refused")
	// ErrRateLimited is 429; see RetryAfter, and Code for whether the vehicle or the application has to wait.
	ErrRateLimited = errors.New("smartcar: too many requests")
	// ErrUnavailable is everything that says nothing about the request: no connection, no answer in time, 3xx, 5xx, or an
	// answer that Smartcar would not give, such as an HTML page. Try again later.
	ErrUnavailable = errors.New("smartcar: unavailable")
	// ErrUnauthorized is 401 of an API: refresh the token, or ask for another application token, and try once more.
	ErrUnauthorized = errors.New("smartcar: the access token is not accepted")
	// ErrForbidden is 403: the owner has not granted the permission.
	ErrForbidden = errors.New("smartcar: permission not granted")
	// ErrNotFound is 404, and a vehicle without a connection.
	ErrNotFound = errors.New("smartcar: not found")
	// ErrConflict is 409: what was to be made exists.
	ErrConflict = errors.New("smartcar: exists already")
	// ErrVehicleState is 409 VEHICLE_STATE: the vehicle cannot serve the request now.
	ErrVehicleState = errors.New("smartcar: the vehicle's state does not allow it")
	// ErrAccount is 400 CONNECTED_SERVICES_ACCOUNT: the owner must act at the maker's.
	ErrAccount = errors.New("smartcar: the owner's account with the maker needs attention")
	// ErrInvalidRequest is 400 VALIDATION, every 4xx without a kind of its own, and an argument for which nothing was
	// sent. A fault of ours: do not retry.
	ErrInvalidRequest = errors.New("smartcar: invalid request")
	// ErrBilling is 430: Smartcar's plan or its limits; an operator must act.
	ErrBilling = errors.New("smartcar: the plan does not allow it")
	// ErrNotCapable is 501 COMPATIBILITY: permanent for this vehicle and endpoint.
	ErrNotCapable = errors.New("smartcar: the vehicle is not capable of it")
)

const (
	maxRetryAfter     = 24 * time.Hour
	maxErrorName      = 64
	statusBilling     = 430
	firstServerStatus = 500
)

// CallError is every failure of a call to Smartcar. It holds nothing that was received but names of a narrow form.
type CallError struct {
	// Operation says what was tried, such as "refresh tokens".
	Operation string
	// Kind is one of the errors above.
	Kind error
	// HTTPStatus is 0 when there was no answer.
	HTTPStatus int
	// Type and Code are Smartcar's, such as VEHICLE_STATE and ASLEEP; of OAuth errors Code, such as invalid_grant.
	// "" unless they match [A-Za-z_]{1,64}.
	Type, Code string
	// RequestID is what Smartcar's support asks for; "" when not sent.
	RequestID string
	// RetryAfter is how long Smartcar asks to wait, at most 24 hours; 0 when it does not say.
	RetryAfter time.Duration
	// UnknownOutcome is true when the request may have taken effect although no usable answer came. It is false when
	// nothing was sent, on 429, and on an answer of 4xx or 501 in the form of Smartcar's errors.
	UnknownOutcome bool

	// cause is the error of the caller's context when that ended the call.
	cause error
}

// Error gives operation, kind, status, type and code; never a URL, and nothing else that was received.
func (e *CallError) Error() string {
	detail := []string{e.Operation}
	if e.HTTPStatus != 0 {
		detail = append(detail, "HTTP "+strconv.Itoa(e.HTTPStatus))
	}
	if name := strings.Trim(e.Type+"/"+e.Code, "/"); name != "" {
		detail = append(detail, name)
	}
	if e.cause != nil {
		detail = append(detail, e.cause.Error())
	}
	return e.Kind.Error() + " (" + strings.Join(detail, ", ") + ")"
}

// Unwrap gives the kind, and the error of the caller's context if that ended the call.
func (e *CallError) Unwrap() []error {
	if e.cause != nil {
		return []error{e.Kind, e.cause}
	}
	return []error{e.Kind}
}

// refused is the error for an argument with which nothing can be sent; what names the argument.
func refused(operation, what string) error {
	return &CallError{Operation: operation + ": " + what, Kind: ErrInvalidRequest}
}

// isErrorName accepts [A-Za-z_]{1,64}: what Smartcar and OAuth call errors and permissions, and no token or sentence.
func isErrorName(text string) bool {
	if text == "" || len(text) > maxErrorName {
		return false
	}
	for i := range len(text) {
		if c := text[i]; !isAlphanumeric(c) && c != '_' || '0' <= c && c <= '9' {
			return false
		}
	}
	return true
}

func errorName(raw []byte) string {
	if name := text(raw); isErrorName(name) {
		return name
	}
	return ""
}

// oauthError classifies an answer of a token endpoint other than 2xx. Only JSON with a string "error" counts as an answer of
// Smartcar's; anything else may be a proxy's and must not cost an owner the connection.
// Source: Smartcar, "OAuth errors".
func oauthError(operation string, answer answer) *CallError {
	failure := answer.failure(operation)
	object, err := oneObject(answer.body)
	name := member(object, "error")
	isOAuth := err == nil && kindOf(name) == kindString
	if isOAuth {
		failure.Code = errorName(name)
	}
	isClientStatus := http.StatusBadRequest <= answer.status && answer.status < firstServerStatus
	switch {
	case answer.status == http.StatusTooManyRequests:
		failure.Kind = ErrRateLimited
	case !isOAuth || !isClientStatus:
		failure.UnknownOutcome = true
	case failure.Code == "invalid_grant":
		failure.Kind = ErrInvalidGrant
	case failure.Code == "invalid_client" || answer.status == http.StatusUnauthorized:
		failure.Kind = ErrInvalidClient
	default:
		failure.Kind = ErrClientRefused
	}
	return failure
}

// apiError classifies an answer of the REST and management APIs other than 2xx. A status that proxies give too counts
// only with a body in the form of v2 or v3; 401 costs one more token at most, so it always counts.
// Source: Smartcar, "v2 error body", "v3 errors".
func apiError(operation string, answer answer) *CallError {
	failure := answer.failure(operation)
	isSmartcars := failure.readBody(answer.body)
	failure.Kind = kindOfStatus(answer.status, isSmartcars)
	failure.UnknownOutcome = errors.Is(failure.Kind, ErrUnavailable)
	switch {
	case answer.status == http.StatusConflict && failure.isNamed("VEHICLE_STATE"):
		failure.Kind = ErrVehicleState
	case answer.status == http.StatusBadRequest && failure.isNamed("CONNECTED_SERVICES_ACCOUNT"):
		failure.Kind = ErrAccount
	}
	return failure
}

func kindOfStatus(status int, isSmartcars bool) error {
	switch status {
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusConflict:
		return ErrConflict
	case http.StatusTooManyRequests:
		return ErrRateLimited
	case statusBilling:
		return ErrBilling
	}
	if !isSmartcars {
		return ErrUnavailable
	}
	switch {
	case status == http.StatusForbidden:
		return ErrForbidden
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusNotImplemented:
		return ErrNotCapable
	case http.StatusBadRequest <= status && status < firstServerStatus:
		return ErrInvalidRequest
	default:
		return ErrUnavailable
	}
}

// readBody takes type and code from {"type","code",…} of v2 or {"errors":[{"type","code",…}]} of v3, and reports
// whether it is one of these.
func (e *CallError) readBody(body []byte) bool {
	object, err := oneObject(body)
	if err != nil {
		return false
	}
	for element := range elements(member(object, "errors")) {
		if kindOf(element) == kindObject {
			e.Type, e.Code = errorName(member(element, "type")), errorName(member(element, "code"))
			return true
		}
	}
	e.Type, e.Code = errorName(member(object, "type")), errorName(member(object, "code"))
	if e.RequestID == "" {
		e.RequestID = opaqueID(member(object, "requestId"))
	}
	return e.Type != ""
}

// isNamed looks in both places: v3 puts what v2 calls the type into code when there is nothing more exact to say.
func (e *CallError) isNamed(name string) bool { return e.Type == name || e.Code == name }

// retryAfter reads seconds or an HTTP date.
func retryAfter(header string) time.Duration {
	seconds, err := strconv.ParseInt(header, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) { // Out of range it is the nearest that fits.
		return time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(time.Until(at), 0), maxRetryAfter)
}
