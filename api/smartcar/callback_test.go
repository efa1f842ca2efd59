package smartcar_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

func TestEveryFormOfCallbackIsRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		query    string
		expected smartcar.Callback
	}{
		"v2":                          {"code=c-1&state=s", smartcar.Callback{State: "s", Code: "c-1"}},
		"v2 with user":                {"code=c-1&state=s&user_id=u-1", smartcar.Callback{State: "s", Code: "c-1", UserID: "u-1"}},
		"v3":                          {"user_id=u-1&state=s", smartcar.Callback{State: "s", UserID: "u-1"}},
		"v3 with external id":         {"user_id=u-1&state=s&external_id=a%40b.example", smartcar.Callback{State: "s", UserID: "u-1", ExternalID: "a@b.example"}},
		"re-authentication":           {"vehicle_id=v-1&state=s", smartcar.Callback{State: "s", VehicleID: "v-1"}},
		"unknown and empty":           {"vehicle_id=v-1&state=s&code=&error=&new=1", smartcar.Callback{State: "s", VehicleID: "v-1"}},
		"everything at once":          {"code=c&user_id=u&vehicle_id=v&external_id=x&error=access_denied&state=s", smartcar.Callback{State: "s", Code: "c", UserID: "u", VehicleID: "v", ExternalID: "x", Error: &smartcar.ConnectError{Code: "access_denied"}}},
		"denied":                      {"error=access_denied&error_description=User+denied&state=s", smartcar.Callback{State: "s", Error: &smartcar.ConnectError{Code: "access_denied"}}},
		"incompatible":                {"error=vehicle_incompatible&error_description=d&state=s&vin=" + vinText + "&make=OPEL&model=Astra%20K&year=2016", smartcar.Callback{State: "s", Error: &smartcar.ConnectError{Code: "vehicle_incompatible", Make: "OPEL", Model: "Astra K", Year: 2016}}},
		"incompatible with odd names": {"error=vehicle_incompatible&state=s&make=%00&model=" + strings.Repeat("m", 65) + "&year=x", smartcar.Callback{State: "s", Error: &smartcar.ConnectError{Code: "vehicle_incompatible"}}},
		"no vehicles":                 {"error=no_vehicles&state=s", smartcar.Callback{State: "s", Error: &smartcar.ConnectError{Code: "no_vehicles"}}},
		"subscription":                {"error=invalid_subscription&state=s", smartcar.Callback{State: "s", Error: &smartcar.ConnectError{Code: "invalid_subscription"}}},
		"configuration":               {"error=configuration_error&state=s", smartcar.Callback{State: "s", Error: &smartcar.ConnectError{Code: "configuration_error"}}},
		"server error":                {"error=server_error&state=s", smartcar.Callback{State: "s", Error: &smartcar.ConnectError{Code: "server_error"}}},
		"unknown error":               {"error=%3Cscript%3E&state=s", smartcar.Callback{State: "s", Error: &smartcar.ConnectError{Code: "unknown"}}},
		"ids of the greatest length":  {"user_id=" + strings.Repeat("u", 64) + "&state=s", smartcar.Callback{State: "s", UserID: strings.Repeat("u", 64)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			callback, err := smartcar.ParseCallback(test.query)
			require.NoError(t, err)
			require.Equal(t, test.expected, callback)
			requireHidden(t, shown(t, callback), vinText)
		})
	}
}

func TestACallbackThatSmartcarWouldNotSendIsRefused(t *testing.T) {
	t.Parallel()
	for name, query := range map[string]string{
		"nothing":               "",
		"no state":              "code=hidden",
		"empty state":           "code=hidden&state=",
		"only state":            "state=hidden",
		"state with a space":    "code=hidden&state=a%20b",
		"state too long":        "code=hidden&state=" + strings.Repeat("s", 2049),
		"state twice":           "code=hidden&state=s&state=s",
		"code twice":            "code=hidden&code=hidden&state=s",
		"code twice, escaped":   "code=hidden&c%6fde=other&state=s",
		"user twice, one empty": "user_id=hidden&user_id=&state=s",
		"unknown twice":         "code=hidden&state=s&new=1&new=2",
		"bad escape":            "code=hidden%zz&state=s",
		"semicolon":             "code=hidden;state=s",
		"code too long":         "state=s&code=" + strings.Repeat("c", 513),
		"code with a new line":  "state=s&code=hidden%0A",
		"user too long":         "state=s&user_id=" + strings.Repeat("u", 65),
		"user climbs":           "state=s&user_id=..%2Fhidden",
		"vehicle with markup":   "state=s&vehicle_id=%3Chidden%3E",
		"external id with NUL":  "state=s&user_id=u&external_id=hidden%00",
		"external id not UTF-8": "state=s&user_id=u&external_id=hidden%ff",
		"query too long":        "code=hidden&state=s&error_description=" + strings.Repeat("d", 16<<10),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			callback, err := smartcar.ParseCallback(query)
			require.ErrorIs(t, err, smartcar.ErrCallbackMalformed)
			require.Zero(t, callback)
			require.NotContains(t, err.Error(), "hidden")
		})
	}
}

func FuzzParseCallbackNeverBelievesAStrangeID(f *testing.F) {
	f.Add("code=c-1&state=s&user_id=u-1")
	f.Add("error=vehicle_incompatible&state=s&make=OPEL&model=Astra&year=2016")
	f.Add("vehicle_id=v&state=s&code=%zz")
	f.Fuzz(func(t *testing.T, query string) {
		callback, err := smartcar.ParseCallback(query)
		if err != nil {
			require.ErrorIs(t, err, smartcar.ErrCallbackMalformed)
			require.Zero(t, callback)
			return
		}
		require.NotEmpty(t, callback.State)
		require.NotContains(t, callback.UserID+callback.VehicleID, "/")
		require.LessOrEqual(t, len(callback.UserID), 64)
	})
}
