package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/workflows/contract"
)

func TestAVehicleConnectedWithinTheGracePeriodIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.converts()
	unknown := vehicleState("km")
	unknown.VehicleStatus, unknown.VehicleID = contract.VehicleUnknown, 0
	b.loads(unknown).Times(4)
	b.loads(vehicleState("km")).Once()
	b.OnActivity(contract.WriteMeterEntryActivity, mock.Anything, mock.Anything).
		Return(contract.WriteMeterEntryResult{Outcome: contract.OutcomeMeterEntry}, nil).Once()
	started := b.Now()

	_, err := b.run()
	require.NoError(t, err)
	require.Equal(t, (2+4+8+16)*time.Second, b.Now().Sub(started), "looks again after 2, 4, 8 and 16 seconds")
}

func TestAVehicleThatNobodyConnectsFailsTheEventAfterTheGracePeriod(t *testing.T) {
	t.Parallel()
	b := setup(t)
	unknown := vehicleState("km")
	unknown.VehicleStatus, unknown.VehicleID = contract.VehicleUnknown, 0
	b.loads(unknown)
	b.expectsFailureRecord(contract.FailureUnknownVehicle)
	started := b.Now()

	b.requireFailure(contract.FailureUnknownVehicle)
	require.Equal(t, contract.DefaultUnknownVehicleGrace, b.Now().Sub(started))
}

func TestAnInactiveVehicleFailsTheEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	inactive := vehicleState("km")
	inactive.VehicleStatus = contract.VehicleInactive
	b.loads(inactive).Once()
	b.expectsFailureRecord(contract.FailureVehicleInactive)

	b.requireFailure(contract.FailureVehicleInactive)
}
