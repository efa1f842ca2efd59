package api_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api"
)

func TestHealthSaysThatTheProcessServes(t *testing.T) {
	t.Parallel()
	got := setup(t).do(t, http.MethodGet, "/health", nil, nil)
	require.Equal(t, http.StatusOK, got.status)
	require.JSONEq(t, `{"status":"ok"}`, got.body)
}

func TestReadyNamesTheDependencies(t *testing.T) {
	t.Parallel()
	works := api.NewDependencyStatus("database", true, nil)
	fails := api.NewDependencyStatus("database", true, errors.New("password of host refused"))
	optional := api.NewDependencyStatus("temporal", false, errors.New("no such host"))
	const (
		worksJSON    = `{"name":"database","ok":true,"required":true}`
		failsJSON    = `{"name":"database","ok":false,"required":true,"error":"does not answer"}`
		optionalJSON = `{"name":"temporal","ok":false,"required":false,"error":"does not answer"}`
	)
	for name, c := range map[string]struct {
		statuses []api.DependencyStatus
		status   int
		body     string
	}{
		"none": {nil, http.StatusOK, `{"status":"ready","dependencies":[]}`},
		"all required ones work": {
			[]api.DependencyStatus{optional, works}, http.StatusOK,
			`{"status":"ready","dependencies":[` + optionalJSON + `,` + worksJSON + `]}`,
		},
		"a required one fails": {
			[]api.DependencyStatus{fails, optional}, http.StatusServiceUnavailable,
			`{"status":"unavailable","dependencies":[` + failsJSON + `,` + optionalJSON + `]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, func(deps *api.Deps, _ *fakeLedger) {
				deps.Ready = func(context.Context) []api.DependencyStatus { return c.statuses }
				deps.Ledger = nil // It would be one more.
			})
			got := b.do(t, http.MethodGet, "/ready", nil, nil)
			require.Equal(t, c.status, got.status)
			require.JSONEq(t, c.body, got.body)
		})
	}
}

func TestPanicIsAnswered500AndLoggedWithoutItsText(t *testing.T) {
	t.Parallel()
	b := setup(t, func(deps *api.Deps, _ *fakeLedger) {
		deps.Ready = func(context.Context) []api.DependencyStatus { panic("secret text") }
	})
	got := b.do(t, http.MethodGet, "/ready", nil, nil)
	require.Equal(t, http.StatusInternalServerError, got.status)
	require.Contains(t, b.logs.String(), `"msg":"http.panic"`)
	require.NotContains(t, b.logs.String(), "secret text")
}

func TestAllMissingDependenciesAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := api.NewHandler(api.Deps{AppendTimeout: -1, VerifyRate: -1, VerifyBurst: -1})
	for _, name := range []string{"Keyring", "Ready", "Logger", "Meter", "AppendTimeout", "VerifyRate", "VerifyBurst"} {
		require.ErrorContains(t, err, "Deps."+name)
	}
}

func TestWithoutALedgerThereAreNoWebhookPaths(t *testing.T) {
	t.Parallel()
	b := setup(t, func(deps *api.Deps, _ *fakeLedger) { deps.Ledger = nil })
	require.Equal(t, http.StatusOK, b.do(t, http.MethodGet, "/health", nil, nil).status)
	require.Equal(t, http.StatusNotFound, b.deliver(t, `{"eventType":"VEHICLE_STATE"}`).status)
}

func TestServerHasEveryTimeout(t *testing.T) {
	t.Parallel()
	server := api.NewServer("127.0.0.1:0", http.NotFoundHandler())
	require.Equal(t, "127.0.0.1:0", server.Addr)
	require.Positive(t, server.ReadHeaderTimeout)
	require.Positive(t, server.ReadTimeout)
	require.Positive(t, server.WriteTimeout)
	require.Positive(t, server.IdleTimeout)
	require.Positive(t, server.MaxHeaderBytes)
}
