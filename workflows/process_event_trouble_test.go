package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/milepost/milepost/workflows/contract"
)

func TestAFinalErrorOfEachStepFailsTheEventWithItsClass(t *testing.T) {
	t.Parallel()
	for step, test := range map[string]struct {
		class   contract.FailureClass
		prepare func(*bundle, error)
	}{
		contract.LoadEventActivity: {contract.FailureMalformedPayload, func(b *bundle, err error) {
			b.OnActivity(contract.LoadEventActivity, mock.Anything, mock.Anything).Return(contract.LoadEventResult{}, err).Once()
		}},
		contract.ConvertUnitsActivity: {contract.FailureUnitUnknown, func(b *bundle, err error) {
			b.loads(vehicleState("furlongs")).Once()
			b.OnActivity(contract.ConvertUnitsActivity, mock.Anything, mock.Anything).
				Return(contract.ConvertUnitsResult{}, err).Once()
		}},
		contract.WriteMeterEntryActivity: {contract.FailureDataRejected, func(b *bundle, err error) {
			b.loads(vehicleState("km")).Once()
			b.converts()
			b.OnActivity(contract.WriteMeterEntryActivity, mock.Anything, mock.Anything).
				Return(contract.WriteMeterEntryResult{}, err).Once()
		}},
		contract.RecordOutcomeActivity: {contract.FailureEventNotFound, func(b *bundle, err error) {
			b.loads(contract.LoadEventResult{Kind: contract.KindUnknown}).Once()
			b.OnActivity(contract.RecordOutcomeActivity, mock.Anything, mock.Anything).Return(struct{}{}, err).Once()
		}},
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			test.prepare(b, finally(test.class))
			b.expectsFailureRecord(test.class)
			b.requireFailure(test.class)
		})
	}
}

func TestATransientErrorOfEachStepIsHandedOverAndWaitedOut(t *testing.T) {
	t.Parallel()
	for step, prepare := range map[string]func(*bundle) *testsuite.MockCallWrapper{
		contract.LoadEventActivity: func(b *bundle) *testsuite.MockCallWrapper {
			return b.OnActivity(contract.LoadEventActivity, mock.Anything, mock.Anything).
				Return(contract.LoadEventResult{}, temporarily())
		},
		contract.ConvertUnitsActivity: func(b *bundle) *testsuite.MockCallWrapper {
			return b.OnActivity(contract.ConvertUnitsActivity, mock.Anything, mock.Anything).
				Return(contract.ConvertUnitsResult{}, temporarily())
		},
		contract.WriteMeterEntryActivity: func(b *bundle) *testsuite.MockCallWrapper {
			return b.OnActivity(contract.WriteMeterEntryActivity, mock.Anything, mock.Anything).
				Return(contract.WriteMeterEntryResult{}, temporarily())
		},
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			// Once locally and five times as an ordinary activity; the pauses alone are 1+2+4+8+16 s.
			prepare(b).Times(6)
			b.loads(vehicleState("mi"))
			b.OnActivity(contract.ConvertUnitsActivity, mock.Anything, mock.Anything).
				Return(contract.ConvertUnitsResult{Kilometres: "68407.259"}, nil)
			b.OnActivity(contract.WriteMeterEntryActivity, mock.Anything, mock.Anything).
				Return(contract.WriteMeterEntryResult{Outcome: contract.OutcomeMeterEntry}, nil)
			started := b.Now()

			result, err := b.run()
			require.NoError(t, err)
			require.Equal(t, contract.OutcomeMeterEntry, result.Outcome)
			require.GreaterOrEqual(t, b.Now().Sub(started), 31*time.Second)
		})
	}
}

func TestAnOutageFailsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.converts()
	// The environment gives up on an activity after some minutes; Temporal never does.
	restored := b.Now().Add(3 * time.Minute)
	b.OnActivity(contract.LoadEventActivity, mock.Anything, mock.Anything).Return(
		func(context.Context, contract.LoadEventInput) (contract.LoadEventResult, error) {
			if b.Now().Before(restored) {
				return contract.LoadEventResult{}, temporarily()
			}
			return vehicleState("km"), nil
		})
	b.OnActivity(contract.WriteMeterEntryActivity, mock.Anything, mock.Anything).
		Return(contract.WriteMeterEntryResult{Outcome: contract.OutcomeMeterEntry}, nil).Once()

	result, err := b.run()
	require.NoError(t, err)
	require.Equal(t, contract.OutcomeMeterEntry, result.Outcome)
}

func TestRecordingAFailureIsTriedUntilItWorks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.OnActivity(contract.LoadEventActivity, mock.Anything, mock.Anything).
		Return(contract.LoadEventResult{}, finally(contract.FailureMalformedPayload)).Once()
	b.OnActivity(contract.RecordFailureActivity, mock.Anything, mock.Anything).Return(struct{}{}, temporarily()).Times(3)
	b.expectsFailureRecord(contract.FailureMalformedPayload)

	b.requireFailure(contract.FailureMalformedPayload)
}
