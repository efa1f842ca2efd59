package api

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

const readyTimeout = 5 * time.Second

// DependencyStatus says whether something the process depends on works. Error is shown to anyone who asks: it must
// name no secret.
type DependencyStatus struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Required is true when the process cannot do its part without this dependency.
	Required bool   `json:"required"`
	Error    string `json:"error,omitempty"`
}

// NewDependencyStatus reports one dependency; err is nil when it works.
func NewDependencyStatus(name string, required bool, err error) DependencyStatus {
	status := DependencyStatus{Name: name, Required: required, OK: err == nil}
	if err != nil {
		status.Error = "does not answer"
	}
	return status
}

type healthBody struct {
	Status string `json:"status"`
}

type readyBody struct {
	Status       string             `json:"status"`
	Dependencies []DependencyStatus `json:"dependencies"`
}

type readyCheck func(context.Context) []DependencyStatus

// health says that the process serves, whatever its dependencies do.
func health(c *gin.Context) { respond(c, http.StatusOK, healthBody{"ok"}) }

// ready answers 200 when every required dependency works and 503 otherwise, with all of them named.
func ready(checks ...readyCheck) gin.HandlerFunc {
	return func(c *gin.Context) {
		ctx, cancel := context.WithTimeout(c.Request.Context(), readyTimeout)
		defer cancel()
		body := readyBody{Status: "ready", Dependencies: []DependencyStatus{}}
		for _, check := range checks {
			body.Dependencies = append(body.Dependencies, check(ctx)...)
		}
		status := http.StatusOK
		for _, dependency := range body.Dependencies {
			if dependency.Required && !dependency.OK {
				body.Status, status = "unavailable", http.StatusServiceUnavailable
			}
		}
		respond(c, status, body)
	}
}
