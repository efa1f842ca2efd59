package smartcar_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

type errorRow struct {
	status     int
	kind, code string // code "" is null
	err        error
	reaction   smartcar.Reaction
}

// errorTable is every row of Smartcar's errors.
func errorTable() []errorRow {
	var table []errorRow
	add := func(status int, kind string, err error, reaction smartcar.Reaction, codes ...string) {
		for _, code := range codes {
			table = append(table, errorRow{status, kind, code, err, reaction})
		}
	}
	add(400, "VALIDATION", smartcar.ErrInvalidRequest, smartcar.ReactionDoNotRetry, "", "PARAMETER")
	add(400, "CONNECTED_SERVICES_ACCOUNT", smartcar.ErrAccount, smartcar.ReactionOwner,
		"ACCOUNT_ISSUE", "AUTHENTICATION_FAILED", "NO_VEHICLES", "SUBSCRIPTION", "VEHICLE_MISSING", "PERMISSION", "VIRTUAL_KEY_REQUIRED")
	add(401, "AUTHENTICATION", smartcar.ErrUnauthorized, smartcar.ReactionRefreshOnce, "")
	add(403, "PERMISSION", smartcar.ErrForbidden, smartcar.ReactionReconsent, "")
	add(404, "RESOURCE_NOT_FOUND", smartcar.ErrNotFound, smartcar.ReactionDoNotRetry, "PATH", "VERSION")
	add(409, "VEHICLE_STATE", smartcar.ErrVehicleState, smartcar.ReactionWaitForVehicle,
		"ASLEEP", "CHARGING_IN_PROGRESS", "CHARGING_PLUG_NOT_CONNECTED", "CHARGE_FAULT", "DOOR_OPEN", "FULLY_CHARGED", "HOOD_OPEN", "IGNITION_ON",
		"IN_MOTION", "NOT_CHARGING", "TRUNK_OPEN", "UNKNOWN", "UNREACHABLE", "VEHICLE_OFFLINE_FOR_SERVICE")
	add(409, "VEHICLE_STATE", smartcar.ErrVehicleState, smartcar.ReactionOwner, "REMOTE_ACCESS_DISABLED")
	add(429, "RATE_LIMIT", smartcar.ErrRateLimited, smartcar.ReactionWaitForApplication, "SMARTCAR_API")
	add(429, "RATE_LIMIT", smartcar.ErrRateLimited, smartcar.ReactionWaitForVehicle, "VEHICLE")
	add(430, "BILLING", smartcar.ErrBilling, smartcar.ReactionOperator, "INVALID_PLAN", "VEHICLE_LIMIT", "VEHICLE_REQUEST_LIMIT", "ACCOUNT_SUSPENDED")
	add(500, "SERVER", smartcar.ErrUnavailable, smartcar.ReactionRetryLater, "INTERNAL", "MULTIPLE_RECORDS_FOUND", "RECORD_NOT_FOUND")
	add(501, "COMPATIBILITY", smartcar.ErrNotCapable, smartcar.ReactionPermanent, "VEHICLE_NOT_CAPABLE", "SMARTCAR_NOT_CAPABLE", "MAKE_NOT_COMPATIBLE")
	add(501, "COMPATIBILITY", smartcar.ErrNotCapable, smartcar.ReactionReconsent, "PLATFORM_NOT_CAPABLE")
	add(502, "UPSTREAM", smartcar.ErrUnavailable, smartcar.ReactionRetryLater, "INVALID_DATA", "KNOWN_ISSUE", "NO_RESPONSE", "UNKNOWN_ISSUE")
	add(502, "UPSTREAM", smartcar.ErrUnavailable, smartcar.ReactionWaitForVehicle, "RATE_LIMIT")
	return table
}

func (r errorRow) body() string {
	code := "null"
	if r.code != "" {
		code = `"` + r.code + `"`
	}
	return fmt.Sprintf(`{"type":%q,"code":%s,"description":%q,"statusCode":%d,"requestId":%q,"resolution":{"type":null}}`,
		r.kind, code, secretText, r.status, requestID)
}

func TestEveryErrorOfSmartcarHasItsKindAndReaction(t *testing.T) {
	t.Parallel()
	for _, row := range errorTable() {
		t.Run(fmt.Sprint(row.status, row.kind, row.code), func(t *testing.T) {
			t.Parallel()
			base, asked := routes(t, map[string]http.HandlerFunc{batch: reply(row.status, row.body())})
			_, err := v2At(t, base).Readings(t.Context(), credential(), vehicleID, []string{smartcar.CodeOdometer})
			require.ErrorIs(t, err, row.err)
			failure := callError(t, err)
			require.Equal(t, []string{row.kind, row.code, requestID}, []string{failure.Type, failure.Code, failure.RequestID})
			require.Equal(t, row.reaction, smartcar.ReactionTo(err))
			require.EqualValues(t, 1, asked.Load(), "the client does not retry")
			requireHidden(t, shown(t, err), secretText)

			poll := pollV2(t, batchAnswer(batchItem("/odometer", row.status, row.body(), `{}`)), smartcar.CodeOdometer)
			require.Equal(t, &smartcar.SignalFailure{Status: "ERROR", Type: row.kind, Code: row.code}, poll.Signals[0].Failure)
			require.Equal(t, row.reaction, poll.Signals[0].Failure.Reaction())
			require.Equal(t, "odometer-traveleddistance TraveledDistance Odometer",
				fmt.Sprint(poll.Signals[0].Code, " ", poll.Signals[0].Name, " ", poll.Signals[0].Group))
		})
	}
}

func TestAnItemWithoutABodyIsJudgedByItsStatus(t *testing.T) {
	t.Parallel()
	for status, reaction := range map[int]smartcar.Reaction{
		400: smartcar.ReactionDoNotRetry, 401: smartcar.ReactionRefreshOnce, 403: smartcar.ReactionReconsent, 404: smartcar.ReactionDoNotRetry,
		409: smartcar.ReactionWaitForVehicle, 429: smartcar.ReactionWaitForApplication, 430: smartcar.ReactionOperator,
		500: smartcar.ReactionRetryLater, 501: smartcar.ReactionPermanent, 502: smartcar.ReactionRetryLater, 0: smartcar.ReactionRetryLater,
	} {
		poll := pollV2(t, batchAnswer(batchItem("/odometer", status, "null", "null")), smartcar.CodeOdometer)
		require.Equal(t, reaction, poll.Signals[0].Failure.Reaction(), status)
		require.Nil(t, poll.Signals[0].Value)
	}
}

func TestWhatIsNoCallErrorHasAReaction(t *testing.T) {
	t.Parallel()
	require.Equal(t, smartcar.ReactionNone, smartcar.ReactionTo(nil))
	require.Equal(t, smartcar.ReactionRetryLater, smartcar.ReactionTo(context.DeadlineExceeded))
	require.Equal(t, smartcar.ReactionReconsent, smartcar.ReactionTo(fmt.Errorf("refresh: %w", &smartcar.CallError{Kind: smartcar.ErrInvalidGrant})))
	require.Equal(t, smartcar.ReactionOperator, smartcar.ReactionTo(&smartcar.CallError{Kind: smartcar.ErrInvalidClient}))
	require.Equal(t, smartcar.ReactionOperator, smartcar.ReactionTo(&smartcar.CallError{Kind: smartcar.ErrClientRefused}))
	require.Equal(t, smartcar.ReactionNone, (*smartcar.SignalFailure)(nil).Reaction())
	require.Equal(t, smartcar.ReactionRetryLater, (&smartcar.SignalFailure{Status: "UNAVAILABLE"}).Reaction())
}

func TestTheWorstLimitOfABatchIsNamedWithItsRetryAfter(t *testing.T) {
	t.Parallel()
	limit := func(path, code, seconds string) string {
		return batchItem(path, 429, `{"type":"RATE_LIMIT","code":"`+code+`"}`, `{"Retry-After":`+seconds+`}`)
	}
	for name, test := range map[string]struct {
		items []string
		code  string
		wait  time.Duration
	}{
		"none":                     {[]string{batchItem("/fuel", 403, `{"type":"PERMISSION"}`, `{}`)}, "", 0},
		"a vehicle's":              {[]string{limit("/odometer", "VEHICLE", `"60"`)}, "VEHICLE", time.Minute},
		"the longer one":           {[]string{limit("/odometer", "VEHICLE", `60`), limit("/battery", "VEHICLE", `4320`)}, "VEHICLE", 72 * time.Minute},
		"the application's first":  {[]string{limit("/odometer", "VEHICLE", `60`), limit("/battery", "SMARTCAR_API", `null`)}, "SMARTCAR_API", 0},
		"and not the vehicle's":    {[]string{limit("/odometer", "SMARTCAR_API", `5`), limit("/battery", "VEHICLE", `4320`)}, "SMARTCAR_API", 5 * time.Second},
		"a maker's":                {[]string{batchItem("/fuel", 502, `{"type":"UPSTREAM","code":"RATE_LIMIT"}`, `{}`)}, "RATE_LIMIT", 0},
		"the plan's, of a vehicle": {[]string{batchItem("/fuel", 430, `{"type":"BILLING","code":"VEHICLE_REQUEST_LIMIT"}`, `{}`)}, "VEHICLE_REQUEST_LIMIT", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			poll := pollV2(t, batchAnswer(test.items...), smartcar.CodeOdometer, codeCharge, codeFuel)
			if test.code == "" {
				require.NoError(t, poll.Limited)
				return
			}
			failure := callError(t, poll.Limited)
			require.Equal(t, test.code, failure.Code)
			require.Equal(t, test.wait, failure.RetryAfter)
		})
	}
}
