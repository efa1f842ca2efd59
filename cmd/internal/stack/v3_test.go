package stack_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
	"github.com/milepost/milepost/cmd/internal/stack"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

const iamPath = "/oauth2/token"

func TestAnOwnerConnectsUnderV3WithoutAnyTokensOfHerOwn(t *testing.T) {
	t.Parallel()
	c := setupCustody(t, 3, stack.Options{Environment: map[string]string{
		"SMARTCAR_API": "v3", "SMARTCAR_WEBHOOK_ID": "f1a0c2d4-5b6e-4f70-8a91-b2c3d4e5f601",
	}})
	for _, car := range c.cars {
		c.consent(&bytes.Buffer{}, "owner-of-"+car.VehicleID, "", smartcartest.ConsentAnswer{
			UserID: car.UserID, VehicleIDs: []string{car.VehicleID},
		})
		require.Equal(t, 1, c.count(`SELECT count(*) FROM smartcar_vehicles
			WHERE smartcar_vehicle_id = $1 AND is_active AND api = 'v3' AND token_id IS NULL AND smartcar_user_id = $2`,
			car.VehicleID, car.UserID))
		// The owner does not wait for the subscription.
		require.Eventually(t, func() bool {
			return c.count(`SELECT count(*) FROM smartcar_vehicles
				WHERE smartcar_vehicle_id = $1 AND subscribed_webhook_id <> ''`, car.VehicleID) == 1
		}, soon, 50*time.Millisecond, "%s is not subscribed", car.VehicleID)
	}
	require.Zero(t, c.count(`SELECT count(*) FROM smartcar_tokens`))
	require.Equal(t, 1, c.platform.Requests(iamPath), "one application token serves everybody")
	c.milepost("vehicles", "disconnect", c.cars[0].VehicleID)
	c.awaitState(c.cars[0].VehicleID, db.StateDisconnected)
	c.requireNoTokenAtRest()
}

func TestAFleetMovesToV3VehicleByVehicle(t *testing.T) {
	t.Parallel()
	c := setupCustody(t, 5, stack.Options{})
	c.connectAll()
	gone := c.cars[2] // v3 does not know it any more
	c.deleteSmartcarUser(gone.UserID)
	require.Contains(t, c.milepostFails("vehicles", "migrate-to-v3", "--dry-run"), "4 vehicles would be moved to v3, 1 stay on v2")
	require.Zero(t, c.count(`SELECT count(*) FROM smartcar_vehicles WHERE api = 'v3'`))
	c.milepost("vehicles", "migrate-to-v3", "--vehicle", c.cars[0].VehicleID)
	require.Equal(t, 1, c.count(`SELECT count(*) FROM smartcar_vehicles WHERE api = 'v3'`))
	printed := c.milepostFails("vehicles", "migrate-to-v3")
	require.Contains(t, printed, "3 vehicles moved to v3, 1 stay on v2")
	require.Contains(t, printed, gone.VehicleID)
	require.Equal(t, 4, c.count(`SELECT count(*) FROM smartcar_vehicles WHERE api = 'v3' AND token_id IS NOT NULL`),
		"the v2 tokens stay stored")
	for _, car := range c.cars {
		if car.VehicleID == gone.VehicleID {
			continue
		}
		var result contract.TokenRefreshResult
		require.NoError(t, c.temporal.GetWorkflow(t.Context(), contract.TokenRefreshID(car.VehicleID), "").Get(t.Context(), &result))
		require.Equal(t, contract.ConnectionEnded, result.State)
	}
	c.requireNoTokenAtRest()
}

// deleteSmartcarUser removes a user and its connections, as Smartcar's management API does.
func (c *custody) deleteSmartcarUser(userID string) {
	c.t.Helper()
	tokens, err := smartcar.NewApplicationTokens(smartcar.ApplicationTokensConfig{
		Hosts: c.platform.Hosts(c.Environment()["SMARTCARSIM_URL"]), ClientID: c.Application().APIClientID,
		ClientSecret: smartcar.Token(c.Application().ClientSecret),
	})
	require.NoError(c.t, err)
	token, err := tokens.Token(c.t.Context())
	require.NoError(c.t, err)
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodDelete, c.Environment()["SMARTCARSIM_URL"]+"/v3/users/"+userID, nil)
	require.NoError(c.t, err)
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	response, err := http.DefaultClient.Do(request)
	require.NoError(c.t, err)
	require.NoError(c.t, response.Body.Close())
	require.Less(c.t, response.StatusCode, http.StatusMultipleChoices)
}

// milepostFails runs the program, which must end with an error, and gives what it prints.
func (c *custody) milepostFails(arguments ...string) string {
	c.t.Helper()
	output, err := c.runMilepost(arguments...)
	require.Error(c.t, err)
	return output
}
