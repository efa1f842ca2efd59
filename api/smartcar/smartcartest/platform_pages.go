package smartcartest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// consentPage is what pages/connect.html shows. Its element ids, user-, car-, brand-, error- and an id, allow and deny, are
// for tests in a browser.
type consentPage struct {
	Title, Message, CarInput string
	Users                    []consentUser
	Brands                   []consentBrand
	Permissions              []askedPermission
	Errors                   []connectError
	// OnlyUser is a single user, who need not be chosen.
	OnlyUser bool
}

type consentUser struct {
	ID, Name string
	Cars     []PlatformCar
}

// consentBrand is a link that skips the choice of the brand.
type consentBrand struct{ Make, Query string }

func (p *Platform) showAuthorize(response http.ResponseWriter, request *http.Request) {
	received, fault := p.readVisit(request.URL.Query(), "code", "none")
	if fault != "" {
		p.showRefusal(response, fault)
		return
	}
	p.showConsent(response, received, "")
}

func (p *Platform) showConsent(response http.ResponseWriter, received visit, message string) {
	page := consentPage{
		Title: "Connect your car", Message: message, CarInput: "checkbox",
		Permissions: received.asked, Errors: connectErrors(), OnlyUser: len(p.users) == 1,
	}
	if received.single {
		page.CarInput = "radio"
	}
	brands := make(map[string]bool)
	for _, known := range p.users {
		user, _ := p.user(known.ID)
		for _, car := range user.Cars {
			brands[strings.ToUpper(car.Make)] = true
		}
		page.Users = append(page.Users, consentUser{ID: user.ID, Name: user.Name, Cars: received.offer(user)})
	}
	for _, brand := range slices.Sorted(maps.Keys(brands)) {
		query := maps.Clone(received.query)
		query.Set("make", brand)
		page.Brands = append(page.Brands, consentBrand{Make: brand, Query: "?" + query.Encode()})
	}
	status := http.StatusOK
	if message != "" {
		status = http.StatusUnprocessableEntity
	}
	p.render(response, status, "connect.html", page)
}

func (p *Platform) showReauthenticate(response http.ResponseWriter, request *http.Request) {
	_, car, fault := p.readReauthentication(request.URL.Query())
	if fault != "" {
		p.showRefusal(response, fault)
		return
	}
	user, _ := p.user(car.UserID)
	p.render(response, http.StatusOK, "reauthenticate.html", struct {
		Name   string
		Car    PlatformCar
		Errors []connectError
	}{user.Name, car, connectErrors()})
}
