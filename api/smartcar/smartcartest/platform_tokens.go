package smartcartest

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"
)

const (
	grantCode        = "authorization_code"
	grantRefresh     = "refresh_token"
	grantApplication = "client_credentials"
)

// oauthError is a refusal of a token endpoint. Source: Smartcar, "OAuth errors".
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

// issuedTokens is the answer of a token endpoint. Source: Smartcar, "v2 code exchange", "v3 application token".
type issuedTokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
}

func (p *Platform) routesOfTokens() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"POST /oauth/token": func(response http.ResponseWriter, request *http.Request) {
			p.serveTokens(response, request, client{p.deps.ClientID, p.deps.ClientSecret}, p.grantTokens)
		},
		"POST /oauth2/token": func(response http.ResponseWriter, request *http.Request) {
			p.serveTokens(response, request, client{p.deps.APIClientID, p.deps.APIClientSecret}, p.grantApplicationToken)
		},
	}
}

type client struct{ id, secret string }

func (p *Platform) serveTokens(
	response http.ResponseWriter, request *http.Request, expected client, grant func(url.Values) (issuedTokens, *oauthError),
) {
	response.Header().Set("Cache-Control", "no-store")
	mediaType, _, err := mime.ParseMediaType(request.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" || request.ParseForm() != nil {
		writeJSON(response, http.StatusBadRequest, invalidRequest("The body must be a form."))
		return
	}
	for _, values := range request.PostForm {
		if len(values) > 1 {
			writeJSON(response, http.StatusBadRequest, invalidRequest("A parameter is repeated."))
			return
		}
	}
	given := client{request.PostForm.Get("client_id"), request.PostForm.Get("client_secret")}
	if id, secret, ok := request.BasicAuth(); ok {
		given = client{id, secret}
	}
	if given != expected || given.id == "" {
		response.Header().Set("WWW-Authenticate", `Basic realm="smartcar"`)
		writeJSON(response, http.StatusUnauthorized, oauthError{"invalid_client", "Invalid client id or secret."})
		return
	}
	tokens, refusal := grant(request.PostForm)
	if refusal != nil {
		writeJSON(response, http.StatusBadRequest, refusal)
		return
	}
	writeJSON(response, http.StatusOK, tokens)
}

func invalidRequest(description string) *oauthError {
	return &oauthError{"invalid_request", description}
}

func (p *Platform) grantTokens(form url.Values) (issuedTokens, *oauthError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.deps.Clock()
	switch form.Get("grant_type") {
	case grantCode:
		if form.Get("code") == "" || form.Get("redirect_uri") == "" {
			return issuedTokens{}, invalidRequest("code and redirect_uri are required.")
		}
		return p.exchange(form.Get("code"), form.Get("redirect_uri"), now)
	case grantRefresh:
		if form.Get("refresh_token") == "" {
			return issuedTokens{}, invalidRequest("refresh_token is required.")
		}
		return p.refresh(form.Get("refresh_token"), now)
	case "":
		return issuedTokens{}, invalidRequest("grant_type is required.")
	default:
		return issuedTokens{}, &oauthError{"unsupported_grant_type", "grant_type is authorization_code or refresh_token."}
	}
}

// exchange makes a family of a code. A wrong redirect URI leaves the code as it is.
func (p *Platform) exchange(text, redirectURI string, now time.Time) (issuedTokens, *oauthError) {
	found := p.ledger.Codes[text]
	if found != nil && found.Used {
		if made := p.ledger.Families[found.FamilyID]; made != nil {
			made.Refused++
			p.save()
		}
	}
	if found == nil || found.Used || !now.Before(found.ExpiresAt) || len(found.VehicleIDs) == 0 {
		return issuedTokens{}, &oauthError{"invalid_grant", "Invalid or expired authorization code"}
	}
	if found.RedirectURI != redirectURI {
		return issuedTokens{}, &oauthError{"invalid_grant", "Unauthorized redirect_uri"}
	}
	found.Used = true
	return p.begin(found.FamilyID, found.consent, now), nil
}

// begin makes a family and its first pair.
func (p *Platform) begin(familyID string, given consent, now time.Time) issuedTokens {
	made := &family{ID: familyID, Number: len(p.ledger.Families) + 1, consent: given}
	p.ledger.Families[made.ID] = made
	return p.issuePair(made, now)
}

// refresh gives the next pair of a family. A superseded token gives one too while its grace lasts, and that pair
// supersedes the one before it, so of several answers only the last stays good.
// Source: Smartcar, "lifetimes and rotation".
func (p *Platform) refresh(text string, now time.Time) (issuedTokens, *oauthError) {
	token := p.ledger.RefreshTokens[text]
	if token == nil {
		return issuedTokens{}, &oauthError{"invalid_grant", "Invalid or expired refresh token"}
	}
	owner := p.ledger.Families[token.FamilyID]
	if !p.isAcceptable(token, now) {
		owner.Refused++
		p.save()
		return issuedTokens{}, &oauthError{"invalid_grant", "Invalid or expired refresh token"}
	}
	owner.Refreshes++
	if !token.SupersededAt.IsZero() {
		owner.Reuses++
	}
	return p.issuePair(owner, now), nil
}

func (p *Platform) isAcceptable(token *refreshToken, now time.Time) bool {
	owner := p.ledger.Families[token.FamilyID]
	inLife := now.Before(token.IssuedAt.Add(p.deps.RefreshLife))
	inGrace := token.SupersededAt.IsZero() || !now.After(token.SupersededAt.Add(p.deps.Grace))
	return inLife && inGrace && !owner.Revoked && len(owner.VehicleIDs) > 0 && !p.ledger.Blocked[owner.UserID]
}

func (p *Platform) issuePair(owner *family, now time.Time) issuedTokens {
	if former := p.ledger.RefreshTokens[owner.Current]; former != nil {
		former.SupersededAt = now
	}
	access, refresh := uuid.NewString(), uuid.NewString()
	p.ledger.AccessTokens[access] = &accessToken{FamilyID: owner.ID, ExpiresAt: now.Add(p.deps.AccessLife)}
	p.ledger.RefreshTokens[refresh] = &refreshToken{FamilyID: owner.ID, AccessToken: access, IssuedAt: now}
	owner.Current, owner.LastIssuedAt = refresh, now
	p.issued = append(p.issued, access, refresh)
	p.save()
	return issuedTokens{AccessToken: access, TokenType: "Bearer", ExpiresIn: seconds(p.deps.AccessLife), RefreshToken: refresh}
}

func (p *Platform) grantApplicationToken(form url.Values) (issuedTokens, *oauthError) {
	switch form.Get("grant_type") {
	case grantApplication:
	case "":
		return issuedTokens{}, invalidRequest("grant_type is required.")
	default:
		return issuedTokens{}, &oauthError{"unsupported_grant_type", "grant_type is client_credentials."}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	token := uuid.NewString()
	p.ledger.ApplicationTokens[token] = p.deps.Clock().Add(p.deps.ApplicationLife)
	p.issued = append(p.issued, token)
	p.save()
	return issuedTokens{AccessToken: token, TokenType: "Bearer", ExpiresIn: seconds(p.deps.ApplicationLife)}, nil
}

// Issue gives a user's tokens and connections as a consent with every permission would; no vehicle ids are all the user's.
// It gives empty tokens when there is no such user or car.
func (p *Platform) Issue(userID string, vehicleIDs []string) (access, refresh string) {
	user, ok := p.user(userID)
	if !ok {
		return "", ""
	}
	given := consent{UserID: userID, VehicleIDs: slices.Clone(vehicleIDs), Permissions: allPermissions(), Mode: "live"}
	owned := vehicleIDsOf(user.Cars)
	if len(given.VehicleIDs) == 0 {
		given.VehicleIDs = owned
	}
	for _, vehicleID := range given.VehicleIDs {
		if !slices.Contains(owned, vehicleID) {
			return "", ""
		}
	}
	p.mu.Lock()
	now := p.deps.Clock()
	p.ledger.connect(given, now)
	tokens := p.begin(uuid.NewString(), given, now)
	p.mu.Unlock()
	p.connected(given)
	return tokens.AccessToken, tokens.RefreshToken
}

// RevokeUser ends every token family of the user, and codes not yet exchanged, until a new Connect: refreshing is
// invalid_grant. Access tokens live until their own expiry. It reports whether there is such a user.
func (p *Platform) RevokeUser(userID string) bool {
	return p.change(userID, func() {
		for _, family := range p.ledger.Families {
			family.Revoked = family.Revoked || family.UserID == userID
		}
		for _, code := range p.ledger.Codes {
			code.Used = code.Used || code.UserID == userID
		}
	})
}

// BlockUser makes the user's tokens useless until re-authentication or a new Connect: refreshing is invalid_grant, and
// the REST APIs answer CONNECTED_SERVICES_ACCOUNT, AUTHENTICATION_FAILED. It reports whether there is such a user.
// Source: Smartcar, "re-authentication".
func (p *Platform) BlockUser(userID string) bool {
	return p.change(userID, func() { p.ledger.Blocked[userID] = true })
}

func (p *Platform) change(userID string, do func()) bool {
	if _, ok := p.user(userID); !ok {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
	p.save()
	return true
}

// RotateManagementToken replaces the application management token at once and returns the new one. A restart goes back to
// that of the dependencies.
func (p *Platform) RotateManagementToken() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.managementToken = uuid.NewString()
	p.issued = append(p.issued, p.managementToken)
	return p.managementToken
}

func (p *Platform) isManagementToken(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return text != "" && text == p.managementToken
}

func seconds(life time.Duration) int { return int(life / time.Second) }
