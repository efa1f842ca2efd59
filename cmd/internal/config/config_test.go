package config_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/cmd/internal/config"
)

const token = "9c7b0e52-4f1d-4a63-8b0e-2f9d6c1a5e47"

func environment() map[string]string {
	return map[string]string{
		"DATABASE_URL": "postgres://user:hunter2@host/milepost", "SMARTCAR_MANAGEMENT_TOKEN": token + ",older",
		"SMARTCAR_WEBHOOK_SECRET": "whsec", "MILEPOST_KEYSET": "keysetmaterial",
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

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	settings, err := config.LoadServe(environment())
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		printed := fmt.Sprintf(verb, settings)
		for _, secret := range []string{"hunter2", "whsec", token, "older", "keysetmaterial", "clientsecret", "connectsecret"} {
			require.NotContains(t, printed, secret, verb)
		}
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
