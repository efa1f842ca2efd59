package smartcartest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/api/smartcar/smartcartest"
)

type verifyAnswer struct {
	status            int
	contentType, text string
}

func rightAnswer(keyring smartcar.Keyring, challenge string) verifyAnswer {
	hash, err := keyring.AnswerChallenge(challenge)
	if err != nil {
		return verifyAnswer{status: http.StatusBadRequest}
	}

	return verifyAnswer{http.StatusOK, "application/json; charset=utf-8", `{"challenge":"` + hash + `"}`}
}

// answering is a receiver that takes an unsigned VERIFY and nothing else.
func answering(t *testing.T, answer func(challenge string) verifyAnswer) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, got *http.Request) {
		body, err := io.ReadAll(got.Body)
		challenge, isVerify := smartcar.ReadChallenge(body)
		if err != nil || !isVerify || got.Header.Get(smartcar.SignatureHeader) != "" || !json.Valid(body) {
			response.WriteHeader(http.StatusTeapot)

			return
		}
		given := answer(challenge)
		response.Header().Set("Content-Type", given.contentType)
		response.WriteHeader(given.status)
		_, _ = io.WriteString(response, given.text)
	}))
	t.Cleanup(server.Close)

	return server.URL
}

func TestVerify(t *testing.T) {
	t.Parallel()
	keyring, err := smartcar.NewKeyring(token)
	require.NoError(t, err)
	stranger, err := smartcar.NewKeyring("another token")
	require.NoError(t, err)

	cases := map[string]struct {
		answer func(challenge string) verifyAnswer
		fault  string
	}{
		"passes a receiver that holds the token": {
			func(challenge string) verifyAnswer { return rightAnswer(keyring, challenge) }, "",
		},
		"fails one that holds another": {
			func(challenge string) verifyAnswer { return rightAnswer(stranger, challenge) }, "invalid hash",
		},
		"fails one that demands a signature": {
			func(string) verifyAnswer { return verifyAnswer{http.StatusUnauthorized, "application/json", "{}"} }, "status 401",
		},
		"fails one that does not answer with JSON": {func(challenge string) verifyAnswer {
			answer := rightAnswer(keyring, challenge)
			answer.contentType = "text/plain"

			return answer
		}, "not JSON"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender, err := smartcartest.NewSender(smartcartest.SenderDeps{URL: answering(t, test.answer), Token: token})
			require.NoError(t, err)

			err = sender.Verify(t.Context())
			if test.fault == "" {
				require.NoError(t, err)

				return
			}
			require.ErrorIs(t, err, smartcartest.ErrVerifyFailed)
			require.ErrorContains(t, err, test.fault)
		})
	}
}
