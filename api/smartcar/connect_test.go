package smartcar_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

func connectConfig() smartcar.ConnectConfig {
	return smartcar.ConnectConfig{
		ClientID: "3a0c1c5e-0000-4000-8000-000000000001", RedirectURI: "https://app.example/api/smartcar/callback?x=1+2",
		Scopes: []string{"required:read_odometer", "read_vin"}, API: smartcar.V2,
	}
}

func hostsAt(base string) smartcar.Hosts {
	return smartcar.Hosts{Connect: base, Auth: base, IAM: base, API: base, Vehicle: base, Management: base}
}

func TestTheAuthoriseURLCarriesEveryParameter(t *testing.T) {
	t.Parallel()
	for _, generation := range []smartcar.APIVersion{smartcar.V2, smartcar.V3} {
		config := connectConfig()
		config.API = generation
		connect, err := smartcar.NewConnect(config)
		require.NoError(t, err)

		address := connect.AuthorizeURL(smartcar.AuthorizeRequest{State: "st+ate", ExternalID: "driver 1&2", Force: true, Make: "TESLA"})
		require.Contains(t, address, "scope=required%3Aread_odometer%20read_vin")
		require.NotContains(t, address, "+")
		parsed, err := url.Parse(address)
		require.NoError(t, err)
		require.Equal(t, "https://connect.smartcar.com/oauth/authorize", parsed.Scheme+"://"+parsed.Host+parsed.Path)
		require.Equal(t, url.Values{
			"response_type": {"code"}, "client_id": {config.ClientID}, "redirect_uri": {config.RedirectURI},
			"scope": {"required:read_odometer read_vin"}, "state": {"st+ate"}, "mode": {"live"}, "approval_prompt": {"force"},
			"make": {"TESLA"}, "user": {"driver 1&2"}, "external_id": {"driver 1&2"},
		}, parsed.Query())
	}
}

func TestTheAuthoriseURLLeavesOutWhatIsNotGiven(t *testing.T) {
	t.Parallel()
	config := connectConfig()
	config.Scopes, config.Mode, config.Hosts.Connect = nil, "simulated", "http://127.0.0.1:4000/connect/"
	connect, err := smartcar.NewConnect(config)
	require.NoError(t, err)

	parsed, err := url.Parse(connect.AuthorizeURL(smartcar.AuthorizeRequest{State: "state"}))
	require.NoError(t, err)
	require.Equal(t, "/connect/oauth/authorize", parsed.Path)
	require.Equal(t, url.Values{
		"response_type": {"code"}, "client_id": {config.ClientID}, "redirect_uri": {config.RedirectURI}, "state": {"state"}, "mode": {"simulated"},
	}, parsed.Query())
}

func TestTheReauthenticateURLNamesTheVehicle(t *testing.T) {
	t.Parallel()
	connect, err := smartcar.NewConnect(connectConfig())
	require.NoError(t, err)

	parsed, err := url.Parse(connect.ReauthenticateURL(smartcar.ReauthenticateRequest{State: "state", VehicleID: vehicleID, ExternalID: "driver"}))
	require.NoError(t, err)
	require.Equal(t, "/oauth/reauthenticate", parsed.Path)
	require.Equal(t, url.Values{
		"response_type": {"vehicle_id"}, "client_id": {connectConfig().ClientID}, "redirect_uri": {connectConfig().RedirectURI},
		"state": {"state"}, "vehicle_id": {vehicleID}, "user": {"driver"}, "external_id": {"driver"},
	}, parsed.Query())
}

func TestEveryFaultOfTheConnectSettingsIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := smartcar.NewConnect(smartcar.ConnectConfig{
		Hosts: smartcar.Hosts{Connect: "http://connect.example"}, RedirectURI: "/callback", Mode: "demo",
		Scopes: []string{"read_odometer", "read odometer"}, API: "v4",
	})
	for _, part := range []string{"host Connect", "client id", "redirect URI", "mode", "scope 2", "v2 or v3"} {
		require.ErrorContains(t, err, part)
	}
	for _, sent := range []string{"connect.example", "/callback", "demo", "v4"} {
		require.NotContains(t, err.Error(), sent)
	}
}

func TestARedirectURIForAMobileApplicationIsAccepted(t *testing.T) {
	t.Parallel()
	config := connectConfig()
	config.RedirectURI = "sc3a0c1c5e-0000-4000-8000-000000000001://callback"
	_, err := smartcar.NewConnect(config)
	require.NoError(t, err)
}

func TestZeroHostsAreTheRealOnes(t *testing.T) {
	t.Parallel()
	require.Equal(t, smartcar.Hosts{
		Connect: "https://connect.smartcar.com", Auth: "https://auth.smartcar.com", IAM: "https://iam.smartcar.com",
		API: "https://api.smartcar.com", Vehicle: "https://vehicle.api.smartcar.com", Management: "https://management.api.smartcar.com",
	}, smartcar.Hosts{}.WithDefaults())
	require.NoError(t, smartcar.Hosts{}.Validate())
	require.Equal(t, "https://sim.example", smartcar.Hosts{Auth: "https://sim.example/"}.WithDefaults().Auth)
}

func TestAHostThatWouldSendSecretsInTheClearIsRefused(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"https://sim.example:8443/base", "http://localhost:1", "http://127.0.0.1", "http://[::1]:80", "http://127.9.9.9"} {
		require.NoError(t, hostsAt(good).Validate(), good)
	}
	for _, bad := range []string{
		"http://sim.example", "http://localhost.example", "sim.example", "//sim.example", "ftp://localhost", "https://", "https://:8443",
		"https://user@sim.example", "https://sim.example?a=b", "https://sim.example/#a", "https://sim.example/?", "https://sim.example/%zz", " ",
	} {
		err := smartcar.Hosts{IAM: bad}.Validate()
		require.ErrorContains(t, err, "host IAM", bad)
		if strings.TrimSpace(bad) != "" && bad != "https://" {
			require.NotContains(t, err.Error(), bad)
		}
	}
}
