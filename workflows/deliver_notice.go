package workflows

import (
	"errors"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows/contract"
)

// DeliverNotice brings one notice to the application, at least once, with retries
// over days. An application that takes it on none of them leaves it given up, and
// the workflow failed: a person is needed.
func DeliverNotice(ctx workflow.Context, input contract.DeliverNoticeInput) (contract.DeliverNoticeResult, error) {
	delivering := workflow.WithActivityOptions(ctx, overDays())
	err := workflow.ExecuteActivity(delivering, contract.DeliverNoticeActivity, input).Get(delivering, nil)
	if err == nil {
		return contract.DeliverNoticeResult{Delivered: true}, nil
	}
	activity, found := errors.AsType[*temporal.ActivityError](err)
	if !found || temporal.IsCanceledError(err) || activity.RetryState() == enumspb.RETRY_STATE_NON_RETRYABLE_FAILURE {
		return contract.DeliverNoticeResult{}, err // it was not for want of days
	}
	if _, err := execute[contract.DeliverNoticeInput, struct{}](ctx, contract.GiveNoticeUpActivity, input); err != nil {
		return contract.DeliverNoticeResult{}, err
	}
	return contract.DeliverNoticeResult{}, failure(contract.FailureNoticeNotTaken,
		"the application did not take this notice for days; see MILEPOST_NOTICE_URL, then reset this workflow to its start")
}
