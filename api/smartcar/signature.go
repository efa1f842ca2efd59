package smartcar

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"strings"
)

// SignatureHeader carries the lower-case hex HMAC-SHA256 of the raw request body.
// Source: Smartcar, "payload verification".
const SignatureHeader = "SC-Signature"

const (
	minChallengeLength = 4
	maxChallengeLength = 128
	maskedKeyring      = "smartcar.Keyring(masked)"
)

var (
	// ErrNoManagementToken says that a keyring was asked for, or used, without a usable management token.
	// An empty key would make every signature computable by anyone.
	ErrNoManagementToken = errors.New("smartcar: no application management token, or an empty one")
	// ErrSignatureMalformed says that a signature is not 64 hex digits.
	ErrSignatureMalformed = errors.New("smartcar: signature is not 64 hexadecimal digits")
	// ErrSignatureMismatch says that no key of the keyring made the signature.
	ErrSignatureMismatch = errors.New("smartcar: signature matches no key")
	// ErrChallengeRefused says that a challenge is outside [A-Za-z0-9_.-]{4,128} and was not hashed.
	ErrChallengeRefused = errors.New("smartcar: challenge refused")
)

// Keyring holds the application management tokens (and further signing keys) that deliveries may be signed with.
// It prints masked. The zero value holds no key and verifies nothing.
type Keyring struct {
	// A function, since fmt prints what an unexported slice or pointer holds without asking String.
	keys func() [][]byte
}

// NewKeyring builds a keyring. Every token is accepted by Verify; the first one answers VERIFY and signs.
// White space around a token is dropped: tokens have none, secret files do.
// It returns ErrNoManagementToken when there is no token or any is blank.
func NewKeyring(tokens ...string) (Keyring, error) {
	if len(tokens) == 0 {
		return Keyring{}, ErrNoManagementToken
	}
	keys := make([][]byte, 0, len(tokens))
	for _, token := range tokens {
		trimmed := strings.TrimSpace(token)
		if trimmed == "" {
			return Keyring{}, ErrNoManagementToken
		}
		keys = append(keys, []byte(trimmed))
	}
	return Keyring{keys: func() [][]byte { return keys }}, nil
}

// WithSigningKeys returns a copy that also accepts signatures made with the extra keys, such as a webhook secret.
// Blank ones are ignored. The extra keys never answer VERIFY, so a zero keyring stays a zero keyring.
func (k Keyring) WithSigningKeys(extra ...string) Keyring {
	if k.keys == nil {
		return k
	}
	keys := slices.Clone(k.keys())
	for _, key := range extra {
		if trimmed := strings.TrimSpace(key); trimmed != "" {
			keys = append(keys, []byte(trimmed))
		}
	}
	return Keyring{keys: func() [][]byte { return keys }}
}

// IsZero reports whether the keyring holds no key.
func (k Keyring) IsZero() bool { return k.keys == nil }

// Verify checks that signature (64 hex digits, either case) is the HMAC-SHA256 of the body exactly as received,
// before any JSON parsing, under one of the keys. All keys are tried, in constant time.
// It returns ErrSignatureMalformed, ErrSignatureMismatch or, on a zero keyring, ErrNoManagementToken.
// Source: Smartcar, "payload verification".
func (k Keyring) Verify(signature string, body []byte) error {
	if k.keys == nil {
		return ErrNoManagementToken
	}
	if len(signature) != hex.EncodedLen(sha256.Size) {
		return ErrSignatureMalformed
	}
	claimed, err := hex.DecodeString(signature)
	if err != nil {
		// The cause would repeat a byte of the signature.
		return ErrSignatureMalformed
	}
	matched := 0
	for _, key := range k.keys() {
		matched |= subtle.ConstantTimeCompare(claimed, sum(key, body))
	}
	if matched != 1 {
		return ErrSignatureMismatch
	}
	return nil
}

// Sign returns the lower-case hex HMAC-SHA256 of body under the first token; "" on a zero keyring.
func (k Keyring) Sign(body []byte) string {
	if k.keys == nil {
		return ""
	}
	return hex.EncodeToString(sum(k.keys()[0], body))
}

// AnswerChallenge returns the answer to a VERIFY challenge: lower-case hex HMAC-SHA256 under the first token.
//
// The answer is the same computation as the signature of an event, so whoever may choose the challenge freely
// obtains signatures for bodies. Anything outside [A-Za-z0-9_.-]{4,128}, which no JSON object can match, is refused
// with ErrChallengeRefused and never hashed. Source: Smartcar, "the signing-oracle problem".
func (k Keyring) AnswerChallenge(challenge string) (string, error) {
	if k.keys == nil {
		return "", ErrNoManagementToken
	}
	if !isChallenge(challenge) {
		return "", ErrChallengeRefused
	}
	return k.Sign([]byte(challenge)), nil
}

// String masks the keys.
func (k Keyring) String() string { return maskedKeyring }

// GoString masks the keys under %#v.
func (k Keyring) GoString() string { return maskedKeyring }

// LogValue masks the keys in structured logs.
func (k Keyring) LogValue() slog.Value { return slog.StringValue(maskedKeyring) }

func sum(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write(message) // hash.Hash documents that Write never returns an error.
	return mac.Sum(nil)
}

func isChallenge(text string) bool {
	if len(text) < minChallengeLength || len(text) > maxChallengeLength {
		return false
	}
	for i := range len(text) {
		if c := text[i]; !isAlphanumeric(c) && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
