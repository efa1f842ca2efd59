package smartcar

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

const (
	maskedText = "****"
	// Tokens are opaque. UUIDs and JWTs are sent; beyond this it is neither.
	maxTokenLength = 8 << 10
)

// Token is a token, a code or a secret: text that never prints. fmt with any verb, slog and encoding/json show "****",
// or "" when it is empty. Two limits: fmt asks no methods of an unexported field, so keep a Token in exported ones or
// behind a function; and encoding/json asks none of a map's key that is a string, so do not key a map with it.
type Token string

// Reveal gives the text itself, to be passed on to what needs it and nowhere else.
func (t Token) Reveal() string { return string(t) }

// String masks the token.
func (t Token) String() string {
	if t == "" {
		return ""
	}
	return maskedText
}

// GoString masks the token under %#v.
func (t Token) GoString() string { return t.String() }

// Format masks the token under every verb; without it %d would show it in an error about the verb.
func (t Token) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, t.String()) }

// LogValue masks the token in structured logs.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText masks the token in JSON. It is one-way: what was marshalled so is lost.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// isSendable reports whether the token can stand in a header: visible ASCII without spaces, not empty.
func (t Token) isSendable() bool {
	if t == "" || len(t) > maxTokenLength {
		return false
	}
	for i := range len(t) {
		if t[i] <= ' ' || t[i] > '~' {
			return false
		}
	}
	return true
}

// TokenPair is one generation of a token family of v2. Both tokens replace their predecessors; store them in one
// transaction before either is used. Source: Smartcar, "lifetimes and rotation".
type TokenPair struct {
	AccessToken, RefreshToken Token
	// ExpiresIn is how long the access token lives from the answer on; more than 0, at most 30 days.
	ExpiresIn time.Duration
}
