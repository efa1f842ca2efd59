package activities

import (
	"context"
	"time"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/workflows/contract"
)

// consentClockSkew is how much Smartcar's clock may be behind ours.
const consentClockSkew = 5 * time.Minute

// ListConsentVehicles lists the vehicles that a consent is for.
//
// Idempotent: it only reads. Tried again while Smartcar or the database is away.
func (a *Activities) ListConsentVehicles(
	ctx context.Context, input contract.ListConsentVehiclesInput,
) (contract.ListConsentVehiclesResult, error) {
	defer heartbeat(ctx)()
	consent, err := a.consent(ctx, input.ConsentID)
	if err != nil {
		return contract.ListConsentVehiclesResult{}, classify(err)
	}
	if err := a.noteUser(ctx, consent); err != nil {
		return contract.ListConsentVehiclesResult{}, classify(err)
	}
	var listed []smartcar.VehicleRef
	err = a.withCountedCredential(ctx, grantOfConsent(consent), func(
		ctx context.Context, platform Platform, credential smartcar.Credential,
	) (err error) {
		listed, err = platform.Vehicles(ctx, credential)
		return err
	})
	if err != nil {
		if isRefusal(err) {
			return contract.ListConsentVehiclesResult{Refused: contract.ReasonNoVehicles}, nil
		}
		return contract.ListConsentVehiclesResult{}, classify(err)
	}
	result := contract.ListConsentVehiclesResult{}
	if len(listed) == 0 {
		result.Refused = contract.ReasonNoVehicles
	}
	for _, vehicle := range listed {
		if consent.API == db.APIv3 && !isProven(consent, vehicle) {
			result.Refused = contract.ReasonUserUnproven
			continue
		}
		result.SmartcarVehicleIDs = append(result.SmartcarVehicleIDs, vehicle.ID)
	}
	return result, nil
}

// noteUser asks, under v2, whom the tokens belong to, which the callback may leave
// out or say wrongly. An answer that is refused leaves what the callback said.
func (a *Activities) noteUser(ctx context.Context, consent db.Consent) error {
	if consent.API != db.APIv2 {
		return nil
	}
	return a.withCountedCredential(ctx, grantOfConsent(consent), func(
		ctx context.Context, platform Platform, credential smartcar.Credential,
	) error {
		reader, able := platform.(UserReader)
		if !able {
			return nil
		}
		user, err := reader.User(ctx, credential)
		if err != nil || user == consent.SmartcarUserID {
			if isRefusal(err) {
				return nil
			}
			return err
		}
		return a.deps.Store.NoteConsentUser(ctx, consent.ID, user)
	})
}

// isProven says that a v3 connection belongs to the owner who was asked. The callback
// names the Smartcar user in its query, where anybody can write another; the
// application's token would open that one's vehicles, too. Smartcar's record must
// therefore bear the name that we gave the owner, or none and be as fresh as the consent.
func isProven(consent db.Consent, vehicle smartcar.VehicleRef) bool {
	if vehicle.UserID != consent.SmartcarUserID {
		return false
	}
	if vehicle.ExternalID != "" {
		return vehicle.ExternalID == consent.ExternalID
	}
	begun := consent.CreatedAt.Add(-consentClockSkew)
	return vehicle.CreatedAt.After(begun) || vehicle.UpdatedAt.After(begun)
}

func grantOfConsent(consent db.Consent) grant {
	return grant{api: consent.API, tokenID: consent.TokenID, smartcarUserID: consent.SmartcarUserID}
}
