package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/milepost/milepost/db/internal/dbsqlc"
)

// Cipher encrypts what must not be readable at rest. The associated data is
// authenticated with the ciphertext, and ties it to one column of one row.
type Cipher interface {
	Encrypt(plaintext, associatedData []byte) ([]byte, error)
	Decrypt(ciphertext, associatedData []byte) ([]byte, error)
	// PrimaryID names the key that Encrypt uses.
	PrimaryID() uint32
}

// ErrUndecryptable says that stored ciphertext does not open with the keyset in use.
// Either the keyset is another one, or somebody moved or changed the row.
var ErrUndecryptable = errors.New("stored tokens cannot be decrypted with this keyset: " +
	"set MILEPOST_KEYSET (or _FILE) to the one they were encrypted with")

// Vault keeps token families and authorization codes, as ciphertext only.
type Vault struct {
	store  *Store
	cipher Cipher
	clock  func() time.Time
	logger *slog.Logger
	// storeTimeout is shorter in tests.
	storeTimeout time.Duration
	// locks leaves connections for what is committed beside a held row lock.
	locks chan struct{}
}

// NewVault makes a vault. The store ought to be one of its own: each refresh and each
// exchange of a code that is under way holds a connection for as long as Smartcar
// takes to answer, and a refresh needs a second one for moments. At most half of the
// pool's connections hold locks.
func NewVault(store *Store, cipher Cipher) *Vault {
	return &Vault{
		store: store, cipher: cipher, clock: time.Now, logger: slog.New(slog.DiscardHandler), storeTimeout: storeTimeout,
		locks: make(chan struct{}, max(1, store.pool.Config().MaxConns/2)),
	}
}

// WithLogger gives the same vault with somebody to tell of pairs that cannot be stored.
func (v *Vault) WithLogger(logger *slog.Logger) *Vault {
	changed := *v
	changed.logger = logger
	return &changed
}

// WithClock gives the same vault on another clock, for tests that skip time.
func (v *Vault) WithClock(clock func() time.Time) *Vault {
	changed := *v
	changed.clock = clock
	return &changed
}

// TokenPair is what Smartcar answered to an exchange or a refresh. It prints masked.
type TokenPair struct {
	AccessToken  string
	RefreshToken string
	// ExpiresIn is the access token's life from the moment of the answer.
	ExpiresIn time.Duration
}

// String implements fmt.Stringer.
func (TokenPair) String() string { return "db.TokenPair(masked)" }

// GoString implements fmt.GoStringer.
func (p TokenPair) GoString() string { return p.String() }

// Format masks the tokens under every verb; without it %d would show them in an error about the verb.
func (p TokenPair) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, p.String()) }

// MarshalText masks the tokens in JSON, and with it in log lines.
func (p TokenPair) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

const (
	accessTokenColumn  = "smartcar_access_token"
	refreshTokenColumn = "smartcar_refresh_token"
)

func tokenBinding(tokenID int64, column string) []byte {
	return []byte("smartcar_tokens/" + strconv.FormatInt(tokenID, 10) + "/" + column)
}

func codeBinding(consentID string) []byte { return []byte("smartcar_consents/" + consentID + "/code") }

// AccessToken is a token to call Smartcar with, and how long it is good for.
type AccessToken struct {
	Token      string
	TokenID    int64
	Generation int64
	ExpiresAt  time.Time
	// Valid is false when the family needs the owner.
	Valid bool
}

// String implements fmt.Stringer.
func (AccessToken) String() string { return "db.AccessToken(masked)" }

// GoString implements fmt.GoStringer.
func (t AccessToken) GoString() string { return t.String() }

// Format masks the tokens under every verb; without it %d would show them in an error about the verb.
func (t AccessToken) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, t.String()) }

// MarshalText masks the tokens in JSON, and with it in log lines.
func (t AccessToken) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// AccessTokenOfFamily decrypts the stored access token of a family, expired or not.
// ErrNotFound when there is none.
func (v *Vault) AccessTokenOfFamily(ctx context.Context, tokenID int64) (AccessToken, error) {
	row, err := v.store.queries.TokensOfFamily(ctx, tokenID)
	if err != nil {
		return AccessToken{}, translate("load tokens", err)
	}
	return v.accessToken(row)
}

// Verify says whether the keyset opens what is stored: one row under each key is
// tried. ErrUndecryptable when it does not.
func (v *Vault) Verify(ctx context.Context) error {
	rows, err := v.store.queries.TokensUnderEachKey(ctx)
	if err != nil {
		return translate("check the keyset", err)
	}
	for _, row := range rows {
		if _, err := v.open(row.SmartcarRefreshToken, tokenBinding(row.ID, refreshTokenColumn)); err != nil {
			return err
		}
	}
	return nil
}

// KeyRows counts the rows under each key.
func (v *Vault) KeyRows(ctx context.Context) (map[uint32]int64, error) {
	rows, err := v.store.queries.KeysInUse(ctx)
	if err != nil {
		return nil, translate("count rows by key", err)
	}
	counts := make(map[uint32]int64, len(rows))
	for _, row := range rows {
		counts[uint32(row.KeyID)] = row.Rows //nolint:gosec // it was stored from an uint32
	}
	return counts, nil
}

// Reencrypted says what one batch did: Done rows came under the primary key, Left are still under others.
type Reencrypted struct{ Done, Left int64 }

// Reencrypt brings up to limit families under the primary key, in one transaction.
// Families that are being refreshed are passed over; authorization codes are not
// touched, since Smartcar takes none after ten minutes, and Trim forgets those left over.
func (v *Vault) Reencrypt(ctx context.Context, limit int32) (result Reencrypted, err error) {
	primary := v.cipher.PrimaryID()
	err = v.store.inTransaction(ctx, "re-encrypt tokens", func(queries *dbsqlc.Queries) error {
		rows, err := queries.TokensUnderOtherKeys(ctx, dbsqlc.TokensUnderOtherKeysParams{KeyID: int64(primary), MaxRows: limit})
		if err != nil {
			return translate("find tokens under other keys", err)
		}
		for _, row := range rows {
			if err := v.reencryptRow(ctx, queries, row); err != nil {
				return &callerError{err: err}
			}
		}
		result.Done = int64(len(rows))
		return nil
	})
	if err != nil {
		return Reencrypted{}, err
	}
	counts, err := v.KeyRows(ctx)
	for key, rows := range counts {
		if key != primary {
			result.Left += rows
		}
	}
	return result, err
}

func (v *Vault) reencryptRow(ctx context.Context, queries *dbsqlc.Queries, row dbsqlc.TokensUnderOtherKeysRow) error {
	access, err := v.open(row.SmartcarAccessToken, tokenBinding(row.ID, accessTokenColumn))
	if err != nil {
		return err
	}
	refresh, err := v.open(row.SmartcarRefreshToken, tokenBinding(row.ID, refreshTokenColumn))
	if err != nil {
		return err
	}
	again, err := v.seal(row.ID, TokenPair{AccessToken: access, RefreshToken: refresh})
	if err != nil {
		return err
	}
	return translate("replace ciphertexts", queries.ReplaceCiphertexts(ctx, dbsqlc.ReplaceCiphertextsParams{
		ID: row.ID, AccessToken: again.access, RefreshToken: again.refresh, KeyID: again.keyID,
	}))
}

// sealed is a token pair as it is stored.
type sealed struct {
	access, refresh []byte
	keyID           int64
}

func (v *Vault) seal(tokenID int64, pair TokenPair) (sealed, error) {
	result := sealed{keyID: int64(v.cipher.PrimaryID())}
	var err, err2 error
	result.access, err = v.cipher.Encrypt([]byte(pair.AccessToken), tokenBinding(tokenID, accessTokenColumn))
	result.refresh, err2 = v.cipher.Encrypt([]byte(pair.RefreshToken), tokenBinding(tokenID, refreshTokenColumn))
	if err := errors.Join(err, err2); err != nil {
		return sealed{}, fmt.Errorf("encrypt tokens: %w", err)
	}
	return result, nil
}

func (v *Vault) open(ciphertext, binding []byte) (string, error) {
	plaintext, err := v.cipher.Decrypt(ciphertext, binding)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUndecryptable, err)
	}
	return string(plaintext), nil
}

func (v *Vault) accessToken(row dbsqlc.TokensOfFamilyRow) (AccessToken, error) {
	token, err := v.open(row.SmartcarAccessToken, tokenBinding(row.ID, accessTokenColumn))
	return AccessToken{
		Token: token, TokenID: row.ID, Generation: row.Generation,
		ExpiresAt: row.ExpiresAt.UTC(), Valid: row.Status == tokensActive,
	}, err
}
