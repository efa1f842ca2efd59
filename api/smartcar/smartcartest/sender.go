package smartcartest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/milepost/milepost/api/smartcar"
)

const (
	userAgent       = "Smartcar/1.0"
	deliveryTimeout = 15 * time.Second
	maxAnswer       = 64 << 10
	idlePerHost     = 256
)

// ErrOptions means that dependencies or options make no sense.
var ErrOptions = errors.New("invalid options")

// SenderDeps are what a Sender needs.
type SenderDeps struct {
	// URL is the receiver's, Token the application management token that signs.
	URL, Token string
	// TimeScale multiplies the waiting times between attempts; 0 is 1, that is as
	// slow as Smartcar. The time-out of an attempt is not scaled.
	TimeScale float64
	// Timeout of an attempt; 0 is Smartcar's 15 s.
	Timeout time.Duration
	// Unsigned leaves the signature out; then Token is needed for Verify only.
	Unsigned bool
	// KeepDelivery sends every attempt byte for byte as given, as a replay would,
	// instead of stamping it anew.
	KeepDelivery bool
	// Duplicates is how often an acknowledged event is delivered once more.
	Duplicates int
	// Client posts; nil is one of the Sender's own.
	Client *http.Client
	// Clock and NewID stamp attempts; nil is the real clock and random UUIDs.
	Clock func() time.Time
	NewID func() string
	// Sleep, optional, waits between attempts; then times are told by Clock, see ManualClock.
	Sleep func(ctx context.Context, wait time.Duration) error
	// OnAttempt, optional, is told of each attempt when it is over.
	OnAttempt func(Attempt)
	// SignVerify signs VERIFY too, as the documents say. VerifyBody, optional, makes its body instead of BuildVerify.
	SignVerify bool
	VerifyBody func(challenge string) []byte
}

func (d SenderDeps) validate() error {
	var faults []error
	if address, err := url.Parse(d.URL); err != nil || address.Host == "" {
		faults = append(faults, fmt.Errorf("%w: the receiver's URL is missing or malformed", ErrOptions))
	}
	if d.Token == "" && !d.Unsigned {
		faults = append(faults, smartcar.ErrNoManagementToken)
	}
	if d.TimeScale < 0 || d.Timeout < 0 || d.Duplicates < 0 {
		faults = append(faults, fmt.Errorf("%w: time scale, time-out and duplicates must not be negative", ErrOptions))
	}

	return errors.Join(faults...)
}

// Sender posts webhooks as Smartcar does. It may be used by several goroutines.
// Source: Smartcar, "delivery behaviour".
type Sender struct {
	deps    SenderDeps
	keyring smartcar.Keyring
	client  *http.Client
	// now is by what the attempts are timed.
	now func() time.Time
}

// NewSender checks the dependencies and fills in the defaults.
func NewSender(deps SenderDeps) (*Sender, error) {
	if err := deps.validate(); err != nil {
		return nil, err
	}
	if deps.TimeScale == 0 {
		deps.TimeScale = 1
	}
	if deps.Timeout == 0 {
		deps.Timeout = deliveryTimeout
	}
	if deps.Clock == nil {
		deps.Clock = time.Now
	}
	if deps.NewID == nil {
		deps.NewID = uuid.NewString
	}
	if deps.OnAttempt == nil {
		deps.OnAttempt = func(Attempt) {}
	}
	if deps.VerifyBody == nil {
		deps.VerifyBody = func(challenge string) []byte {
			return BuildVerify(deps.NewID(), deps.NewID(), challenge, deps.Clock())
		}
	}

	sender := &Sender{deps: deps, client: newClient(deps), now: deps.Clock}
	if deps.Sleep == nil {
		sender.deps.Sleep, sender.now = pause, time.Now
	}
	if deps.Token != "" {
		keyring, err := smartcar.NewKeyring(deps.Token)
		if err != nil {
			return nil, fmt.Errorf("take the management token: %w", err)
		}
		sender.keyring = keyring
	}

	return sender, nil
}

// Post sends the body once, as it is, and returns the status of the answer. An
// error means that no answer came; a redirect is an answer.
func (s *Sender) Post(ctx context.Context, body []byte) (int, error) {
	answer, err := s.exchange(ctx, body, !s.deps.Unsigned)

	return answer.status, err
}

type answer struct {
	status      int
	contentType string
	body        []byte
}

func (s *Sender) exchange(ctx context.Context, body []byte, signed bool) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, s.deps.Timeout)
	defer cancel()

	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.deps.URL, bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", userAgent)
	if signed {
		request.Header.Set(smartcar.SignatureHeader, s.keyring.Sign(body))
	}

	response, err := s.client.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("post: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // What matters has been read by then.

	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", err)
	}

	return answer{status: response.StatusCode, contentType: response.Header.Get("Content-Type"), body: text}, nil
}

// newClient does not follow redirects: to Smartcar a 3xx is a failure.
func newClient(deps SenderDeps) *http.Client {
	client := &http.Client{}
	if deps.Client != nil {
		*client = *deps.Client
	} else if transport, ok := http.DefaultTransport.(*http.Transport); ok {
		own := transport.Clone()
		own.MaxIdleConns, own.MaxIdleConnsPerHost = idlePerHost, idlePerHost
		client.Transport = own
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	return client
}
