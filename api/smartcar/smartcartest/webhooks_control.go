package smartcartest

import (
	"context"
	"errors"
	"net/http"
	"slices"
)

// WebhookStatus is what GET /simulator/webhooks lists: nothing secret.
type WebhookStatus struct {
	Counts

	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Form       string   `json:"form"`
	Mode       string   `json:"mode"`
	Verified   bool     `json:"verified"`
	Enabled    bool     `json:"enabled"`
	VehicleIDs []string `json:"vehicleIds"`
}

// Status describes the webhooks in the order in which they were registered.
func (w *Webhooks) Status() []WebhookStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]WebhookStatus, 0, len(w.hooks))
	for _, hook := range w.hooks {
		all = append(all, WebhookStatus{
			ID: hook.ID, Name: hook.Name, Form: hook.Form.String(), Mode: string(hook.Mode), Verified: hook.verified,
			Enabled: !hook.disabled, VehicleIDs: slices.Clone(hook.vehicleIDs), Counts: hook.counts,
		})
	}
	return all
}

// Paths are the patterns of net/http under which the webhooks are to be mounted. They go together with those of a Platform.
func (w *Webhooks) Paths() []string { return []string{"/simulator/webhooks", "/simulator/webhooks/"} }

// ServeHTTP is a control for people: GET /simulator/webhooks, and POST /simulator/webhooks/test, verify, disable and enable.
// Without ?webhookId= they go to all webhooks.
func (w *Webhooks) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	w.mux.ServeHTTP(response, request)
}

func (w *Webhooks) controlRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /simulator/webhooks", func(response http.ResponseWriter, _ *http.Request) {
		writeJSON(response, http.StatusOK, w.Status())
	})
	mux.HandleFunc("POST /simulator/webhooks/test", w.serveEach(func(_ context.Context, webhookID string) error {
		_, err := w.PressTestButton(webhookID)
		return err
	}))
	mux.HandleFunc("POST /simulator/webhooks/verify", w.serveEach(w.VerifyWebhook))
	mux.HandleFunc("POST /simulator/webhooks/disable", w.serveEach(func(_ context.Context, webhookID string) error {
		return w.Disable(webhookID)
	}))
	mux.HandleFunc("POST /simulator/webhooks/enable", w.serveEach(func(_ context.Context, webhookID string) error {
		return w.Enable(webhookID)
	}))
	return mux
}

// serveEach does it with the webhook asked for or with all, as far as it goes, and then lists them.
func (w *Webhooks) serveEach(do func(ctx context.Context, webhookID string) error) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		webhookIDs := w.webhookIDs(request)
		if len(webhookIDs) == 0 {
			http.Error(response, "there is no webhook", http.StatusNotFound)
			return
		}
		var faults []error
		for _, id := range webhookIDs {
			faults = append(faults, do(request.Context(), id))
		}
		switch err := errors.Join(faults...); {
		case errors.Is(err, ErrUnknownWebhook):
			http.Error(response, "there is no such webhook", http.StatusNotFound)
		case errors.Is(err, ErrInactive):
			http.Error(response, "the webhook is disabled or has not passed VERIFY: enable or verify it first", http.StatusConflict)
		case errors.Is(err, ErrForm):
			http.Error(response, "the webhook's form cannot say this: register it with another", http.StatusConflict)
		case err != nil:
			http.Error(response, "the receiver did not answer, or failed VERIFY", http.StatusBadGateway)
		default:
			writeJSON(response, http.StatusOK, w.Status())
		}
	}
}

func (w *Webhooks) webhookIDs(request *http.Request) []string {
	if id := request.URL.Query().Get("webhookId"); id != "" {
		return []string{id}
	}
	var all []string
	for _, status := range w.Status() {
		all = append(all, status.ID)
	}
	return all
}
