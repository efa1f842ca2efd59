package config

import (
	"errors"
	"strings"

	"github.com/milepost/milepost/api/smartcar"
)

// The generations of Smartcar's platform.
const (
	apiV2 = "v2"
	apiV3 = "v3"
)

// Smartcar is what Connect, tokens and calls to Smartcar need.
type Smartcar struct {
	// ClientID is the application's id; "" leaves Connect and everything that needs tokens out.
	ClientID     string `env:"SMARTCAR_CLIENT_ID"`
	ClientSecret Secret `env:"SMARTCAR_CLIENT_SECRET"`
	// RedirectURI is this Milepost's /api/smartcar/callback, as registered with Smartcar.
	RedirectURI string `env:"SMARTCAR_REDIRECT_URI"`
	Mode        string `env:"SMARTCAR_MODE" envDefault:"live"`
	// API is the generation under which new vehicles are connected: v2 or v3.
	API string `env:"SMARTCAR_API" envDefault:"v2"`
	// Scopes are separated by spaces; "required:" makes one mandatory.
	Scopes string `env:"SMARTCAR_SCOPES" envDefault:"required:read_odometer read_vehicle_info read_vin"`
	// WebhookID is the webhook that vehicles are subscribed to; "" when it enrols them by itself.
	WebhookID string `env:"SMARTCAR_WEBHOOK_ID"`
	// IAMClientID and IAMClientSecret are v3's API client; empty ones mean ClientID and ClientSecret.
	IAMClientID     string `env:"SMARTCAR_IAM_CLIENT_ID"`
	IAMClientSecret Secret `env:"SMARTCAR_IAM_CLIENT_SECRET"`

	// Base URLs without the version; empty ones mean the real hosts.
	ConnectURL    string `env:"SMARTCAR_CONNECT_URL"`
	AuthURL       string `env:"SMARTCAR_AUTH_URL"`
	IAMURL        string `env:"SMARTCAR_IAM_URL"`
	APIURL        string `env:"SMARTCAR_API_URL"`
	VehicleURL    string `env:"SMARTCAR_VEHICLE_URL"`
	ManagementURL string `env:"SMARTCAR_MANAGEMENT_URL"`

	// ConnectSecrets sign the links to /api/smartcar/connect, which the application makes; all verify, the first signs.
	ConnectSecrets []Secret `env:"MILEPOST_CONNECT_SECRET"`
	// ReturnURL is where an owner goes on after connecting; "" leaves the link out.
	ReturnURL string `env:"MILEPOST_RETURN_URL"`
	// NoticeURL takes notices; NoticeSecret ("whsec_…") signs them.
	NoticeURL    string `env:"MILEPOST_NOTICE_URL"`
	NoticeSecret Secret `env:"MILEPOST_NOTICE_SECRET"`
	// TokenRefresh is proactive or keepalive.
	TokenRefresh string `env:"MILEPOST_TOKEN_REFRESH" envDefault:"proactive"`
	// TokenConnections bounds the pool of refreshes; half as many are under way at once.
	TokenConnections int32 `env:"MILEPOST_TOKEN_CONNECTIONS" envDefault:"16"`
	// CallsPerSecond bounds all calls to Smartcar, over all workers.
	CallsPerSecond float64 `env:"MILEPOST_SMARTCAR_CALLS_PER_SECOND" envDefault:"50"`
}

// Configured says whether vehicles can be connected.
func (s Smartcar) Configured() bool { return s.ClientID != "" }

// Hosts are the base URLs.
func (s Smartcar) Hosts() smartcar.Hosts {
	return smartcar.Hosts{
		Connect: s.ConnectURL, Auth: s.AuthURL, IAM: s.IAMURL,
		API: s.APIURL, Vehicle: s.VehicleURL, Management: s.ManagementURL,
	}
}

// ConnectConfig is what the consent pages are asked for with.
func (s Smartcar) ConnectConfig() smartcar.ConnectConfig {
	return smartcar.ConnectConfig{
		Hosts: s.Hosts(), ClientID: s.ClientID, RedirectURI: s.RedirectURI, Mode: s.Mode,
		Scopes: strings.Fields(s.Scopes), API: smartcar.APIVersion(s.API),
	}
}

// OAuthConfig is what v2's tokens are asked for with.
func (s Smartcar) OAuthConfig() smartcar.OAuthConfig {
	return smartcar.OAuthConfig{
		Hosts: s.Hosts(), ClientID: s.ClientID, ClientSecret: smartcar.Token(s.ClientSecret.Reveal()), RedirectURI: s.RedirectURI,
	}
}

// ApplicationTokensConfig is what v3's tokens are asked for with.
func (s Smartcar) ApplicationTokensConfig() smartcar.ApplicationTokensConfig {
	id, secret := s.IAMClientID, s.IAMClientSecret
	if id == "" {
		id, secret = s.ClientID, s.ClientSecret
	}
	return smartcar.ApplicationTokensConfig{Hosts: s.Hosts(), ClientID: id, ClientSecret: smartcar.Token(secret.Reveal())}
}

// minConnectSecret keeps a connect secret from being guessed.
const minConnectSecret = 16

func (s Smartcar) validate() error {
	var faults []error
	fault := func(is bool, text string) {
		if is {
			faults = append(faults, errors.New(text))
		}
	}
	connect := s.ClientID != "" || s.ClientSecret != "" || s.RedirectURI != ""
	fault(connect && (s.ClientID == "" || s.ClientSecret == "" || s.RedirectURI == ""),
		"SMARTCAR_CLIENT_ID, SMARTCAR_CLIENT_SECRET and SMARTCAR_REDIRECT_URI belong together: set all three, or none to leave Connect out")
	fault(connect && len(s.ConnectSecrets) == 0,
		"MILEPOST_CONNECT_SECRET is not set: without it anybody could connect cars in somebody else's name; "+
			"make one with `openssl rand -hex 32` and give it to the application, too")
	for _, secret := range s.ConnectSecrets {
		fault(len(strings.TrimSpace(secret.Reveal())) < minConnectSecret, "MILEPOST_CONNECT_SECRET must have at least 16 characters")
	}
	fault(s.API != apiV2 && s.API != apiV3, "SMARTCAR_API must be v2 or v3")
	fault(s.Mode != "live" && s.Mode != "test" && s.Mode != "simulated", "SMARTCAR_MODE must be live, test or simulated")
	fault((s.NoticeURL == "") != (s.NoticeSecret == ""), "MILEPOST_NOTICE_URL and MILEPOST_NOTICE_SECRET belong together: set both or none")
	fault(s.TokenRefresh != "proactive" && s.TokenRefresh != "keepalive", "MILEPOST_TOKEN_REFRESH must be proactive or keepalive")
	fault(s.TokenConnections < 2, "MILEPOST_TOKEN_CONNECTIONS must be at least 2")
	fault(s.CallsPerSecond <= 0, "MILEPOST_SMARTCAR_CALLS_PER_SECOND must be above 0")
	return errors.Join(faults...)
}

// Keyset is what tokens are encrypted with at rest: the text itself, or a file with it.
type Keyset struct {
	Text Secret `env:"MILEPOST_KEYSET"`
	File string `env:"MILEPOST_KEYSET_FILE"`
}

func (k Keyset) validate() error {
	switch {
	case k.Text == "" && k.File == "":
		return errors.New("MILEPOST_KEYSET_FILE (or MILEPOST_KEYSET) is not set: tokens are never stored in the clear; " +
			"make a keyset with `milepost keys new --file FILE` and keep a copy")
	case k.Text != "" && k.File != "":
		return errors.New("MILEPOST_KEYSET and MILEPOST_KEYSET_FILE are both set: set one of them")
	default:
		return nil
	}
}
