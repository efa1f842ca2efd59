package activities_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// report is what one event says of a vehicle: its errors as JSON, and the minute in which Smartcar sent it.
type report struct {
	errors string
	minute int
}

func (b *bundle) connectAnother(vehicle string) {
	b.t.Helper()
	_, err := b.store.ConnectVehicle(b.t.Context(), db.ConnectedVehicle{
		SmartcarVehicleID: vehicle, OwnerEmail: "owner@milepost.example", API: db.APIv3,
	})
	require.NoError(b.t, err)
	connectedBefore(b.t, b.url, noon())
}

// receiveErrors puts a report into the ledger; its event id follows from vehicle and minute.
func (b *bundle) receiveErrors(vehicle string, reported report) (eventID string) {
	b.t.Helper()
	return b.receive(fmt.Sprintf(`{"eventId":"%s.at.%d","eventType":"VEHICLE_ERROR","data":{"vehicle":{"id":%q},"errors":[%s]},`+
		`"meta":{"mode":"LIVE","deliveredAt":%d}}`, vehicle, reported.minute, vehicle, reported.errors,
		noon().Add(time.Duration(reported.minute)*time.Minute).UnixMilli()))
}

func (b *bundle) fail(vehicle string, reported report) {
	b.t.Helper()
	b.recordError(b.receiveErrors(vehicle, reported))
}

func (b *bundle) recordError(eventID string) {
	b.t.Helper()
	_, err := b.RecordOutcome(b.t.Context(), contract.RecordOutcomeInput{EventID: eventID, Outcome: contract.OutcomeVehicleError})
	require.NoError(b.t, err)
}

const authenticationFailed = `{"type":"CONNECTED_SERVICES_ACCOUNT","code":"AUTHENTICATION_FAILED"`

func failed(minute int, signals ...string) report {
	return authenticationReport("ERROR", minute, signals)
}

func resolved(minute int, signals ...string) report {
	return authenticationReport("RESOLVED", minute, signals)
}

func authenticationReport(state string, minute int, signals []string) report {
	concerned := ""
	if len(signals) > 0 {
		concerned = `,"signals":["` + strings.Join(signals, `","`) + `"]`
	}
	return report{authenticationFailed + `,"state":"` + state + `"` + concerned + `}`, minute}
}

const allOfVehicleErrors = `SELECT concat_ws(' ', error_type, code, signal, state, opened_at, resolved_at, resolution_type, reaction,
	split_part(opened_event_id, '.at.', 2), split_part(resolved_event_id, '.at.', 2))
	FROM vehicle_errors WHERE smartcar_vehicle_id = '%[1]s'
	UNION ALL SELECT concat_ws(' ', connection_state, degraded) FROM smartcar_vehicles WHERE smartcar_vehicle_id = '%[1]s'
	UNION ALL SELECT concat_ws(' ', data_type, supported) FROM vehicle_signals WHERE smartcar_vehicle_id = '%[1]s'
	ORDER BY 1`

func (b *bundle) errorState(vehicle string) []string {
	b.t.Helper()
	return texts(b.t, b.url, fmt.Sprintf(allOfVehicleErrors, vehicle))
}

// openErrors are the signals with an open error, "*" for the whole vehicle.
func (b *bundle) openErrors(vehicle string) string {
	b.t.Helper()
	return strings.Join(texts(b.t, b.url, `SELECT coalesce(nullif(signal, ''), '*') FROM vehicle_errors
		WHERE state = 'open' AND smartcar_vehicle_id = '`+vehicle+`' ORDER BY signal`), " ")
}

func (b *bundle) connectionState(vehicle string) string {
	b.t.Helper()
	return texts(b.t, b.url, `SELECT connection_state FROM smartcar_vehicles WHERE smartcar_vehicle_id = '`+vehicle+`'`)[0]
}

func (b *bundle) noticesOf(vehicle string) []string {
	b.t.Helper()
	return texts(b.t, b.url, `SELECT notice_type FROM notices WHERE smartcar_vehicle_id = '`+vehicle+`'
		AND notice_type LIKE '%reauth%' ORDER BY created_at`)
}

func TestErrorsAndTheirEndsComeToTheSameInEveryOrder(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reports []report
		open    string
		state   string
	}{
		"one error that ended":          {[]report{failed(1), resolved(2)}, "", db.StateConnected},
		"one error that came again":     {[]report{failed(1), resolved(2), failed(3)}, "*", db.StateReauthRequired},
		"an end of what never began":    {[]report{resolved(1)}, "", db.StateConnected},
		"signals that ended together":   {[]report{failed(1, "A.B"), failed(2, "C.D"), resolved(3)}, "", db.StateConnected},
		"one signal of two that ended":  {[]report{failed(1, "A.B", "C.D"), resolved(2, "A.B")}, "c-d", db.StateReauthRequired},
		"a signal's end is not the car": {[]report{failed(1), failed(2, "A.B"), resolved(3, "A.B")}, "*", db.StateReauthRequired},
		"an end between two errors": {
			[]report{failed(1, "A.B"), failed(2, "C.D"), resolved(3), failed(4, "C.D"), resolved(5, "A.B")}, "c-d", db.StateReauthRequired,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			var expected []string
			for number, order := range permutations(len(test.reports)) {
				vehicle := fmt.Sprint("car-", number)
				b.connectAnother(vehicle)
				for _, place := range order {
					b.fail(vehicle, test.reports[place])
				}
				require.Equal(t, test.open, b.openErrors(vehicle), "%v", order)
				require.Equal(t, test.state, b.connectionState(vehicle), "%v", order)
				if number == 0 {
					expected = b.errorState(vehicle)
				}
				require.Equal(t, expected, b.errorState(vehicle), "%v", order)
			}
		})
	}
}

func permutations(length int) [][]int {
	if length == 0 {
		return [][]int{{}}
	}
	var all [][]int
	for _, shorter := range permutations(length - 1) {
		for place := range length {
			order := append([]int{}, shorter[:place]...)
			order = append(order, length-1)
			all = append(all, append(order, shorter[place:]...))
		}
	}
	return all
}

// TestManyKindsOfErrorsComeToTheSameInRandomOrders feeds the same random reports in many orders.
func TestManyKindsOfErrorsComeToTheSameInRandomOrders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const rounds, orders, reports = 4, 5, 14
	kinds := []string{
		authenticationFailed, `{"type":"CONNECTED_SERVICES_ACCOUNT","code":"SUBSCRIPTION"`, `{"type":"PERMISSION","code":null`,
		`{"type":"COMPATIBILITY","code":"VEHICLE_NOT_CAPABLE"`, `{"type":"COMPATIBILITY","code":"MAKE_NOT_COMPATIBLE"`,
	}
	for seed := range uint64(rounds) {
		random := rand.New(rand.NewPCG(seed, seed))
		sent := make([]report, reports)
		for i := range sent {
			var errors []string
			for range 1 + random.IntN(2) {
				signals := []string{"", `,"signals":["Odometer.TraveledDistance"]`, `,"signals":["A.B","Odometer.TraveledDistance"]`}[random.IntN(3)]
				errors = append(errors, kinds[random.IntN(len(kinds))]+`,"state":"`+[]string{"ERROR", "RESOLVED"}[random.IntN(2)]+`"`+signals+"}")
			}
			sent[i] = report{strings.Join(errors, ","), i}
		}
		var expected []string
		for order := range orders {
			vehicle := fmt.Sprintf("car-%d-%d", seed, order)
			b.connectAnother(vehicle)
			for _, one := range sent {
				b.fail(vehicle, one)
			}
			if order == 0 {
				expected = b.errorState(vehicle)
			}
			require.Equal(t, expected, b.errorState(vehicle), "seed %d", seed)
			random.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
		}
	}
}

func TestAnOwnerIsAskedOncePerEpisode(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const required, withdrawn = db.NoticeReauthRequired, db.NoticeReauthResolved
	for _, step := range []struct {
		report  report
		notices []string
	}{
		{resolved(1), nil},
		{failed(2, "A.B"), []string{required}},
		{failed(3), []string{required}},
		{failed(4, "A.B"), []string{required}},
		{resolved(5, "A.B"), []string{required}},
		{resolved(6), []string{required, withdrawn}},
		{resolved(7), []string{required, withdrawn}},
		{failed(0), []string{required, withdrawn}}, // late
		{failed(8), []string{required, withdrawn, required}},
	} {
		b.fail(smartcarVehicle, step.report)
		require.Equal(t, append([]string{}, step.notices...), b.noticesOf(smartcarVehicle), "minute %d", step.report.minute)
	}
}

func TestAnErrorThatIsRecordedAgainHasNoSecondEffect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.receiveErrors(smartcarVehicle, failed(1))
	b.recordError(first)
	require.NoError(t, b.store.ResolveReauthentication(t.Context(), smartcarVehicle))
	connectedBefore(t, b.url, noon())
	texts(t, b.url, "UPDATE vehicle_errors SET resolved_at = opened_at RETURNING ''") // not on the day of this test
	b.recordError(first)
	require.Equal(t, []string{db.NoticeReauthRequired, db.NoticeReauthResolved}, b.noticesOf(smartcarVehicle))
	require.Equal(t, db.StateConnected, b.connectionState(smartcarVehicle))

	b.fail(smartcarVehicle, report{`{"type":"SERVER"}`, 2})
	require.Equal(t, db.StateConnected, b.connectionState(smartcarVehicle), "the owner has been; only a new report asks again")
	b.fail(smartcarVehicle, failed(3))
	require.Equal(t, db.StateReauthRequired, b.connectionState(smartcarVehicle))
}

func TestConcurrentReportsOfOneVehicleLeaveOneState(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const pairs = 15
	var eventIDs []string
	for pair := range pairs {
		eventIDs = append(eventIDs, b.receiveErrors(smartcarVehicle, failed(2*pair, "A.B")),
			b.receiveErrors(smartcarVehicle, resolved(2*pair+1)))
	}
	var group sync.WaitGroup
	for _, eventID := range eventIDs {
		group.Go(func() { b.recordError(eventID) })
	}
	group.Wait()
	require.Empty(t, b.openErrors(smartcarVehicle))
	require.Equal(t, db.StateConnected, b.connectionState(smartcarVehicle))
	notices := b.noticesOf(smartcarVehicle)
	require.Zero(t, len(notices)%2, "each question is withdrawn")
}

func TestAnIncompatibleSignalIsSupportedAgainWhenItsErrorEnds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const notCapable = `{"type":"COMPATIBILITY","code":"VEHICLE_NOT_CAPABLE","signals":["Odometer.TraveledDistance"],"state":`
	supported := func() string {
		return strings.Join(texts(t, b.url, "SELECT supported::text FROM vehicle_signals WHERE data_type = 'odometer-traveleddistance'"), " ")
	}
	b.fail(smartcarVehicle, report{notCapable + `"ERROR"}`, 1})
	require.Equal(t, "false", supported())
	b.fail(smartcarVehicle, report{notCapable + `"RESOLVED"}`, 2})
	require.Equal(t, "true", supported())
	b.fail(smartcarVehicle, report{notCapable + `"ERROR"}`, 3})
	require.Equal(t, "false", supported())
	b.arrive("value", "100", noon()) // received a month later
	require.Equal(t, "true", supported())
}
