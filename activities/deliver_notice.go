package activities

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/milepost/milepost/workflows/contract"
)

// NoticeTarget says where the application takes notices.
type NoticeTarget struct {
	// URL is posted to; "" while the application takes none.
	URL string
	// Signer signs as Standard Webhooks asks; NewNoticeSigner makes one.
	Signer *standardwebhooks.Webhook
	HTTP   *http.Client
}

// errNoticeNotTaken says what the application answered, never what its answer held.
var errNoticeNotTaken = errors.New("the application did not take the notice")

// NewNoticeSigner reads a secret in the form of Standard Webhooks ("whsec_" and base64).
func NewNoticeSigner(secret string) (*standardwebhooks.Webhook, error) {
	signer, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return nil, errors.New(`MILEPOST_NOTICE_SECRET must be "whsec_" and base64, as "whsec_$(openssl rand -base64 24)" makes it`)
	}
	return signer, nil
}

// DeliverNotice posts one notice to the application, signed, and notes that it was taken.
//
// Idempotent as far as it can be: the application sees the same webhook-id each time
// and ought to ignore one that it has seen. Tried again for days whatever the answer,
// unless it is a 2xx.
func (a *Activities) DeliverNotice(ctx context.Context, input contract.DeliverNoticeInput) (struct{}, error) {
	notice, err := a.deps.Store.Notice(ctx, input.NoticeID)
	if err != nil {
		return struct{}{}, classify(err)
	}
	if notice.Delivered {
		return struct{}{}, nil
	}
	if err := a.post(ctx, notice.ID, []byte(notice.Body)); err != nil {
		return struct{}{}, classify(err)
	}
	if err := a.deps.Store.NoticeDelivered(ctx, notice.ID); err != nil {
		return struct{}{}, classify(err)
	}
	a.observeNotice(ctx, true)
	return struct{}{}, nil
}

// post signs with the time of this attempt. Source: Standard Webhooks.
func (a *Activities) post(ctx context.Context, id string, body []byte) error {
	target := a.deps.Notices
	if target.URL == "" || target.Signer == nil {
		return fmt.Errorf("%w: MILEPOST_NOTICE_URL is not set", errNoticeNotTaken)
	}
	now := a.deps.Clock()
	signature, err := target.Signer.Sign(id, now, body)
	if err != nil {
		return fmt.Errorf("%w: it cannot be signed", errNoticeNotTaken)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: MILEPOST_NOTICE_URL cannot be used", errNoticeNotTaken)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(standardwebhooks.HeaderWebhookID, id)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	client := *cmp.Or(target.HTTP, http.DefaultClient)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // nobody elsewhere took it
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: no answer", errNoticeNotTaken) // the error itself quotes the URL
	}
	closeErr := response.Body.Close()
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%w: it answered %d", errNoticeNotTaken, response.StatusCode)
	}
	if closeErr != nil {
		return fmt.Errorf("%w: its answer could not be read", errNoticeNotTaken)
	}
	return nil
}

// GiveNoticeUp closes a notice that was not taken for days.
//
// Idempotent: one that was taken after all stays so. Tried again while the database is away.
func (a *Activities) GiveNoticeUp(ctx context.Context, input contract.DeliverNoticeInput) (struct{}, error) {
	if err := a.deps.Store.NoticeGivenUp(ctx, input.NoticeID); err != nil {
		return struct{}{}, classify(err)
	}
	a.observeNotice(ctx, false)
	return struct{}{}, nil
}
