package api

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"

	"github.com/gin-gonic/gin"
)

const (
	browserCookie     = "milepost_connect"
	browserCookiePath = "/api/smartcar"
	randomBytes       = 16
)

// newRandom gives 128 random bits as 22 characters of base64url.
func newRandom() string {
	bits := make([]byte, randomBytes)
	_, _ = rand.Read(bits) // It cannot fail: it ends the program first.
	return base64.RawURLEncoding.EncodeToString(bits)
}

func isRandom(text string) bool {
	bits, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(bits) == randomBytes
}

// browserOf gives the value by which the browser is known, or "".
func browserOf(c *gin.Context) string {
	for _, cookie := range c.Request.CookiesNamed(browserCookie) {
		if isRandom(cookie.Value) {
			return cookie.Value
		}
	}
	return ""
}

// setBrowser makes the browser known for as long as a consent may take. A value that it has is kept: otherwise a
// second tab would make the first one's consent one of another browser.
func (h *connect) setBrowser(c *gin.Context, browser string) {
	http.SetCookie(c.Writer, &http.Cookie{ //nolint:gosec // Secure follows the redirect URI: plain http is for development.
		Name:     browserCookie,
		Value:    browser,
		Path:     browserCookiePath,
		MaxAge:   int(consentLife.Seconds()),
		Secure:   h.deps.SecureCookies,
		HttpOnly: true,
		// The way back from Smartcar comes from another site, so Strict would lose it.
		SameSite: http.SameSiteLaxMode,
	})
}
