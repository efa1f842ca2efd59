package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/time/rate"

	"github.com/milepost/milepost/api/smartcar"
)

const (
	callbackPath      = "/api/smartcar/callback"
	connectStatusPath = "/api/smartcar/connect/status"

	// How long an owner may take on Smartcar's pages. Source: Smartcar, "what a backend must do".
	consentLife    = 15 * time.Minute
	connectTimeout = 5 * time.Second
	// The part of a consent's id that is logged: enough to tell consents apart, too little to open a status page.
	loggedIDLength = 8

	defaultConnectRate  = rate.Limit(200)
	defaultConnectBurst = 400
)

// ConnectURLs makes the addresses of Smartcar's consent pages; smartcar.Connect is one.
type ConnectURLs interface {
	// AuthorizeURL gives the page on which an owner consents.
	AuthorizeURL(request smartcar.AuthorizeRequest) string
	// ReauthenticateURL gives the page on which an owner signs in again.
	ReauthenticateURL(request smartcar.ReauthenticateRequest) string
}

type connect struct {
	deps    *Deps
	metrics *metrics
	limit   *rate.Limiter
	pages   *connectPages
}

func newConnect(deps *Deps, counters *metrics) (*connect, error) {
	pages, err := newConnectPages(deps.ReturnURL)
	if err != nil {
		return nil, err
	}
	limit := rate.NewLimiter(deps.ConnectRate, deps.ConnectBurst)
	return &connect{deps: deps, metrics: counters, limit: limit, pages: pages}, nil
}

// routes are for GET alone: a HEAD of a link scanner must not use a state up.
func (h *connect) routes() []route {
	return []route{
		{http.MethodGet, connectPath, h.bounded(h.start)},
		{http.MethodGet, callbackPath, h.bounded(h.callback)},
		{http.MethodGet, connectStatusPath, h.bounded(h.status)},
	}
}

func connectNotConfigured() []route {
	explain := func(c *gin.Context) {
		respond(c, http.StatusNotFound, errorBody{"Connect is not configured here; set SMARTCAR_CLIENT_ID, SMARTCAR_CLIENT_SECRET, " +
			"SMARTCAR_REDIRECT_URI and MILEPOST_CONNECT_SECRET"})
	}
	return []route{
		{http.MethodGet, connectPath, explain},
		{http.MethodGet, callbackPath, explain},
		{http.MethodGet, connectStatusPath, explain},
	}
}

func (h *connect) bounded(handle gin.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		h.pages.setHeaders(c)
		if !h.limit.Allow() {
			h.refuse(c, refusedRate, nil)
			return
		}
		ctx, cancel := context.WithTimeout(c.Request.Context(), connectTimeout)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		handle(c)
	}
}

// start sends an owner who comes with a signed link to Smartcar: 302. It refuses a link that is not valid with 400 or
// 403, a vehicle that is not the owner's with 403, and answers 503 when the consent cannot be stored.
func (h *connect) start(c *gin.Context) {
	now := h.deps.Clock().UTC()
	link, err := verifyConnectLink(c.Request.URL.RawQuery, h.deps.ConnectSecrets, now)
	if err != nil {
		h.refuse(c, refusalOfLink(err), err)
		return
	}
	browser := browserOf(c)
	if browser == "" {
		browser = newRandom()
	}
	consent := NewConsent{
		ID: newRandom(), State: newRandom(), Browser: browser,
		User: link.User, Name: link.Name, VehicleID: link.VehicleID, ExpiresAt: now.Add(consentLife),
	}
	begun, err := h.deps.Consents.Begin(c.Request.Context(), consent)
	if err != nil {
		h.refuse(c, refusalOfStorage(c, err), err)
		return
	}
	h.setBrowser(c, browser)
	h.deps.Logger.LogAttrs(c.Request.Context(), slog.LevelInfo, "connect.started",
		loggedID(consent.ID), slog.Bool("reauthentication", link.VehicleID != ""))
	h.metrics.countConnect(c.Request.Context(), "started")
	if link.VehicleID != "" {
		c.Redirect(http.StatusFound, h.deps.Connect.ReauthenticateURL(smartcar.ReauthenticateRequest{
			State: consent.State, VehicleID: link.VehicleID, ExternalID: begun.ExternalID,
		}))
		return
	}
	c.Redirect(http.StatusFound, h.deps.Connect.AuthorizeURL(smartcar.AuthorizeRequest{
		State: consent.State, ExternalID: begun.ExternalID, Make: link.Make, Force: begun.MissesPermissions,
	}))
}

// callback takes what an owner's browser brings back from Smartcar, also a refusal, and sends the browser on to the
// status page (303), so that neither code nor state stays in the address bar. An answer that is not accepted gets
// 400, 403, 409 or 410; 503, when storage fails, leaves the state to be used again.
// Source: Smartcar, "callback".
func (h *connect) callback(c *gin.Context) {
	callback, err := smartcar.ParseCallback(c.Request.URL.RawQuery)
	if err != nil {
		h.refuse(c, refusedCallback, err)
		return
	}
	consentID, err := h.deps.Consents.Complete(c.Request.Context(), ConsentAnswer{
		State: callback.State, Browser: browserOf(c), Callback: callback, ReceivedAt: h.deps.Clock().UTC(),
	})
	if err != nil {
		h.refuse(c, refusalOfStorage(c, err), err)
		return
	}
	result := "consented"
	if callback.Error != nil {
		result = callback.Error.Code
	}
	h.deps.Logger.LogAttrs(c.Request.Context(), slog.LevelInfo, "connect.answered",
		loggedID(consentID), slog.String("reason", result))
	h.metrics.countConnect(c.Request.Context(), result)
	c.Redirect(http.StatusSeeOther, connectStatusPath+"?id="+url.QueryEscape(consentID))
}

// status shows how far a consent is, as a page that loads itself again while it is pending, or as JSON. An id that is
// not known gets 404.
func (h *connect) status(c *gin.Context) {
	consentID := c.Query("id")
	if !isRandom(consentID) {
		h.refuse(c, refusedConsent, ErrConsentUnknown)
		return
	}
	status, err := h.deps.Consents.Status(c.Request.Context(), consentID)
	if err != nil {
		h.refuse(c, refusalOfStorage(c, err), err, loggedID(consentID))
		return
	}
	h.send(c, statusPage(status))
}

func (h *connect) refuse(c *gin.Context, why refusal, cause error, attributes ...slog.Attr) {
	page := refusalPage(why)
	attributes = append(attributes, slog.String("reason", string(why)), slog.Int("status", page.status))
	if cause != nil {
		attributes = append(attributes, slog.String("error", cause.Error()))
	}
	h.deps.Logger.LogAttrs(c.Request.Context(), slog.LevelWarn, "connect.refused", attributes...)
	h.metrics.countConnect(c.Request.Context(), string(why))
	h.send(c, page)
}

func (h *connect) send(c *gin.Context, page connectPage) {
	if err := h.pages.send(c, page); err != nil {
		h.deps.Logger.LogAttrs(c.Request.Context(), slog.LevelError, "connect.page", slog.String("error", err.Error()))
		respond(c, http.StatusInternalServerError, errorBody{"internal error; load this page again"})
	}
}

func loggedID(consentID string) slog.Attr {
	return slog.String("consentId", consentID[:min(len(consentID), loggedIDLength)])
}

func refusalOfLink(err error) refusal {
	switch {
	case errors.Is(err, errLinkMalformed):
		return refusedLinkMalformed
	case errors.Is(err, errLinkExpired):
		return refusedLinkExpired
	default:
		return refusedLink
	}
}

func refusalOfStorage(c *gin.Context, err error) refusal {
	switch {
	case errors.Is(err, ErrConsentVehicle):
		return refusedVehicle
	case errors.Is(err, ErrStateUnknown):
		return refusedStateUnknown
	case errors.Is(err, ErrStateUsed):
		return refusedStateUsed
	case errors.Is(err, ErrStateExpired):
		return refusedStateExpired
	case errors.Is(err, ErrStateOtherBrowser):
		return refusedOtherBrowser
	case errors.Is(err, ErrConsentUnknown):
		return refusedConsent
	case errors.Is(c.Request.Context().Err(), context.Canceled):
		return refusedAborted
	default:
		return refusedUnavailable
	}
}
