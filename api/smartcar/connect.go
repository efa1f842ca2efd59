package smartcar

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// APIVersion is a generation of Smartcar's platform.
type APIVersion string

const (
	// V2 has a token family for each user: Connect returns a code, which is exchanged.
	V2 APIVersion = "v2"
	// V3 has one token for the application: Connect returns a user id, and nothing is exchanged.
	V3 APIVersion = "v3"
)

// PermissionOdometer is what an owner grants for the odometer. Source: Smartcar, "permissions".
const PermissionOdometer = "read_odometer"

// ConnectConfig says for which application consent is asked.
type ConnectConfig struct {
	Hosts Hosts
	// ClientID is the application id, a UUID, in both generations. Connect answers 400 to the API client id of v3 ("client_…").
	ClientID string
	// RedirectURI is where the browser comes back to; it must be one that is registered, to the byte.
	RedirectURI string
	// Mode is "live" (also when empty), "test" or "simulated".
	Mode string
	// Scopes are permissions such as "read_odometer", or "required:read_odometer" for one without which a vehicle is not
	// connected. None leaves the choice to Smartcar's dashboard.
	Scopes []string
	// API is V2 or V3. Both take the same parameters; they differ in what the browser brings back.
	API APIVersion
}

func (c ConnectConfig) validate() error {
	var faults []error
	if !isPrintable(c.ClientID, maxClientIDLength) {
		faults = append(faults, errNoClientID)
	}
	if !isRedirectURI(c.RedirectURI) {
		faults = append(faults, errRedirectURI)
	}
	switch c.Mode {
	case "", "live", "test", "simulated":
	default:
		faults = append(faults, errors.New("smartcar: the mode of Connect must be live, test or simulated"))
	}
	if c.API != V2 && c.API != V3 {
		faults = append(faults, fmt.Errorf("smartcar: the API must be %s or %s", V2, V3))
	}
	for i, scope := range c.Scopes {
		if !isOpaqueID(strings.TrimPrefix(scope, "required:")) {
			faults = append(faults, fmt.Errorf("smartcar: scope %d must be a permission's name, with or without required: before it", i+1))
		}
	}
	return errors.Join(faults...)
}

const maxClientIDLength = 128

var (
	errNoClientID     = errors.New("smartcar: no client id, or one that is not plain text: take it from Smartcar's dashboard")
	errNoClientSecret = errors.New("smartcar: no client secret, or one with spaces in it: take it from Smartcar's dashboard")
	errRedirectURI    = errors.New("smartcar: the redirect URI must be absolute, as registered in Smartcar's dashboard, without a fragment")
)

// isRedirectURI also accepts the mobile form, sc<application id>:// and a path.
func isRedirectURI(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && parsed.Scheme != "" && strings.Contains(text, "://") && !strings.Contains(text, "#")
}

// Connect makes the addresses to which an owner's browser is sent. Source: Smartcar, "Connect (user consent)".
type Connect struct {
	host, clientID, redirectURI, mode, scope string
}

// NewConnect checks the configuration and reports all its faults at once.
func NewConnect(config ConnectConfig) (Connect, error) {
	hosts, err := config.Hosts.resolve()
	if err := errors.Join(err, config.validate()); err != nil {
		return Connect{}, err
	}
	connect := Connect{
		host: hosts.Connect, clientID: config.ClientID, redirectURI: config.RedirectURI,
		mode: config.Mode, scope: strings.Join(config.Scopes, " "),
	}
	if connect.mode == "" {
		connect.mode = "live"
	}
	return connect, nil
}

// AuthorizeRequest is one visit to the consent pages.
type AuthorizeRequest struct {
	// State comes back unchanged. It must be random, bound to the person, for one use and short-lived.
	State string
	// ExternalID is the application's own id of its user, optional; v3 returns it in callbacks and events.
	ExternalID string
	// Force shows the consent page also to an owner who has consented before, as new permissions need.
	Force bool
	// Make skips the choice of the brand, such as "TESLA"; optional.
	Make string
}

// AuthorizeURL gives the address at which an owner consents.
func (c Connect) AuthorizeURL(request AuthorizeRequest) string {
	query := c.query("code", request.State, request.ExternalID)
	query.Set("mode", c.mode)
	if c.scope != "" {
		query.Set("scope", c.scope)
	}
	if request.Force {
		query.Set("approval_prompt", "force")
	}
	if request.Make != "" {
		query.Set("make", request.Make)
	}
	return c.url("/oauth/authorize", query)
}

// ReauthenticateRequest is one visit to the pages that repair a connection which Smartcar still knows.
type ReauthenticateRequest struct {
	// State is as in AuthorizeRequest.
	State string
	// VehicleID is the Smartcar vehicle whose owner is to sign in again.
	VehicleID string
	// ExternalID is as in AuthorizeRequest.
	ExternalID string
}

// ReauthenticateURL gives the address at which an owner signs in to the maker's account again. No new tokens follow: the
// existing ones start working again. Source: Smartcar, "re-authentication".
func (c Connect) ReauthenticateURL(request ReauthenticateRequest) string {
	query := c.query("vehicle_id", request.State, request.ExternalID)
	query.Set("vehicle_id", request.VehicleID)
	return c.url("/oauth/reauthenticate", query)
}

// query has what both pages take. The user's own id has an older and a newer name.
func (c Connect) query(responseType, state, externalID string) url.Values {
	query := url.Values{
		"response_type": {responseType},
		"client_id":     {c.clientID},
		"redirect_uri":  {c.redirectURI},
		"state":         {state},
	}
	if externalID != "" {
		query.Set("user", externalID)
		query.Set("external_id", externalID)
	}
	return query
}

func (c Connect) url(path string, query url.Values) string {
	// Smartcar documents %20 between scopes. A plus sign of a value is %2B here, so every + is a space.
	return c.host + path + "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
}
