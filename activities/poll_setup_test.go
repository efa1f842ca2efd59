package activities_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/workflows/contract"
)

const (
	requestID = "26c14915-0c26-43c5-8e42-9edfc2a66a0f"
	// carVIN and latitude are personal, and not to be printed either.
	carVIN   = "5YJ3E1EA7KF317000"
	latitude = "37.4292"
)

// polling is the bundle of the activities of Reconcile, at a time that the test sets.
type polling struct {
	*connected

	now time.Time
}

func setupPolling(t *testing.T, changes ...func(*connected)) *polling {
	t.Helper()
	b := &polling{now: time.Now().UTC().Truncate(time.Second)}
	withClock := func(c *connected) { c.deps.Clock = func() time.Time { return b.now } }
	b.connected = setupSmartcar(t, append([]func(*connected){withClock}, changes...)...)
	return b
}

// own connects cars that nothing has been heard of for 90 days.
func (b *polling) own(cars ...string) {
	b.t.Helper()
	b.family(cars...)
	b.age()
}

func (b *polling) ownV3(cars ...string) {
	b.t.Helper()
	for _, one := range cars {
		b.connectV3(one)
	}
	b.age()
}

func (b *polling) age() {
	b.t.Helper()
	b.execute("UPDATE smartcar_vehicles SET created_at = now() - interval '90 days', " +
		"connected_at = now() - interval '90 days', updated_at = now() - interval '90 days'")
	b.execute("UPDATE smartcar_vehicles SET is_active = false WHERE smartcar_vehicle_id = '" + smartcarVehicle + "'")
}

// poll asks for a car. What it answers and logs must hold nothing secret or personal.
func (b *polling) poll(vehicle string) contract.PollVehicleResult {
	b.t.Helper()
	result, err := b.PollVehicle(b.t.Context(), contract.PollVehicleInput{SmartcarVehicleID: vehicle})
	require.NoError(b.t, err)
	b.requireSilence(fmt.Sprint(result))
	for _, personal := range []string{carVIN, latitude} {
		require.NotContains(b.t, b.logs.String()+fmt.Sprint(result), personal)
	}
	return result
}

func (b *polling) plan() contract.PlanReconcileResult {
	b.t.Helper()
	result, err := b.PlanReconcile(b.t.Context(), contract.PlanReconcileInput{})
	require.NoError(b.t, err)
	return result
}

// standing is how the plan has a car: "ready", what stands in its way, or "" when it is not silent.
func (b *polling) standing(vehicle string) string {
	b.t.Helper()
	plan := b.plan()
	if slices.Contains(plan.SmartcarVehicleIDs, vehicle) {
		return "ready"
	}
	for _, not := range plan.NotRestored {
		if not.SmartcarVehicleID == vehicle {
			return string(not.Reason)
		}
	}
	return ""
}

// processed takes an event through processing, as its workflow would.
func (b *polling) processed(eventID string) contract.ProcessAtOnceResult {
	b.t.Helper()
	result, err := b.ProcessAtOnce(b.t.Context(), contract.ProcessAtOnceInput{EventID: eventID})
	require.NoError(b.t, err)
	require.NotNil(b.t, result.Written)
	return result
}

// webhook brings a reading of the car, and gives what became of it.
func (b *polling) webhook(eventID, kilometres string, observedAt time.Time) contract.Outcome {
	b.t.Helper()
	b.receive(strings.ReplaceAll(state(eventID, kilometres, observedAt), smartcarVehicle, car))
	return b.processed(eventID).Written.Outcome
}

// written are the standing entries, as "kilometres source notes", in order.
func (b *polling) written() []string {
	b.t.Helper()
	return texts(b.t, b.url, `SELECT odometer_km::float8 || ' ' || source_type || ': ' || notes
		FROM meter_entries WHERE superseded_at IS NULL ORDER BY entry_date, odometer_km`)
}

func (b *polling) polledEvents() []string {
	b.t.Helper()
	return texts(b.t, b.url, "SELECT event_id FROM smartcar_webhook_events WHERE event_type = 'POLL' ORDER BY created_at, event_id")
}

func batchOf(vehicle string) string { return "POST /v2.0/vehicles/" + vehicle + "/batch" }

func signalsOf(vehicle string) string { return "GET /v3/vehicles/" + vehicle + "/signals" }

// batch answers with one item for the odometer. Headers come in pairs.
func batch(code int, body string, headers ...string) http.HandlerFunc {
	var members []string
	for i := 0; i+1 < len(headers); i += 2 {
		members = append(members, fmt.Sprintf("%q:%q", headers[i], headers[i+1]))
	}
	return answer(200, fmt.Sprintf(`{"responses":[{"path":"/odometer","code":%d,"body":%s,"headers":{%s}}]}`,
		code, body, strings.Join(members, ",")), "SC-Request-Id", requestID)
}

// shown is a batch with a reading.
func shown(kilometres string, observedAt time.Time) http.HandlerFunc {
	return batch(200, `{"distance":`+kilometres+`}`, "sc-unit-system", "metric",
		"sc-data-age", observedAt.Format(time.RFC3339Nano), "sc-fetched-at", observedAt.Add(time.Second).Format(time.RFC3339Nano))
}

// failure is an error in the form of REST v2, with texts that are not to be printed.
func failure(status int, errorType, code string) string {
	quoted := "null"
	if code != "" {
		quoted = `"` + code + `"`
	}
	return fmt.Sprintf(`{"type":%q,"code":%s,"description":"%s of %s at %s","statusCode":%d,"requestId":%q,"resolution":{"type":"RETRY_LATER"}}`,
		errorType, quoted, hush, carVIN, latitude, status, requestID)
}

// signal is an element of v3's list.
func signal(code, body string, observedAt time.Time) string {
	return fmt.Sprintf(`{"id":%q,"type":"signal","attributes":{"code":%q,"status":{"value":"SUCCESS"},"body":%s},`+
		`"meta":{"ingestedAt":%q,"retrievedAt":%q,"oemUpdatedAt":%q}}`, code, code, body,
		observedAt.Add(time.Minute).Format(time.RFC3339Nano), observedAt.Add(time.Second).Format(time.RFC3339Nano),
		observedAt.Format(time.RFC3339Nano))
}

func failedSignal(code, errorType, errorCode string) string {
	return fmt.Sprintf(`{"id":%q,"type":"signal","attributes":{"code":%q,"status":{"value":"ERROR","error":{"type":%q,"code":%q,"detail":%q}}},"meta":{}}`,
		code, code, errorType, errorCode, hush)
}

func signals(elements ...string) http.HandlerFunc {
	return answer(200, fmt.Sprintf(`{"data":[%s],"meta":{"totalCount":%d,"pageSize":%d,"pageNumber":1}}`,
		strings.Join(elements, ","), len(elements), max(len(elements), 1)), "SC-Request-Id", requestID)
}
