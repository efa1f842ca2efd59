package smartcar_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

const (
	connectionID = "6e2f0b9c-4a1d-4c8e-9f57-1b2c3d4e5f60"
	pageOne      = "&page%5Bnumber%5D=1&page%5Bsize%5D=100"
	ofUser       = "filter%5BuserId%5D=7c2f0f2e-5b7e-4d1c-9c55-0f4a3c1d9e11"
	ofVehicle    = "filter%5BvehicleId%5D=" + vehicleID
	connections  = "GET /v3/connections?"
	vinSignal    = "GET /v3/vehicles/" + vehicleID + "/signals/vehicleidentification-vin"
)

func v3At(t *testing.T, base string) *smartcar.V3Client {
	t.Helper()
	client, err := smartcar.NewV3Client(smartcar.ClientConfig{Hosts: hostsAt(base)})
	require.NoError(t, err)
	return client
}

func connectionBody(id, user, vehicle, updated string) string {
	return fmt.Sprintf(`{"id":%q,"type":"connection","attributes":{"user":{"id":%q}},"relationships":{"vehicle":{"data":{"id":%q}}},"meta":{"updatedAt":%q}}`,
		id, user, vehicle, updated)
}

func connectionList(bodies ...string) string {
	return fmt.Sprintf(`{"data":[%s],"meta":{"totalCount":%d}}`, strings.Join(bodies, ","), len(bodies))
}

func TestV3ListsTheConnectionsOfTheExample(t *testing.T) {
	t.Parallel()
	base, asked := routes(t, map[string]http.HandlerFunc{connections + ofUser + pageOne: reply(200, string(payload(t, "rest-v3-connections")))})
	refs, err := v3At(t, base).Vehicles(t.Context(), credential())
	require.NoError(t, err)
	at := time.Date(2026, 8, 2, 9, 11, 20, 0, time.UTC)
	require.Equal(t, []smartcar.VehicleRef{
		{ID: vehicleID, UserID: credential().UserID, ExternalID: "driver-1042", CreatedAt: at, UpdatedAt: at},
	}, refs)
	require.EqualValues(t, 1, asked.Load())
}

func TestV3ListsEveryPageAndEachVehicleOnce(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		number, _ := strconv.Atoi(r.URL.Query().Get("page[number]"))
		var bodies []string
		for i := (number - 1) * 50; i < min(120, number*50); i++ { // Smaller pages than were asked for.
			bodies = append(bodies, connectionBody(fmt.Sprintf("c-%d", i), credential().UserID, fmt.Sprintf("v-%d", i/2), ""))
		}
		_, _ = fmt.Fprintf(w, `{"data":[%s],"meta":{"totalCount":120}}`, strings.Join(bodies, ","))
	})
	refs, err := v3At(t, server.URL).Vehicles(t.Context(), credential())
	require.NoError(t, err)
	require.Len(t, refs, 60)
	require.EqualValues(t, 3, asked.Load())
}

func TestV3NeverListsOrEndsAStrangersConnections(t *testing.T) {
	t.Parallel()
	all := connectionList(
		connectionBody("c-1", "stranger", vehicleID, ""), connectionBody("c-2", credential().UserID, otherVehicleID, ""),
		connectionBody("c-3", strings.ToUpper(credential().UserID), vehicleID, ""), `{"id":"c-4"}`, `null`,
	)
	base, asked := routes(t, map[string]http.HandlerFunc{ // Filters that Smartcar ignores.
		connections + ofUser + pageOne:                   reply(200, all),
		connections + ofUser + "&" + ofVehicle + pageOne: reply(200, all),
		"DELETE /v3/connections/c-3":                     reply(204, ""),
	})
	client := v3At(t, base)
	refs, err := client.Vehicles(t.Context(), credential())
	require.NoError(t, err)
	require.Equal(t, []string{otherVehicleID, vehicleID}, idsOfRefs(refs))
	require.NoError(t, client.Disconnect(t.Context(), credential(), vehicleID))
	require.EqualValues(t, 3, asked.Load())

	_, err = client.Vehicles(t.Context(), smartcar.Credential{AccessToken: secretText})
	require.ErrorIs(t, err, smartcar.ErrInvalidRequest)
	require.EqualValues(t, 3, asked.Load(), "everyone's connections are not asked for")
}

func TestV3FindsTheUserOfAVehicle(t *testing.T) {
	t.Parallel()
	base, _ := routes(t, map[string]http.HandlerFunc{connections + ofVehicle + pageOne: reply(200, connectionList(
		connectionBody("c-1", "first", vehicleID, "2026-01-01T00:00:00Z"), connectionBody("c-2", "latest", vehicleID, "2026-03-01T00:00:00Z"),
		connectionBody("c-3", "second", vehicleID, "2026-02-01T00:00:00Z"),
	))})
	ref, err := v3At(t, base).FindVehicle(t.Context(), smartcar.Credential{AccessToken: secretText}, vehicleID)
	require.NoError(t, err)
	require.Equal(t, "latest", ref.UserID)

	base, _ = routes(t, map[string]http.HandlerFunc{connections + ofVehicle + pageOne: reply(200, connectionList())})
	_, err = v3At(t, base).FindVehicle(t.Context(), smartcar.Credential{AccessToken: secretText}, vehicleID)
	require.ErrorIs(t, err, smartcar.ErrNotFound)
}

func TestV3DescribesAVehicle(t *testing.T) {
	t.Parallel()
	const attributes = `"attributes":{"code":"vehicleidentification-vin","status":{"value":"SUCCESS"},"body":{"value":"` + vinText + `"}}`
	const failed = `{"data":{"attributes":{"status":{"value":"ERROR","error":{"type":"PERMISSION"}},"body":{"value":"` + vinText + `"}}}}`
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		vin     string
	}{
		"VIN in data":           {reply(200, `{"data":{`+attributes+`}}`), vinText},
		"VIN in a bare element": {reply(200, `{`+attributes+`}`), vinText},
		"VIN without a status":  {reply(200, `{"data":{"attributes":{"body":{"value":"`+vinText+`"}}}}`), vinText},
		"failed signal":         {reply(200, failed), ""},
		"no signal":             {reply(200, `{"data":null}`), ""},
		"no body":               {reply(200, ``), ""},
		"not found":             {reply(404, string(payload(t, "rest-v3-error"))), ""},
		"forbidden":             {reply(403, `{"errors":[{"code":"PERMISSION"}]}`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, _ := routes(t, map[string]http.HandlerFunc{
				connections + ofUser + "&" + ofVehicle + pageOne: reply(200, string(payload(t, "rest-v3-connections"))),
				vinSignal: func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Sc-User-Id") != credential().UserID {
						w.WriteHeader(http.StatusTeapot)
						return
					}
					test.handler(w, r)
				},
			})
			vehicle, err := v3At(t, base).Vehicle(t.Context(), credential(), vehicleID)
			require.NoError(t, err)
			require.True(t, fieldsEqual(vehicle, smartcar.Vehicle{
				ID: vehicleID, UserID: credential().UserID, ExternalID: "driver-1042", Make: "POLESTAR", Model: "Polestar 2", Year: 2023,
				VIN: test.vin, Permissions: []string{"read_odometer", "read_battery", "read_charge", "read_vehicle_info"},
			}), "%v", vehicle)
		})
	}
}

func TestV3SaysWhenAVehicleCannotBeDescribed(t *testing.T) {
	t.Parallel()
	filtered := connections + ofUser + "&" + ofVehicle + pageOne
	base, _ := routes(t, map[string]http.HandlerFunc{filtered: reply(200, connectionList())})
	_, err := v3At(t, base).Vehicle(t.Context(), credential(), vehicleID)
	require.ErrorIs(t, err, smartcar.ErrNotFound)

	base, _ = routes(t, map[string]http.HandlerFunc{
		filtered: reply(200, string(payload(t, "rest-v3-connections"))), vinSignal: reply(401, ""),
	})
	_, err = v3At(t, base).Vehicle(t.Context(), credential(), vehicleID)
	require.ErrorIs(t, err, smartcar.ErrUnauthorized)
}

func TestV3Subscribes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status   int
		body     string
		expected error
	}{
		"in progress":   {202, `{"meta":{"message":"subscription creation in progress"}}`, nil},
		"there already": {409, `{"errors":[{"status":"409"}]}`, nil},
		"no webhook":    {404, string(payload(t, "rest-v3-error")), smartcar.ErrNotFound},
		"unavailable":   {503, "", smartcar.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Value
			base, _ := routes(t, map[string]http.HandlerFunc{"POST /v3/subscriptions": func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				sent.Store(r.Header.Get("Content-Type") + " " + string(body))
				reply(test.status, test.body)(w, r)
			}})
			require.ErrorIs(t, v3At(t, base).Subscribe(t.Context(), credential(), vehicleID, webhookID), test.expected)
			require.Equal(t, `application/json {"data":{"attributes":{"webhookId":"`+webhookID+`","userId":"`+credential().UserID+
				`","vehicleId":"`+vehicleID+`"}}}`, sent.Load())
		})
	}
	err := v3At(t, "https://sim.example").Subscribe(t.Context(), smartcar.Credential{AccessToken: secretText}, vehicleID, webhookID)
	require.ErrorIs(t, err, smartcar.ErrInvalidRequest)
}

func TestV3EndsEveryConnectionOfAVehicle(t *testing.T) {
	t.Parallel()
	notFound := string(payload(t, "rest-v3-error"))
	two := connectionList(connectionBody("c-1", "one", vehicleID, ""), connectionBody("c-2", "two", vehicleID, ""))
	for name, test := range map[string]struct {
		list          http.HandlerFunc
		first, second http.HandlerFunc
		requests      int
		expected      error
	}{
		"both":                 {reply(200, two), reply(204, ""), reply(200, `{}`), 3, nil},
		"one was ended before": {reply(200, two), reply(404, notFound), reply(204, ""), 3, nil},
		"none left":            {reply(200, connectionList()), nil, nil, 1, nil},
		"vehicle unknown":      {reply(404, notFound), nil, nil, 1, nil},
		"a proxy's 404":        {reply(200, two), reply(404, htmlPage), nil, 2, smartcar.ErrUnavailable},
		"token dropped":        {reply(401, ""), nil, nil, 1, smartcar.ErrUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, asked := routes(t, map[string]http.HandlerFunc{
				connections + ofVehicle + pageOne: test.list,
				"DELETE /v3/connections/c-1":      test.first, "DELETE /v3/connections/c-2": test.second,
			})
			err := v3At(t, base).Disconnect(t.Context(), smartcar.Credential{AccessToken: secretText}, vehicleID)
			require.ErrorIs(t, err, test.expected)
			require.EqualValues(t, test.requests, asked.Load())
		})
	}
}
