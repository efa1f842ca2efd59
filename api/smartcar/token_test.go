package smartcar_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

const (
	secretText = "s3cret-never-shown"
	vinText    = "YSMVSEDE6NL000042"
)

// shown is everything that printing, logging and encoding make of a value.
func shown(t *testing.T, value any) string {
	t.Helper()
	type holder struct{ Held any }
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10.3s"} {
		fmt.Fprintf(&out, verb+"\n", value)
		fmt.Fprintf(&out, verb+"\n", holder{value})
		fmt.Fprintf(&out, verb+"\n", []any{value})
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("shown", "value", value, "held", holder{value})
	slog.New(slog.NewTextHandler(&out, nil)).Info("shown", "value", value, "held", holder{value})
	if encoded, err := json.Marshal(value); err == nil {
		out.Write(encoded)
	}
	return out.String()
}

func requireHidden(t *testing.T, text, hidden string) {
	t.Helper()
	for _, form := range []string{hidden, fmt.Sprintf("%x", hidden), fmt.Sprintf("%X", hidden), strings.Trim(fmt.Sprintf("%d", []byte(hidden)), "[]"), hidden[:3]} {
		if strings.Contains(text, form) {
			t.Fatal("what must not print did") // An assertion would print it once more.
		}
	}
}

func TestNothingThatHoldsATokenPrintsIt(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(reply(http.StatusOK, `{"access_token":"`+secretText+`","expires_in":3600}`))
	t.Cleanup(server.Close)
	hosts := hostsAt(server.URL)
	oauthConfig := smartcar.OAuthConfig{Hosts: hosts, ClientID: "id", ClientSecret: secretText, RedirectURI: "https://app.example/callback"}
	oauth, err := smartcar.NewOAuth(oauthConfig)
	require.NoError(t, err)
	tokensConfig := smartcar.ApplicationTokensConfig{Hosts: hosts, ClientID: "id", ClientSecret: secretText}
	tokens, err := smartcar.NewApplicationTokens(tokensConfig)
	require.NoError(t, err)
	token, err := tokens.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, secretText, token.Reveal())

	for _, value := range []any{
		token, &token, smartcar.TokenPair{AccessToken: token, RefreshToken: token, ExpiresIn: time.Hour},
		smartcar.Credential{AccessToken: token, UserID: "user"}, smartcar.Callback{State: "state", Code: token},
		map[string]smartcar.Token{"token": token}, oauthConfig, oauth, tokensConfig, tokens,
	} {
		requireHidden(t, shown(t, value), secretText)
	}
}

func TestAnEmptyTokenPrintsNothingAndAnyOtherItsMask(t *testing.T) {
	t.Parallel()
	require.Equal(t, "[]", fmt.Sprintf("[%v%#v%d%s]", smartcar.Token(""), smartcar.Token(""), smartcar.Token(""), smartcar.Token("").String()))
	require.Equal(t, "****", fmt.Sprint(smartcar.Token("x")))
	require.Equal(t, "****", smartcar.Token("x").GoString())
	encoded, err := json.Marshal([]smartcar.Token{"", "x"})
	require.NoError(t, err)
	require.JSONEq(t, `["","****"]`, string(encoded))
}

func TestAVehiclePrintsWithoutItsVIN(t *testing.T) {
	t.Parallel()
	vehicle := smartcar.Vehicle{ID: vehicleID, Make: "POLESTAR", Model: "Polestar 2", VIN: vinText, Year: 2023}
	for _, value := range []any{vehicle, &vehicle, []smartcar.Vehicle{vehicle}} {
		requireHidden(t, shown(t, value), vinText)
	}
	require.Contains(t, fmt.Sprint(vehicle), "POLESTAR")
}
