package db

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// The phases of a consent.
const (
	ConsentAsked     = "asked"
	ConsentAnswered  = "answered"
	ConsentConnected = "connected"
	ConsentFailed    = "failed"
)

var (
	// ErrConsentState says that no consent was begun with this state.
	ErrConsentState = errors.New("unknown state")
	// ErrConsentUsed says that the state has been used already.
	ErrConsentUsed = errors.New("state already used")
	// ErrConsentExpired says that the owner took too long.
	ErrConsentExpired = errors.New("state expired")
	// ErrConsentBrowser says that the answer came in another browser than the question was asked in.
	ErrConsentBrowser = errors.New("answered in another browser")
	// ErrNotOwned says that the vehicle is not one that this user has connected.
	ErrNotOwned = errors.New("not a connected vehicle of this user")
)

// NewConsent is a question that an owner is about to be asked. State and Browser are kept as hashes.
type NewConsent struct {
	ID, State, Browser string
	OwnerEmail         string
	OwnerName          string // "" leaves a known name as it is
	SmartcarVehicleID  string // set to re-authenticate this vehicle
	API                string
	ExpiresAt          time.Time
}

// BegunConsent is what Smartcar's page has to be told.
type BegunConsent struct {
	// ExternalID is what Smartcar is to call the owner.
	ExternalID string
	// MissesPermissions says that a car of the owner's has an open error that asks for a new consent.
	MissesPermissions bool
}

// BeginConsent stores a consent and its owner. ErrNotOwned when a vehicle is named that is not the owner's.
func (v *Vault) BeginConsent(ctx context.Context, consent NewConsent) (begun BegunConsent, err error) {
	err = v.store.inTransaction(ctx, "begin consent", func(queries *dbsqlc.Queries) error {
		owner, err := queries.UpsertUser(ctx, dbsqlc.UpsertUserParams{Email: consent.OwnerEmail, Name: consent.OwnerName})
		if err != nil {
			return translate("store owner", err)
		}
		begun.ExternalID = owner.ExternalID
		if begun.MissesPermissions, err = queries.MissesPermissions(ctx, owner.ID); err != nil {
			return translate("find missing permissions", err)
		}
		if consent.SmartcarVehicleID != "" {
			owned, err := queries.OwnsActiveConnection(ctx, dbsqlc.OwnsActiveConnectionParams{
				SmartcarVehicleID: consent.SmartcarVehicleID, UserID: owner.ID,
			})
			if err != nil {
				return translate("find vehicle of owner", err)
			}
			if !owned {
				return &callerError{err: ErrNotOwned}
			}
		}
		return translate("store consent", queries.InsertConsent(ctx, dbsqlc.InsertConsentParams{
			ID: consent.ID, StateHash: hash(consent.State), BrowserHash: hash(consent.Browser), UserID: owner.ID,
			SmartcarVehicleID: consent.SmartcarVehicleID, Api: consent.API, ExpiresAt: consent.ExpiresAt,
		}))
	})
	return begun, err
}

// ConsentAnswer is what came back with an owner. Failure is set when Smartcar reported one.
type ConsentAnswer struct {
	State, Browser string
	Code           string // kept as ciphertext until it is exchanged
	SmartcarUserID string
	Failure        string
	RefusedCar     ConsentCar // the car that the failure is about, if it was named
	ReceivedAt     time.Time
}

// AnswerConsent uses a state up, once, and asks for the workflow that connects the
// vehicles. ErrConsentState, ErrConsentUsed, ErrConsentExpired and ErrConsentBrowser
// say why not; with any other error the state can be used again.
func (v *Vault) AnswerConsent(ctx context.Context, answer ConsentAnswer) (consentID string, err error) {
	err = v.store.inTransaction(ctx, "answer consent", func(queries *dbsqlc.Queries) error {
		consent, err := queries.LockConsentByState(ctx, hash(answer.State))
		if translated := translate("find consent", err); errors.Is(translated, ErrNotFound) {
			return &callerError{err: ErrConsentState}
		} else if translated != nil {
			return translated
		}
		switch {
		case consent.Phase != ConsentAsked:
			return &callerError{err: ErrConsentUsed}
		case !bytes.Equal(consent.BrowserHash, hash(answer.Browser)):
			return &callerError{err: ErrConsentBrowser}
		case answer.ReceivedAt.After(consent.ExpiresAt):
			return &callerError{err: ErrConsentExpired}
		}
		consentID = consent.ID
		return v.storeAnswer(ctx, queries, consentID, answer)
	})
	return consentID, err
}

func (v *Vault) storeAnswer(ctx context.Context, queries *dbsqlc.Queries, consentID string, answer ConsentAnswer) error {
	params := dbsqlc.AnswerConsentParams{
		ID: consentID, Phase: ConsentAnswered, Reason: answer.Failure,
		SmartcarUserID: answer.SmartcarUserID, AnsweredAt: &answer.ReceivedAt,
		RefusedMake: answer.RefusedCar.Make, RefusedModel: answer.RefusedCar.Model, RefusedYear: answer.RefusedCar.Year,
	}
	if answer.Failure != "" {
		params.Phase = ConsentFailed
	}
	if answer.Code != "" && answer.Failure == "" {
		ciphertext, err := v.cipher.Encrypt([]byte(answer.Code), codeBinding(consentID))
		if err != nil {
			return &callerError{err: err}
		}
		params.Code, params.CodeKeyID = ciphertext, new(int64(v.cipher.PrimaryID()))
	}
	if err := queries.AnswerConsent(ctx, params); err != nil {
		return translate("store answer", err)
	}
	if params.Phase == ConsentFailed {
		return nil
	}
	return requestWorkflow(ctx, queries, WorkflowRequest{Kind: RequestConnectVehicles, Subject: consentID})
}

// hash keeps a secret of 128 random bits recognisable without keeping it.
func hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// Consent is one journey of an owner through Smartcar's pages.
type Consent struct {
	ID                string
	OwnerID           int64
	ExternalID        string // what Smartcar was told that the owner is called
	SmartcarVehicleID string // set when this is a re-authentication
	SmartcarUserID    string // as the callback said, which proves nothing
	API               string
	Phase             string
	TokenID           int64 // 0 until the code has been exchanged
	CreatedAt         time.Time
}

// Consent loads one; ErrNotFound when there is none.
func (v *Vault) Consent(ctx context.Context, id string) (Consent, error) {
	row, err := v.store.queries.Consent(ctx, id)
	if err != nil {
		return Consent{}, translate("load consent", err)
	}
	return Consent{
		ID: row.ID, OwnerID: row.UserID, ExternalID: row.ExternalID, SmartcarVehicleID: row.SmartcarVehicleID,
		SmartcarUserID: row.SmartcarUserID, API: row.Api, Phase: row.Phase,
		TokenID: valueOr(row.TokenID, 0), CreatedAt: row.CreatedAt.UTC(),
	}, nil
}

// ExchangeCode trades a consent's authorization code for the first pair of a token
// family, under the consent's row lock, and stores both tokens before it returns. A
// consent whose code has been exchanged already is left alone. A code is good for one
// exchange: ctx ends only what comes before it, and a pair that cannot be stored is
// stored again, for as long as this process lives.
func (v *Vault) ExchangeCode(ctx context.Context, consentID string, exchange Exchange) error {
	release, err := v.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	settle := context.WithoutCancel(ctx)
	var obtained TokenPair
	err = v.store.inLastingTransaction(ctx, "exchange code", v.storeTimeout, func(queries *dbsqlc.Queries) error {
		consent, err := lockConsentWithCode(ctx, queries, consentID)
		if err != nil || consent.Code == nil {
			return err
		}
		code, err := v.open(consent.Code, codeBinding(consentID))
		if err == nil {
			obtained, err = exchange(settle, code)
		}
		if err != nil {
			return &callerError{err: err}
		}
		storing, cancel := context.WithTimeout(settle, v.storeTimeout)
		defer cancel()
		return v.storeExchanged(storing, queries, consent, obtained)
	})
	if err == nil || obtained.AccessToken == "" {
		return err
	}
	return v.untilStored(settle, "store exchanged tokens", func(ctx context.Context, queries *dbsqlc.Queries) error {
		consent, err := lockConsentWithCode(ctx, queries, consentID)
		if err != nil || consent.Code == nil {
			return err
		}
		return v.storeExchanged(ctx, queries, consent, obtained)
	})
}

// lockConsentWithCode gives a consent without a code when there is nothing to exchange, or not any more.
func lockConsentWithCode(ctx context.Context, queries *dbsqlc.Queries, consentID string) (dbsqlc.LockConsentRow, error) {
	consent, err := queries.LockConsent(ctx, consentID)
	if err != nil {
		return consent, translate("lock consent", err)
	}
	if consent.TokenID != nil || consent.Phase != ConsentAnswered || len(consent.Code) == 0 {
		consent.Code = nil
	}
	return consent, nil
}

func (v *Vault) storeExchanged(ctx context.Context, queries *dbsqlc.Queries, consent dbsqlc.LockConsentRow, pair TokenPair) error {
	tokenID, err := v.insertTokens(ctx, queries, consent.UserID, pair)
	if err != nil {
		return err
	}
	return translate("note exchanged code", queries.CodeExchanged(ctx, dbsqlc.CodeExchangedParams{
		ID: consent.ID, TokenID: &tokenID,
	}))
}

// AddTokens stores a token family that was obtained elsewhere, for an owner, and gives its id.
func (v *Vault) AddTokens(ctx context.Context, ownerID int64, pair TokenPair) (tokenID int64, err error) {
	err = v.store.inTransaction(ctx, "add tokens", func(queries *dbsqlc.Queries) error {
		tokenID, err = v.insertTokens(ctx, queries, ownerID, pair)
		return err
	})
	return tokenID, err
}

func (v *Vault) insertTokens(ctx context.Context, queries *dbsqlc.Queries, ownerID int64, pair TokenPair) (int64, error) {
	now := v.clock()
	id, err := queries.NextTokenID(ctx)
	if err != nil {
		return 0, translate("number tokens", err)
	}
	ciphertext, err := v.seal(id, pair)
	if err != nil {
		return 0, &callerError{err: err}
	}
	return id, translate("store tokens", queries.InsertTokens(ctx, dbsqlc.InsertTokensParams{
		ID: id, YourAppUserID: ownerID, AccessToken: ciphertext.access, RefreshToken: ciphertext.refresh,
		KeyID: ciphertext.keyID, IssuedAt: now, ExpiresAt: now.Add(pair.ExpiresIn),
	}))
}

// NoteConsentUser replaces what the callback said by the Smartcar user whom the tokens belong to.
func (s *Store) NoteConsentUser(ctx context.Context, id, smartcarUserID string) error {
	return translate("note the user of a consent", s.queries.NoteConsentUser(ctx, dbsqlc.NoteConsentUserParams{
		ID: id, SmartcarUserID: smartcarUserID,
	}))
}

// CloseConsent ends a consent as connected, or as failed for a reason that the owner
// is shown, and forgets its tokens when no vehicle came to need them. One that is
// closed already is left alone.
func (s *Store) CloseConsent(ctx context.Context, id, phase, reason string) error {
	return s.inTransaction(ctx, "close consent", func(queries *dbsqlc.Queries) error {
		tokenID, err := queries.CloseConsent(ctx, dbsqlc.CloseConsentParams{ID: id, Phase: phase, Reason: reason})
		translated := translate("close consent", err)
		if errors.Is(translated, ErrNotFound) {
			return nil
		}
		if translated != nil {
			return translated
		}
		return translate("delete unused tokens", queries.DeleteUnusedTokens(ctx, tokenID))
	})
}
