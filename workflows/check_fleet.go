package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows/contract"
)

// CheckFleet compares the running TokenRefresh workflows with the vehicles that have
// tokens, once; a schedule starts it, and every worker does when it boots.
func CheckFleet(ctx workflow.Context) (contract.CheckFleetResult, error) {
	var result contract.CheckFleetResult
	checking := workflow.WithActivityOptions(ctx, wholeFleet())
	err := workflow.ExecuteActivity(checking, contract.CheckFleetActivity).Get(checking, &result)
	return result, err
}
