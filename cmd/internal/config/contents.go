package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/keyset"
)

// checkContents finds what is wrong inside the values that are set: each is read here as the
// process will read it, so that its faults are reported together with all others.
func (s Serve) checkContents(environment map[string]string) error {
	var faults []error
	if s.URL != "" {
		faults = append(faults, db.CheckURL(s.URL.Reveal()))
	}
	if (s.Text == "") != (s.File == "") {
		_, err := keyset.Open(keyset.SourceConfig{Text: s.Text.Reveal(), File: s.File})
		faults = append(faults, err)
	}
	if _, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{EnvLookup: lookup(environment)}); err != nil {
		faults = append(faults, fmt.Errorf("read TEMPORAL_* settings: %w", err))
	}
	return errors.Join(append(faults, s.Smartcar.checkContents())...)
}

func (s Smartcar) checkContents() error {
	var faults []error
	if s.ClientID != "" && s.ClientSecret != "" && s.RedirectURI != "" {
		faults = append(faults, s.checkCalls())
	}
	if s.NoticeSecret != "" {
		_, err := activities.NewNoticeSigner(s.NoticeSecret.Reveal())
		faults = append(faults, err)
	}
	if s.NoticeURL != "" && !isWebURL(s.NoticeURL) {
		faults = append(faults, errors.New("MILEPOST_NOTICE_URL must be an absolute http or https URL"))
	}
	if s.ReturnURL != "" && !isWebURL(s.ReturnURL) {
		faults = append(faults, errors.New("MILEPOST_RETURN_URL must be an absolute http or https URL"))
	}
	return errors.Join(faults...)
}

// checkCalls says once what more than one of the clients finds.
func (s Smartcar) checkCalls() error {
	_, connect := smartcar.NewConnect(s.ConnectConfig())
	_, oauth := smartcar.NewOAuth(s.OAuthConfig())
	_, application := smartcar.NewApplicationTokens(s.ApplicationTokensConfig())
	all := errors.Join(connect, oauth, application)
	if all == nil {
		return nil
	}
	faults := slices.Sorted(strings.SplitSeq(all.Error(), "\n"))
	return errors.New("prepare the calls to Smartcar (see SMARTCAR_*):\n" + strings.Join(slices.Compact(faults), "\n"))
}

func isWebURL(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") && parsed.Host != ""
}

// lookup lets Temporal's own settings be read from the same variables as all others.
type lookup map[string]string

// Environ implements envconfig.EnvLookup.
func (l lookup) Environ() []string {
	var variables []string
	for _, name := range slices.Sorted(maps.Keys(l)) {
		variables = append(variables, name+"="+l[name])
	}
	return variables
}

// LookupEnv implements envconfig.EnvLookup.
func (l lookup) LookupEnv(name string) (string, bool) {
	value, found := l[name]
	return value, found
}
