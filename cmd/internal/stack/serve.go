package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/milepost/milepost/deploy/devstack"
)

const serveName = "milepost serve"

var errNotReady = errors.New("not ready")

// startMilepost starts `milepost serve` and waits until it serves and reaches Temporal.
func (s *Stack) startMilepost(ctx context.Context) error {
	var err error
	if s.receiver, err = s.address(receiverPort, "the receiver"); err != nil {
		return err
	}
	if s.admin, err = s.address(adminPort, "the admin listener"); err != nil {
		return err
	}
	if s.options.Smartcar != nil {
		if s.smartcarURL, err = s.options.Smartcar(ctx, s.Application()); err != nil {
			return fmt.Errorf("start the simulated Smartcar: %w", err)
		}
	}
	s.serveEnvironment = os.Environ()
	for name, value := range s.Environment() {
		s.serveEnvironment = append(s.serveEnvironment, name+"="+value)
	}
	s.serveEnvironment = append(s.serveEnvironment, "MILEPOST_LISTEN="+s.receiver, "MILEPOST_ADMIN_LISTEN="+s.admin)
	for name, value := range s.options.Environment {
		s.serveEnvironment = append(s.serveEnvironment, name+"="+value)
	}
	s.Milepost, err = devstack.Supervise(ctx, devstack.SupervisorOptions{
		Launch: s.launchMilepost, Restart: true, OnExit: s.childDied, OnRestart: s.childIsBack,
	})
	if err != nil {
		return fmt.Errorf("start milepost serve (its log is %s): %w", s.ServeLog(), err)
	}
	s.onStop(s.Milepost.Stop)
	return nil
}

func (s *Stack) launchMilepost(ctx context.Context) (*devstack.Process, error) {
	arguments := []string{"serve"}
	if s.options.Roles != "" {
		arguments = append(arguments, "--roles="+s.options.Roles)
	}
	process, err := devstack.StartProcess(devstack.ProcessOptions{
		Name: serveName, Path: s.options.Binary, Args: arguments,
		Env: s.serveEnvironment, LogFile: s.ServeLog(),
	})
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if err := process.WaitReady(ready, s.probe); err != nil {
		return nil, errors.Join(err, process.Kill())
	}
	return process, nil
}

// probe says whether the receiver serves. It does not ask for the dependencies: a
// child that comes back while one of them is away is back all the same.
func (s *Stack) probe(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/ready", nil)
	if err != nil {
		return fmt.Errorf("prepare the probe: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	var body struct {
		Status string `json:"status"`
	}
	err = errors.Join(json.NewDecoder(response.Body).Decode(&body), response.Body.Close())
	if err == nil && body.Status == "" {
		return errNotReady
	}
	return err
}

// ServeLog is the file with the log lines of `milepost serve`.
func (s *Stack) ServeLog() string { return s.logFile("milepost") }

// URL is the base URL of the receiver, AdminURL that of the admin listener.
func (s *Stack) URL() string { return "http://" + s.receiver }

// AdminURL is the base URL of the admin listener.
func (s *Stack) AdminURL() string { return "http://" + s.admin }

// DatabaseURL is where the stack's data is.
func (s *Stack) DatabaseURL() string { return s.databaseURL }

// ManagementToken signs the webhooks that the stack accepts.
func (s *Stack) ManagementToken() string { return s.token }

// Environment is what other programs need to work with the stack, by variable name.
func (s *Stack) Environment() map[string]string {
	environment := map[string]string{
		"DATABASE_URL":              s.databaseURL,
		"TEMPORAL_ADDRESS":          s.Temporal.Address(),
		"TEMPORAL_NAMESPACE":        "default",
		"SMARTCAR_MANAGEMENT_TOKEN": s.token,
		"MILEPOST_URL":              s.URL(),
		"MILEPOST_ADMIN_URL":        s.AdminURL(),
		"MILEPOST_KEYSET_FILE":      s.KeysetFile(),
	}
	if s.smartcarURL != "" {
		maps.Copy(environment, s.connectEnvironment())
	}
	if !s.options.WithoutUI {
		environment["TEMPORAL_UI_URL"] = s.Temporal.UIURL()
	}
	return environment
}

// connectEnvironment lets Milepost connect cars at the simulated Smartcar.
func (s *Stack) connectEnvironment() map[string]string {
	application := s.Application()
	environment := map[string]string{
		"SMARTCAR_CLIENT_ID":         application.ClientID,
		"SMARTCAR_CLIENT_SECRET":     application.ClientSecret,
		"SMARTCAR_IAM_CLIENT_ID":     application.APIClientID,
		"SMARTCAR_IAM_CLIENT_SECRET": application.ClientSecret,
		"SMARTCAR_REDIRECT_URI":      application.RedirectURI,
		"SMARTCAR_WEBHOOK_ID":        application.WebhookID,
		"SMARTCARSIM_URL":            s.smartcarURL,
		"MILEPOST_CONNECT_SECRET":    s.connectSecret,
	}
	for _, host := range []string{"CONNECT", "AUTH", "IAM", "API", "VEHICLE", "MANAGEMENT"} {
		environment["SMARTCAR_"+host+"_URL"] = s.smartcarURL
	}
	return environment
}

// address gives 127.0.0.1 with the preferred port, or with a free one.
func (s *Stack) address(preferred int, what string) (string, error) {
	port, err := s.port(preferred, what)
	if err == nil && port == 0 {
		var free []int
		if free, err = devstack.FreePorts(1); err == nil {
			port = free[0]
		}
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}
