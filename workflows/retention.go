package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows/contract"
)

// Retention removes what has been kept for long enough, once; a schedule starts it daily.
func Retention(ctx workflow.Context, input contract.RetentionInput) (contract.RetentionResult, error) {
	var result contract.RetentionResult
	trimming := workflow.WithActivityOptions(ctx, wholeFleet())
	err := workflow.ExecuteActivity(trimming, contract.TrimRetainedActivity, input).Get(trimming, &result)
	return result, err
}
