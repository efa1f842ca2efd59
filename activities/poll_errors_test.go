package activities_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/workflows/contract"
)

// pollError is a row of Smartcar's errors, and what it does to a poll.
type pollError struct {
	status          int
	errorType, code string
	retryAfter      string

	outcome contract.PollOutcome
	// again is when the vehicle is asked again that gave no answer; 0 when this is an answer.
	again time.Duration
	// stop is for how long nobody is asked.
	stop time.Duration
	// standing is how the plan has the vehicle once the answer's patience is over; "" stands for "ready".
	standing string
}

const (
	pollInterval = 30 * time.Minute // the least time between two polls of a vehicle
	// patience is that for a vehicle of which nothing is known, doubled by an answer without news.
	patience = 48 * time.Hour
)

// pollErrors are all errors of REST v2. Source: Smartcar, "v2 error body".
func pollErrors() (table []pollError) {
	add := func(one pollError, codes ...string) {
		for _, one.code = range codes {
			table = append(table, one)
		}
	}
	add(pollError{status: 400, errorType: "VALIDATION", outcome: contract.PollRefused}, "", "PARAMETER")
	add(pollError{status: 400, errorType: "CONNECTED_SERVICES_ACCOUNT", outcome: contract.PollNeedsOwner},
		"ACCOUNT_ISSUE", "AUTHENTICATION_FAILED", "NO_VEHICLES", "SUBSCRIPTION", "VEHICLE_MISSING", "PERMISSION", "VIRTUAL_KEY_REQUIRED")
	add(pollError{status: 401, errorType: "AUTHENTICATION", outcome: contract.PollNeedsOwner}, "")
	add(pollError{status: 403, errorType: "PERMISSION", outcome: contract.PollNoPermission, standing: "no_permission"}, "")
	add(pollError{status: 404, errorType: "RESOURCE_NOT_FOUND", outcome: contract.PollRefused}, "PATH", "VERSION")
	add(pollError{status: 409, errorType: "VEHICLE_STATE", outcome: contract.PollVehicleUnreachable, again: pollInterval},
		"ASLEEP", "CHARGING_IN_PROGRESS", "CHARGING_PLUG_NOT_CONNECTED", "CHARGE_FAULT", "DOOR_OPEN", "FULLY_CHARGED", "HOOD_OPEN",
		"IGNITION_ON", "IN_MOTION", "NOT_CHARGING", "TRUNK_OPEN", "UNKNOWN", "UNREACHABLE", "VEHICLE_OFFLINE_FOR_SERVICE")
	add(pollError{status: 409, errorType: "VEHICLE_STATE", outcome: contract.PollNeedsOwner}, "REMOTE_ACCESS_DISABLED")
	limited := pollError{status: 429, errorType: "RATE_LIMIT", outcome: contract.PollSmartcarUnavailable, again: pollInterval, stop: time.Minute}
	add(limited, "SMARTCAR_API")
	limited.retryAfter, limited.again, limited.stop = "7200", 2*time.Hour, 2*time.Hour
	add(limited, "SMARTCAR_API")
	limited = pollError{status: 429, errorType: "RATE_LIMIT", outcome: contract.PollVehicleUnreachable, again: pollInterval}
	add(limited, "VEHICLE")
	limited.retryAfter, limited.again = "4320", 72*time.Minute
	add(limited, "VEHICLE")
	add(pollError{status: 430, errorType: "BILLING", outcome: contract.PollNeedsOperator, again: time.Hour, stop: time.Hour},
		"INVALID_PLAN", "ACCOUNT_SUSPENDED")
	add(pollError{status: 430, errorType: "BILLING", outcome: contract.PollNeedsOperator, again: 24 * time.Hour},
		"VEHICLE_LIMIT", "VEHICLE_REQUEST_LIMIT")
	add(pollError{status: 500, errorType: "SERVER", outcome: contract.PollSmartcarUnavailable, again: pollInterval},
		"INTERNAL", "MULTIPLE_RECORDS_FOUND", "RECORD_NOT_FOUND")
	add(pollError{status: 501, errorType: "COMPATIBILITY", outcome: contract.PollNotSupported, standing: "not_supported"},
		"VEHICLE_NOT_CAPABLE", "SMARTCAR_NOT_CAPABLE", "MAKE_NOT_COMPATIBLE")
	add(pollError{status: 501, errorType: "COMPATIBILITY", outcome: contract.PollNoPermission, standing: "no_permission"}, "PLATFORM_NOT_CAPABLE")
	add(pollError{status: 502, errorType: "UPSTREAM", outcome: contract.PollVehicleUnreachable, again: pollInterval},
		"INVALID_DATA", "KNOWN_ISSUE", "NO_RESPONSE", "UNKNOWN_ISSUE")
	add(pollError{status: 502, errorType: "UPSTREAM", outcome: contract.PollVehicleUnreachable, again: time.Hour}, "RATE_LIMIT")
	return table
}

func (e pollError) answer(inBatch bool) http.HandlerFunc {
	body := failure(e.status, e.errorType, e.code)
	var headers []string
	if e.retryAfter != "" {
		headers = []string{"Retry-After", e.retryAfter}
	}
	if inBatch {
		return batch(e.status, body, headers...)
	}
	return answer(e.status, body, headers...)
}

func TestEveryErrorOfSmartcarHasItsOutcomeAndItsTimeToAskAgain(t *testing.T) {
	t.Parallel()
	table := pollErrors()
	cars := make([]string, 0, 2*len(table))
	for number := range cap(cars) {
		cars = append(cars, fmt.Sprint("car-of-row-", number))
	}
	b := setupPolling(t)
	b.own(cars...)
	start := b.now
	for number, vehicle := range cars {
		row, inBatch := table[number/2], number%2 == 1
		// The rows share a database, and so the application's budget, and the tokens.
		t.Run(fmt.Sprint(row.status, row.errorType, row.code, row.retryAfter, " in a batch: ", inBatch), func(t *testing.T) {
			b.t, b.now = t, start
			b.execute("UPDATE smartcar_polling SET budget = '{}'")
			b.smartcar.on(batchOf(vehicle), row.answer(inBatch))
			b.requireOutcome(vehicle, row, inBatch)
			b.requireAskedAgain(vehicle, row)
		})
	}
}

// requireOutcome polls the car.
func (b *polling) requireOutcome(vehicle string, row pollError, inBatch bool) {
	b.t.Helper()
	require.Equal(b.t, "ready", b.standing(vehicle))
	before, refreshes := len(b.polledEvents()), b.oauth.refreshes.Load()
	result := b.poll(vehicle)
	expected := contract.PollVehicleResult{Outcome: row.outcome, EventID: result.EventID}
	if row.again > 0 {
		expected.TryAgainAt = b.now.Add(row.again)
	}
	if row.stop > 0 {
		expected.StopUntil = b.now.Add(row.stop)
	}
	require.Equal(b.t, expected, result)
	requests, events := 1, before
	switch {
	case row.status == http.StatusUnauthorized:
		requests = 2
		require.Equal(b.t, refreshes+1, b.oauth.refreshes.Load())
	case inBatch: // that the odometer has failed is kept as data
		events++
	}
	if row.outcome == contract.PollNeedsOwner && row.status != http.StatusUnauthorized { // as a webhook would say so
		events++
	}
	require.Len(b.t, b.smartcar.requests(batchOf(vehicle)), requests)
	require.Len(b.t, b.polledEvents(), events)
	require.Equal(b.t, events > before, result.EventID != "")
}

// requireAskedAgain looks at the plans of later runs.
func (b *polling) requireAskedAgain(vehicle string, row pollError) {
	b.t.Helper()
	polledAt := b.now
	if row.again > 0 {
		b.now = polledAt.Add(row.again - time.Second)
		require.Equal(b.t, string(row.outcome), b.standing(vehicle), "not yet, and why")
		b.now = polledAt.Add(row.again)
		require.Equal(b.t, "ready", b.standing(vehicle))
		return
	}
	b.now = polledAt.Add(patience)
	require.Empty(b.t, b.standing(vehicle), "an answer is an answer for a while")
	b.now = polledAt.Add(patience + time.Second)
	standing := row.standing
	if standing == "" {
		standing = "ready"
	}
	require.Equal(b.t, standing, b.standing(vehicle))
}

func TestAVehicleThatDoesNotAnswerIsLeftAloneForLongerEachTime(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]http.HandlerFunc{
		"which sleeps":                     answer(409, failure(409, "VEHICLE_STATE", "ASLEEP")),
		"which sleeps, in a batch":         batch(409, failure(409, "VEHICLE_STATE", "ASLEEP")),
		"whose maker is silent":            batch(502, failure(502, "UPSTREAM", "NO_RESPONSE")),
		"of which Smartcar has lost sight": answer(500, failure(500, "SERVER", "RECORD_NOT_FOUND")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupPolling(t)
			b.own(car)
			b.smartcar.on(batchOf(car), reply)
			minutes := []int{30, 30, 30, 40, 80, 160, 320, 640, 1280, 1440, 1440}
			for _, pause := range minutes {
				result := b.poll(car)
				require.Equal(t, time.Duration(pause)*time.Minute, result.TryAgainAt.Sub(b.now))
				b.now = result.TryAgainAt
			}
			b.smartcar.on(batchOf(car), shown("1000", b.now))
			require.Equal(t, contract.PollReceived, b.poll(car).Outcome)
			b.now = b.now.Add(time.Hour)
			b.smartcar.on(batchOf(car), reply)
			require.Equal(t, pollInterval, b.poll(car).TryAgainAt.Sub(b.now), "from the beginning")
		})
	}
}

func TestErrorsOfV3HaveTheirOutcomes(t *testing.T) {
	t.Parallel()
	errorsOf := func(status int, members string) http.HandlerFunc {
		return answer(status, fmt.Sprintf(`{"errors":[{"status":"%d",%s,"title":%q,"detail":%q}]}`, status, members, hush, hush))
	}
	for name, test := range map[string]struct {
		reply       http.HandlerFunc
		outcome     contract.PollOutcome
		again, stop time.Duration
		standing    string
	}{
		"403":                            {errorsOf(403, `"code":"PERMISSION"`), contract.PollNoPermission, 0, 0, "no_permission"},
		"404, not provisioned":           {errorsOf(404, `"code":"RESOURCE_NOT_FOUND"`), contract.PollNotGiven, 0, 0, "ready"},
		"an empty list":                  {signals(), contract.PollNotGiven, 0, 0, "ready"},
		"404, a wrong address":           {errorsOf(404, `"type":"RESOURCE_NOT_FOUND","code":"PATH"`), contract.PollRefused, 0, 0, "ready"},
		"400":                            {errorsOf(400, `"code":"VALIDATION"`), contract.PollRefused, 0, 0, "ready"},
		"409":                            {errorsOf(409, `"code":"VEHICLE_STATE"`), contract.PollVehicleUnreachable, pollInterval, 0, ""},
		"429":                            {errorsOf(429, `"code":"RATE_LIMIT"`), contract.PollSmartcarUnavailable, pollInterval, time.Minute, ""},
		"430":                            {errorsOf(430, `"type":"BILLING","code":"INVALID_PLAN"`), contract.PollNeedsOperator, time.Hour, time.Hour, ""},
		"500":                            {errorsOf(500, `"code":"SERVER"`), contract.PollSmartcarUnavailable, pollInterval, 0, ""},
		"502":                            {errorsOf(502, `"code":"UPSTREAM"`), contract.PollVehicleUnreachable, pollInterval, 0, ""},
		"503 of a proxy":                 {page(503), contract.PollSmartcarUnavailable, pollInterval, 0, ""},
		"no list":                        {answer(200, `{"data":{}}`), contract.PollSmartcarUnavailable, pollInterval, 0, ""},
		"an odometer without permission": {signals(failedSignal(smartcar.CodeOdometer, "PERMISSION", "UNKNOWN")), contract.PollNoPermission, 0, 0, "no_permission"},
		"an odometer that is not supported": {
			signals(failedSignal(smartcar.CodeOdometer, "COMPATIBILITY", "VEHICLE_NOT_CAPABLE")), contract.PollNotSupported, 0, 0, "not_supported",
		},
		"an odometer whose maker knows no token": {
			signals(failedSignal(smartcar.CodeOdometer, "AUTHENTICATION", "UNKNOWN")), contract.PollNeedsOwner, 0, 0, "ready",
		},
		"no odometer": {signals(signal("charge-ischarging", `{"value":true}`, noon())), contract.PollNotGiven, 0, 0, "ready"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupPolling(t)
			b.ownV3(car)
			b.smartcar.on(signalsOf(car), test.reply)
			b.requireV3Outcome(contract.PollVehicleResult{Outcome: test.outcome}, test.again, test.stop)
			b.requireAskedAgain(car, pollError{outcome: test.outcome, again: test.again, standing: test.standing})
		})
	}
}

func (b *polling) requireV3Outcome(expected contract.PollVehicleResult, again, stop time.Duration) {
	b.t.Helper()
	result := b.poll(car)
	expected.EventID = result.EventID
	if again > 0 {
		expected.TryAgainAt = b.now.Add(again)
	}
	if stop > 0 {
		expected.StopUntil = b.now.Add(stop)
	}
	require.Equal(b.t, expected, result)
	require.Len(b.t, b.smartcar.requests(signalsOf(car)), 1)
	require.Equal(b.t, smartcarUser, b.smartcar.requests(signalsOf(car))[0].user)
}
