package smartcar

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"unicode"
	"unicode/utf8"
)

const (
	maxQueryLength    = 16 << 10
	maxStateLength    = 2 << 10
	maxCodeLength     = 512
	maxIDLength       = 64
	maxExternalLength = 256
	maxNameLength     = 64
	firstModelYear    = 1900
	lastModelYear     = 2100
)

// ErrCallbackMalformed says that a callback of Connect cannot be what Smartcar sends. Nothing of it should be believed;
// the owner starts again.
var ErrCallbackMalformed = errors.New("smartcar: malformed callback of Connect: start Connect again")

// Callback is what an owner's browser brings back from Connect, in any mix of v2, v3 and re-authentication. It is a
// claim of the browser's until State is found to be one that was issued. Source: Smartcar, "callback".
type Callback struct {
	State string
	// Code is to be exchanged within 10 minutes, once; v2 only.
	Code                          Token
	UserID, VehicleID, ExternalID string
	// Error is nil when the owner consented.
	Error *ConnectError
}

// ConnectError says why there was no consent. The VIN and the description that Smartcar adds are not kept.
type ConnectError struct {
	// Code is one of access_denied, vehicle_incompatible, no_vehicles, invalid_subscription, configuration_error and
	// server_error, or "unknown".
	Code string
	// Make, Model and Year name an incompatible vehicle; "" or 0 when not sent or not presentable.
	Make, Model string
	Year        int
}

// ParseCallback reads the raw query of a callback, without its question mark. It returns an error wrapping
// ErrCallbackMalformed, which repeats nothing of the query, when a name is repeated, an escape is bad, the state is
// missing, there is neither code, user_id, vehicle_id nor error, or one of these or external_id is over-long or of
// a wrong form. Unknown parameters are ignored.
func ParseCallback(rawQuery string) (Callback, error) {
	if len(rawQuery) > maxQueryLength {
		return Callback{}, malformedCallback("the query is too long")
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		// The cause would quote the query.
		return Callback{}, malformedCallback("the query has a bad escape or separator")
	}
	for _, values := range query {
		if len(values) > 1 {
			return Callback{}, malformedCallback("a parameter is repeated")
		}
	}
	callback := Callback{
		State: query.Get("state"), Code: Token(query.Get("code")),
		UserID: query.Get("user_id"), VehicleID: query.Get("vehicle_id"), ExternalID: query.Get("external_id"),
	}
	if query.Get("error") != "" {
		callback.Error = readConnectError(query)
	}
	if err := callback.validate(); err != nil {
		return Callback{}, err
	}
	return callback, nil
}

func (c Callback) validate() error {
	if !isPlain(Token(c.State), maxStateLength) {
		return malformedCallback("state is missing, over-long or not plain text")
	}
	if c.Code == "" && c.UserID == "" && c.VehicleID == "" && c.Error == nil {
		return malformedCallback("there is neither code, user_id, vehicle_id nor error")
	}
	if c.Code != "" && !isPlain(c.Code, maxCodeLength) {
		return malformedCallback("code is over-long or not plain text")
	}
	for _, id := range [...]string{c.UserID, c.VehicleID} {
		if id != "" && !isOpaqueID(id) {
			return malformedCallback("user_id or vehicle_id is not an id")
		}
	}
	if c.ExternalID != "" && !isPrintable(c.ExternalID, maxExternalLength) {
		return malformedCallback("external_id is over-long or not plain text")
	}
	return nil
}

func isPlain(text Token, limit int) bool { return len(text) <= limit && text.isSendable() }

func malformedCallback(reason string) error {
	return fmt.Errorf("%w: %s", ErrCallbackMalformed, reason)
}

func readConnectError(query url.Values) *ConnectError {
	failure := &ConnectError{Code: "unknown", Make: presentable(query.Get("make")), Model: presentable(query.Get("model"))}
	switch code := query.Get("error"); code {
	case "access_denied", "vehicle_incompatible", "no_vehicles", "invalid_subscription", "configuration_error", "server_error":
		failure.Code = code
	}
	if year, err := strconv.Atoi(query.Get("year")); err == nil && firstModelYear <= year && year <= lastModelYear {
		failure.Year = year
	}
	return failure
}

// presentable returns text that may be shown, else "".
func presentable(text string) string {
	if !isPrintable(text, maxNameLength) {
		return ""
	}
	return text
}

// isPrintable reports whether text is 1 to limit bytes of valid UTF-8 without control characters.
func isPrintable(text string, limit int) bool {
	if text == "" || len(text) > limit || !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// isOpaqueID accepts [A-Za-z0-9][A-Za-z0-9_.:-]{0,63}: Smartcar sends UUIDs and asks that they be taken as opaque.
func isOpaqueID(id string) bool {
	if id == "" || len(id) > maxIDLength || !isAlphanumeric(id[0]) {
		return false
	}
	for i := range len(id) {
		if c := id[i]; !isAlphanumeric(c) && c != '_' && c != '.' && c != ':' && c != '-' {
			return false
		}
	}
	return true
}
