package api_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api"
)

// signedLines signs as an application in another language does, from the documented lines.
func signedLines(secret string, lines ...string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(mac.Sum(nil))
}

func fullLink(b *connectBundle) api.ConnectLink {
	link := b.link()
	link.Name, link.VehicleID, link.Make = "Anna Åström-O'Neil & Co", ownersVehicle, "TESLA"
	return link
}

func parameters(t *testing.T, path string) url.Values {
	t.Helper()
	parsed, err := url.Parse(path)
	require.NoError(t, err)
	return parsed.Query()
}

func TestALinkIsSignedOverTheDocumentedLines(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	link := fullLink(b)
	address := api.SignedConnectURL("https://milepost.example.com/", link, connectSecret)
	require.True(t, strings.HasPrefix(address, "https://milepost.example.com/api/smartcar/connect?"), address)
	require.Equal(t, signedLines(connectSecret, "user="+owner, "name=Anna Åström-O'Neil & Co", "vehicle="+ownersVehicle,
		"make=TESLA", fmt.Sprintf("expires=%d", link.ExpiresAt.Unix())), parameters(t, address).Get("signature"))

	short := api.SignedConnectURL("", b.link(), connectSecret)
	require.Equal(t, signedLines(connectSecret, "user="+owner, "name=", "vehicle=", "make=",
		fmt.Sprintf("expires=%d", b.link().ExpiresAt.Unix())), parameters(t, short).Get("signature"))
	require.Len(t, parameters(t, short), 3)
}

func TestALinkWithAnyParameterChangedIsRefused(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	good := parameters(t, b.linkPath(fullLink(b)))
	require.Len(t, good, 6)
	for name, values := range good {
		changed := map[string]string{"another": values[0] + "1", "none": "", "with a newline": values[0] + "\n"}
		if name == "expires" {
			changed["signed"], changed["padded"], changed["huge"] = "+"+values[0], "0"+values[0], strings.Repeat("9", 19)
		}
		if name == "signature" {
			changed["in capitals"] = strings.ToUpper(values[0])
		}
		for what, value := range changed {
			query := url.Values{}
			for other := range good {
				query.Set(other, good.Get(other))
			}
			query.Set(name, value)
			got := b.browser(t).open(t, "/api/smartcar/connect?"+query.Encode())
			require.Equal(t, http.StatusForbidden, got.status, "%s %s", name, what)
			requirePage(t, got, http.StatusForbidden, "error", "link_invalid")
			require.Empty(t, got.header.Get("Set-Cookie"))
		}
		query := url.Values{}
		for other := range good {
			if other != name {
				query.Set(other, good.Get(other))
			}
		}
		requirePage(t, b.browser(t).open(t, "/api/smartcar/connect?"+query.Encode()), http.StatusForbidden, "error", "link_invalid")
	}
	require.Empty(t, b.consents.rows)
	require.Equal(t, http.StatusFound, b.browser(t).open(t, "/api/smartcar/connect?"+good.Encode()).status)
}

func TestAParameterCannotBeSmuggledIntoAnother(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	expires := fmt.Sprintf("expires=%d", b.link().ExpiresAt.Unix())
	link := b.link()
	link.User = "victim@example.com"
	victims := signedLines(connectSecret, "user=victim@example.com", "name=", "vehicle=", "make=", expires)
	require.Contains(t, b.linkPath(link), victims)

	hostile := b.link()
	hostile.User = "victim@example.com\nname=\nvehicle=\nmake=\n" + expires
	require.Error(t, hostile.Validate())
	require.NotContains(t, b.linkPath(hostile), victims)
	requirePage(t, b.browser(t).open(t, b.linkPath(hostile)), http.StatusForbidden, "error", "link_invalid")
}

func TestADamagedLinkIsRefused(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	good := b.linkPath(b.link())
	for _, path := range []string{
		good + "&user=" + url.QueryEscape(owner), good + "&utm=1&utm=2", good + "&name=%zz", good + "&a;b",
	} {
		requirePage(t, b.browser(t).open(t, path), http.StatusBadRequest, "error", "link_malformed")
	}
	require.Equal(t, http.StatusFound, b.browser(t).open(t, good+"&utm=1").status, "other parameters are ignored")
}

func TestALinkIsGoodUntilItExpires(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	for _, c := range []struct {
		life   time.Duration
		status int
		reason string
	}{
		{0, http.StatusFound, ""},
		{24 * time.Hour, http.StatusFound, ""},
		{-time.Second, http.StatusForbidden, "link_expired"},
		{-48 * time.Hour, http.StatusForbidden, "link_expired"},
		{24*time.Hour + time.Second, http.StatusForbidden, "link_invalid"},
		{math.MaxInt64, http.StatusForbidden, "link_invalid"},
	} {
		link := b.link()
		link.ExpiresAt = b.now().Add(c.life)
		got := b.browser(t).open(t, b.linkPath(link))
		require.Equal(t, c.status, got.status, c.life)
		if c.reason != "" {
			requirePage(t, got, c.status, "error", c.reason)
			require.Contains(t, got.body, "Go back to the application and try again")
		}
	}
	link := b.link()
	link.ExpiresAt = time.Unix(math.MaxInt64, 0)
	requirePage(t, b.browser(t).open(t, b.linkPath(link)), http.StatusForbidden, "error", "link_invalid")
	link.ExpiresAt = b.now().Add(-time.Second)
	requirePage(t, b.browser(t).open(t, api.SignedConnectURL("", link, "a-secret-that-nobody-agreed-on")),
		http.StatusForbidden, "error", "link_invalid")
}

func TestEverySecretInRotationSigns(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	for secret, status := range map[string]int{
		connectSecret: http.StatusFound, previousConnectSecret: http.StatusFound,
		"a-secret-that-nobody-agreed-on": http.StatusForbidden, "": http.StatusForbidden,
	} {
		require.Equal(t, status, b.browser(t).open(t, api.SignedConnectURL("", b.link(), secret)).status)
	}
}

func TestValuesOfALinkAreChecked(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	for what, change := range map[string]func(*api.ConnectLink){
		"no user":            func(l *api.ConnectLink) { l.User = "" },
		"user of spaces":     func(l *api.ConnectLink) { l.User = "  " },
		"user too long":      func(l *api.ConnectLink) { l.User = strings.Repeat("ä", 255) },
		"user with NUL":      func(l *api.ConnectLink) { l.User = "anna\x00" },
		"user not UTF-8":     func(l *api.ConnectLink) { l.User = "anna\xff" },
		"name too long":      func(l *api.ConnectLink) { l.Name = strings.Repeat("n", 255) },
		"name turned around": func(l *api.ConnectLink) { l.Name = "Anna\u202e" },
		"vehicle with space": func(l *api.ConnectLink) { l.VehicleID = "a b" },
		"vehicle too long":   func(l *api.ConnectLink) { l.VehicleID = strings.Repeat("v", 65) },
		"make too long":      func(l *api.ConnectLink) { l.Make = strings.Repeat("m", 65) },
		"no expiry":          func(l *api.ConnectLink) { l.ExpiresAt = time.Time{} },
	} {
		link := b.link()
		change(&link)
		err := link.Validate()
		require.Error(t, err, what)
		require.NotContains(t, err.Error(), "anna")
		requirePage(t, b.browser(t).open(t, b.linkPath(link)), http.StatusForbidden, "error", "link_invalid")
	}
	for _, user := range []string{"u", strings.Repeat("ä", 254), "customer 4711", "<script>&'\""} {
		link := b.link()
		link.User, link.Name = user, "نیلوفر می\u200cخواهد"
		require.NoError(t, link.Validate())
		require.Equal(t, http.StatusFound, b.browser(t).open(t, b.linkPath(link)).status)
	}
}
