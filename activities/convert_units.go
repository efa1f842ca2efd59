package activities

import (
	"context"
	"fmt"

	"github.com/shopspring/decimal"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/workflows/contract"
)

// ConvertUnits brings an odometer value into kilometres, as a decimal, rounded to
// the metre. A value without a unit is taken as metric and marked assumed.
//
// Idempotent: it computes. Nothing is tried again: an unknown unit stays unknown
// (unit_unknown) until a person looks at it.
func (a *Activities) ConvertUnits(_ context.Context, input contract.ConvertUnitsInput) (contract.ConvertUnitsResult, error) {
	value, err := decimal.NewFromString(input.Value)
	if err != nil {
		return contract.ConvertUnitsResult{}, classify(fmt.Errorf("%w: the odometer value is no number", smartcar.ErrMalformed))
	}
	kilometres, assumed, err := smartcar.Kilometres(value, input.Unit)
	if err != nil {
		return contract.ConvertUnitsResult{}, classify(err)
	}
	return contract.ConvertUnitsResult{Kilometres: kilometres.String(), Assumed: assumed}, nil
}
