package smartcartest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// ConsentAnswer is what an owner does on a page of Connect.
type ConsentAnswer struct {
	// UserID signs in; empty is the owner of the first vehicle, else the first user. Re-authentication needs none.
	UserID string
	// VehicleIDs are the cars chosen; none is all that are offered, or the first of them with single_select.
	VehicleIDs []string
	// Error ends the visit with an error of Connect, such as "access_denied", instead of allowing.
	Error string
}

// Consent visits the page of an address made for Connect (of /oauth/authorize or /oauth/reauthenticate, any host), answers
// it, and returns the address to which the browser would go back. It asks the platform itself, without the network.
func (p *Platform) Consent(ctx context.Context, authorizeURL string, answer ConsentAnswer) (callbackURL string, err error) {
	address, err := url.Parse(authorizeURL)
	if err != nil {
		return "", errors.New("visit Connect: the address is malformed")
	}
	form := url.Values{"answer": {answerAllow}}
	if answer.Error != "" {
		form.Set("answer", answer.Error)
	}
	user, vehicleIDs := p.choice(address.Query(), answer)
	form.Set("user", user)
	form["vehicle"] = vehicleIDs

	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.RequestURI(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", errors.New("visit Connect: the address is malformed")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	received := &recordedAnswer{header: make(http.Header)}
	if !p.serve(received, request) {
		return "", errors.New("visit Connect: no answer")
	}
	if received.status != http.StatusFound {
		return "", fmt.Errorf("visit Connect: answered %d instead of going back to the application", received.status)
	}
	return received.header.Get("Location"), nil
}

func (p *Platform) choice(query url.Values, answer ConsentAnswer) (userID string, vehicleIDs []string) {
	user, ok := p.user(answer.UserID)
	if answer.UserID == "" {
		user, ok = p.user(p.users[0].ID)
		for _, candidate := range p.users {
			if len(answer.VehicleIDs) > 0 && slices.Contains(vehicleIDsOf(candidate.Cars), answer.VehicleIDs[0]) {
				user, ok = p.user(candidate.ID)
			}
		}
	}
	if !ok || len(answer.VehicleIDs) > 0 {
		return user.ID, answer.VehicleIDs
	}
	received, _ := p.readVisit(query, query.Get("response_type"))
	offered := vehicleIDsOf(received.offer(user))
	if received.single && len(offered) > 1 {
		offered = offered[:1]
	}
	return user.ID, offered
}

func vehicleIDsOf(cars []PlatformCar) []string {
	ids := make([]string, 0, len(cars))
	for _, car := range cars {
		ids = append(ids, car.VehicleID)
	}
	return ids
}
