package db

import "context"

// ConsentCar is a car as its owner knows it.
type ConsentCar struct {
	Make, Model string
	Year        int32
}

// ConsentStatus is what an owner may see of a consent.
type ConsentStatus struct {
	Phase  string
	Reason string
	// Cars were connected, or are what the consent failed for.
	Cars []ConsentCar
}

// ConsentStatus says how far a consent is; ErrNotFound when there is none.
func (s *Store) ConsentStatus(ctx context.Context, id string) (ConsentStatus, error) {
	row, err := s.queries.ConsentStatus(ctx, id)
	if err != nil {
		return ConsentStatus{}, translate("load consent status", err)
	}
	status := ConsentStatus{Phase: row.Phase, Reason: row.Reason}
	if refused := (ConsentCar{Make: row.RefusedMake, Model: row.RefusedModel, Year: row.RefusedYear}); refused != (ConsentCar{}) {
		status.Cars = append(status.Cars, refused)
	}
	rows, err := s.queries.VehiclesOfConsent(ctx, id)
	if err != nil {
		return ConsentStatus{}, translate("load vehicles of consent", err)
	}
	for _, row := range rows {
		status.Cars = append(status.Cars, ConsentCar(row))
	}
	return status, nil
}
