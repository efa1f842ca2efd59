package activities_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
)

// smartcarKind is what Milepost makes of one kind of smartcar.CallError.
type smartcarKind struct {
	kind error
	// retryType is what operators see on the pending activity; pause is what it asks for without a Retry-After,
	// and 0 leaves it to the policy. keepsRetryAfter says whether Smartcar's own delay counts.
	retryType       string
	pause           time.Duration
	keepsRetryAfter bool
	// refusal is true when the same vehicle would be refused again.
	refusal bool
	// fault is the kind that is kept with a token family whose refresh ended so.
	fault string
}

// operatorPause is how long a call is left alone that only an operator can help.
const operatorPause = 15 * time.Minute

func smartcarKinds() map[string]smartcarKind {
	return map[string]smartcarKind{
		"invalid grant":     {smartcar.ErrInvalidGrant, "smartcar_refused", 0, false, false, "invalid_grant"},
		"invalid client":    {smartcar.ErrInvalidClient, "smartcar_credentials_refused", operatorPause, false, false, "invalid_client"},
		"client refused":    {smartcar.ErrClientRefused, "smartcar_credentials_refused", operatorPause, false, false, "smartcar_refused"},
		"too many requests": {smartcar.ErrRateLimited, "smartcar_rate_limited", 0, true, false, "smartcar_rate_limited"},
		"unavailable":       {smartcar.ErrUnavailable, "smartcar_unavailable", 0, true, false, "smartcar_unavailable"},
		"unauthorized":      {smartcar.ErrUnauthorized, "smartcar_refused", 0, false, true, "unexpected"},
		"forbidden":         {smartcar.ErrForbidden, "smartcar_refused", 0, false, true, "unexpected"},
		"not found":         {smartcar.ErrNotFound, "smartcar_refused", 0, false, true, "unexpected"},
		"conflict":          {smartcar.ErrConflict, "smartcar_refused", 0, false, true, "unexpected"},
		"vehicle state":     {smartcar.ErrVehicleState, "smartcar_refused", 0, false, false, "unexpected"},
		"owner's account":   {smartcar.ErrAccount, "smartcar_refused", 0, false, true, "unexpected"},
		"invalid request":   {smartcar.ErrInvalidRequest, "smartcar_refused", 0, false, true, "unexpected"},
		"billing":           {smartcar.ErrBilling, "smartcar_credentials_refused", operatorPause, false, false, "unexpected"},
		"not capable":       {smartcar.ErrNotCapable, "smartcar_refused", 0, false, true, "unexpected"},
	}
}

func requireTriedAgain(t *testing.T, err error, retryType string, pause time.Duration) {
	t.Helper()
	var application *temporal.ApplicationError
	require.ErrorAs(t, err, &application)
	require.Equal(t, retryType, application.Type())
	require.Equal(t, pause, application.NextRetryDelay())
	require.False(t, application.NonRetryable(), "nothing that Smartcar says ends an activity by itself")
	require.NoError(t, application.Unwrap(), "the original error does not get into a history")
}

func TestEveryFailedCallToSmartcarIsTriedAgainUnderItsType(t *testing.T) {
	t.Parallel()
	const asked = 42 * time.Second
	for name, want := range smartcarKinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			call := &smartcar.CallError{Operation: "try a call", Kind: want.kind, HTTPStatus: 418}
			requireTriedAgain(t, activities.Classify(call), want.retryType, want.pause)
			requireTriedAgain(t, activities.Classify(fmt.Errorf("do it: %w", call)), want.retryType, want.pause)
			requireTriedAgain(t, activities.Classify(activities.RefreshFault(call)), want.retryType, want.pause)

			asking := &smartcar.CallError{Operation: "try a call", Kind: want.kind, RetryAfter: asked}
			pause := want.pause
			if want.keepsRetryAfter {
				pause = asked
			}
			requireTriedAgain(t, activities.Classify(asking), want.retryType, pause)
		})
	}
}

func TestAFailedCallNamesWhatWasTriedAndWhatAnOperatorMustCheck(t *testing.T) {
	t.Parallel()
	for name, want := range smartcarKinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			call := &smartcar.CallError{Operation: "try a call", Kind: want.kind, HTTPStatus: 418}
			text := activities.Classify(call).Error()
			require.Contains(t, text, "try a call, HTTP 418")
			for _, setting := range []string{"SMARTCAR_CLIENT_ID", "SMARTCAR_CLIENT_SECRET", "dashboard"} {
				require.Equal(t, want.pause == operatorPause, strings.Contains(text, setting))
			}
		})
	}
}

func TestARefusalOfAVehicleIsToldFromTrouble(t *testing.T) {
	t.Parallel()
	for name, want := range smartcarKinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			call := &smartcar.CallError{Operation: "try a call", Kind: want.kind}
			require.Equal(t, want.refusal, activities.IsRefusal(call))
			require.Equal(t, want.refusal, activities.IsRefusal(fmt.Errorf("do it: %w", call)))
		})
	}
	require.False(t, activities.IsRefusal(nil))
	require.False(t, activities.IsRefusal(errors.New("something else")))
	require.False(t, activities.IsRefusal(db.ErrUnavailable))
}

func TestTheVaultIsToldWhatARefreshCameTo(t *testing.T) {
	t.Parallel()
	for name, want := range smartcarKinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, unknown := range []bool{false, true} {
				call := &smartcar.CallError{Operation: "refresh tokens", Kind: want.kind, UnknownOutcome: unknown}
				err := activities.RefreshFault(call)
				var fault *db.RefreshError
				require.ErrorAs(t, err, &fault)
				require.Equal(t, want.fault, fault.Kind)
				require.Equal(t, unknown, fault.UnknownOutcome)
				require.ErrorIs(t, err, want.kind)
				require.Equal(t, errors.Is(want.kind, smartcar.ErrInvalidGrant), errors.Is(err, db.ErrRefreshRefused),
					"only this ends a family")
			}
		})
	}
}

func TestARefreshThatFailedForAnUnknownReasonMayHaveRotatedTheToken(t *testing.T) {
	t.Parallel()
	cause := errors.New("something else")
	err := activities.RefreshFault(cause)
	var fault *db.RefreshError
	require.ErrorAs(t, err, &fault)
	require.Equal(t, "unexpected", fault.Kind)
	require.True(t, fault.UnknownOutcome)
	require.ErrorIs(t, err, cause)
	require.NotErrorIs(t, err, db.ErrRefreshRefused)
}

func TestAnotherKeysetIsAnOperatorsMatter(t *testing.T) {
	t.Parallel()
	requireTriedAgain(t, activities.Classify(fmt.Errorf("read tokens: %w", db.ErrUndecryptable)), "wrong_keyset", operatorPause)
}
