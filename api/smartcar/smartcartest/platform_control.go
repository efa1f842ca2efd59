package smartcartest

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/milepost/milepost/api/smartcar"
)

const controlPrefix = "/simulator/"

// PlatformStatus is what GET /simulator/platform answers: nothing secret, no VIN.
type PlatformStatus struct {
	Generation    smartcar.APIVersion  `json:"generation"`
	Users         []PlatformUserStatus `json:"users"`
	Families      []FamilyStatus       `json:"families"`
	Connections   int                  `json:"connections"`
	Subscriptions int                  `json:"subscriptions"`
	Faults        int                  `json:"faults"`
	Requests      int                  `json:"requests"`
	Limited       int                  `json:"limited"`
}

// PlatformUserStatus is a user, whose cars are all that can be connected.
type PlatformUserStatus struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Blocked    bool     `json:"blocked"`
	VehicleIDs []string `json:"vehicleIds"`
}

// Status describes the platform.
func (p *Platform) Status() PlatformStatus {
	status := PlatformStatus{
		Generation: p.deps.Generation, Families: p.Families(), Faults: p.faults.count(),
		Requests: p.Requests("/"), Limited: p.Limited(),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	status.Connections, status.Subscriptions = len(p.ledger.Connections), len(p.ledger.Subscriptions)
	for _, user := range p.users {
		status.Users = append(status.Users, PlatformUserStatus{
			ID: user.ID, Name: user.Name, Blocked: p.ledger.Blocked[user.ID], VehicleIDs: vehicleIDsOf(user.Cars),
		})
	}
	return status
}

// faultForm is a Fault for other processes; delay is like "1.5s".
type faultForm struct {
	Path        string `json:"path"`
	GrantType   string `json:"grantType"`
	Times       int    `json:"times"`
	Status      int    `json:"status"`
	Body        string `json:"body"`
	ContentType string `json:"contentType"`
	RetryAfter  string `json:"retryAfter"`
	Effect      bool   `json:"effect"`
	Delay       string `json:"delay"`
	Drop        bool   `json:"drop"`
	DropBefore  bool   `json:"dropBefore"`
}

func (f faultForm) fault() (Fault, string) {
	const firstStatus, lastStatus = 200, 599
	var delay time.Duration
	if f.Delay != "" {
		var err error
		if delay, err = time.ParseDuration(f.Delay); err != nil || delay < 0 {
			return Fault{}, `delay must be like "1.5s"`
		}
	}
	if f.Status != 0 && (f.Status < firstStatus || f.Status > lastStatus) || f.Times < 0 {
		return Fault{}, "status must be 200 to 599, times 0 or more"
	}
	return Fault{
		Path: f.Path, GrantType: f.GrantType, Times: f.Times, Status: f.Status, Body: f.Body, ContentType: f.ContentType,
		RetryAfter: f.RetryAfter, Effect: f.Effect, Delay: delay, Drop: f.Drop, DropBefore: f.DropBefore,
	}, ""
}

func (p *Platform) controlRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /simulator/platform", func(response http.ResponseWriter, _ *http.Request) {
		writeJSON(response, http.StatusOK, p.Status())
	})
	mux.HandleFunc("POST /simulator/faults", p.serveFault)
	mux.HandleFunc("DELETE /simulator/faults", func(response http.ResponseWriter, _ *http.Request) {
		p.ClearFaults()
		response.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /simulator/users/{id}/revoke", p.serveChange(p.RevokeUser))
	mux.HandleFunc("POST /simulator/users/{id}/block", p.serveChange(p.BlockUser))
	return mux
}

func (p *Platform) serveFault(response http.ResponseWriter, request *http.Request) {
	var form faultForm
	decoder := json.NewDecoder(http.MaxBytesReader(response, request.Body, maxRequestBody))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&form) != nil {
		http.Error(response, "the body must be a fault: an object of path, grantType, times, status, body, contentType, retryAfter, "+
			"effect, delay, drop, dropBefore", http.StatusBadRequest)
		return
	}
	fault, wrong := form.fault()
	if wrong != "" {
		http.Error(response, wrong, http.StatusBadRequest)
		return
	}
	p.Fault(fault)
	response.WriteHeader(http.StatusCreated)
}

func (p *Platform) serveChange(change func(userID string) bool) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		if !change(request.PathValue("id")) {
			http.Error(response, "there is no such user", http.StatusNotFound)
			return
		}
		response.WriteHeader(http.StatusNoContent)
	}
}
