package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	connectPath = "/api/smartcar/connect"
	// MaxConnectLinkLife is how far ahead a link may expire.
	MaxConnectLinkLife = 24 * time.Hour
	// MinConnectSecretBytes is the length of the shortest accepted connect secret.
	MinConnectSecretBytes = 16

	maxOwnerCharacters = 254
	maxMakeCharacters  = 64
	// Past the year 30000, and too few for the arithmetic of times to overflow.
	maxExpiresDigits = 12
)

var (
	errLinkMalformed = errors.New("api: the link's query has a bad escape or repeats a parameter")
	errLinkValues    = errors.New("api: the link has a value that is not allowed")
	errLinkSignature = errors.New("api: the link's signature is missing or wrong")
	errLinkExpired   = errors.New("api: the link has expired")
	errLinkTooLong   = errors.New("api: the link expires more than 24 hours ahead")
)

var smartcarVehicleID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$`)

// ConnectLink is the address that an application sends the browser of one of its users to, to connect a car. The
// application proves with a signature that it made the link: whoever holds the link is taken for that user, so it
// belongs behind the application's login and should live for minutes. The callback must find the browser's cookie, so
// the link has the host of the redirect URI.
//
// The signature is the lower-case hexadecimal HMAC-SHA256, keyed with the text of a connect secret, of the five lines
//
//	user=<user>
//	name=<name>
//	vehicle=<vehicle>
//	make=<make>
//	expires=<unix seconds>
//
// in UTF-8, in this order, joined by single newlines with none at the end. The values are not escaped; an absent one
// is empty. No value can hold a newline, so no two links have the same lines. Parameters beside these are ignored.
type ConnectLink struct {
	// User is the owner's e-mail address, or the application's other name for the owner: 1 to 254 printable
	// characters without spaces at the ends.
	User string
	// Name is the owner's name, optional, at most 254 printable characters.
	Name string
	// VehicleID is the Smartcar vehicle whose owner is to sign in again; "" for a new consent.
	VehicleID string
	// Make skips the choice of the brand in a new consent, such as "TESLA"; optional, at most 64 printable characters.
	Make string
	// ExpiresAt counts in whole seconds and is at most 24 hours ahead.
	ExpiresAt time.Time
}

// SignedConnectURL gives the address of link at base, such as "https://milepost.example.com", signed with secret. A
// link that does not pass Validate is refused when it is opened.
func SignedConnectURL(base string, link ConnectLink, secret string) string {
	query := url.Values{
		"user":      {link.User},
		"expires":   {strconv.FormatInt(link.ExpiresAt.Unix(), 10)},
		"signature": {link.signature(secret)},
	}
	for name, value := range map[string]string{"name": link.Name, "vehicle": link.VehicleID, "make": link.Make} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return strings.TrimRight(base, "/") + connectPath + "?" + query.Encode()
}

// Validate reports all values that are not allowed, without repeating them. It does not look at the time.
func (l ConnectLink) Validate() error {
	var faults []error
	require := func(met bool, fault string) {
		if !met {
			faults = append(faults, fmt.Errorf("%w: %s", errLinkValues, fault))
		}
	}
	require(l.User != "" && isPrintable(l.User, maxOwnerCharacters) && l.User == strings.TrimSpace(l.User),
		"user must be 1 to 254 printable characters without spaces at the ends")
	require(isPrintable(withoutJoiners(l.Name), maxOwnerCharacters), "name must be at most 254 printable characters")
	require(l.VehicleID == "" || smartcarVehicleID.MatchString(l.VehicleID), "vehicle must be a vehicle id of Smartcar's")
	require(isPrintable(l.Make, maxMakeCharacters), "make must be at most 64 printable characters")
	require(l.ExpiresAt.Unix() > 0, "expires must be a time in unix seconds")
	return errors.Join(faults...)
}

func (l ConnectLink) signature(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strings.Join([]string{
		"user=" + l.User,
		"name=" + l.Name,
		"vehicle=" + l.VehicleID,
		"make=" + l.Make,
		"expires=" + strconv.FormatInt(l.ExpiresAt.Unix(), 10),
	}, "\n")))
	return hex.EncodeToString(mac.Sum(nil))
}

// verifyConnectLink reads a link that one of the secrets signed. Its errors wrap one of the errLink errors and repeat
// nothing of the query.
func verifyConnectLink(rawQuery string, secrets []string, now time.Time) (ConnectLink, error) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return ConnectLink{}, errLinkMalformed // The cause would quote the query.
	}
	for _, values := range query {
		if len(values) > 1 {
			return ConnectLink{}, errLinkMalformed
		}
	}
	link := ConnectLink{
		User: query.Get("user"), Name: query.Get("name"), VehicleID: query.Get("vehicle"), Make: query.Get("make"),
		ExpiresAt: readUnixSeconds(query.Get("expires")),
	}
	// Before the signature, because the signed lines are unambiguous only for values without newlines.
	if err := link.Validate(); err != nil {
		return ConnectLink{}, err
	}
	if !link.isSignedBy(secrets, query.Get("signature")) {
		return ConnectLink{}, errLinkSignature
	}
	switch {
	case now.After(link.ExpiresAt):
		return ConnectLink{}, errLinkExpired
	case link.ExpiresAt.After(now.Add(MaxConnectLinkLife)):
		return ConnectLink{}, errLinkTooLong
	default:
		return link, nil
	}
}

func (l ConnectLink) isSignedBy(secrets []string, signature string) bool {
	matches := 0
	for _, secret := range secrets {
		matches |= subtle.ConstantTimeCompare([]byte(signature), []byte(l.signature(secret)))
	}
	return matches == 1
}

// readUnixSeconds accepts the one usual spelling of a time after 1970 and gives 1970 for everything else.
func readUnixSeconds(text string) time.Time {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || len(text) > maxExpiresDigits || strconv.FormatInt(seconds, 10) != text {
		return time.Unix(0, 0)
	}
	return time.Unix(seconds, 0)
}

// isPrintable reports whether text is at most limit characters of valid UTF-8, all of them printable; the only
// space is U+0020.
func isPrintable(text string, limit int) bool {
	return utf8.ValidString(text) && utf8.RuneCountInString(text) <= limit &&
		!strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// withoutJoiners leaves out the zero-width joiners, which names in Persian and in scripts of India need.
func withoutJoiners(text string) string {
	return strings.NewReplacer("\u200c", "", "\u200d", "").Replace(text)
}
