package smartcar_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

func TestEveryAnswerOfAnAPIHasItsKind(t *testing.T) {
	t.Parallel()
	v2 := func(kind, code string) string {
		return `{"type":"` + kind + `","code":` + code + `,"description":"` + secretText + `","requestId":"request-1"}`
	}
	v3 := func(code string) string {
		return `{"errors":[{"status":"400","code":"` + code + `","title":"x","detail":"` + secretText + `"}]}`
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		kind    error
		names   string
		unknown bool
		wait    time.Duration
	}{
		"validation":              {handler: reply(400, v2("VALIDATION", `"PARAMETER"`)), kind: smartcar.ErrInvalidRequest, names: "VALIDATION/PARAMETER"},
		"account":                 {handler: reply(400, v2("CONNECTED_SERVICES_ACCOUNT", `"VIRTUAL_KEY_REQUIRED"`)), kind: smartcar.ErrAccount, names: "CONNECTED_SERVICES_ACCOUNT/VIRTUAL_KEY_REQUIRED"},
		"account of v3":           {handler: reply(400, v3("CONNECTED_SERVICES_ACCOUNT")), kind: smartcar.ErrAccount, names: "/CONNECTED_SERVICES_ACCOUNT"},
		"authentication":          {handler: reply(401, string(payload(t, "rest-v2-error-authentication"))), kind: smartcar.ErrUnauthorized, names: "AUTHENTICATION/"},
		"401 of a gateway":        {handler: reply(401, `{"message":"Unauthorized"}`), kind: smartcar.ErrUnauthorized, names: "/"},
		"permission":              {handler: reply(403, v2("PERMISSION", "null")), kind: smartcar.ErrForbidden, names: "PERMISSION/"},
		"403 of a proxy":          {handler: reply(403, htmlPage), kind: smartcar.ErrUnavailable, names: "/", unknown: true},
		"not found":               {handler: reply(404, v2("RESOURCE_NOT_FOUND", `"PATH"`)), kind: smartcar.ErrNotFound, names: "RESOURCE_NOT_FOUND/PATH"},
		"not found of v3":         {handler: reply(404, string(payload(t, "rest-v3-error"))), kind: smartcar.ErrNotFound, names: "/RESOURCE_NOT_FOUND"},
		"404 of a proxy":          {handler: reply(404, htmlPage), kind: smartcar.ErrUnavailable, names: "/", unknown: true},
		"vehicle state":           {handler: reply(409, v2("VEHICLE_STATE", `"ASLEEP"`)), kind: smartcar.ErrVehicleState, names: "VEHICLE_STATE/ASLEEP"},
		"conflict":                {handler: reply(409, ""), kind: smartcar.ErrConflict, names: "/"},
		"rate limit of a vehicle": {handler: reply(429, string(payload(t, "rest-v2-error-rate-limit-vehicle")), "Retry-After", "60"), kind: smartcar.ErrRateLimited, names: "RATE_LIMIT/VEHICLE", wait: time.Minute},
		"billing":                 {handler: reply(430, v2("BILLING", `"VEHICLE_LIMIT"`)), kind: smartcar.ErrBilling, names: "BILLING/VEHICLE_LIMIT"},
		"server":                  {handler: reply(500, v2("SERVER", `"INTERNAL"`)), kind: smartcar.ErrUnavailable, names: "SERVER/INTERNAL", unknown: true},
		"compatibility":           {handler: reply(501, v2("COMPATIBILITY", `"VEHICLE_NOT_CAPABLE"`)), kind: smartcar.ErrNotCapable, names: "COMPATIBILITY/VEHICLE_NOT_CAPABLE"},
		"501 of a proxy":          {handler: reply(501, htmlPage), kind: smartcar.ErrUnavailable, names: "/", unknown: true},
		"upstream":                {handler: reply(502, v2("UPSTREAM", `"NO_RESPONSE"`)), kind: smartcar.ErrUnavailable, names: "UPSTREAM/NO_RESPONSE", unknown: true},
		"names that are none":     {handler: reply(400, v2("A SENTENCE "+secretText, `"12"`)), kind: smartcar.ErrUnavailable, names: "/", unknown: true},
		"success without a list":  {handler: reply(200, `{}`), kind: smartcar.ErrUnavailable, names: "/", unknown: true},
		"success as HTML":         {handler: reply(200, htmlPage), kind: smartcar.ErrUnavailable, names: "/", unknown: true},
		"redirect":                {handler: reply(301, "", "Location", "/?"+secretText), kind: smartcar.ErrUnavailable, names: "/", unknown: true},
		"reset":                   {handler: abort, kind: smartcar.ErrUnavailable, names: "/", unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, test.handler)
			v2Client, v3Client := v2At(t, server.URL), v3At(t, server.URL)
			for _, client := range []platform{v2Client, v3Client} {
				_, err := client.Vehicles(t.Context(), credential())
				require.ErrorIs(t, err, test.kind)
				failure := callError(t, err)
				require.Equal(t, test.names, failure.Type+"/"+failure.Code)
				require.Equal(t, test.unknown, failure.UnknownOutcome)
				require.Equal(t, test.wait, failure.RetryAfter)
				requireHidden(t, shown(t, err), secretText)
				require.NotContains(t, shown(t, err), server.URL)
			}
		})
	}
}
