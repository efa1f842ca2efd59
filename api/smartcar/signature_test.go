package smartcar_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
)

const managementToken = "9c7b0e52-4f1d-4a63-8b0e-2f9d6c1a5e47"

type signatureVector struct {
	Name            string `json:"name"`
	ManagementToken string `json:"management_token"`
	Challenge       string `json:"challenge"`
	Body            string `json:"body"`
	Signature       string `json:"signature"`
	ExpectedHex     string `json:"expected_hex"`
}

type signatureBundle struct {
	Challenges []signatureVector `json:"challenge_vectors"`
	Bodies     []signatureVector `json:"body_vectors"`
	Negatives  []signatureVector `json:"negative_vectors"`
}

func setup(t *testing.T) signatureBundle {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "signature-vectors.json"))
	require.NoError(t, err)
	var bundle signatureBundle
	require.NoError(t, json.Unmarshal(raw, &bundle))
	require.NotEmpty(t, bundle.Challenges)
	require.NotEmpty(t, bundle.Bodies)
	require.NotEmpty(t, bundle.Negatives)
	return bundle
}

func keyring(t *testing.T, tokens ...string) smartcar.Keyring {
	t.Helper()
	ring, err := smartcar.NewKeyring(tokens...)
	require.NoError(t, err)
	return ring
}

func TestKeyringAgreesWithTheVectors(t *testing.T) {
	t.Parallel()
	bundle := setup(t)
	for _, vector := range bundle.Challenges {
		t.Run("answers challenge "+vector.Name, func(t *testing.T) {
			t.Parallel()
			answer, err := keyring(t, vector.ManagementToken).AnswerChallenge(vector.Challenge)
			require.NoError(t, err)
			require.Equal(t, vector.ExpectedHex, answer)
		})
	}
	for _, vector := range bundle.Bodies {
		t.Run("signs and verifies body "+vector.Name, func(t *testing.T) {
			t.Parallel()
			ring := keyring(t, vector.ManagementToken)
			require.Equal(t, vector.ExpectedHex, ring.Sign([]byte(vector.Body)))
			require.NoError(t, ring.Verify(vector.ExpectedHex, []byte(vector.Body)))
			require.NoError(t, ring.Verify(strings.ToUpper(vector.ExpectedHex), []byte(vector.Body)))
			require.ErrorIs(t, ring.Verify(vector.ExpectedHex, []byte(vector.Body+" ")), smartcar.ErrSignatureMismatch)
		})
	}
	for _, vector := range bundle.Negatives {
		t.Run("refuses "+vector.Name, func(t *testing.T) {
			t.Parallel()
			require.Error(t, keyring(t, vector.ManagementToken).Verify(vector.Signature, []byte(vector.Body)))
		})
	}
}

func TestSignatureOfTheWrongFormIsMalformed(t *testing.T) {
	t.Parallel()
	ring := keyring(t, managementToken)
	good := ring.Sign([]byte("{}"))
	for _, signature := range []string{"", good[1:], good + "0", "sha256=" + good, strings.Repeat("g", 64), " " + good[1:]} {
		require.ErrorIs(t, ring.Verify(signature, []byte("{}")), smartcar.ErrSignatureMalformed)
	}
}

func TestEveryKeyVerifiesButOnlyTheFirstSigns(t *testing.T) {
	t.Parallel()
	body := []byte(`{"eventType":"VEHICLE_STATE"}`)
	ring := keyring(t, "current", "previous").WithSigningKeys("", "webhook-secret", " ")
	for _, key := range []string{"current", "previous", "webhook-secret"} {
		require.NoError(t, ring.Verify(keyring(t, key).Sign(body), body), key)
	}
	require.ErrorIs(t, ring.Verify(keyring(t, "stranger").Sign(body), body), smartcar.ErrSignatureMismatch)
	require.Equal(t, keyring(t, "current").Sign(body), ring.Sign(body))
}

func TestKeyringWithoutAUsableTokenIsRefused(t *testing.T) {
	t.Parallel()
	for _, tokens := range [][]string{nil, {""}, {"a-token", "  "}, {"\n"}} {
		_, err := smartcar.NewKeyring(tokens...)
		require.ErrorIs(t, err, smartcar.ErrNoManagementToken)
	}
	var zero smartcar.Keyring
	require.True(t, zero.WithSigningKeys("extra").IsZero())
	require.ErrorIs(t, zero.Verify(strings.Repeat("0", 64), nil), smartcar.ErrNoManagementToken)
	require.Empty(t, zero.Sign(nil))
	_, err := zero.AnswerChallenge("nsQsLU7wY9WKt2IU")
	require.ErrorIs(t, err, smartcar.ErrNoManagementToken)
}

func TestChallengeThatCouldBeABodyIsNotAnswered(t *testing.T) {
	t.Parallel()
	ring := keyring(t, managementToken)
	refused := []string{"", "abc", strings.Repeat("a", 129), `{"eventType":"VEHICLE_STATE"}`,
		"[1,2]", `"quoted"`, "a:bcd", "with space", "abcd\n", "é234"}
	for _, challenge := range refused {
		answer, err := ring.AnswerChallenge(challenge)
		require.ErrorIs(t, err, smartcar.ErrChallengeRefused, challenge)
		require.Empty(t, answer)
	}
	for _, challenge := range []string{"any-abcd", strings.Repeat("a", 128), "a_.-"} {
		_, err := ring.AnswerChallenge(challenge)
		require.NoError(t, err, challenge)
	}
}

func TestKeyringNeverPrintsItsKeys(t *testing.T) {
	t.Parallel()
	ring := keyring(t, "top-secret-token")
	type holder struct{ ring smartcar.Keyring }
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("keys", "ring", ring)
	encoded, err := json.Marshal(ring) //nolint:staticcheck // that nothing is exported is the point
	require.NoError(t, err)
	printed := []string{logged.String(), string(encoded)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed = append(printed, fmt.Sprintf(verb, ring), fmt.Sprintf(verb, holder{ring}), fmt.Sprintf(verb, &ring))
	}
	for _, text := range printed {
		require.NotContains(t, text, "top-secret-token")
		require.NotContains(t, text, fmt.Sprintf("%x", "top-secret-token"))
		require.NotContains(t, text, "116 111 112")
	}
}
