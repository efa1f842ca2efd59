package activities_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// alarm keeps what an operator is told.
type alarm struct {
	mutex    sync.Mutex
	refusals []activities.Refusal
}

func (a *alarm) OperatorNeeded(_ context.Context, refusal activities.Refusal) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.refusals = append(a.refusals, refusal)
}

func (a *alarm) taken() []activities.Refusal {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return slices.Clone(a.refusals)
}

// TestAnOperatorIsToldWheneverTheApplicationIsRefused, whoever finds it out: a fleet that is being connected has no refreshes yet.
func TestAnOperatorIsToldWheneverTheApplicationIsRefused(t *testing.T) {
	t.Parallel()
	credentials, plan := []activities.Refusal{activities.RefusalCredentials}, []activities.Refusal{activities.RefusalPlan}
	wrong := oauthFailure(401, "invalid_client")
	list := func(b *connected) error {
		_, err := b.ListConsentVehicles(b.t.Context(), contract.ListConsentVehiclesInput{ConsentID: b.consent(driver, db.APIv3).ID})
		return err
	}
	for name, test := range map[string]struct {
		route   string
		answer  http.HandlerFunc
		ask     func(b *connected) error
		refusal []activities.Refusal
		event   string
	}{
		"an exchange": {tokenEndpoint, wrong, func(b *connected) error {
			_, err := b.ExchangeCode(b.t.Context(), contract.ExchangeCodeInput{ConsentID: b.consent(driver, db.APIv2).ID})
			return err
		}, credentials, "smartcar.credentials_refused"},
		"a refresh": {tokenEndpoint, wrong, func(b *connected) error {
			b.family(car)
			_, err := b.RefreshTokens(b.t.Context(), contract.RefreshTokensInput{SmartcarVehicleID: car})
			return err
		}, credentials, "smartcar.credentials_refused"},
		"a re-authentication": {tokenEndpoint, wrong, func(b *connected) error {
			b.family(car)
			_, err := b.resume(car)
			return err
		}, credentials, "smartcar.credentials_refused"},
		"a list under v3": {applicationToken, wrong, list, credentials, "smartcar.credentials_refused"},
		"a description under v3": {applicationToken, wrong, func(b *connected) error {
			_, err := b.ConnectVehicle(b.t.Context(), contract.ConnectVehicleInput{ConsentID: b.consent(driver, db.APIv3).ID, SmartcarVehicleID: car})
			return err
		}, credentials, "smartcar.credentials_refused"},
		"a subscription under v3": {applicationToken, wrong, func(b *connected) error {
			b.connectV3(car)
			return b.subscribe()
		}, credentials, "smartcar.credentials_refused"},
		"a subscription with a token that is issued and refused": {subscribeV3, answer(401, ""), func(b *connected) error {
			b.connectV3(car)
			return b.subscribe()
		}, credentials, "smartcar.credentials_refused"},
		"a subscription beyond the plan": {subscribeV2, apiFailure(430, "BILLING"), func(b *connected) error {
			b.family(car)
			return b.subscribe()
		}, plan, "smartcar.plan_refused"},
		"trouble that passes": {tokenEndpoint, page(502), func(b *connected) error {
			_, err := b.ExchangeCode(b.t.Context(), contract.ExchangeCodeInput{ConsentID: b.consent(driver, db.APIv2).ID})
			return err
		}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := &alarm{}
			b := setupSmartcar(t, func(b *connected) { b.deps.OperatorObserver = told })
			b.smartcar.on(test.route, test.answer)
			require.Error(t, test.ask(b))
			require.Equal(t, test.refusal, told.taken())
			require.Contains(t, b.logs.String(), test.event)
			b.requireSilence()
		})
	}
}
