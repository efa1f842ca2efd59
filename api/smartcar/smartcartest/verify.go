package smartcartest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
)

// ErrVerifyFailed means that a receiver did not prove that it holds the token.
var ErrVerifyFailed = errors.New("the receiver failed VERIFY")

// Verify sends a VERIFY delivery, unsigned as Smartcar does unless SignVerify is
// set, and checks the answer: status 200, JSON, and the challenge hashed with the
// token. It tries once. Source: Smartcar, "VERIFY".
func (s *Sender) Verify(ctx context.Context) error {
	challenge := "challenge_" + rand.Text()
	expected, err := s.keyring.AnswerChallenge(challenge)
	if err != nil {
		return fmt.Errorf("hash the challenge: %w", err)
	}

	answer, err := s.exchange(ctx, s.deps.VerifyBody(challenge), s.deps.SignVerify)
	if err != nil {
		return err
	}
	if answer.status != http.StatusOK {
		return fmt.Errorf("%w: status %d", ErrVerifyFailed, answer.status)
	}
	if mediaType, _, err := mime.ParseMediaType(answer.contentType); err != nil || mediaType != "application/json" {
		return fmt.Errorf("%w: the answer is not JSON", ErrVerifyFailed)
	}
	var hashed struct {
		Challenge string `json:"challenge"`
	}
	if err := json.Unmarshal(answer.body, &hashed); err != nil || hashed.Challenge != expected {
		return fmt.Errorf("%w: invalid hash", ErrVerifyFailed)
	}

	return nil
}
