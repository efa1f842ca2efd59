package workflows

import (
	"cmp"
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/milepost/milepost/workflows/contract"
)

// recheckReauthentication bounds the wait for an owner's signal: the database is
// looked at again, in case it was never sent.
const recheckReauthentication = 24 * time.Hour

// The pauses after refreshes in vain: each one in a row doubles them.
const (
	firstRefreshPause   = 5 * time.Second
	longestRefreshPause = 5 * time.Minute
	mostDoublings       = 6
)

// refreshTimedOut is shown of a refresh whose worker fell silent.
const refreshTimedOut = "timed_out"

// TokenRefresh keeps the tokens of one vehicle fresh for as long as it is connected.
// The database says how things stand; a signal only tells that there is something
// new in it. It completes when there are no tokens to keep any more.
func TokenRefresh(ctx workflow.Context, input contract.TokenRefreshInput) (contract.TokenRefreshResult, error) {
	state := &tokenRefresh{}
	if err := state.setup(ctx, input); err != nil {
		return contract.TokenRefreshResult{}, err
	}
	return state.run(ctx)
}

type tokenRefresh struct {
	input   contract.TokenRefreshInput
	signals map[string]workflow.ReceiveChannel
	// refreshNow is set until a refresh has answered it; reload when the database holds something new.
	refreshNow, reload bool
	tokens             contract.TokenStatus
	trouble            refreshTrouble
	status             contract.TokenRefreshStatus
}

// refreshTrouble is set while the last refresh was in vain.
type refreshTrouble struct {
	times int
	again time.Time // when it is tried again
	asked bool      // somebody has asked for it with refresh-now
	kind  string
}

func (t *tokenRefresh) setup(ctx workflow.Context, input contract.TokenRefreshInput) error {
	if input.ContinueAfter == 0 {
		input.ContinueAfter = contract.DefaultContinueAfter
	}
	t.input = input
	t.refreshNow = input.RefreshNow
	t.reload = true
	t.status = contract.TokenRefreshStatus{State: contract.PhaseLoading, Refreshes: input.Refreshes}
	t.signals = map[string]workflow.ReceiveChannel{}
	for _, name := range signalNames() {
		t.signals[name] = workflow.GetSignalChannel(ctx, name)
	}
	return workflow.SetQueryHandler(ctx, contract.QueryTokenRefreshStatus, func() (contract.TokenRefreshStatus, error) {
		return t.status, nil
	})
}

// signalNames has an order, so that replay meets the channels in the same one.
func signalNames() []string {
	return []string{contract.SignalReconnected, contract.SignalRefreshNow, contract.SignalDisconnect}
}

func (t *tokenRefresh) run(ctx workflow.Context) (contract.TokenRefreshResult, error) {
	for {
		t.drain()
		if workflow.GetInfo(ctx).GetCurrentHistoryLength() >= t.input.ContinueAfter {
			return contract.TokenRefreshResult{}, t.continueAsNew(ctx)
		}
		if err := t.step(ctx); err != nil {
			return contract.TokenRefreshResult{}, err
		}
		if t.tokens.State == contract.ConnectionEnded && !t.isToldMore(ctx) {
			t.show(ctx, contract.PhaseEnded)
			return contract.TokenRefreshResult{State: t.tokens.State, Refreshes: t.status.Refreshes}, nil
		}
	}
}

// isToldMore looks for signals that arrived during the last step: the vehicle may have been connected again.
func (t *tokenRefresh) isToldMore(ctx workflow.Context) bool {
	t.drain()
	return t.reload && isChanged(ctx, changeDrainBeforeEnd)
}

// step does the one thing that is to be done next.
func (t *tokenRefresh) step(ctx workflow.Context) error {
	if t.reload {
		return t.load(ctx)
	}
	switch t.tokens.State {
	case contract.ConnectionDisconnecting:
		return t.disconnect(ctx)
	case contract.ConnectionReauthRequired:
		if t.refreshNow || t.trouble.asked {
			return t.refreshAt(ctx, t.trouble.again, contract.PhaseRefreshing)
		}
		t.show(ctx, contract.PhaseReauthRequired)
		return t.wait(ctx, recheckReauthentication)
	case contract.ConnectionActive:
		if t.trouble.times > 0 {
			return t.refreshAt(ctx, t.trouble.again, contract.PhaseRefreshing)
		}
		return t.refreshAt(ctx, t.tokens.RefreshAt, contract.PhaseSleeping)
	case contract.ConnectionEnded:
		return nil
	default:
		return nil
	}
}

func (t *tokenRefresh) load(ctx workflow.Context) error {
	loaded, err := execute[contract.LoadTokenStatusInput, contract.TokenStatus](
		ctx, contract.LoadTokenStatusActivity, contract.LoadTokenStatusInput{SmartcarVehicleID: t.input.SmartcarVehicleID})
	if err != nil {
		return err
	}
	t.reload = false
	if loaded.State != t.tokens.State || loaded.TokenID != t.tokens.TokenID || loaded.Generation != t.tokens.Generation {
		t.trouble = refreshTrouble{} // somebody else was not in vain
	}
	t.tokens = loaded
	return nil
}

// refreshAt refreshes when it is time, or as soon as it is asked to, and until then is in the given phase.
func (t *tokenRefresh) refreshAt(ctx workflow.Context, at time.Time, phase contract.TokenRefreshPhase) error {
	due := at.Sub(workflow.Now(ctx))
	if t.refreshNow || due <= 0 {
		return t.refresh(ctx)
	}
	t.show(ctx, phase)
	return t.wait(ctx, due)
}

// refresh takes a few tries. A run from before that waits for as long as it takes: its trouble shows as a pending activity.
func (t *tokenRefresh) refresh(ctx workflow.Context) error {
	t.show(ctx, contract.PhaseRefreshing)
	asked := t.refreshNow || t.trouble.asked
	t.refreshNow = false
	policy, listens := smartcarCall(), isChanged(ctx, changeListenBetweenTries)
	if listens {
		policy = fewTries()
	}
	refreshed, err := callUnder[contract.RefreshTokensInput, contract.TokenStatus](
		ctx, policy, contract.RefreshTokensActivity, contract.RefreshTokensInput{
			SmartcarVehicleID: t.input.SmartcarVehicleID, TokenID: t.tokens.TokenID, Generation: t.tokens.Generation,
			EvenIfInvalid: asked && t.tokens.State == contract.ConnectionReauthRequired,
		})
	switch {
	case err != nil && listens && !isFinal(err):
		t.inVain(ctx, err, asked)
		return nil
	case err != nil:
		return err
	case refreshed.Generation > t.tokens.Generation:
		t.status.Refreshes++
	}
	t.tokens, t.trouble = refreshed, refreshTrouble{}
	return nil
}

// inVain plans the next tries; meanwhile signals are heard. What stands in the way is in the database, mostly.
func (t *tokenRefresh) inVain(ctx workflow.Context, err error, asked bool) {
	kind, pause := refreshTimedOut, min(firstRefreshPause<<min(t.trouble.times, mostDoublings), longestRefreshPause)
	if application, found := errors.AsType[*temporal.ApplicationError](err); found {
		kind, pause = application.Type(), max(pause, application.NextRetryDelay())
	}
	t.trouble = refreshTrouble{times: t.trouble.times + 1, again: workflow.Now(ctx).Add(pause), asked: asked, kind: kind}
	t.reload = true
}

func (t *tokenRefresh) disconnect(ctx workflow.Context) error {
	t.show(ctx, contract.PhaseDisconnecting)
	_, err := callSmartcar[contract.EndConnectionInput, struct{}](
		ctx, contract.EndConnectionActivity, contract.EndConnectionInput{SmartcarVehicleID: t.input.SmartcarVehicleID})
	// Whether it ended, or was connected again meanwhile, is for the database to say.
	t.reload = true
	return err
}

// wait ends after the given time or with a signal. After it the database is read again.
func (t *tokenRefresh) wait(ctx workflow.Context, limit time.Duration) error {
	timerContext, cancel := workflow.WithCancel(ctx)
	defer cancel()
	timer := workflow.NewTimer(timerContext, limit)
	selector := workflow.NewSelector(ctx)
	var failed error
	selector.AddFuture(timer, func(future workflow.Future) { failed = future.Get(ctx, nil) })
	for _, name := range signalNames() {
		selector.AddReceive(t.signals[name], func(channel workflow.ReceiveChannel, _ bool) {
			channel.Receive(ctx, nil)
			t.noted(name)
		})
	}
	selector.Select(ctx)
	t.reload = t.reload || t.tokens.State == contract.ConnectionReauthRequired
	return failed
}

// drain takes what has arrived without waiting.
func (t *tokenRefresh) drain() {
	for _, name := range signalNames() {
		for t.signals[name].ReceiveAsync(nil) {
			t.noted(name)
		}
	}
}

func (t *tokenRefresh) noted(signal string) {
	t.reload = true
	t.refreshNow = t.refreshNow || signal == contract.SignalRefreshNow
}

// continueAsNew begins a new history. What the signals said is in the database,
// which the next run reads first, and in the input.
func (t *tokenRefresh) continueAsNew(ctx workflow.Context) error {
	next := t.input
	next.RefreshNow = t.refreshNow || t.trouble.asked
	next.Refreshes = t.status.Refreshes
	return workflow.NewContinueAsNewError(ctx, contract.TokenRefreshWorkflow, next)
}

// show lets operators see how things stand, by query and in the Temporal UI.
func (t *tokenRefresh) show(ctx workflow.Context, phase contract.TokenRefreshPhase) {
	t.status.State = phase
	t.status.NextRefreshAt = t.tokens.RefreshAt
	t.status.LastRefreshAt = t.tokens.IssuedAt
	t.status.ExpiresAt = t.tokens.ExpiresAt
	t.status.LastError = cmp.Or(t.tokens.LastError, t.trouble.kind)
	if t.trouble.times > 0 {
		t.status.NextRefreshAt = t.trouble.again
	}
	details := "**" + string(phase) + "**"
	if phase == contract.PhaseSleeping || t.trouble.times > 0 {
		details += ", next refresh " + t.status.NextRefreshAt.UTC().Format(time.RFC3339)
	}
	if t.status.LastError != "" {
		details += ", last error: " + t.status.LastError
	}
	workflow.SetCurrentDetails(ctx, details)
}
