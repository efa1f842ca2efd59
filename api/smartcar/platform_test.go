package smartcar_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

const otherVehicleID = "0f6d2c4b-9a1e-4c7d-8b3f-5e6a7d8c9b01"

// platform is what both generations must offer to a caller that hides which one it has.
type platform interface {
	Vehicles(ctx context.Context, credential smartcar.Credential) ([]smartcar.VehicleRef, error)
	Vehicle(ctx context.Context, credential smartcar.Credential, id string) (smartcar.Vehicle, error)
	Disconnect(ctx context.Context, credential smartcar.Credential, vehicleID string) error
}

type subscriber interface {
	Subscribe(ctx context.Context, credential smartcar.Credential, vehicleID, webhookID string) error
}

var (
	_ platform   = (*smartcar.V2Client)(nil)
	_ platform   = (*smartcar.V3Client)(nil)
	_ subscriber = (*smartcar.V2Client)(nil)
	_ subscriber = (*smartcar.V3Client)(nil)
)

func credential() smartcar.Credential {
	return smartcar.Credential{AccessToken: secretText, UserID: "7c2f0f2e-5b7e-4d1c-9c55-0f4a3c1d9e11"}
}

func v2At(t *testing.T, base string) *smartcar.V2Client {
	t.Helper()
	client, err := smartcar.NewV2Client(smartcar.ClientConfig{Hosts: hostsAt(base)})
	require.NoError(t, err)
	return client
}

// routes answers by method, path and query; anything else, and a wrong bearer token, is a teapot.
func routes(t *testing.T, answers map[string]http.HandlerFunc) (base string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		handler, known := answers[r.Method+" "+r.URL.RequestURI()]
		if !known || r.Header.Get("Authorization") != "Bearer "+secretText {
			t.Errorf("unexpected request %s %s", r.Method, r.URL.RequestURI())
			w.WriteHeader(http.StatusTeapot)
			return
		}
		handler(w, r)
	})
	return server.URL, asked
}

func idsOfRefs(refs []smartcar.VehicleRef) []string {
	ids := make([]string, 0, len(refs))
	for _, ref := range refs {
		ids = append(ids, ref.ID)
	}
	return ids
}

func TestV2ListsTheVehiclesOfTheExample(t *testing.T) {
	t.Parallel()
	base, asked := routes(t, map[string]http.HandlerFunc{
		"GET /v2.0/vehicles?limit=50&offset=0": reply(200, string(payload(t, "rest-v2-vehicles"))),
	})
	refs, err := v2At(t, base).Vehicles(t.Context(), credential())
	require.NoError(t, err)
	require.Equal(t, []smartcar.VehicleRef{
		{ID: vehicleID, UserID: credential().UserID}, {ID: otherVehicleID, UserID: credential().UserID},
	}, refs)
	require.EqualValues(t, 1, asked.Load())
}

// garage lists total vehicles in pages of at most size.
func garage(t *testing.T, total, size int, asked *atomic.Int32) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		var ids []string
		for i := offset; i < min(total, offset+size); i++ {
			ids = append(ids, fmt.Sprintf(`"v-%d"`, i))
		}
		_, _ = fmt.Fprintf(w, `{"paging":{"count":%d,"offset":%d},"vehicles":[%s]}`, total, offset, strings.Join(ids, ","))
	}
}

func TestV2ListsEveryPage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ total, size, requests int }{{0, 50, 1}, {50, 50, 1}, {51, 50, 2}, {120, 50, 3}, {25, 10, 3}} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			server := serve(t, garage(t, test.total, test.size, &asked))
			refs, err := v2At(t, server.URL).Vehicles(t.Context(), credential())
			require.NoError(t, err)
			require.Len(t, refs, test.total)
			require.EqualValues(t, test.requests, asked.Load())
		})
	}
}

func TestPagingEndsWhateverTheAPISays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body     string
		ids      []string
		requests int
	}{
		"the same page for ever":    {`{"paging":{"count":1000},"vehicles":["a","b","a"]}`, []string{"a", "b"}, 2},
		"an empty page, many more":  {`{"paging":{"count":1000},"vehicles":[]}`, []string{}, 1},
		"no count, a short page":    {`{"vehicles":["a"]}`, []string{"a"}, 1},
		"ids that cannot be ids":    {`{"paging":{"count":4},"vehicles":["a","../b",null,{}]}`, []string{"a"}, 1},
		"a page of what is unusual": {`{"paging":{"count":9000},"vehicles":[null]}`, []string{}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				reply(200, test.body)(w, r)
			})
			refs, err := v2At(t, server.URL).Vehicles(t.Context(), credential())
			require.NoError(t, err)
			require.Equal(t, test.ids, idsOfRefs(refs))
			require.EqualValues(t, test.requests, asked.Load())
		})
	}
}

func TestAListWithoutEndIsAnErrorAndNotCutOff(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := serve(t, garage(t, 1_000_000, 1, &asked))
	_, err := v2At(t, server.URL).Vehicles(t.Context(), credential())
	require.ErrorIs(t, err, smartcar.ErrUnavailable)
	require.EqualValues(t, 200, asked.Load())
}

func TestV2DescribesAVehicle(t *testing.T) {
	t.Parallel()
	const about, permissions, vin = "GET /v2.0/vehicles/" + vehicleID, "/permissions?limit=50&offset=0", "/vin"
	const aboutBody = `{"id":"` + vehicleID + `","make":"POLESTAR","model":"Polestar 2","year":2023}`
	const granted = `{"permissions":["read_odometer","read_vin"],"paging":{"count":2,"offset":0}}`
	full := smartcar.Vehicle{
		ID: vehicleID, UserID: credential().UserID, Make: "POLESTAR", Model: "Polestar 2", Year: 2023, VIN: vinText,
		Permissions: []string{"read_odometer", "read_vin"},
	}
	withoutVIN := full
	withoutVIN.VIN = ""
	withoutPermissions := withoutVIN
	withoutPermissions.Permissions = nil
	notVIN := withoutVIN
	notVIN.Permissions = []string{"read_odometer"}
	refusal := func(status int, kind string) http.HandlerFunc {
		return reply(status, `{"type":"`+kind+`","code":null}`)
	}
	for name, test := range map[string]struct {
		permissions, vin http.HandlerFunc
		expected         smartcar.Vehicle
	}{
		"with everything":                  {reply(200, granted), reply(200, `{"vin":"`+vinText+`"}`), full},
		"without the permission":           {reply(200, `{"permissions":["read_odometer"]}`), nil, notVIN},
		"VIN refused":                      {reply(200, granted), refusal(403, "PERMISSION"), withoutVIN},
		"VIN not offered":                  {reply(200, granted), refusal(501, "COMPATIBILITY"), withoutVIN},
		"vehicle asleep":                   {reply(200, granted), refusal(409, "VEHICLE_STATE"), withoutVIN},
		"VIN that is none":                 {reply(200, granted), reply(200, `{"vin":"<script>"}`), withoutVIN},
		"permissions refused":              {refusal(403, "PERMISSION"), nil, withoutPermissions},
		"permissions not offered":          {refusal(501, "COMPATIBILITY"), nil, withoutPermissions},
		"permissions on more than a page ": {reply(200, `{"permissions":["read_odometer","read_vin"],"paging":{"count":2}}`), reply(200, `{"vin":"`+vinText+`"}`), full},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := map[string]http.HandlerFunc{about: reply(200, aboutBody), about + permissions: test.permissions}
			if test.vin != nil {
				answers[about+vin] = test.vin
			}
			base, _ := routes(t, answers)
			vehicle, err := v2At(t, base).Vehicle(t.Context(), credential(), vehicleID)
			require.NoError(t, err)
			require.True(t, fieldsEqual(vehicle, test.expected), "%v", vehicle)
		})
	}
	for name, answers := range map[string]map[string]http.HandlerFunc{
		"the vehicle":     {about: reply(503, "")},
		"the permissions": {about: reply(200, aboutBody), about + permissions: reply(503, "")},
		"the VIN":         {about: reply(200, aboutBody), about + permissions: reply(200, granted), about + vin: reply(429, "")},
		"an empty answer": {about: reply(200, "")},
	} {
		t.Run("fails with "+name, func(t *testing.T) {
			t.Parallel()
			base, _ := routes(t, answers)
			vehicle, err := v2At(t, base).Vehicle(t.Context(), credential(), vehicleID)
			require.True(t, errors.Is(err, smartcar.ErrUnavailable) || errors.Is(err, smartcar.ErrRateLimited))
			require.True(t, fieldsEqual(vehicle, smartcar.Vehicle{}))
		})
	}
}

// fieldsEqual compares without printing, since a VIN must not.
func fieldsEqual(a, b smartcar.Vehicle) bool {
	return a.VIN == b.VIN && a.UserID == b.UserID && a.ExternalID == b.ExternalID && a.String() == b.String()
}

func TestV2SubscribesAndDisconnects(t *testing.T) {
	t.Parallel()
	const subscribe, disconnect = "POST /v2.0/vehicles/" + vehicleID + "/webhooks/" + webhookID, "DELETE /v2.0/vehicles/" + vehicleID + "/application"
	const notFound, exists, asleep = `{"type":"RESOURCE_NOT_FOUND","code":"PATH"}`, `{"type":"CONFLICT"}`, `{"type":"VEHICLE_STATE","code":"ASLEEP"}`
	for name, test := range map[string]struct {
		handler                  http.HandlerFunc
		subscribed, disconnected error
	}{
		"done":             {reply(200, `{"status":"success"}`), nil, nil},
		"done, no body":    {reply(200, ""), nil, nil},
		"done, HTML":       {reply(200, htmlPage), smartcar.ErrUnavailable, smartcar.ErrUnavailable},
		"exists already":   {reply(409, exists), nil, smartcar.ErrConflict},
		"not found":        {reply(404, notFound), smartcar.ErrNotFound, nil},
		"a proxy's 404":    {reply(404, htmlPage), smartcar.ErrUnavailable, smartcar.ErrUnavailable},
		"vehicle's state":  {reply(409, asleep), smartcar.ErrVehicleState, smartcar.ErrVehicleState},
		"token is expired": {reply(401, string(payload(t, "rest-v2-error-authentication"))), smartcar.ErrUnauthorized, smartcar.ErrUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, asked := routes(t, map[string]http.HandlerFunc{subscribe: test.handler, disconnect: test.handler})
			client := v2At(t, base)
			require.ErrorIs(t, client.Subscribe(t.Context(), credential(), vehicleID, webhookID), test.subscribed)
			require.ErrorIs(t, client.Disconnect(t.Context(), credential(), vehicleID), test.disconnected)
			require.EqualValues(t, 2, asked.Load())
		})
	}
}

func TestV2SaysWhoseTokenItIs(t *testing.T) {
	t.Parallel()
	base, _ := routes(t, map[string]http.HandlerFunc{"GET /v2.0/user": reply(200, `{"id":"user-1"}`)})
	id, err := v2At(t, base).User(t.Context(), credential())
	require.NoError(t, err)
	require.Equal(t, "user-1", id)

	base, _ = routes(t, map[string]http.HandlerFunc{"GET /v2.0/user": reply(200, `{"id":"../user"}`)})
	_, err = v2At(t, base).User(t.Context(), credential())
	require.ErrorIs(t, err, smartcar.ErrUnavailable)
}

func TestIdsAreEscapedAndCannotClimb(t *testing.T) {
	t.Parallel()
	base, asked := routes(t, map[string]http.HandlerFunc{"DELETE /v2.0/vehicles/a%2F..%3Fb/application": reply(200, "")})
	client := v2At(t, base)
	require.NoError(t, client.Disconnect(t.Context(), credential(), "a/..?b"))
	for _, id := range []string{"", ".", "..", "a\nb", strings.Repeat("x", 65)} {
		for _, generation := range []platform{client, v3At(t, base)} {
			require.ErrorIs(t, generation.Disconnect(t.Context(), credential(), id), smartcar.ErrInvalidRequest)
			_, err := generation.Vehicle(t.Context(), credential(), id)
			require.ErrorIs(t, err, smartcar.ErrInvalidRequest)
		}
		require.ErrorIs(t, client.Subscribe(t.Context(), credential(), vehicleID, id), smartcar.ErrInvalidRequest)
	}
	_, err := client.Vehicles(t.Context(), smartcar.Credential{})
	require.ErrorIs(t, err, smartcar.ErrInvalidRequest, "without a token nothing is sent")
	require.EqualValues(t, 1, asked.Load())
}

func TestCallsThatAreSentAreCounted(t *testing.T) {
	t.Parallel()
	base, asked := routes(t, map[string]http.HandlerFunc{"GET /v2.0/user": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
	}})
	var count atomic.Int64
	ctx := smartcar.CountCalls(t.Context(), &count)
	for range 2 {
		_, err := v2At(t, base).User(ctx, credential())
		require.ErrorIs(t, err, smartcar.ErrRateLimited)
	}
	_, err := v2At(t, base).User(t.Context(), credential())
	require.ErrorIs(t, err, smartcar.ErrRateLimited)
	_, err = v2At(t, base).User(ctx, smartcar.Credential{})
	require.ErrorIs(t, err, smartcar.ErrInvalidRequest)
	nobody := httptest.NewServer(nil)
	nobody.Close()
	_, err = v2At(t, nobody.URL).User(ctx, credential())
	require.ErrorIs(t, err, smartcar.ErrUnavailable)
	require.EqualValues(t, 3, asked.Load())
	require.EqualValues(t, 2, count.Load())
}
