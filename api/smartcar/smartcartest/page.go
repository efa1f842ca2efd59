package smartcartest

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
)

// CarStatus is a car as /cars shows it: no VIN, no coordinates.
type CarStatus struct {
	Counts

	Name      string  `json:"name"`
	VehicleID string  `json:"vehicleId"`
	UserID    string  `json:"userId"`
	Make      string  `json:"make"`
	Model     string  `json:"model"`
	Year      int     `json:"year"`
	Odometer  float64 `json:"odometer"`
	Unit      string  `json:"unit"`
}

//go:embed page.html
var pageSource string

// Status returns the cars and whether the receiver has passed VERIFY.
func (s *Simulator) Status() ([]CarStatus, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cars := make([]CarStatus, 0, len(s.fleet))
	for _, car := range s.fleet {
		cars = append(cars, CarStatus{
			Name: car.Name, VehicleID: car.VehicleID, UserID: car.UserID, Make: car.Make, Model: car.Model, Year: car.Year,
			Odometer: car.Odometer(), Unit: car.Unit, Counts: car.counts,
		})
	}

	return cars, s.verified
}

// Handler serves a page for people at / and the same as a JSON list of CarStatus at /cars.
func (s *Simulator) Handler() (http.Handler, error) {
	page, err := template.New("page").Parse(pageSource)
	if err != nil {
		return nil, fmt.Errorf("parse the page: %w", err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(response http.ResponseWriter, _ *http.Request) {
		cars, verified := s.Status()
		var text bytes.Buffer
		if err := page.Execute(&text, map[string]any{"Cars": cars, "Verified": verified}); err != nil {
			http.Error(response, "the page cannot be shown", http.StatusInternalServerError)

			return
		}
		answerWith(response, "text/html; charset=utf-8", text.Bytes())
	})
	mux.HandleFunc("GET /cars", func(response http.ResponseWriter, _ *http.Request) {
		cars, _ := s.Status()
		text, err := json.Marshal(cars)
		if err != nil {
			http.Error(response, "the cars cannot be shown", http.StatusInternalServerError)

			return
		}
		answerWith(response, "application/json", text)
	})

	return mux, nil
}

func answerWith(response http.ResponseWriter, contentType string, text []byte) {
	response.Header().Set("Content-Type", contentType)
	_, _ = response.Write(text) // A reader who has gone needs no answer.
}
