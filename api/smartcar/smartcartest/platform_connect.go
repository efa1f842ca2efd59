package smartcartest

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/milepost/milepost/api/smartcar"
)

const answerAllow = "allow"

//go:embed pages/*.html
var pageFiles embed.FS

func parsePages() (*template.Template, error) {
	pages, err := template.ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("parse the pages: %w", err)
	}
	return pages, nil
}

// connectError is how a visit can end without consent. Source: Smartcar, "callback".
type connectError struct{ Code, Description string }

func connectErrors() []connectError {
	return []connectError{
		{"access_denied", "User denied access to application."},
		{"vehicle_incompatible", "The user's vehicle is not compatible."},
		{"no_vehicles", "No vehicles found on the user's account."},
		{"invalid_subscription", "The vehicle's connected services subscription is inactive."},
		{"configuration_error", "The application is misconfigured."},
		{"server_error", "Unexpected server error. Please try again."},
	}
}

func (p *Platform) routesOfConnect() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /oauth/authorize":       p.showAuthorize,
		"POST /oauth/authorize":      p.answerAuthorize,
		"GET /oauth/reauthenticate":  p.showReauthenticate,
		"POST /oauth/reauthenticate": p.answerReauthenticate,
	}
}

// visit is the query of a page of Connect, of which nothing is wrong.
type visit struct {
	query                               url.Values
	redirectURI, state, mode, vehicleID string
	externalID, brand, vin              string
	// single allows one vehicle only, skipsCode brings a user id back instead of a code.
	single, skipsCode bool
	asked             []askedPermission
}

type askedPermission struct {
	Name     string
	Required bool
}

// readVisit returns what is wrong in the words of Smartcar; such a visit is not sent back to the application.
func (p *Platform) readVisit(query url.Values, responseTypes ...string) (visit, string) {
	for _, values := range query {
		if len(values) > 1 {
			return visit{}, "Repeated parameter"
		}
	}
	received := visit{
		query: query, redirectURI: query.Get("redirect_uri"), state: query.Get("state"), mode: query.Get("mode"),
		vehicleID: query.Get("vehicle_id"), brand: query.Get("make"), vin: query.Get("single_select_vin"),
		externalID: query.Get("external_id"),
	}
	received.single = query.Get("single_select") == "true" || received.vin != ""
	received.skipsCode = query.Get("response_type") == "none" || p.deps.Generation == smartcar.V3
	if received.externalID == "" {
		received.externalID = query.Get("user")
	}
	if received.redirectURI == "" {
		received.redirectURI = p.deps.RedirectURIs[0]
	}
	if received.mode == "" {
		received.mode = "live"
	}
	for scope := range strings.FieldsSeq(query.Get("scope")) {
		name, required := strings.CutPrefix(scope, "required:")
		received.asked = append(received.asked, askedPermission{Name: name, Required: required})
	}
	if len(received.asked) == 0 { // The dashboard's choice.
		for _, name := range allPermissions() {
			received.asked = append(received.asked, askedPermission{Name: name})
		}
	}
	switch {
	case query.Get("client_id") != p.deps.ClientID:
		return visit{}, "Invalid parameter client_id"
	case !slices.Contains(p.deps.RedirectURIs, received.redirectURI):
		return visit{}, "Invalid parameter redirect_uri"
	case !slices.Contains(responseTypes, query.Get("response_type")):
		return visit{}, "Invalid parameter response_type"
	case !slices.Contains([]string{"live", "test", "simulated"}, received.mode):
		return visit{}, "Invalid parameter mode"
	}
	return received, ""
}

// offer is a user's cars among which the visit lets choose.
func (v visit) offer(user PlatformUser) []PlatformCar {
	return slices.DeleteFunc(slices.Clone(user.Cars), func(car PlatformCar) bool {
		if v.vin != "" {
			return car.VIN != v.vin
		}
		return v.brand != "" && !strings.EqualFold(car.Make, v.brand)
	})
}

func (v visit) permissions() []string {
	var names []string
	for _, asked := range v.asked {
		if !slices.Contains(names, asked.Name) {
			names = append(names, asked.Name)
		}
	}
	return names
}

func (v visit) fits(car PlatformCar) bool {
	return !slices.ContainsFunc(v.asked, func(asked askedPermission) bool { return asked.Required && car.lacks(asked.Name) })
}

// redirect sends the browser back to the application.
func (v visit) redirect(response http.ResponseWriter, result url.Values) {
	if v.state != "" {
		result.Set("state", v.state)
	}
	separator := "?"
	if strings.Contains(v.redirectURI, "?") {
		separator = "&"
	}
	response.Header().Set("Cache-Control", "no-store")
	response.Header().Set("Location", v.redirectURI+separator+result.Encode())
	response.WriteHeader(http.StatusFound)
}

// fail sends the browser back with an error; car is the one that is incompatible.
func (v visit) fail(response http.ResponseWriter, code string, car PlatformCar) {
	result := url.Values{"error": {code}}
	for _, known := range connectErrors() {
		if known.Code == code {
			result.Set("error_description", known.Description)
		}
	}
	if code == "vehicle_incompatible" && car.VehicleID != "" {
		result.Set("vin", car.VIN)
		result.Set("make", car.Make)
		result.Set("model", car.Model)
		result.Set("year", strconv.Itoa(car.Year))
	}
	v.redirect(response, result)
}

func (p *Platform) answerAuthorize(response http.ResponseWriter, request *http.Request) {
	received, fault := p.readVisit(request.URL.Query(), "code", "none")
	if fault != "" {
		p.showRefusal(response, fault)
		return
	}
	if request.ParseForm() != nil {
		p.showRefusal(response, "The form cannot be read")
		return
	}
	user, _ := p.user(request.PostForm.Get("user"))
	chosen := slices.DeleteFunc(received.offer(user), func(car PlatformCar) bool {
		return !slices.Contains(request.PostForm["vehicle"], car.VehicleID)
	})
	if answer := request.PostForm.Get("answer"); answer != answerAllow {
		if !slices.ContainsFunc(connectErrors(), func(known connectError) bool { return known.Code == answer }) {
			p.showRefusal(response, "The answer is neither allow nor an error of Connect")
			return
		}
		received.fail(response, answer, p.anyCar(received, user, chosen))
		return
	}
	switch {
	case user.ID == "":
		p.showConsent(response, received, "Choose who signs in.")
	case len(chosen) == 0 || len(chosen) != len(request.PostForm["vehicle"]):
		p.showConsent(response, received, "Choose at least one car, and only cars of who signs in.")
	case received.single && len(chosen) > 1:
		p.showConsent(response, received, "Choose one car only.")
	default:
		p.allow(response, received, user, chosen)
	}
}

// anyCar is one to tell of as incompatible: one chosen, else one offered.
func (p *Platform) anyCar(received visit, user PlatformUser, chosen []PlatformCar) PlatformCar {
	users := []PlatformUser{user}
	if user.ID == "" {
		users = p.users
	}
	for _, candidate := range users {
		chosen = append(chosen, received.offer(candidate)...)
	}
	if len(chosen) == 0 {
		return PlatformCar{}
	}
	return chosen[0]
}

func (p *Platform) allow(response http.ResponseWriter, received visit, user PlatformUser, chosen []PlatformCar) {
	for _, car := range chosen {
		if !received.fits(car) {
			received.fail(response, "vehicle_incompatible", car)
			return
		}
	}
	given := consent{
		UserID: user.ID, VehicleIDs: vehicleIDsOf(chosen), Permissions: received.permissions(),
		Mode: received.mode, ExternalID: received.externalID,
	}
	result := url.Values{"user_id": {user.ID}}
	if received.skipsCode && received.externalID != "" {
		result.Set("external_id", received.externalID)
	}

	p.mu.Lock()
	now := p.deps.Clock()
	p.ledger.connect(given, now)
	if !received.skipsCode {
		text := uuid.NewString()
		p.ledger.Codes[text] = &code{
			consent: given, FamilyID: uuid.NewString(), RedirectURI: received.redirectURI, ExpiresAt: now.Add(p.deps.CodeLife),
		}
		p.issued = append(p.issued, text)
		result.Set("code", text)
	}
	p.save()
	p.mu.Unlock()

	p.connected(given)
	received.redirect(response, result)
}

func (p *Platform) connected(given consent) {
	p.deps.Logger.Info("platform: cars connected", "userId", given.UserID, "cars", len(given.VehicleIDs))
	if p.deps.OnConnected != nil {
		p.deps.OnConnected(given.UserID, slices.Clone(given.VehicleIDs))
	}
}

func (p *Platform) answerReauthenticate(response http.ResponseWriter, request *http.Request) {
	received, car, fault := p.readReauthentication(request.URL.Query())
	if fault != "" {
		p.showRefusal(response, fault)
		return
	}
	if request.ParseForm() != nil {
		p.showRefusal(response, "The form cannot be read")
		return
	}
	answer := request.PostForm.Get("answer")
	switch {
	case answer == answerAllow:
		p.mu.Lock()
		delete(p.ledger.Blocked, car.UserID)
		p.save()
		p.mu.Unlock()
		received.redirect(response, url.Values{"vehicle_id": {car.VehicleID}})
	case slices.ContainsFunc(connectErrors(), func(known connectError) bool { return known.Code == answer }):
		received.fail(response, answer, car)
	default:
		p.showRefusal(response, "The answer is neither allow nor an error of Connect")
	}
}

// readReauthentication also finds the vehicle, which must be connected.
func (p *Platform) readReauthentication(query url.Values) (visit, PlatformCar, string) {
	received, fault := p.readVisit(query, "vehicle_id", "none")
	if fault != "" {
		return visit{}, PlatformCar{}, fault
	}
	car, _ := p.car(received.vehicleID)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ledger.connectionOf(car.UserID, received.vehicleID) == nil {
		return visit{}, PlatformCar{}, "Invalid parameter vehicle_id"
	}
	return received, car, ""
}

func (p *Platform) render(response http.ResponseWriter, status int, name string, data any) {
	var page bytes.Buffer
	if err := p.pages.ExecuteTemplate(&page, name, data); err != nil {
		http.Error(response, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	response.Header().Set("Content-Type", "text/html; charset=utf-8")
	response.Header().Set("Cache-Control", "no-store")
	response.Header().Set("Referrer-Policy", "no-referrer")
	response.WriteHeader(status)
	_, _ = response.Write(page.Bytes()) // A reader who has gone needs no answer.
}

func (p *Platform) showRefusal(response http.ResponseWriter, fault string) {
	p.render(response, http.StatusBadRequest, "refused.html", fault)
}
