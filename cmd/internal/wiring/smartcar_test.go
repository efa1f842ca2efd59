package wiring_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/cmd/internal/wiring"
)

// TestAHostOfTokensThatIsDownIsLeftAloneUnlessItHoldsARefreshInTheBalance: that one is to be repeated at once.
func TestAHostOfTokensThatIsDownIsLeftAloneUnlessItHoldsARefreshInTheBalance(t *testing.T) {
	t.Parallel()
	const tries = 8
	for name, test := range map[string]struct {
		ask func(*wiring.Smartcar) error
		all bool
	}{
		"the application's token": {func(s *wiring.Smartcar) error {
			_, err := s.ApplicationTokens.Token(t.Context())
			return err
		}, false},
		"a refresh": {func(s *wiring.Smartcar) error {
			_, err := s.OAuth.Refresh(t.Context(), "token")
			return err
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				w.WriteHeader(http.StatusServiceUnavailable)
			}))
			t.Cleanup(server.Close)
			made, err := wiring.NewSmartcar(config.Smartcar{
				ClientID: "client", ClientSecret: "secret", RedirectURI: "https://milepost.example/api/smartcar/callback",
				Mode: "live", API: "v2", Scopes: "read_odometer", AuthURL: server.URL, IAMURL: server.URL,
			}, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			var last *smartcar.CallError
			for range tries {
				require.ErrorAs(t, test.ask(made), &last)
			}
			if test.all {
				require.EqualValues(t, tries, asked.Load())
				require.True(t, last.UnknownOutcome)
				return
			}
			require.Less(t, asked.Load(), int64(tries))
			require.False(t, last.UnknownOutcome)
			require.Positive(t, last.RetryAfter, "when it is asked again")
		})
	}
}
