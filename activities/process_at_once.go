package activities

import (
	"context"

	"github.com/milepost/milepost/workflows/contract"
)

// ProcessAtOnce takes the steps of the happy path in one go: loading the event,
// converting its units, writing its meter entry. Nearly every event needs no more,
// and each local activity less is a history event less. Where a step fails, the
// result says how far it went, and the workflow takes the rest step by step, in
// activities that report their own errors.
//
// Idempotent: it is made of idempotent activities. Only the error of loading is
// returned, since without the event there is nothing to go on with.
func (a *Activities) ProcessAtOnce(
	ctx context.Context, input contract.ProcessAtOnceInput,
) (contract.ProcessAtOnceResult, error) {
	event, decoded, err := a.load(ctx, input.EventID)
	if err != nil {
		return contract.ProcessAtOnceResult{}, classify(err)
	}
	loaded := describe(event, decoded)
	result := contract.ProcessAtOnceResult{Loaded: loaded}
	if loaded.Recorded != nil ||
		loaded.Kind != contract.KindVehicleState || loaded.VehicleStatus != contract.VehicleActive {
		return result, nil
	}
	write := contract.WriteMeterEntryInput{EventID: input.EventID, VehicleID: loaded.VehicleID}
	if loaded.Odometer != nil {
		converted, err := a.ConvertUnits(ctx, contract.ConvertUnitsInput{
			Value: loaded.Odometer.Value, Unit: loaded.Odometer.Unit,
		})
		if err != nil {
			return result, nil //nolint:nilerr // the workflow meets it again, in ConvertUnits itself
		}
		write.Odometer = &contract.OdometerReading{
			Reported: *loaded.Odometer, Kilometres: converted.Kilometres, UnitAssumed: converted.Assumed,
		}
	}
	written, err := a.write(ctx, &meterEntryWrite{input: write, event: event, decoded: decoded})
	if err != nil {
		return result, nil //nolint:nilerr // the workflow meets it again, in WriteMeterEntry itself
	}
	result.Written = &written
	return result, nil
}
