package wiring

import (
	"context"
	"errors"

	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/db"
)

// consents gives the connect pages their consents.
type consents struct {
	vault *db.Vault
	store *db.Store
	api   string
}

// Begin implements api.Consents.
func (c *consents) Begin(ctx context.Context, consent api.NewConsent) (api.BegunConsent, error) {
	begun, err := c.vault.BeginConsent(ctx, db.NewConsent{
		ID: consent.ID, State: consent.State, Browser: consent.Browser, OwnerEmail: consent.User, OwnerName: consent.Name,
		SmartcarVehicleID: consent.VehicleID, API: c.api, ExpiresAt: consent.ExpiresAt,
	})
	if errors.Is(err, db.ErrNotOwned) {
		return api.BegunConsent{}, api.ErrConsentVehicle
	}
	return api.BegunConsent(begun), err
}

// Complete implements api.Consents.
func (c *consents) Complete(ctx context.Context, answer api.ConsentAnswer) (string, error) {
	stored := db.ConsentAnswer{
		State: answer.State, Browser: answer.Browser, Code: answer.Callback.Code.Reveal(),
		SmartcarUserID: answer.Callback.UserID, ReceivedAt: answer.ReceivedAt,
	}
	if failure := answer.Callback.Error; failure != nil {
		stored.Failure = failure.Code
		stored.RefusedCar = db.ConsentCar{Make: failure.Make, Model: failure.Model, Year: int32(failure.Year)} //nolint:gosec // a year
	}
	id, err := c.vault.AnswerConsent(ctx, stored)
	for from, to := range map[error]error{
		db.ErrConsentState: api.ErrStateUnknown, db.ErrConsentUsed: api.ErrStateUsed,
		db.ErrConsentExpired: api.ErrStateExpired, db.ErrConsentBrowser: api.ErrStateOtherBrowser,
	} {
		if errors.Is(err, from) {
			return "", to
		}
	}
	return id, err
}

// Status implements api.Consents.
func (c *consents) Status(ctx context.Context, consentID string) (api.ConsentStatus, error) {
	stored, err := c.store.ConsentStatus(ctx, consentID)
	if errors.Is(err, db.ErrNotFound) {
		return api.ConsentStatus{}, api.ErrConsentUnknown
	}
	if err != nil {
		return api.ConsentStatus{}, err
	}
	status := api.ConsentStatus{Phase: api.ConsentPending, Reason: stored.Reason}
	switch stored.Phase {
	case db.ConsentConnected:
		status.Phase = api.ConsentConnected
	case db.ConsentFailed:
		status.Phase = api.ConsentFailed
	}
	for _, car := range stored.Cars {
		status.Vehicles = append(status.Vehicles, api.ConnectedCar{Make: car.Make, Model: car.Model, Year: int(car.Year)})
	}
	return status, nil
}
