// Package config reads Milepost's settings from the environment, reports every
// fault at once, and keeps secrets out of whatever is printed.
package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Secret is text that never prints.
type Secret string

const masked = "****"

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return s.String() }

// Format masks the text under every verb; without it %d would show it in an error about the verb.
func (s Secret) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, s.String()) }

// MarshalText masks the text in JSON, and with it in log lines.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Reveal gives the text itself, to be passed on to what needs it and nowhere else.
func (s Secret) Reveal() string { return string(s) }

// Database says where PostgreSQL is.
type Database struct {
	// URL is a postgres:// connection string with a password in it.
	URL Secret `env:"DATABASE_URL"`
	// Connections bounds the pool that workflows and commands share.
	Connections int32 `env:"MILEPOST_DATABASE_CONNECTIONS" envDefault:"8"`
	// LedgerConnections bounds the receiver's own pool, which nothing else can exhaust.
	LedgerConnections int32 `env:"MILEPOST_LEDGER_CONNECTIONS" envDefault:"4"`
}

// Serve is what `milepost serve` needs.
type Serve struct {
	Database
	Smartcar
	Keyset
	Retention
	Reconcile

	// ManagementTokens are the application management tokens: all verify, the first answers VERIFY.
	ManagementTokens []Secret `env:"SMARTCAR_MANAGEMENT_TOKEN"`
	// WebhookSecret is one more accepted signing key.
	WebhookSecret Secret `env:"SMARTCAR_WEBHOOK_SECRET"`

	Listen      string     `env:"MILEPOST_LISTEN" envDefault:":8080"`
	AdminListen string     `env:"MILEPOST_ADMIN_LISTEN" envDefault:"127.0.0.1:9090"`
	LogLevel    slog.Level `env:"MILEPOST_LOG_LEVEL" envDefault:"INFO"`
	// StartConcurrency is how many workflow starts are under way at once.
	StartConcurrency int `env:"MILEPOST_START_CONCURRENCY" envDefault:"32"`
	// HealAfter is the age at which a started event that has not closed is compared with Temporal, and
	// how often what Temporal has lost of schedules and search attributes is restored.
	HealAfter time.Duration `env:"MILEPOST_HEAL_AFTER" envDefault:"2m"`
	// Quarantine keeps deliveries with a bad signature for inspection: on or off.
	Quarantine string `env:"MILEPOST_QUARANTINE" envDefault:"on"`
	// UnknownVehicleGrace is how long an event waits for its vehicle to be connected before it fails.
	UnknownVehicleGrace time.Duration `env:"MILEPOST_UNKNOWN_VEHICLE_GRACE" envDefault:"10m"`
}

// LoadDatabase reads what a command needs that only talks to the database.
func LoadDatabase(environment map[string]string) (Database, error) {
	var database Database
	err := env.ParseWithOptions(&database, env.Options{Environment: environment})
	return database, describe(errors.Join(err, database.validate()))
}

// LoadServe reads what `milepost serve` needs.
func LoadServe(environment map[string]string) (Serve, error) {
	var serve Serve
	err := env.ParseWithOptions(&serve, env.Options{Environment: environment})
	return serve, describe(errors.Join(err, serve.Database.validate(), serve.Keyset.validate(),
		serve.Smartcar.validate(), serve.Retention.validate(), serve.Reconcile.validate(), serve.validate(), serve.checkContents(environment)))
}

// Retention says how long rows stay.
type Retention struct {
	// Payloads stay so long after their event was processed; the events themselves stay for ever.
	Payloads time.Duration `env:"MILEPOST_PAYLOAD_RETENTION" envDefault:"720h"`
	// SyncLogs stay so long after they were written.
	SyncLogs time.Duration `env:"MILEPOST_LOG_RETENTION" envDefault:"9600h"`
}

// LoadRetention reads how long rows stay.
func LoadRetention(environment map[string]string) (Retention, error) {
	var retention Retention
	err := env.ParseWithOptions(&retention, env.Options{Environment: environment})
	return retention, describe(errors.Join(err, retention.validate()))
}

func (r Retention) validate() error {
	if r.Payloads <= 0 || r.SyncLogs <= 0 {
		return errors.New("MILEPOST_PAYLOAD_RETENTION and MILEPOST_LOG_RETENTION must be positive durations, such as 720h")
	}
	return nil
}

// Reconcile says how readings are fetched that no webhook brought.
type Reconcile struct {
	// Interval is the time between two looks for silent vehicles; 0 means only when somebody asks.
	Interval time.Duration `env:"MILEPOST_RECONCILE_INTERVAL" envDefault:"15m"`
	// ShortestOutage is the least silence of all vehicles together that is taken for an outage.
	ShortestOutage time.Duration `env:"MILEPOST_SHORTEST_OUTAGE" envDefault:"175s"`
	// PollBurst and PollRefill are what Smartcar allows the application: so many calls at once, and the time in which one comes back.
	PollBurst  int           `env:"MILEPOST_POLL_BURST" envDefault:"120"`
	PollRefill time.Duration `env:"MILEPOST_POLL_REFILL" envDefault:"30s"`
	// PollVehicleInterval is the least time between two polls of a vehicle; PollVehicleCalls what the plan has for one in a month.
	PollVehicleInterval time.Duration `env:"MILEPOST_POLL_VEHICLE_INTERVAL" envDefault:"30m"`
	PollVehicleCalls    int           `env:"MILEPOST_POLL_VEHICLE_CALLS" envDefault:"500"`
}

func (r Reconcile) validate() error {
	var faults []error
	if r.Interval < 0 || r.ShortestOutage <= 0 || r.PollRefill <= 0 || r.PollVehicleInterval <= 0 {
		faults = append(faults, errors.New("MILEPOST_RECONCILE_INTERVAL must be a duration such as 15m, or 0 for only when asked; "+
			"MILEPOST_SHORTEST_OUTAGE, MILEPOST_POLL_REFILL and MILEPOST_POLL_VEHICLE_INTERVAL must be positive durations"))
	}
	if r.PollBurst < 1 || r.PollVehicleCalls < 1 {
		faults = append(faults, errors.New("MILEPOST_POLL_BURST and MILEPOST_POLL_VEHICLE_CALLS must be at least 1"))
	}
	return errors.Join(faults...)
}

// Operator is what commands need that work on vehicles.
type Operator struct {
	Database
	Smartcar
	Keyset
}

// LoadOperator reads what a command needs that works on vehicles; Smartcar's part may be empty.
func LoadOperator(environment map[string]string) (Operator, error) {
	var operator Operator
	err := env.ParseWithOptions(&operator, env.Options{Environment: environment})
	return operator, describe(errors.Join(err, operator.Database.validate(), operator.Keyset.validate(), operator.Smartcar.validate()))
}

// LoadKeyset reads where the keyset is. Neither has to be set.
func LoadKeyset(environment map[string]string) (Keyset, error) {
	var keyset Keyset
	err := env.ParseWithOptions(&keyset, env.Options{Environment: environment})
	return keyset, describe(err)
}

func (d Database) validate() error {
	var faults []error
	if d.URL == "" {
		faults = append(faults, errors.New("DATABASE_URL is not set: give it a postgres:// connection string"))
	}
	if d.Connections < 1 || d.LedgerConnections < 1 {
		faults = append(faults, errors.New("MILEPOST_DATABASE_CONNECTIONS and MILEPOST_LEDGER_CONNECTIONS must be at least 1"))
	}
	return errors.Join(faults...)
}

func (s Serve) validate() error {
	var faults []error
	if len(s.ManagementTokens) == 0 {
		faults = append(faults, errors.New("SMARTCAR_MANAGEMENT_TOKEN is not set: without it nothing can be verified"))
	}
	for _, token := range s.ManagementTokens {
		if strings.TrimSpace(token.Reveal()) == "" {
			faults = append(faults, errors.New("SMARTCAR_MANAGEMENT_TOKEN holds an empty token: anybody could sign with it"))
		}
	}
	if s.Quarantine != "on" && s.Quarantine != "off" {
		faults = append(faults, errors.New("MILEPOST_QUARANTINE must be on or off"))
	}
	if s.StartConcurrency < 1 {
		faults = append(faults, errors.New("MILEPOST_START_CONCURRENCY must be at least 1"))
	}
	if s.UnknownVehicleGrace <= 0 || s.HealAfter <= 0 {
		faults = append(faults, errors.New("MILEPOST_UNKNOWN_VEHICLE_GRACE and MILEPOST_HEAL_AFTER must be positive durations, such as 10m"))
	}
	return errors.Join(faults...)
}

// describe puts all faults under one heading. The parser's own errors quote the
// value that it could not parse; no secret here has a type that can fail to parse.
func describe(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the environment is not right:\n%w", err)
}
