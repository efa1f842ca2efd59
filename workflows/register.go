package workflows

import (
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows/contract"
)

// Register makes every workflow known to a worker (or a replayer) under its contract name.
func Register(registry worker.WorkflowRegistry) {
	for name, function := range map[string]any{
		contract.ProcessEventWorkflow:    ProcessEvent,
		contract.TokenRefreshWorkflow:    TokenRefresh,
		contract.ConnectVehiclesWorkflow: ConnectVehicles,
		contract.DeliverNoticeWorkflow:   DeliverNotice,
		contract.CheckFleetWorkflow:      CheckFleet,
		contract.RetentionWorkflow:       Retention,
		contract.ReconcileWorkflow:       Reconcile,
	} {
		registry.RegisterWorkflowWithOptions(function, workflow.RegisterOptions{Name: name})
	}
}
