package wiring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/keyset"
)

const (
	// keysetCheckPause is how often the keyset check is tried again while the database is away.
	keysetCheckPause = time.Second
	// recoveryInterval lets several tries fall into the minute for which Smartcar takes a used refresh token,
	// and is longer than a process waits before it stores a pair again. Source: Smartcar, "Lifetimes and rotation".
	recoveryInterval = 10 * time.Second
)

// Smartcar is everything that calls Smartcar, or keeps what such calls need.
type Smartcar struct {
	Connect           smartcar.Connect
	OAuth             *smartcar.OAuth
	ApplicationTokens *smartcar.ApplicationTokens
	V2                *smartcar.V2Client
	V3                *smartcar.V3Client
}

// NewSmartcar prepares the calls; nil when Connect is not configured. The logger hears of hosts that are not asked for a while.
func NewSmartcar(settings config.Smartcar, logger *slog.Logger) (*Smartcar, error) {
	if !settings.Configured() {
		return nil, nil //nolint:nilnil // not configured is no fault
	}
	hosts := settings.Hosts()
	result := &Smartcar{}
	var errs [5]error
	// Without a time-out of its own, so that each call has the one that suits it.
	outbound := &http.Client{Transport: smartcar.NewBreaker(nil, smartcar.BreakerSettings{
		OnChange: func(host, from, to string) {
			logger.Warn("breaker.changed", slog.String("breaker", host), slog.String("from", from), slog.String("to", to))
		},
	})}
	result.Connect, errs[0] = smartcar.NewConnect(settings.ConnectConfig())
	// Not through the breaker: a refresh whose outcome is unknown is repeated at once, while Smartcar takes the old token.
	result.OAuth, errs[1] = smartcar.NewOAuth(settings.OAuthConfig())
	applicationTokens := settings.ApplicationTokensConfig()
	applicationTokens.HTTP = outbound
	result.ApplicationTokens, errs[2] = smartcar.NewApplicationTokens(applicationTokens)
	result.V2, errs[3] = smartcar.NewV2Client(smartcar.ClientConfig{Hosts: hosts, HTTP: outbound})
	result.V3, errs[4] = smartcar.NewV3Client(smartcar.ClientConfig{Hosts: hosts, HTTP: outbound})
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("prepare the calls to Smartcar (see SMARTCAR_*):\n%w", err)
	}
	return result, nil
}

// AddTo gives the activities what they call Smartcar with; a nil Smartcar adds nothing.
func (s *Smartcar) AddTo(deps *activities.Deps) {
	if s == nil {
		return
	}
	deps.OAuth = s.OAuth
	deps.ApplicationTokens = s.ApplicationTokens
	deps.Platforms = map[string]activities.Platform{db.APIv2: s.V2, db.APIv3: s.V3}
}

// OpenKeyset reads the keyset and, when it is a file, follows it.
func OpenKeyset(settings config.Keyset, logger *slog.Logger) (*keyset.Source, error) {
	source, err := keyset.Open(keyset.SourceConfig{Text: settings.Text.Reveal(), File: settings.File, Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("open the keyset: %w", err)
	}
	return source, nil
}

// verifyKeysetAtStart refuses to start with a keyset that does not open what is
// stored. While the database is away that cannot be said: keepTokens looks again.
func (p *process) verifyKeysetAtStart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := p.vault.Verify(ctx); errors.Is(err, db.ErrUndecryptable) {
		return err
	}
	return nil
}

// keepTokens does what must not wait for Temporal: it makes sure of the keyset, and in
// every worker finishes, again and again, refreshes whose answer was lost. It ends the
// process when the keyset is wrong.
func (p *process) keepTokens(ctx context.Context) error {
	for again := false; ; again = true {
		wasAway, err := p.verifyKeyset(ctx)
		if err != nil || ctx.Err() != nil || !p.options.Roles.Has(RoleWorker) {
			return err
		}
		// After an outage, processes that hold new pairs in memory store them first.
		if (again || wasAway) && !pause(ctx, recoveryInterval) {
			return nil
		}
		for p.activities.RecoverRefreshes(ctx) == nil {
			if !pause(ctx, recoveryInterval) {
				return nil
			}
		}
	}
}

// verifyKeyset waits until the database has said that the keyset is the right one, and says whether it was away before.
func (p *process) verifyKeyset(ctx context.Context) (wasAway bool, err error) {
	for {
		err := p.vault.Verify(ctx)
		if err == nil || errors.Is(err, db.ErrUndecryptable) {
			return wasAway, err
		}
		wasAway = true
		if !pause(ctx, keysetCheckPause) {
			return wasAway, nil
		}
	}
}

// pause is false when ctx has ended.
func pause(ctx context.Context, duration time.Duration) bool {
	select {
	case <-time.After(duration):
		return true
	case <-ctx.Done():
		return false
	}
}

// awaitPairs ends when every pair that Smartcar has given is stored. It has no limit: how
// long a process may take to end is for whoever told it to.
func (p *process) awaitPairs() {
	if held := p.vault.Held(); held > 0 {
		p.logger.Warn("tokens.waiting_to_be_stored", slog.Int("count", held))
	}
	p.vault.AwaitStored()
}

// addConnect gives the public handler its connect pages, when Connect is configured.
func (p *process) addConnect(deps *api.Deps) {
	if p.smartcar == nil {
		return
	}
	settings := p.options.Config.Smartcar
	deps.Consents = &consents{vault: p.vault, store: p.tokens, api: settings.API}
	deps.Connect = p.smartcar.Connect
	for _, secret := range settings.ConnectSecrets {
		deps.ConnectSecrets = append(deps.ConnectSecrets, strings.TrimSpace(secret.Reveal()))
	}
	deps.ReturnURL = settings.ReturnURL
	deps.SecureCookies = strings.HasPrefix(settings.RedirectURI, "https://")
}

// newActivities puts the activities together.
func (p *process) newActivities() (*activities.Activities, error) {
	settings := p.options.Config
	deps := activities.Deps{
		Store: p.store, Logger: p.logger, Observer: p.events, PollObserver: p.events, OperatorObserver: p.events,
		Vault: p.vault, Workflows: p.temporal,
		WebhookID: settings.WebhookID, Refreshing: activities.Refreshing(settings.TokenRefresh),
		Mode: smartcar.Mode(strings.ToUpper(settings.Mode)), ShortestOutage: settings.ShortestOutage, PollLimits: smartcar.BudgetLimits{
			Burst: settings.PollBurst, RefillInterval: settings.PollRefill,
			VehicleInterval: settings.PollVehicleInterval, VehicleCalls: settings.PollVehicleCalls,
		},
	}
	if len(settings.ManagementTokens) > 0 {
		deps.ManagementToken = smartcar.Token(strings.TrimSpace(settings.ManagementTokens[0].Reveal()))
	}
	p.smartcar.AddTo(&deps)
	if settings.NoticeURL != "" {
		signer, err := activities.NewNoticeSigner(settings.NoticeSecret.Reveal())
		if err != nil {
			return nil, err
		}
		deps.Notices = activities.NoticeTarget{URL: settings.NoticeURL, Signer: signer}
	}
	return activities.New(deps)
}
