package activities_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// scripted is a Smartcar that answers as it is told.
type scripted struct {
	*httptest.Server

	t       *testing.T
	mutex   sync.Mutex
	answers map[string][]http.HandlerFunc
	asked   []asked
	issued  int
}

// asked is one request that Smartcar was sent.
type asked struct {
	route, bearer, user, body string
	query                     url.Values
}

func newScripted(t *testing.T) *scripted {
	t.Helper()
	s := &scripted{t: t, answers: map[string][]http.HandlerFunc{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// ServeHTTP implements http.Handler.
func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	route := r.Method + " " + r.URL.Path
	s.mutex.Lock()
	s.asked = append(s.asked, asked{
		route: route, bearer: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "),
		user: r.Header.Get("Sc-User-Id"), body: string(body), query: r.URL.Query(),
	})
	answers := s.answers[route]
	if len(answers) > 1 {
		s.answers[route] = answers[1:]
	}
	s.mutex.Unlock()
	if len(answers) == 0 {
		s.t.Errorf("no answer is scripted for %s", route)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	answers[0](w, r)
}

// on scripts the answers to a method and path, one after the other; the last one is repeated.
func (s *scripted) on(route string, answers ...http.HandlerFunc) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.answers[route] = answers
}

// requests are those that a route was sent.
func (s *scripted) requests(route string) []asked {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.DeleteFunc(slices.Clone(s.asked), func(one asked) bool { return one.route != route })
}

// bearers are the tokens that a route was called with, in order.
func (s *scripted) bearers(route string) []string {
	var tokens []string
	for _, one := range s.requests(route) {
		tokens = append(tokens, one.bearer)
	}
	return tokens
}

// forget lets the next requests be counted from none.
func (s *scripted) forget() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.asked = nil
}

func (s *scripted) number() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.issued++
	return s.issued
}

// nextPair issues hush-access-2 with hush-refresh-2, and so on: the first pair is there already.
func (s *scripted) nextPair(w http.ResponseWriter, r *http.Request) {
	number := s.number() + 1
	answer(200, fmt.Sprintf(`{"access_token":"%s-access-%d","token_type":"Bearer","expires_in":7200,"refresh_token":"%s-refresh-%d"}`,
		hush, number, hush, number))(w, r)
}

func (s *scripted) nextApplicationToken(w http.ResponseWriter, r *http.Request) {
	answer(200, fmt.Sprintf(`{"access_token":"%s-application-%d","token_type":"Bearer","expires_in":3600}`, hush, s.number()))(w, r)
}

// describe scripts what v2 says of a car.
func (s *scripted) describe(vehicle, vin string) {
	path := "GET /v2.0/vehicles/" + vehicle
	s.on(path, answer(200, fmt.Sprintf(`{"id":%q,"make":"POLESTAR","model":"Polestar 2","year":2023}`, vehicle)))
	s.on(path+"/permissions", answer(200, `{"permissions":["read_odometer","read_vin"],"paging":{"count":2,"offset":0}}`))
	s.on(path+"/vin", answer(200, fmt.Sprintf(`{"vin":%q}`, vin)))
}

// list scripts which cars v2 lists.
func (s *scripted) list(vehicles ...string) {
	s.on("GET /v2.0/vehicles", answer(200, fmt.Sprintf(`{"paging":{"count":%d,"offset":0},"vehicles":["%s"]}`,
		len(vehicles), strings.Join(vehicles, `","`))))
}

// answer gives a status with a body, which is JSON unless it looks like HTML. Headers come in pairs.
func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(body, "<") {
			w.Header().Set("Content-Type", "text/html")
		}
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // the client may have gone away, as some tests want
	}
}

// page is what a proxy between here and Smartcar answers.
func page(status int, headers ...string) http.HandlerFunc {
	return answer(status, "<html><body>"+hush+"</body></html>", headers...)
}

// oauthFailure is an error in the form of OAuth.
func oauthFailure(status int, name string) http.HandlerFunc {
	return answer(status, fmt.Sprintf(`{"error":%q,"error_description":%q}`, name, hush))
}

// apiFailure is an error in the form of REST v2.
func apiFailure(status int, errorType string) http.HandlerFunc {
	return answer(status, fmt.Sprintf(`{"type":%q,"code":null,"description":%q,"statusCode":%d}`, errorType, hush, status))
}

// silence reads the request and never answers.
func silence(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// reset reads the request and closes the connection hard.
func reset(w http.ResponseWriter, _ *http.Request) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	if tcp, isTCP := connection.(*net.TCPConn); isTCP {
		_ = tcp.SetLinger(0) // without it the close would be a polite one
	}
	_ = connection.Close()
}
