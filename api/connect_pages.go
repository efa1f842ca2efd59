package api

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

//go:embed pages
var pageFiles embed.FS

// connectPage is one answer to an owner.
type connectPage struct {
	message

	status int
	phase  ConsentPhase
	reason string
	cars   []ConnectedCar
	// refresh is after how long the page loads itself again; 0 for never.
	refresh time.Duration
}

// pageView is what pages/connect.html shows.
type pageView struct {
	Phase, Reason, Title, Happened, Advice, ReturnURL string

	Cars     []string
	Reloads  bool
	Stylings template.CSS
}

type statusBody struct {
	Phase    ConsentPhase   `json:"phase"`
	Reason   string         `json:"reason,omitempty"`
	Vehicles []ConnectedCar `json:"vehicles"`
}

type connectPages struct {
	layout         *template.Template
	style          template.CSS
	securityPolicy string
	returnURL      string
}

func newConnectPages(returnURL string) (*connectPages, error) {
	layout, err := template.ParseFS(pageFiles, "pages/connect.html")
	if err != nil {
		return nil, fmt.Errorf("api: read the layout of the pages: %w", err)
	}
	style, err := pageFiles.ReadFile("pages/connect.css")
	if err != nil {
		return nil, fmt.Errorf("api: read the style of the pages: %w", err)
	}
	sum := sha256.Sum256(style)
	return &connectPages{
		layout: layout,
		style:  template.CSS(style), //nolint:gosec // It is embedded, not received.
		securityPolicy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		returnURL: returnURL,
	}, nil
}

// setHeaders keeps what these paths answer out of caches, frames and referrers.
func (p *connectPages) setHeaders(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	c.Header("Content-Security-Policy", p.securityPolicy)
	c.Header("Referrer-Policy", "no-referrer")
	c.Header("X-Content-Type-Options", "nosniff")
	c.Header("X-Frame-Options", "DENY")
	c.Header("Vary", "Accept")
}

// send answers with the page, or with its content as JSON where that is preferred. It writes nothing when it fails.
func (p *connectPages) send(c *gin.Context, page connectPage) error {
	if page.refresh > 0 {
		seconds := strconv.Itoa(int(page.refresh.Seconds()))
		// Unlike a script, the header works everywhere; it loads the same address again.
		c.Header("Refresh", seconds)
		if page.status != http.StatusOK {
			c.Header("Retry-After", seconds)
		}
	}
	if c.NegotiateFormat(gin.MIMEHTML, gin.MIMEJSON) == gin.MIMEJSON {
		respond(c, page.status, statusBody{page.phase, page.reason, append([]ConnectedCar{}, page.cars...)})
		return nil
	}
	view := pageView{
		Phase: string(page.phase), Reason: page.reason, Title: page.title, Happened: page.happened, Advice: page.advice,
		ReturnURL: p.returnURL, Reloads: page.refresh > 0, Stylings: p.style,
	}
	for _, car := range page.cars {
		view.Cars = append(view.Cars, car.describe())
	}
	var rendered bytes.Buffer
	if err := p.layout.Execute(&rendered, view); err != nil {
		return fmt.Errorf("api: write page: %w", err)
	}
	c.Data(page.status, "text/html; charset=utf-8", rendered.Bytes())
	return nil
}

func (car ConnectedCar) describe() string {
	parts := []string{car.Make, car.Model}
	if car.Year != 0 {
		parts = append(parts, strconv.Itoa(car.Year))
	}
	if name := strings.Join(strings.Fields(strings.Join(parts, " ")), " "); name != "" {
		return name
	}
	return "A car without a name"
}
