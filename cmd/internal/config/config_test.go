package config_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/db/keyset"
)

const token = "9c7b0e52-4f1d-4a63-8b0e-2f9d6c1a5e47"

// keysetText is a keyset of the tests' own.
var keysetText = sync.OnceValue(func() string {
	made, err := keyset.New()
	if err != nil {
		panic(err)
	}
	return made.Text()
})

func environment() map[string]string {
	return map[string]string{
		"DATABASE_URL": "postgres://user:hunter2@host/milepost", "SMARTCAR_MANAGEMENT_TOKEN": token + ",older",
		"SMARTCAR_WEBHOOK_SECRET": "whsec", "MILEPOST_KEYSET": keysetText(),
		"SMARTCAR_CLIENT_ID": "application", "SMARTCAR_CLIENT_SECRET": "clientsecret",
		"SMARTCAR_REDIRECT_URI":   "https://milepost.example/api/smartcar/callback",
		"MILEPOST_CONNECT_SECRET": "connectsecret-of-length,connectsecret-before",
		"MILEPOST_NOTICE_URL":     "https://application.example/notices", "MILEPOST_NOTICE_SECRET": "whsec_bm90aWNlc2VjcmV0",
	}
}

func TestTheDefaultsAreThere(t *testing.T) {
	t.Parallel()
	settings, err := config.LoadServe(environment())
	require.NoError(t, err)
	require.Equal(t, ":8080", settings.Listen)
	require.Equal(t, "127.0.0.1:9090", settings.AdminListen)
	require.Equal(t, []config.Secret{token, "older"}, settings.ManagementTokens)
}

func TestAnEmptyManagementTokenRefusesToStart(t *testing.T) {
	t.Parallel()
	for _, tokens := range []string{"", " ", ",", token + ",", token + ", "} {
		variables := environment()
		variables["SMARTCAR_MANAGEMENT_TOKEN"] = tokens
		_, err := config.LoadServe(variables)
		require.ErrorContains(t, err, "SMARTCAR_MANAGEMENT_TOKEN", "tokens %q", tokens)
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.LoadServe(map[string]string{"MILEPOST_START_CONCURRENCY": "0", "MILEPOST_HEAL_AFTER": "soon"})
	for _, name := range []string{"DATABASE_URL", "SMARTCAR_MANAGEMENT_TOKEN", "MILEPOST_START_CONCURRENCY", "MILEPOST_KEYSET"} {
		require.ErrorContains(t, err, name)
	}
	require.ErrorContains(t, err, "HealAfter")
}

func TestFaultsInsideTheValuesAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	variables := environment()
	wrong := map[string]string{
		"DATABASE_URL": "postgres://user:hunter2@host:notaport/milepost", "MILEPOST_KEYSET": "keysetmaterial",
		"TEMPORAL_TLS_CLIENT_CERT_PATH": "/nowhere/at/all", "SMARTCAR_AUTH_URL": "auth.example", "SMARTCAR_REDIRECT_URI": "callback",
		"SMARTCAR_SCOPES": "read_odometer,read_vin", "MILEPOST_NOTICE_SECRET": "whsec_notice-secret!",
		"MILEPOST_NOTICE_URL": "app.example/notices", "MILEPOST_RETURN_URL": "/cars", "SMARTCAR_API": "v4",
	}
	maps.Copy(variables, wrong)
	_, err := config.LoadServe(variables)
	for _, fault := range []string{
		"DATABASE_URL", "keyset", "TEMPORAL_", "host Auth", "redirect URI", "scope 1",
		"MILEPOST_NOTICE_SECRET", "MILEPOST_NOTICE_URL", "MILEPOST_RETURN_URL", "SMARTCAR_API",
	} {
		require.ErrorContains(t, err, fault)
	}
	require.Equal(t, 1, strings.Count(err.Error(), "redirect URI"), "each fault is told once")
	for _, secret := range []string{"hunter2", "keysetmaterial", "notice-secret"} {
		require.NotContains(t, err.Error(), secret)
	}
}

func TestAKeysetFileIsReadAtTheStart(t *testing.T) {
	t.Parallel()
	variables := environment()
	delete(variables, "MILEPOST_KEYSET")
	variables["MILEPOST_KEYSET_FILE"] = filepath.Join(t.TempDir(), "missing.json")
	_, err := config.LoadServe(variables)
	require.ErrorContains(t, err, "missing.json")
}

func TestOnlyAWebAddressTakesNotices(t *testing.T) {
	t.Parallel()
	for url, good := range map[string]bool{
		"https://app.example/notices": true, "http://app:8080": true,
		"app.example/notices": false, "app.example:80/notices": false, "/notices": false, "ftp://app.example": false, "https://": false,
	} {
		variables := environment()
		variables["MILEPOST_NOTICE_URL"] = url
		_, err := config.LoadServe(variables)
		require.Equal(t, good, err == nil, url)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	settings, err := config.LoadServe(environment())
	require.NoError(t, err)
	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&printed, verb, settings)
	}
	slog.New(slog.NewJSONHandler(&printed, nil)).Info("settings", slog.Any("settings", settings))
	slog.New(slog.NewTextHandler(&printed, nil)).Info("settings", slog.Any("settings", settings))
	require.NoError(t, json.NewEncoder(&printed).Encode(settings))
	for _, secret := range []string{"hunter2", "whsec", token, "older", "keyData", "clientsecret", "connectsecret"} {
		require.NotContains(t, printed.String(), secret)
		require.NotContains(t, printed.String(), hex.EncodeToString([]byte(secret)))
	}
}

func TestHalfASettingForConnectIsAFault(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]string{
		"SMARTCAR_CLIENT_SECRET": "SMARTCAR_REDIRECT_URI", "SMARTCAR_REDIRECT_URI": "SMARTCAR_CLIENT_ID",
		"MILEPOST_CONNECT_SECRET": "MILEPOST_CONNECT_SECRET", "MILEPOST_NOTICE_SECRET": "MILEPOST_NOTICE_URL",
		"MILEPOST_KEYSET": "milepost keys new",
	} {
		variables := environment()
		delete(variables, name)
		_, err := config.LoadServe(variables)
		require.ErrorContains(t, err, fault, "without %s", name)
	}
}

func TestAValueOutsideItsListIsAFault(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"SMARTCAR_API": "v4", "SMARTCAR_MODE": "lively", "MILEPOST_TOKEN_REFRESH": "sometimes",
		"MILEPOST_CONNECT_SECRET": "short", "MILEPOST_TOKEN_CONNECTIONS": "1", "MILEPOST_SMARTCAR_CALLS_PER_SECOND": "0",
	} {
		variables := environment()
		variables[name] = value
		_, err := config.LoadServe(variables)
		require.ErrorContains(t, err, name)
	}
}
