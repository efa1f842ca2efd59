package keyset

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	tink "github.com/tink-crypto/tink-go/v2/keyset"
	tinkaead "github.com/tink-crypto/tink-go/v2/tink"
)

// ErrKeyset says that a text is no keyset that Milepost uses, or that the change asked
// for does not fit it. Its text says what to do, and holds nothing of the keyset but key ids.
var ErrKeyset = errors.New("the keyset is not usable")

// keyBytes is the size of an AES-256 key.
const keyBytes = 32

// Keyset is one or more AES-256-GCM keys with Tink's prefix, one of them primary. It
// does not change and is safe for concurrent use. The zero value is of no use.
type Keyset struct {
	masked

	// fmt cannot mask what stands in another struct's unexported field. It prints the
	// pointer, or one level behind it, where there is no material.
	contents *contents
}

type contents struct {
	handle  *tink.Handle
	cipher  tinkaead.AEAD
	primary uint32
	// enabled are the ids of the keys that decrypt, in order of addition.
	enabled []uint32
	// text gives the material; a string would print.
	text func() string
}

// New makes a keyset with one key.
func New() (*Keyset, error) {
	handle, err := tink.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return fromHandle(handle)
}

// Parse reads Tink's JSON keyset, or base64 of it. ErrKeyset when it is something
// else, has keys of another type than AES-256-GCM with Tink's prefix, or no enabled
// primary key.
func Parse(text string) (*Keyset, error) {
	text = strings.TrimSpace(text)
	if text != "" && !strings.HasPrefix(text, "{") {
		decoded, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, notAKeyset()
		}
		text = string(decoded)
	}
	// Tink's errors may quote what they could not read.
	material, err := tink.NewJSONReader(strings.NewReader(text)).Read()
	if err != nil || text == "" {
		return nil, notAKeyset()
	}
	if err := tink.Validate(material); err != nil {
		return nil, fmt.Errorf("%w: it must have keys with different ids, one of them primary and enabled; "+
			"restore it from your copy", ErrKeyset)
	}
	handle, err := insecurecleartextkeyset.Read(tink.NewJSONReader(strings.NewReader(text)))
	if err != nil {
		return nil, wrongType()
	}
	return fromHandle(handle)
}

func notAKeyset() error {
	return fmt.Errorf("%w: it is neither Tink's JSON keyset nor base64 of it; "+
		"restore it from your copy, or make the first one with `milepost keys new`", ErrKeyset)
}

func wrongType() error {
	return fmt.Errorf("%w: Milepost uses AES-256-GCM keys with Tink's prefix only; "+
		"make keys with `milepost keys new` and `milepost keys add`", ErrKeyset)
}

func fromHandle(handle *tink.Handle) (*Keyset, error) {
	found := &contents{handle: handle}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("read keyset: %w", err)
		}
		parameters, ours := entry.Key().Parameters().(*aesgcm.Parameters)
		if !ours || parameters.KeySizeInBytes() != keyBytes || parameters.Variant() != aesgcm.VariantTink {
			return nil, wrongType()
		}
		if entry.IsPrimary() {
			found.primary = entry.KeyID()
		}
		if entry.KeyStatus() == tink.Enabled {
			found.enabled = append(found.enabled, entry.KeyID())
		}
	}
	var err error
	if found.cipher, err = aead.New(handle); err != nil {
		return nil, fmt.Errorf("prepare keyset: %w", err)
	}
	text, err := write(handle)
	if err != nil {
		return nil, err
	}
	found.text = func() string { return text }
	return &Keyset{contents: found}, nil
}

// write gives one line that is the same for the same keys, which Tink's JSON is not.
func write(handle *tink.Handle) (string, error) {
	var written, compact bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, tink.NewJSONWriter(&written)); err != nil {
		return "", fmt.Errorf("write keyset: %w", err)
	}
	if err := json.Compact(&compact, written.Bytes()); err != nil {
		return "", errors.New("write keyset: Tink wrote no JSON")
	}
	return compact.String(), nil
}

// Add gives the keyset with one more key, which decrypts and does not yet encrypt:
// every process must have it before it becomes primary.
func (k *Keyset) Add() (*Keyset, error) {
	return k.change(func(manager *tink.Manager) error {
		_, err := manager.Add(aead.AES256GCMKeyTemplate())
		return err //nolint:wrapcheck // change says what was being done
	})
}

// Promote gives the keyset with its newest enabled key as primary: k itself when it is already.
func (k *Keyset) Promote() (*Keyset, error) {
	if k.NewestID() == k.PrimaryID() {
		return k, nil
	}
	return k.change(func(manager *tink.Manager) error { return manager.SetPrimary(k.NewestID()) })
}

// Remove gives the keyset without a key. What is encrypted with that key is lost
// without a copy of the old keyset. ErrKeyset when the key is primary or not there.
func (k *Keyset) Remove(id uint32) (*Keyset, error) {
	if id == k.PrimaryID() {
		return nil, fmt.Errorf("%w that way: key %08x is primary; add a key and rotate first", ErrKeyset, id)
	}
	changed, err := k.change(func(manager *tink.Manager) error { return manager.Delete(id) })
	if err != nil {
		return nil, fmt.Errorf("%w that way: it has no key %08x; see `milepost keys status`", ErrKeyset, id)
	}
	return changed, nil
}

// Text is the keyset as JSON on one line, to be stored where only Milepost reads it.
// It is the secret itself, and the only way by which it leaves a Keyset.
func (k *Keyset) Text() string { return k.contents.text() }

// PrimaryID names the key that encrypts.
func (k *Keyset) PrimaryID() uint32 { return k.contents.primary }

// NewestID names the enabled key that was added last.
func (k *Keyset) NewestID() uint32 { return k.contents.enabled[len(k.contents.enabled)-1] }

// KeyIDs names the keys that decrypt, in order of addition. Disabled keys are left out.
func (k *Keyset) KeyIDs() []uint32 { return slices.Clone(k.contents.enabled) }

func (k *Keyset) change(change func(*tink.Manager) error) (*Keyset, error) {
	manager := tink.NewManagerFromHandle(k.contents.handle)
	if err := change(manager); err != nil {
		return nil, fmt.Errorf("change keyset: %w", err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("change keyset: %w", err)
	}
	return fromHandle(handle)
}
