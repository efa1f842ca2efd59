package api

import (
	"errors"
	"fmt"
	"time"

	"github.com/milepost/milepost/api/smartcar"
)

// ErrNothingToAdmit says that a signed body is a VERIFY, or no JSON object: the receiver would not store it either.
var ErrNothingToAdmit = errors.New("api: the body is no event")

// Admit is what the receiver does with a delivery before the ledger: it checks that there is exactly one signature
// and that a key of keyring made it over the body as received, and then gives the deliveries to append. A signed body
// that is not understood is one delivery of the type MALFORMED, and no error.
//
// It returns an error wrapping [smartcar.ErrSignatureMalformed], [smartcar.ErrSignatureMismatch] or
// [ErrNothingToAdmit], or another one when there is not exactly one signature. None repeats anything of the delivery.
func Admit(keyring smartcar.Keyring, signatures []string, body []byte, receivedAt time.Time) ([]LedgerDelivery, error) {
	if !beginsAsObject(body) {
		return nil, ErrNothingToAdmit
	}
	if err := authenticate(keyring, signatures, body); err != nil {
		return nil, err
	}
	// What is malformed is stored all the same.
	delivery, _ := smartcar.Decode(body)
	if delivery.Type == smartcar.TypeVerify {
		return nil, ErrNothingToAdmit
	}
	return ledgerDeliveries(body, delivery, receivedAt.UTC()), nil
}

// authenticate checks the SC-Signature headers of a request. Source: Smartcar, "payload verification".
func authenticate(keyring smartcar.Keyring, signatures []string, body []byte) error {
	if len(signatures) != 1 {
		return errSignatureCount
	}
	if err := keyring.Verify(signatures[0], body); err != nil {
		return fmt.Errorf("api: %w", err)
	}
	return nil
}
