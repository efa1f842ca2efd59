package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func TestAConnectionThatNeedsSomethingAtTheMakersEndIsShownAsDegraded(t *testing.T) {
	t.Parallel()
	for state, degraded := range map[string]bool{"connected, degraded": true, "connected": false} {
		vehicle := db.VehicleSummary{SmartcarVehicleID: "a car", State: db.StateConnected, API: db.APIv2, Degraded: degraded}
		var list, one strings.Builder
		require.NoError(t, writeVehicleTable(&list, []db.VehicleSummary{vehicle}))
		require.NoError(t, writeVehicle(&one, vehicle))
		require.Regexp(t, `a car .* `+state+` +v2`, list.String())
		require.Regexp(t, `(?m)^state +`+state+`$`, one.String())
	}
}
