package smartcartest_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

func page(t *testing.T, address string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Contains(t, response.Header.Get("Content-Type"), "text/html")
	return response.StatusCode, string(content)
}

func (b *platformBundle) authorizeURL(change func(url.Values)) string {
	query := url.Values{"response_type": {"code"}, "client_id": {applicationID}, "redirect_uri": {redirectURI}, "scope": {"required:read_odometer read_vin"}, "state": {"s"}}
	change(query)
	return b.url + "/oauth/authorize?" + query.Encode()
}

func TestAnOwnerConsentsInV2(t *testing.T) {
	t.Parallel()
	var connected []string
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) {
		deps.OnConnected = func(userID string, vehicleIDs []string) { connected = append([]string{userID}, vehicleIDs...) }
	})
	callback := bundle.authorize(t, smartcartest.ConsentAnswer{VehicleIDs: bundle.cars[1:]})
	require.Equal(t, bundle.userID, callback.UserID)
	require.Equal(t, "s", callback.State)
	require.Equal(t, []string{bundle.userID, bundle.cars[1]}, connected)

	pair, err := bundle.oauth.Exchange(t.Context(), callback.Code)
	require.NoError(t, err)
	require.True(t, bundle.isValid(pair))
	refs, err := bundle.v2.Vehicles(t.Context(), smartcar.Credential{AccessToken: pair.AccessToken, UserID: callback.UserID})
	require.NoError(t, err)
	require.Equal(t, []smartcar.VehicleRef{{ID: bundle.cars[1], UserID: bundle.userID}}, refs)
}

func TestAnOwnerConsentsInV3(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) { deps.Generation = smartcar.V3 })
	address := bundle.connect.AuthorizeURL(smartcar.AuthorizeRequest{State: "s", ExternalID: "driver 7"})
	back, err := bundle.platform.Consent(t.Context(), address, smartcartest.ConsentAnswer{UserID: bundle.userID})
	require.NoError(t, err)
	require.Equal(t, smartcar.Callback{State: "s", UserID: bundle.userID, ExternalID: "driver 7"}, callbackOf(t, back))
	token, err := bundle.tokens.Token(t.Context())
	require.NoError(t, err)
	refs, err := bundle.v3.Vehicles(t.Context(), smartcar.Credential{AccessToken: token, UserID: bundle.userID})
	require.NoError(t, err)
	require.Len(t, refs, 2)
	require.Equal(t, "driver 7", refs[0].ExternalID)
}

func TestResponseTypeNoneBringsNoCode(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	address := bundle.authorizeURL(func(query url.Values) { query.Set("response_type", "none") })
	back, err := bundle.platform.Consent(t.Context(), address, smartcartest.ConsentAnswer{})
	require.NoError(t, err)
	require.Equal(t, smartcar.Callback{State: "s", UserID: bundle.userID}, callbackOf(t, back))
}

func TestEveryDocumentedErrorComesBack(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	for _, code := range []string{"access_denied", "vehicle_incompatible", "no_vehicles", "invalid_subscription", "configuration_error", "server_error"} {
		callback := bundle.authorize(t, smartcartest.ConsentAnswer{Error: code})
		require.Equal(t, code, callback.Error.Code)
		require.Equal(t, "s", callback.State)
		require.Equal(t, code == "vehicle_incompatible", callback.Error.Year == 2023, code)
		require.Empty(t, callback.Code, code)
	}
	require.Empty(t, bundle.platform.IssuedTokens())
	_, err := bundle.platform.Consent(t.Context(), bundle.authorizeURL(func(url.Values) {}), smartcartest.ConsentAnswer{Error: "else"})
	require.ErrorContains(t, err, "400")
}

func TestACarThatLacksARequiredPermissionIsIncompatible(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	answer := smartcartest.ConsentAnswer{VehicleIDs: bundle.cars[1:]}
	require.Nil(t, bundle.authorize(t, answer).Error)
	require.True(t, bundle.platform.UpdateCar(bundle.cars[1], func(car *smartcartest.PlatformCar) { car.Lacks = []string{"read_odometer"} }))
	require.Equal(t, &smartcar.ConnectError{Code: "vehicle_incompatible", Make: "FORD", Model: "F-150", Year: 2021}, bundle.authorize(t, answer).Error)
	require.False(t, bundle.platform.UpdateCar("nobody's", nil))
}

func TestAWrongVisitEndsOnAPageAndIsNotSentBack(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	for name, test := range map[string]struct {
		change func(url.Values)
		says   string
	}{
		"the client id of v3":          {func(q url.Values) { q.Set("client_id", apiClientID) }, "Invalid parameter client_id"},
		"a redirect URI that is close": {func(q url.Values) { q.Set("redirect_uri", redirectURI+"/") }, "Invalid parameter redirect_uri"},
		"another response type":        {func(q url.Values) { q.Set("response_type", "token") }, "Invalid parameter response_type"},
		"another mode":                 {func(q url.Values) { q.Set("mode", "pretend") }, "Invalid parameter mode"},
		"a parameter twice":            {func(q url.Values) { q.Add("state", "t") }, "Repeated parameter"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, text := page(t, bundle.authorizeURL(test.change))
			require.Equal(t, http.StatusBadRequest, status)
			require.Contains(t, text, test.says)
			_, err := bundle.platform.Consent(t.Context(), bundle.authorizeURL(test.change), smartcartest.ConsentAnswer{UserID: bundle.userID, VehicleIDs: bundle.cars})
			require.ErrorContains(t, err, "400")
		})
	}
}

func TestTheConsentPageHasStableElements(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	status, text := page(t, bundle.authorizeURL(func(url.Values) {}))
	require.Equal(t, http.StatusOK, status)
	for _, id := range []string{"user-user-one", "user-user-two", "car-" + bundle.cars[0], "car-" + bundle.strangersCar, "allow", "deny", "brand-FORD", "error-access_denied", "error-vehicle_incompatible", "error-no_vehicles", "error-invalid_subscription", "error-configuration_error", "error-server_error"} {
		require.Contains(t, text, `id="`+id+`"`)
	}
	require.Contains(t, text, "read_odometer (required)")
	require.Equal(t, 3, strings.Count(text, `type="checkbox"`))

	_, text = page(t, bundle.authorizeURL(func(q url.Values) { q.Set("single_select", "true") }))
	require.Equal(t, 5, strings.Count(text, `type="radio"`))
	_, text = page(t, bundle.authorizeURL(func(q url.Values) { q.Set("make", "ford") }))
	require.Equal(t, 1, strings.Count(text, `id="car-`))
}

func (b *platformBundle) post(t *testing.T, address string, values url.Values) answered {
	t.Helper()
	return b.ask(t, http.MethodPost, strings.TrimPrefix(address, b.url), "", form(), values.Encode())
}

func TestAFormThatChoosesWronglyIsShownAgain(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	usual, single := bundle.authorizeURL(func(url.Values) {}), bundle.authorizeURL(func(q url.Values) { q.Set("single_select", "true") })
	for name, test := range map[string]struct {
		address, user string
		cars          []string
	}{
		"nobody signs in":    {usual, "", bundle.cars},
		"no car":             {usual, bundle.userID, nil},
		"a stranger's car":   {usual, bundle.userID, []string{bundle.cars[0], bundle.strangersCar}},
		"two instead of one": {single, bundle.userID, bundle.cars},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			received := bundle.post(t, test.address, url.Values{"user": {test.user}, "vehicle": test.cars, "answer": {"allow"}})
			require.Equal(t, http.StatusUnprocessableEntity, received.status)
		})
	}
	require.Equal(t, http.StatusFound, bundle.post(t, single, url.Values{"user": {bundle.userID}, "vehicle": bundle.cars[:1], "answer": {"allow"}}).status)
}

func TestAConsentCanBeForOneCar(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	address := bundle.authorizeURL(func(q url.Values) { q.Set("single_select", "true") })
	_, err := bundle.platform.Consent(t.Context(), address, smartcartest.ConsentAnswer{})
	require.NoError(t, err)
	require.Equal(t, 1, bundle.platform.Status().Connections)
}

func TestTheVINChoosesTheOneCar(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	bundle.platform.UpdateCar(bundle.cars[1], func(car *smartcartest.PlatformCar) { car.VIN = "MADEUP" })
	address := bundle.authorizeURL(func(q url.Values) { q.Set("single_select_vin", "MADEUP"); q.Set("make", "BMW") })
	back, err := bundle.platform.Consent(t.Context(), address, smartcartest.ConsentAnswer{})
	require.NoError(t, err)
	_, err = bundle.oauth.Exchange(t.Context(), callbackOf(t, back).Code)
	require.NoError(t, err)
	require.Equal(t, bundle.cars[1:], bundle.platform.Families()[0].VehicleIDs)
}

func TestAVisitWithoutScopeAndRedirectURITakesTheDashboards(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) { deps.RedirectURIs = []string{redirectURI + "?from=smartcar"} })
	address := bundle.authorizeURL(func(q url.Values) { q.Del("scope"); q.Del("redirect_uri"); q.Del("state") })
	back, err := bundle.platform.Consent(t.Context(), address, smartcartest.ConsentAnswer{UserID: bundle.strangerID})
	require.NoError(t, err)
	parsed, err := url.Parse(back)
	require.NoError(t, err)
	require.Equal(t, []string{"smartcar", bundle.strangerID}, []string{parsed.Query().Get("from"), parsed.Query().Get("user_id")})
	require.NotContains(t, parsed.Query(), "state")
	_, err = bundle.platform.Consent(t.Context(), address, smartcartest.ConsentAnswer{UserID: "nobody"})
	require.ErrorContains(t, err, "422")
}

func TestASecondConsentRenewsTheConnectionsAndBeginsAFamily(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	for range 2 {
		_, err := bundle.oauth.Exchange(t.Context(), bundle.authorize(t, smartcartest.ConsentAnswer{}).Code)
		require.NoError(t, err)
	}
	require.Equal(t, 2, bundle.platform.Status().Connections)
	require.Len(t, bundle.platform.Families(), 2)
}

func TestReauthenticationMakesABlockedUsersTokensWorkAgain(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair := bundle.issue(t)
	credential := smartcar.Credential{AccessToken: pair.AccessToken}
	require.True(t, bundle.platform.BlockUser(bundle.userID))
	require.False(t, bundle.platform.BlockUser("nobody"))
	_, err := bundle.oauth.Refresh(t.Context(), pair.RefreshToken)
	require.ErrorIs(t, err, smartcar.ErrInvalidGrant)
	_, err = bundle.v2.Vehicles(t.Context(), credential)
	require.ErrorIs(t, err, smartcar.ErrAccount)
	require.False(t, bundle.isValid(pair))

	address := bundle.connect.ReauthenticateURL(smartcar.ReauthenticateRequest{State: "again", VehicleID: bundle.cars[0]})
	status, text := page(t, address)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, `id="allow"`)
	back, err := bundle.platform.Consent(t.Context(), address, smartcartest.ConsentAnswer{Error: "access_denied"})
	require.NoError(t, err)
	require.Equal(t, "access_denied", callbackOf(t, back).Error.Code)
	require.False(t, bundle.isValid(pair), "a denial changes nothing")

	back, err = bundle.platform.Consent(t.Context(), address, smartcartest.ConsentAnswer{})
	require.NoError(t, err)
	require.Equal(t, smartcar.Callback{State: "again", VehicleID: bundle.cars[0]}, callbackOf(t, back))
	_, err = bundle.v2.Vehicles(t.Context(), credential)
	require.NoError(t, err)
	_, err = bundle.oauth.Refresh(t.Context(), pair.RefreshToken)
	require.NoError(t, err)
}

func TestAVehicleThatIsNotConnectedCannotBeReauthenticated(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	status, text := page(t, bundle.connect.ReauthenticateURL(smartcar.ReauthenticateRequest{State: "s", VehicleID: bundle.cars[0]}))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, text, "Invalid parameter vehicle_id")
	_, err := bundle.platform.Consent(t.Context(), bundle.connect.ReauthenticateURL(smartcar.ReauthenticateRequest{State: "s"}), smartcartest.ConsentAnswer{})
	require.ErrorContains(t, err, "400")
}

func TestAConsentThatIsGivenUpIsAnError(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	bundle.platform.Fault(smartcartest.Fault{Path: "/oauth/authorize", HoldBefore: make(chan struct{})})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := bundle.platform.Consent(ctx, bundle.authorizeURL(func(url.Values) {}), smartcartest.ConsentAnswer{})
	require.ErrorContains(t, err, "no answer")
	_, err = bundle.platform.Consent(t.Context(), "http://[", smartcartest.ConsentAnswer{})
	require.ErrorContains(t, err, "malformed")
}
