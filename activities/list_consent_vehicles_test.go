package activities_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

const connectionsV3 = "GET /v3/connections"

// connectionOf is an element of v3's list of connections; zero fields are left out of it.
type connectionOf struct {
	user, externalID, vehicle string
	createdAt, updatedAt      time.Time
}

func (c connectionOf) json() string {
	external := ""
	if c.externalID != "" {
		external = fmt.Sprintf(`,"externalId":%q`, c.externalID)
	}
	return fmt.Sprintf(`{"id":"connection-of-%[3]s","type":"connection",
		"attributes":{"permissions":["read_odometer"],"vehicle":{"make":"VOLVO","model":"EX30","year":2024},"user":{"id":%[1]q%[2]s}},
		"relationships":{"vehicle":{"data":{"id":%[3]q}},"user":{"data":{"id":%[1]q}}},
		"meta":{"createdAt":%[4]q,"updatedAt":%[5]q}}`,
		c.user, external, c.vehicle, c.createdAt.UTC().Format(time.RFC3339), c.updatedAt.UTC().Format(time.RFC3339))
}

func (s *scripted) connections(connections ...connectionOf) {
	elements := make([]string, len(connections))
	for i, connection := range connections {
		elements[i] = connection.json()
	}
	s.on(connectionsV3, answer(200, fmt.Sprintf(`{"data":[%s],"meta":{"totalCount":%d}}`, strings.Join(elements, ","), len(elements))))
}

// TestAV3UserIsBelievedOnlyWhenSmartcarsRecordSaysSo: the callback's user_id is what anybody can write into an address.
func TestAV3UserIsBelievedOnlyWhenSmartcarsRecordSaysSo(t *testing.T) {
	t.Parallel()
	long, now := time.Now().Add(-24*time.Hour), time.Now()
	const ours = "ours"
	for name, test := range map[string]struct {
		connections []connectionOf
		vehicles    []string
		refused     contract.ConnectReason
	}{
		"our name for the owner": {
			[]connectionOf{{smartcarUser, ours, car, long, long}, {smartcarUser, ours, otherCar, long, long}}, []string{car, otherCar}, "",
		},
		"another owner's name": {
			[]connectionOf{{smartcarUser, "another", car, now, now}}, nil, contract.ReasonUserUnproven,
		},
		"another owner's name beside ours": {
			[]connectionOf{{smartcarUser, ours, car, now, now}, {smartcarUser, "another", otherCar, now, now}},
			[]string{car}, contract.ReasonUserUnproven,
		},
		"no name, and as fresh as the consent": {[]connectionOf{{smartcarUser, "", car, now, now}}, []string{car}, ""},
		"no name, but renewed":                 {[]connectionOf{{smartcarUser, "", car, long, now}}, []string{car}, ""},
		"no name, and old":                     {[]connectionOf{{smartcarUser, "", car, long, long}}, nil, contract.ReasonUserUnproven},
		"no vehicles":                          {nil, nil, contract.ReasonNoVehicles},
		"a stranger's, from a filter that was ignored": {
			[]connectionOf{{"stranger", ours, car, now, now}}, nil, contract.ReasonNoVehicles,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupSmartcar(t)
			consent := b.consent(driver, db.APIv3)
			for i, connection := range test.connections {
				if connection.externalID == ours {
					test.connections[i].externalID = consent.ExternalID
				}
			}
			b.smartcar.connections(test.connections...)
			listed, err := b.ListConsentVehicles(t.Context(), contract.ListConsentVehiclesInput{ConsentID: consent.ID})
			require.NoError(t, err)
			require.Equal(t, contract.ListConsentVehiclesResult{SmartcarVehicleIDs: test.vehicles, Refused: test.refused}, listed)
			require.Equal(t, smartcarUser, b.smartcar.requests(connectionsV3)[0].query.Get("filter[userId]"))
			require.Empty(t, b.smartcar.requests("GET /v2.0/user"))
		})
	}
}

func TestAV3ConsentConnectsWithoutTokensOfTheOwners(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	consent := b.consent(driver, db.APIv3)
	b.smartcar.connections(connectionOf{smartcarUser, consent.ExternalID, car, time.Now(), time.Now()})
	vinRoute := "GET /v3/vehicles/" + car + "/signals/vehicleidentification-vin"
	b.smartcar.on(vinRoute, answer(200, `{"data":{"attributes":{"code":"vehicleidentification-vin","status":{"value":"SUCCESS"},"body":{"value":"`+vin+`"}}}}`))
	require.Empty(t, b.connect(consent))
	summary := b.summary(car)
	require.Equal(t, []string{db.APIv3, "VOLVO", "EX30", driver}, []string{summary.API, summary.Make, summary.Model, summary.Owner})
	require.Equal(t, smartcarUser, b.status(car).SmartcarUserID)
	require.Equal(t, "1", b.count("vehicles WHERE vin = '"+vin+"'"))
	require.Equal(t, smartcarUser, b.smartcar.requests(vinRoute)[0].user)
	require.Equal(t, []string{db.NoticeConnected}, b.notices(car))
	require.Empty(t, b.requested(car), "there is nothing to refresh")
	require.Equal(t, "0", b.count("smartcar_tokens"))
	require.Empty(t, b.smartcar.requests(tokenEndpoint))
	b.requireSilence()
}

func TestTheUserOfAV2ConsentIsTheOneThatTheTokenBelongsTo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer int
		body   string
		user   string
	}{
		"another than the callback's": {200, `{"id":"the-real-user"}`, "the-real-user"},
		"the same":                    {200, `{"id":"` + smartcarUser + `"}`, smartcarUser},
		"not to be told":              {403, `{"type":"PERMISSION"}`, smartcarUser},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupSmartcar(t)
			b.smartcar.on("GET /v2.0/user", answer(test.answer, test.body))
			b.smartcar.describe(car, vin)
			require.Empty(t, b.connectAs(driver, car))
			require.Equal(t, test.user, b.status(car).SmartcarUserID)
		})
	}
}

func TestAConsentForNothingSaysSo(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	b.smartcar.on("GET /v2.0/vehicles", answer(200, `{"paging":{"count":0,"offset":0},"vehicles":[]}`))
	require.Equal(t, contract.ReasonNoVehicles, b.connect(b.consent(driver, db.APIv2)))
	b.smartcar.on("GET /v2.0/vehicles", apiFailure(400, "CONNECTED_SERVICES_ACCOUNT"))
	require.Equal(t, contract.ReasonNoVehicles, b.connect(b.consent(driver, db.APIv2)))
}

// TestAV2ConsentWithoutACodeIsAReason: a callback may bring a user_id and no code, whoever wrote it.
func TestAV2ConsentWithoutACodeIsAReason(t *testing.T) {
	t.Parallel()
	b := setupSmartcar(t)
	consent := b.consent(driver, db.APIv2)
	b.execute("UPDATE smartcar_consents SET code = NULL, code_key_id = NULL")
	result, err := b.ExchangeCode(t.Context(), contract.ExchangeCodeInput{ConsentID: consent.ID})
	require.NoError(t, err)
	require.Equal(t, contract.ReasonCodeExpired, result.Refused)
	require.Empty(t, b.smartcar.requests(tokenEndpoint))
}
