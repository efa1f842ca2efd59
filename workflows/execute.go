package workflows

import (
	"errors"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// execute runs an activity on the fast path and, when that fails for a reason that
// may pass, hands it over to an ordinary activity that waits the trouble out. The
// error that comes back is therefore always one that trying again cannot cure.
func execute[Input, Output any](ctx workflow.Context, activity string, input Input) (Output, error) {
	output, err := attempt[Input, Output](ctx, activity, input)
	if err == nil || isFinal(err) {
		return output, err
	}
	durable := workflow.WithActivityOptions(ctx, untilDone())
	err = workflow.ExecuteActivity(durable, activity, input).Get(durable, &output)
	return output, err
}

// attempt runs an activity on the fast path only. Its error may pass; what to do then is the caller's to say.
func attempt[Input, Output any](ctx workflow.Context, activity string, input Input) (Output, error) {
	var output Output
	local := workflow.WithLocalActivityOptions(ctx, fastPath())
	err := workflow.ExecuteLocalActivity(local, activity, input).Get(local, &output)
	return output, err
}

// isFinal says that trying again cannot help: the activity said so, or the
// workflow itself is being cancelled.
func isFinal(err error) bool {
	if application, found := errors.AsType[*temporal.ApplicationError](err); found {
		return application.NonRetryable()
	}
	return temporal.IsCanceledError(err)
}

// callSmartcar runs an activity that asks Smartcar, for as long as it takes.
func callSmartcar[Input, Output any](ctx workflow.Context, activity string, input Input) (Output, error) {
	return callUnder[Input, Output](ctx, smartcarCall(), activity, input)
}

// callUnder runs an ordinary activity under the given policy.
func callUnder[Input, Output any](
	ctx workflow.Context, policy workflow.ActivityOptions, activity string, input Input,
) (Output, error) {
	var output Output
	calling := workflow.WithActivityOptions(ctx, policy)
	err := workflow.ExecuteActivity(calling, activity, input).Get(calling, &output)
	return output, err
}
