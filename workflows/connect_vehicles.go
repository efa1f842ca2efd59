package workflows

import (
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows/contract"
)

// ConnectVehicles does what follows an owner's consent: it exchanges the code, stores
// the vehicles that the consent is for, and subscribes them to the webhook. A crash
// in the middle finishes later. A consent that comes to nothing completes with the
// reason, which the owner is shown: it needs nobody else.
func ConnectVehicles(ctx workflow.Context, input contract.ConnectVehiclesInput) (contract.ConnectVehiclesResult, error) {
	state := &connectVehicles{}
	state.setup(input)
	return state.run(ctx)
}

type connectVehicles struct {
	input     contract.ConnectVehiclesInput
	connected []string
	result    contract.ConnectVehiclesResult
}

func (c *connectVehicles) setup(input contract.ConnectVehiclesInput) { c.input = input }

func (c *connectVehicles) run(ctx workflow.Context) (contract.ConnectVehiclesResult, error) {
	if err := c.connect(ctx); err != nil {
		if temporal.IsCanceledError(err) {
			return c.result, err
		}
		if closeErr := c.close(ctx, contract.ReasonInternal); closeErr != nil {
			return c.result, closeErr
		}
		return c.result, err
	}
	c.result.Connected += len(c.connected)
	if c.result.Connected > 0 {
		c.result.Reason = ""
	}
	if err := c.close(ctx, c.result.Reason); err != nil {
		return c.result, err
	}
	return c.result, c.subscribe(ctx)
}

// close lets the owner see how it ended.
func (c *connectVehicles) close(ctx workflow.Context, reason contract.ConnectReason) error {
	_, err := execute[contract.CloseConsentInput, struct{}](ctx, contract.CloseConsentActivity, contract.CloseConsentInput{
		ConsentID: c.input.ConsentID, Reason: reason,
	})
	return err
}

// subscribe comes last: a vehicle that cannot be subscribed now holds up neither the
// other vehicles nor the owner. The first error is given when all have had their turn.
func (c *connectVehicles) subscribe(ctx workflow.Context) error {
	var subscribing []workflow.Future
	calling := workflow.WithActivityOptions(ctx, smartcarCall())
	for _, vehicle := range c.connected {
		subscribing = append(subscribing, workflow.ExecuteActivity(calling, contract.SubscribeVehicleActivity,
			contract.SubscribeVehicleInput{SmartcarVehicleID: vehicle}))
	}
	var first error
	for _, subscribed := range subscribing {
		if err := subscribed.Get(ctx, nil); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (c *connectVehicles) connect(ctx workflow.Context) error {
	exchanged, err := callSmartcar[contract.ExchangeCodeInput, contract.ExchangeCodeResult](
		ctx, contract.ExchangeCodeActivity, contract.ExchangeCodeInput{ConsentID: c.input.ConsentID})
	switch {
	case err != nil:
		return err
	case exchanged.Refused != "":
		c.result.Reason = exchanged.Refused
		return nil
	case exchanged.ReauthenticatedVehicleID != "":
		return c.reauthenticate(ctx, exchanged.ReauthenticatedVehicleID)
	}
	listed, err := callSmartcar[contract.ListConsentVehiclesInput, contract.ListConsentVehiclesResult](
		ctx, contract.ListConsentVehiclesActivity, contract.ListConsentVehiclesInput{ConsentID: c.input.ConsentID})
	if err != nil {
		return err
	}
	c.result.Reason = listed.Refused
	for _, vehicle := range listed.SmartcarVehicleIDs {
		if err := c.connectOne(ctx, vehicle); err != nil {
			return err
		}
	}
	return nil
}

func (c *connectVehicles) connectOne(ctx workflow.Context, vehicle string) error {
	workflow.SetCurrentDetails(ctx, "Connecting vehicle "+vehicle)
	connected, err := callSmartcar[contract.ConnectVehicleInput, contract.ConnectVehicleResult](
		ctx, contract.ConnectVehicleActivity, contract.ConnectVehicleInput{
			ConsentID: c.input.ConsentID, SmartcarVehicleID: vehicle,
		})
	if err != nil {
		return err
	}
	if connected.Refused != "" {
		c.result.Reason = connected.Refused
		return nil
	}
	c.connected = append(c.connected, vehicle)
	return nil
}

// reauthenticate tries the tokens that were there before: Smartcar issues no new
// ones, the old ones work again. Source: Smartcar, "Re-authentication".
func (c *connectVehicles) reauthenticate(ctx workflow.Context, vehicle string) error {
	resumed, err := callSmartcar[contract.ResumeVehicleInput, contract.ResumeVehicleResult](
		ctx, contract.ResumeVehicleActivity, contract.ResumeVehicleInput{SmartcarVehicleID: vehicle})
	if err != nil {
		return err
	}
	if resumed.Refused != "" {
		c.result.Reason = resumed.Refused
		return nil
	}
	c.result.Connected++ // subscribed it has been
	return nil
}
