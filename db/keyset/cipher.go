package keyset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

var (
	// ErrUnknownKey says that the ciphertext's key is not in the keyset, or disabled in it.
	ErrUnknownKey = errors.New("encrypted with a key that is not in the keyset")
	// ErrDecrypt says that the ciphertext is none, was changed, or belongs to other associated data.
	ErrDecrypt = errors.New("the ciphertext does not verify: it was changed, or belongs elsewhere")
)

// Tink: "Tink wire format": a ciphertext begins with 0x01 and the key's id, big-endian.
const (
	tinkPrefix       = 0x01
	tinkPrefixLength = 5
)

// KeyID names the key that a ciphertext was encrypted with. ErrDecrypt when it has no such prefix.
func KeyID(ciphertext []byte) (uint32, error) {
	if len(ciphertext) < tinkPrefixLength || ciphertext[0] != tinkPrefix {
		return 0, ErrDecrypt
	}
	return binary.BigEndian.Uint32(ciphertext[1:tinkPrefixLength]), nil
}

// Encrypt uses the primary key. The associated data is not stored, but authenticated:
// Decrypt needs the same.
func (k *Keyset) Encrypt(plaintext, associatedData []byte) ([]byte, error) {
	ciphertext, err := k.contents.cipher.Encrypt(plaintext, associatedData)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return ciphertext, nil
}

// Decrypt uses the key that the ciphertext names. ErrUnknownKey when the keyset does
// not have it, ErrDecrypt when the ciphertext does not verify.
func (k *Keyset) Decrypt(ciphertext, associatedData []byte) ([]byte, error) {
	id, err := KeyID(ciphertext)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(k.contents.enabled, id) {
		return nil, fmt.Errorf("%w: key %08x", ErrUnknownKey, id)
	}
	plaintext, err := k.contents.cipher.Decrypt(ciphertext, associatedData)
	if err != nil {
		return nil, ErrDecrypt
	}
	return plaintext, nil
}
