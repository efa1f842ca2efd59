package workflows_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/milepost/milepost/workflows"
	"github.com/milepost/milepost/workflows/contract"
)

const eventID = "b1d9c7ce-3c13-4b0f-8c0a-0a4b4f7d2001"

// bundle is a workflow environment whose activities are replaced one by one.
type bundle struct {
	*testsuite.TestWorkflowEnvironment

	t *testing.T
}

func setup(t *testing.T) *bundle {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	environment := suite.NewTestWorkflowEnvironment()
	environment.SetTestTimeout(time.Minute)
	workflows.Register(environment)
	register(environment, contract.ProcessAtOnceActivity, processAtOnce)
	register(environment, contract.LoadEventActivity, loadEvent)
	register(environment, contract.ConvertUnitsActivity, convertUnits)
	register(environment, contract.WriteMeterEntryActivity, writeMeterEntry)
	register(environment, contract.RecordOutcomeActivity, recordOutcome)
	register(environment, contract.RecordFailureActivity, recordFailure)
	t.Cleanup(func() { environment.AssertExpectations(t) })
	return &bundle{TestWorkflowEnvironment: environment, t: t}
}

func register(environment *testsuite.TestWorkflowEnvironment, name string, function any) {
	environment.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
}

// These stand in for activities that a test says nothing of. They are functions of
// their own, since the environment tells local activities apart by function name.

// processAtOnce fails as it does without a database, so that the steps are taken one by one.
func processAtOnce(context.Context, contract.ProcessAtOnceInput) (contract.ProcessAtOnceResult, error) {
	return contract.ProcessAtOnceResult{}, temporarily()
}

func loadEvent(context.Context, contract.LoadEventInput) (contract.LoadEventResult, error) {
	return contract.LoadEventResult{}, unexpected()
}

func convertUnits(context.Context, contract.ConvertUnitsInput) (contract.ConvertUnitsResult, error) {
	return contract.ConvertUnitsResult{}, unexpected()
}

func writeMeterEntry(context.Context, contract.WriteMeterEntryInput) (contract.WriteMeterEntryResult, error) {
	return contract.WriteMeterEntryResult{}, unexpected()
}

func recordOutcome(context.Context, contract.RecordOutcomeInput) (struct{}, error) {
	return struct{}{}, unexpected()
}

func recordFailure(context.Context, contract.RecordFailureInput) (struct{}, error) {
	return struct{}{}, unexpected()
}

func unexpected() error {
	return temporal.NewNonRetryableApplicationError("this activity was not expected to run", "unexpected", nil)
}

func (b *bundle) loads(result contract.LoadEventResult) *testsuite.MockCallWrapper {
	return b.OnActivity(contract.LoadEventActivity, mock.Anything, contract.LoadEventInput{EventID: eventID}).Return(result, nil)
}

func (b *bundle) converts() {
	b.OnActivity(contract.ConvertUnitsActivity, mock.Anything, mock.Anything).
		Return(contract.ConvertUnitsResult{Kilometres: "42506.3"}, nil).Once()
}

func (b *bundle) run() (contract.ProcessEventResult, error) {
	b.t.Helper()
	b.ExecuteWorkflow(contract.ProcessEventWorkflow, contract.ProcessEventInput{EventID: eventID})
	require.True(b.t, b.IsWorkflowCompleted())
	var result contract.ProcessEventResult
	if err := b.GetWorkflowError(); err != nil {
		return result, err
	}
	require.NoError(b.t, b.GetWorkflowResult(&result))
	return result, nil
}

func (b *bundle) requireFailure(class contract.FailureClass) {
	b.t.Helper()
	_, err := b.run()
	var application *temporal.ApplicationError
	require.ErrorAs(b.t, err, &application)
	require.Equal(b.t, string(class), application.Type())
}

func (b *bundle) expectsFailureRecord(class contract.FailureClass) {
	b.OnActivity(contract.RecordFailureActivity, mock.Anything, mock.MatchedBy(func(input contract.RecordFailureInput) bool {
		return input.EventID == eventID && input.Class == class && input.Detail != ""
	})).Return(struct{}{}, nil).Once()
}

func observedAt() time.Time { return time.Date(2026, 11, 20, 14, 4, 51, 0, time.UTC) }

func vehicleState(unit string) contract.LoadEventResult {
	return contract.LoadEventResult{
		Kind: contract.KindVehicleState, VehicleStatus: contract.VehicleActive, VehicleID: 7,
		Odometer: &contract.ReportedOdometer{
			Value: "42506.3", Unit: unit, ObservedAt: observedAt(), ObservedAtSource: "oem_updated_at",
		},
	}
}

func writeInput(reported contract.ReportedOdometer, kilometres string, assumed bool) contract.WriteMeterEntryInput {
	return contract.WriteMeterEntryInput{EventID: eventID, VehicleID: 7, Odometer: &contract.OdometerReading{
		Reported: reported, Kilometres: kilometres, UnitAssumed: assumed,
	}}
}

func temporarily() error {
	return temporal.NewApplicationError("the database did not answer", "database_unavailable")
}

func finally(class contract.FailureClass) error {
	return temporal.NewNonRetryableApplicationError("this will not do", string(class), nil)
}

// atOnce lets the happy path go as far as the result says.
func (b *bundle) atOnce(result contract.ProcessAtOnceResult, err error) {
	b.OnActivity(contract.ProcessAtOnceActivity, mock.Anything, contract.ProcessAtOnceInput{EventID: eventID}).
		Return(result, err).Once()
}

func TestTheHappyPathIsOneStep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.atOnce(contract.ProcessAtOnceResult{
		Loaded:  vehicleState("km"),
		Written: &contract.WriteMeterEntryResult{Outcome: contract.OutcomeMeterEntry, MeterEntryID: 11},
	}, nil)

	result, err := b.run()
	require.NoError(t, err)
	require.Equal(t, contract.ProcessEventResult{Outcome: contract.OutcomeMeterEntry, MeterEntryID: 11}, result)
}

func TestWhatTheHappyPathLeftIsDoneStepByStep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.atOnce(contract.ProcessAtOnceResult{Loaded: vehicleState("mi")}, nil)
	b.OnActivity(contract.ConvertUnitsActivity, mock.Anything, mock.Anything).
		Return(contract.ConvertUnitsResult{Kilometres: "68407.259"}, nil).Once()
	b.OnActivity(contract.WriteMeterEntryActivity, mock.Anything, mock.Anything).
		Return(contract.WriteMeterEntryResult{Outcome: contract.OutcomeMeterEntry}, nil).Once()

	_, err := b.run()
	require.NoError(t, err)
}

func TestAFinalErrorOfTheHappyPathFailsTheEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.atOnce(contract.ProcessAtOnceResult{}, finally(contract.FailureMalformedPayload))
	b.expectsFailureRecord(contract.FailureMalformedPayload)

	b.requireFailure(contract.FailureMalformedPayload)
}

func TestAnImplausibleReadingOnTheHappyPathFailsTheEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.atOnce(contract.ProcessAtOnceResult{
		Loaded: vehicleState("km"), Written: &contract.WriteMeterEntryResult{FailureClass: contract.FailureImplausibleReading},
	}, nil)

	b.requireFailure(contract.FailureImplausibleReading)
}

func TestAVehicleStateBecomesAMeterEntry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	loaded := vehicleState("km")
	b.loads(loaded).Once()
	b.converts()
	b.OnActivity(contract.WriteMeterEntryActivity, mock.Anything, writeInput(*loaded.Odometer, "42506.3", false)).
		Return(contract.WriteMeterEntryResult{Outcome: contract.OutcomeMeterEntry, MeterEntryID: 11}, nil).Once()

	result, err := b.run()
	require.NoError(t, err)
	require.Equal(t, contract.ProcessEventResult{Outcome: contract.OutcomeMeterEntry, MeterEntryID: 11}, result)
}

func TestAReadingInAnotherUnitIsConvertedFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	loaded := vehicleState("miles")
	b.loads(loaded).Once()
	b.OnActivity(contract.ConvertUnitsActivity, mock.Anything, contract.ConvertUnitsInput{Value: "42506.3", Unit: "miles"}).
		Return(contract.ConvertUnitsResult{Kilometres: "68407.259"}, nil).Once()
	b.OnActivity(contract.WriteMeterEntryActivity, mock.Anything, writeInput(*loaded.Odometer, "68407.259", false)).
		Return(contract.WriteMeterEntryResult{Outcome: contract.OutcomeMeterEntry}, nil).Once()

	_, err := b.run()
	require.NoError(t, err)
}

func TestAReadingWithoutAUnitIsMarkedAssumed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	loaded := vehicleState("")
	b.loads(loaded).Once()
	b.OnActivity(contract.ConvertUnitsActivity, mock.Anything, mock.Anything).
		Return(contract.ConvertUnitsResult{Kilometres: "42506.3", Assumed: true}, nil).Once()
	b.OnActivity(contract.WriteMeterEntryActivity, mock.Anything, writeInput(*loaded.Odometer, "42506.3", true)).
		Return(contract.WriteMeterEntryResult{Outcome: contract.OutcomeMeterEntry}, nil).Once()

	_, err := b.run()
	require.NoError(t, err)
}

func TestEventsWithoutAnEffectOnReadingsComplete(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		loaded  contract.LoadEventResult
		outcome contract.Outcome
	}{
		"a test delivery, whatever its vehicle": {
			contract.LoadEventResult{Kind: contract.KindTest, VehicleStatus: contract.VehicleUnknown}, contract.OutcomeTestDelivery,
		},
		"an unknown event type": {
			contract.LoadEventResult{Kind: contract.KindUnknown, VehicleStatus: contract.VehicleUnknown},
			contract.OutcomeUnknownEventType,
		},
		"a vehicle error": {
			contract.LoadEventResult{Kind: contract.KindVehicleError, VehicleStatus: contract.VehicleActive, VehicleID: 7},
			contract.OutcomeVehicleError,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.loads(test.loaded).Once()
			b.OnActivity(contract.RecordOutcomeActivity, mock.Anything,
				contract.RecordOutcomeInput{EventID: eventID, Outcome: test.outcome}).Return(struct{}{}, nil).Once()
			result, err := b.run()
			require.NoError(t, err)
			require.Equal(t, test.outcome, result.Outcome)
		})
	}
}

func TestAnEventThatHadItsEffectHasNoOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	recorded := contract.ProcessEventResult{Outcome: contract.OutcomeMeterEntry, MeterEntryID: 11}
	b.loads(contract.LoadEventResult{Recorded: &recorded}).Once()

	result, err := b.run()
	require.NoError(t, err)
	require.Equal(t, recorded, result)
}

func TestAnImplausibleReadingFailsWithoutRecordingTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.converts()
	b.loads(vehicleState("km")).Once()
	// The transaction that keeps the reading has closed the ledger row: RecordFailure is not called.
	b.OnActivity(contract.WriteMeterEntryActivity, mock.Anything, mock.Anything).
		Return(contract.WriteMeterEntryResult{FailureClass: contract.FailureImplausibleReading}, nil).Once()

	b.requireFailure(contract.FailureImplausibleReading)
}
