package smartcartest_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

func TestTheStateSurvivesARestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "platform.json")
	keep := func(deps *smartcartest.PlatformDeps) { deps.StateFile = file }
	before := setupPlatform(t, keep)
	first := before.issue(t)
	code := before.authorize(t, smartcartest.ConsentAnswer{}).Code
	credential := smartcar.Credential{AccessToken: first.AccessToken}
	require.NoError(t, before.v2.Subscribe(t.Context(), credential, before.cars[0], "webhook-1"))
	before.platform.Issue(before.strangerID, nil)
	before.platform.BlockUser(before.strangerID)
	second, err := before.oauth.Refresh(t.Context(), first.RefreshToken)
	require.NoError(t, err)
	information, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), information.Mode())

	after := setupPlatform(t, keep)
	require.True(t, after.isValid(second))
	require.True(t, after.isValid(first), "its grace goes on")
	status := after.platform.Status()
	require.Equal(t, []int{3, 1, 2}, []int{status.Connections, status.Subscriptions, len(status.Families)})
	require.Equal(t, 1, status.Families[0].Refreshes)
	require.True(t, status.Users[1].Blocked)
	_, err = after.v2.User(t.Context(), credential)
	require.NoError(t, err)
	_, err = after.oauth.Exchange(t.Context(), code)
	require.NoError(t, err)
}

func TestCarsThatAreGoneAfterARestartAreDisconnected(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "platform.json")
	before := setupPlatform(t, func(deps *smartcartest.PlatformDeps) { deps.StateFile = file })
	before.issue(t)
	after := setupPlatform(t, func(deps *smartcartest.PlatformDeps) {
		deps.StateFile = file
		deps.Users[0].Cars = deps.Users[0].Cars[:1]
	})
	require.Equal(t, before.cars[:1], after.platform.Families()[0].VehicleIDs)
}

func TestWhatHasExpiredIsNotKept(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "platform.json")
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) { deps.StateFile = file })
	pair := bundle.issue(t)
	bundle.clock.Advance(2 * time.Hour)
	_, err := bundle.oauth.Refresh(t.Context(), pair.RefreshToken)
	require.NoError(t, err)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	var kept struct {
		AccessTokens  map[string]any `json:"accessTokens"`
		RefreshTokens map[string]any `json:"refreshTokens"`
	}
	require.NoError(t, json.Unmarshal(content, &kept))
	require.Equal(t, []int{1, 2}, []int{len(kept.AccessTokens), len(kept.RefreshTokens)})
}

func TestAStateFileThatCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	broken := filepath.Join(directory, "broken.json")
	require.NoError(t, os.WriteFile(broken, []byte(`{"families":"secret"}`), 0o600))
	for _, file := range []string{broken, directory} {
		deps := platformDeps(&setClock{}, &lockedLog{})
		deps.StateFile = file
		_, err := smartcartest.NewPlatform(deps)
		require.ErrorContains(t, err, "read the platform's state")
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestAStateThatCannotBeKeptIsLogged(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, func(deps *smartcartest.PlatformDeps) {
		deps.StateFile = filepath.Join(t.TempDir(), "no", "platform.json")
	})
	bundle.issue(t)
	require.Contains(t, bundle.log.String(), "the state is not kept")
}

func TestOtherProcessesControlThePlatform(t *testing.T) {
	t.Parallel()
	bundle := setupPlatform(t, nil)
	pair := bundle.issue(t)
	control := func(method, path, body string) answered {
		return bundle.ask(t, method, "/simulator"+path, "", nil, body)
	}
	require.Equal(t, http.StatusCreated, control(http.MethodPost, "/faults", `{"path":"/v2.0/","status":503,"times":1,"delay":"1ms"}`).status)
	require.Equal(t, http.StatusCreated, control(http.MethodPost, "/faults", `{"path":"/v2.0/","status":502}`).status)
	require.Equal(t, 503, bundle.read(t, pair, "/user", nil).status)
	require.Equal(t, 502, bundle.read(t, pair, "/user", nil).status)
	require.Equal(t, http.StatusNoContent, control(http.MethodDelete, "/faults", "").status)
	require.Equal(t, 200, bundle.read(t, pair, "/user", nil).status)
	for _, body := range []string{`{"holdBefore":1}`, `{"delay":"soon"}`, `{"status":99}`, `{"times":-1}`, ``} {
		require.Equal(t, http.StatusBadRequest, control(http.MethodPost, "/faults", body).status, body)
	}

	require.Equal(t, http.StatusNoContent, control(http.MethodPost, "/users/"+bundle.userID+"/block", "").status)
	require.Equal(t, http.StatusNoContent, control(http.MethodPost, "/users/"+bundle.userID+"/revoke", "").status)
	require.Equal(t, http.StatusNotFound, control(http.MethodPost, "/users/nobody/block", "").status)
	summary := control(http.MethodGet, "/platform", "")
	require.EqualValues(t, 3, summary.get("requests"), "control does not count")
	require.Equal(t, true, summary.get("users.0.blocked"))
	require.Equal(t, true, summary.get("families.0.revoked"))
	for _, secret := range append(bundle.platform.IssuedTokens(), platformSecret, platformAMT, "ZZZ") {
		isShown := strings.Contains(summary.text, secret)
		require.False(t, isShown, "a secret is shown")
	}
}
