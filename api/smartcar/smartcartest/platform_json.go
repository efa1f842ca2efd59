package smartcartest

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

func writeJSON(response http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(response, "the answer cannot be encoded", http.StatusInternalServerError)
		return
	}
	response.Header().Set("Content-Type", "application/json; charset=utf-8")
	response.WriteHeader(status)
	_, _ = response.Write(text) // A client who has gone needs no answer.
}

// refusal is an error of the REST and management APIs, whatever its form.
type refusal struct {
	status            int
	kind, code        string
	description       string
	resolution, toUse string
	retryAfter        string
}

// bodyV2 is the form of v2. Source: Smartcar, "v2 error body".
func (f *refusal) bodyV2(requestID string) map[string]any {
	page := strings.ReplaceAll(strings.ToLower(f.kind), "_", "-") + "-errors"
	if f.code != "" {
		page += "#" + strings.ReplaceAll(strings.ToLower(f.code), "_", "-")
	}
	body := map[string]any{
		"type": f.kind, "code": orNull(f.code), "description": f.description, "statusCode": f.status, "requestId": requestID,
		"docURL": "https://smartcar.com/docs/errors/api-errors/" + page, "resolution": map[string]any{"type": orNull(f.resolution)},
	}
	if f.toUse != "" {
		body["suggestedUserMessage"] = f.toUse
	}
	return body
}

func (f *refusal) writeV2(response http.ResponseWriter) {
	f.setRetryAfter(response)
	writeJSON(response, f.status, f.bodyV2(response.Header().Get(headerRequestID)))
}

// writeV3 is the form of v3. Source: Smartcar, "v3 errors".
func (f *refusal) writeV3(response http.ResponseWriter) {
	type element struct {
		Status string `json:"status"`
		Code   string `json:"code"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Type   string `json:"type,omitempty"`
	}
	sent := element{
		Status: text(f.status), Code: f.code, Type: f.kind, Detail: f.description,
		Title: strings.ReplaceAll(strings.ToLower(f.kind), "_", " "),
	}
	if sent.Code == "" {
		sent.Code, sent.Type = f.kind, ""
	}
	f.setRetryAfter(response)
	writeJSON(response, f.status, map[string][]element{"errors": {sent}})
}

// writeDataV3 sends one resource of v3.
func writeDataV3(response http.ResponseWriter, data any) {
	writeJSON(response, http.StatusOK, map[string]any{"data": data})
}

func (f *refusal) setRetryAfter(response http.ResponseWriter) {
	if f.retryAfter != "" {
		response.Header().Set("Retry-After", f.retryAfter)
	}
}

func orNull(value string) any {
	if value == "" {
		return nil
	}
	return value
}

func iso(at time.Time) string { return at.UTC().Format(isoTimestamp) }

func unauthenticated() *refusal {
	return &refusal{
		status: http.StatusUnauthorized, kind: "AUTHENTICATION",
		description: "The bearer token is absent, malformed, expired or unknown.",
	}
}

func accountRefused() *refusal {
	return &refusal{
		status: http.StatusBadRequest, kind: "CONNECTED_SERVICES_ACCOUNT", code: "AUTHENTICATION_FAILED", resolution: "REAUTHENTICATE",
		description: "The connected services credentials are no longer accepted by the manufacturer.",
		toUse:       "Please reconnect your car account.",
	}
}

func notPermitted() *refusal {
	return &refusal{
		status: http.StatusForbidden, kind: "PERMISSION", resolution: "REAUTHENTICATE",
		description: "The application was not granted the permission needed.",
	}
}

func notCapable() *refusal {
	return &refusal{
		status: http.StatusNotImplemented, kind: "COMPATIBILITY", code: "VEHICLE_NOT_CAPABLE",
		description: "This vehicle does not offer the requested data.", toUse: "Your car does not support this feature.",
	}
}

func invalidParameter(description string) *refusal {
	return &refusal{status: http.StatusBadRequest, kind: "VALIDATION", code: "PARAMETER", description: description}
}

func notFound(code, description string) *refusal {
	return &refusal{status: http.StatusNotFound, kind: "RESOURCE_NOT_FOUND", code: code, description: description}
}
