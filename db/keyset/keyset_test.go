package keyset_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/mac"

	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	tink "github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/milepost/milepost/db/keyset"
)

var (
	plaintext = []byte("a refresh token")
	row       = []byte("smartcar_tokens/1/smartcar_refresh_token")
	otherRow  = []byte("smartcar_tokens/2/smartcar_refresh_token")
)

// made returns what New, Add and the like return, and fails the test on an error.
func made(t *testing.T) func(*keyset.Keyset, error) *keyset.Keyset {
	t.Helper()
	return func(k *keyset.Keyset, err error) *keyset.Keyset {
		t.Helper()
		require.NoError(t, err)
		return k
	}
}

type cipher interface {
	Encrypt(plaintext, associatedData []byte) ([]byte, error)
	Decrypt(ciphertext, associatedData []byte) ([]byte, error)
}

func encrypt(t *testing.T, with cipher) []byte {
	t.Helper()
	ciphertext, err := with.Encrypt(plaintext, row)
	require.NoError(t, err)
	require.False(t, bytes.Contains(ciphertext, plaintext))
	return ciphertext
}

func requireDecrypts(t *testing.T, with cipher, ciphertext []byte) {
	t.Helper()
	decrypted, err := with.Decrypt(ciphertext, row)
	require.NoError(t, err)
	require.Equal(t, plaintext, decrypted)
}

func TestWhatIsEncryptedDecryptsWithTheKeysetParsedFromItsText(t *testing.T) {
	t.Parallel()
	keys := made(t)(keyset.New())
	ciphertext := encrypt(t, keys)
	id, err := keyset.KeyID(ciphertext)
	require.NoError(t, err)
	require.Equal(t, keys.PrimaryID(), id)
	require.NotContains(t, keys.Text(), "\n")
	for _, text := range []string{
		keys.Text(), "\n " + keys.Text() + "\n",
		base64.StdEncoding.EncodeToString([]byte(keys.Text())), base64.StdEncoding.EncodeToString([]byte(keys.Text())) + "\n",
	} {
		parsed := made(t)(keyset.Parse(text))
		requireDecrypts(t, parsed, ciphertext)
		require.True(t, parsed.Text() == keys.Text(), "the text is another after parsing") //nolint:testifylint // it would print the keys
	}
}

func TestEqualPlaintextsEncryptDifferently(t *testing.T) {
	t.Parallel()
	keys := made(t)(keyset.New())
	first := encrypt(t, keys)
	require.NotEqual(t, first, encrypt(t, keys))
}

func TestACiphertextMovedToAnotherRowDoesNotVerify(t *testing.T) {
	t.Parallel()
	keys := made(t)(keyset.New())
	_, err := keys.Decrypt(encrypt(t, keys), otherRow)
	require.ErrorIs(t, err, keyset.ErrDecrypt)
	_, err = keys.Decrypt(encrypt(t, keys), nil)
	require.ErrorIs(t, err, keyset.ErrDecrypt)
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	t.Parallel()
	keys := made(t)(keyset.New())
	ciphertext := encrypt(t, keys)
	for at := range ciphertext {
		changed := bytes.Clone(ciphertext)
		changed[at] ^= 1
		_, err := keys.Decrypt(changed, row)
		if at >= 1 && at <= 4 { // the key's id
			require.ErrorIs(t, err, keyset.ErrUnknownKey, "byte %d", at)
			continue
		}
		require.ErrorIs(t, err, keyset.ErrDecrypt, "byte %d", at)
	}
	for length := range ciphertext {
		_, err := keys.Decrypt(ciphertext[:length], row)
		require.ErrorIs(t, err, keyset.ErrDecrypt, "%d bytes", length)
	}
}

func TestARotatedKeysetDecryptsTheOldAndEncryptsWithTheNew(t *testing.T) {
	t.Parallel()
	first := made(t)(keyset.New())
	old := encrypt(t, first)

	added := made(t)(first.Add())
	require.Equal(t, first.PrimaryID(), added.PrimaryID(), "a key that not every process has must not encrypt")
	require.Len(t, added.KeyIDs(), 2)
	require.Equal(t, first.PrimaryID(), added.KeyIDs()[0])
	require.Equal(t, added.NewestID(), added.KeyIDs()[1])
	requireDecrypts(t, first, encrypt(t, added))

	promoted := made(t)(added.Promote())
	require.Equal(t, added.NewestID(), promoted.PrimaryID())
	requireDecrypts(t, promoted, old)
	requireDecrypts(t, added, encrypt(t, promoted))
	_, err := first.Decrypt(encrypt(t, promoted), row)
	require.ErrorIs(t, err, keyset.ErrUnknownKey)
	require.Same(t, promoted, made(t)(promoted.Promote()))

	last := made(t)(promoted.Remove(first.PrimaryID()))
	require.Equal(t, []uint32{promoted.PrimaryID()}, last.KeyIDs())
	_, err = last.Decrypt(old, row)
	require.ErrorIs(t, err, keyset.ErrUnknownKey)
}

func TestOnlyOldKeysAreRemoved(t *testing.T) {
	t.Parallel()
	keys := made(t)(keyset.New())
	_, err := keys.Remove(keys.PrimaryID())
	require.ErrorIs(t, err, keyset.ErrKeyset)
	require.ErrorContains(t, err, "primary")
	_, err = keys.Remove(keys.PrimaryID() + 1)
	require.ErrorContains(t, err, "has no key")
}

// tinkText is a keyset made by Tink itself.
func tinkText(t *testing.T, template *tinkpb.KeyTemplate, change func(*tinkpb.Keyset)) string {
	t.Helper()
	handle, err := tink.NewHandle(template)
	require.NoError(t, err)
	material := insecurecleartextkeyset.KeysetMaterial(handle)
	change(material)
	var text bytes.Buffer
	require.NoError(t, tink.NewJSONWriter(&text).Write(material))
	return text.String()
}

func TestATextThatIsNoUsableKeysetIsRefused(t *testing.T) {
	t.Parallel()
	as := func(*tinkpb.Keyset) {}
	withoutPrefix := aead.AES256GCMNoPrefixKeyTemplate()
	second := aead.AES256GCMKeyTemplate()
	for name, text := range map[string]string{
		"empty":              "",
		"words":              "correct horse battery staple",
		"base64 of words":    base64.StdEncoding.EncodeToString([]byte("correct horse")),
		"other JSON":         `{"correct": "horse"}`,
		"no keys":            `{"primaryKeyId": 1, "key": []}`,
		"nothing":            `{}`,
		"cut short":          tinkText(t, second, as)[:60],
		"AES-128":            tinkText(t, aead.AES128GCMKeyTemplate(), as),
		"another cipher":     tinkText(t, aead.XChaCha20Poly1305KeyTemplate(), as),
		"a MAC":              tinkText(t, mac.HMACSHA256Tag128KeyTemplate(), as),
		"without prefix":     tinkText(t, withoutPrefix, as),
		"disabled primary":   tinkText(t, second, func(k *tinkpb.Keyset) { k.Key[0].Status = tinkpb.KeyStatusType_DISABLED }),
		"absent primary":     tinkText(t, second, func(k *tinkpb.Keyset) { k.PrimaryKeyId++ }),
		"one id twice":       tinkText(t, second, func(k *tinkpb.Keyset) { k.Key = append(k.Key, k.GetKey()...) }),
		"a key cut short":    tinkText(t, second, func(k *tinkpb.Keyset) { k.Key[0].KeyData.Value = k.GetKey()[0].GetKeyData().GetValue()[:9] }),
		"a key without data": tinkText(t, second, func(k *tinkpb.Keyset) { k.Key[0].KeyData = nil }),
	} {
		_, err := keyset.Parse(text)
		require.ErrorIs(t, err, keyset.ErrKeyset, name)
		for _, received := range []string{"correct", "horse", "battery", "GiC", "GiA"} {
			require.NotContains(t, err.Error(), received, name)
		}
		require.Regexp(t, "milepost keys new|copy", err.Error(), name)
	}
}

func TestADisabledKeyDoesNotDecryptAndIsNotTheNewest(t *testing.T) {
	t.Parallel()
	keys := made(t)(made(t)(keyset.New()).Add())
	promoted := made(t)(keys.Promote())
	ciphertext := encrypt(t, promoted)
	disabled := made(t)(keyset.Parse(strings.Replace(keys.Text(),
		fmt.Sprintf(`"status":"ENABLED","keyId":%d`, keys.NewestID()),
		fmt.Sprintf(`"status":"DISABLED","keyId":%d`, keys.NewestID()), 1)))
	require.Equal(t, []uint32{keys.PrimaryID()}, disabled.KeyIDs())
	_, err := disabled.Decrypt(ciphertext, row)
	require.ErrorIs(t, err, keyset.ErrUnknownKey)
	require.Same(t, disabled, made(t)(disabled.Promote()))
}

func TestNothingPrintsTheMaterial(t *testing.T) {
	t.Parallel()
	keys := made(t)(keyset.New())
	_, rest, _ := strings.Cut(keys.Text(), `"value":"`)
	material := rest[:20]
	source, err := keyset.Open(keyset.SourceConfig{Text: keys.Text()})
	require.NoError(t, err)
	config := keyset.SourceConfig{Text: keys.Text()}
	type holder struct {
		Keys   keyset.Keyset
		hidden keyset.Keyset
		Source *keyset.Source
	}
	type hidden struct {
		keys   *keyset.Keyset
		source *keyset.Source
	}
	raw, err := base64.StdEncoding.DecodeString(material)
	require.NoError(t, err)
	requireMasked := func(printed, how string) {
		t.Helper()
		lower := strings.ToLower(printed)
		for _, secret := range []string{material, string(raw[6:12]), fmt.Sprintf("%x", raw[6:12]), fmt.Sprintf("%x", material[:8]), strings.Trim(fmt.Sprintf("%d", raw[6:12]), "[]")} {
			if strings.Contains(lower, strings.ToLower(secret)) {
				t.Fatal("the material was printed by", how) // without printing it again
			}
		}
	}
	for _, value := range []any{keys, *keys, source, config, &config, []any{keys, config}, holder{*keys, *keys, source}, &holder{Keys: *keys}, hidden{keys, source}, &hidden{keys, source}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T", "%U", "%c", "% x", "%08b"} {
			requireMasked(fmt.Sprintf(verb, value), fmt.Sprintf("%s of %T", verb, value))
		}
		text, err := json.Marshal(value)
		require.NoError(t, err)
		requireMasked(string(text), "JSON")
		markup, err := xml.Marshal(value)
		require.NoError(t, err)
		requireMasked(string(markup), "XML")
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("event", slog.Any("value", value))
		slog.New(slog.NewTextHandler(&log, nil)).Info("event", slog.Any("value", value))
		requireMasked(log.String(), "slog")
	}
	requireMasked(fmt.Sprintf("%p %p %p", keys, *keys, source), "%p") // which asks no Formatter
	for _, value := range []any{keys, source, config} {
		require.Equal(t, "keyset(masked)", fmt.Sprint(value))
	}
}
