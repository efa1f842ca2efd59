package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/api/smartcar"
	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/db"
)

const explainDescription = "Deliveries whose signature is missing or wrong are answered 401 and kept in quarantine for a week.\n\n" +
	"  milepost explain --list            what is there\n" +
	"  milepost explain 12                why delivery 12 was refused: which key of SMARTCAR_MANAGEMENT_TOKEN\n" +
	"                                     and SMARTCAR_WEBHOOK_SECRET would match, over which form of the body\n" +
	"  milepost explain body.json --signature HEX\n" +
	"                                     the same for a body in a file; needs no database\n" +
	"  milepost explain --readmit 12      after a token was added: verify again and, if that is right now, store it\n" +
	"                                     as if it had just come (or --readmit --all); it goes on by itself from there\n\n" +
	"To try a token, put it in SMARTCAR_MANAGEMENT_TOKEN for one run, behind a comma. Works while Temporal is down."

// explainTools is what the explain command works with.
type explainTools struct {
	environment map[string]string
	output      io.Writer
}

func explainCommand(environment map[string]string, output io.Writer) *cli.Command {
	tools := explainTools{environment: environment, output: output}
	return &cli.Command{
		Name:        "explain",
		Usage:       "say why a delivery's signature was refused, and re-admit what was refused for want of a token",
		Description: explainDescription,
		ArgsUsage:   "[FILE | QUARANTINE-ID ...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "signature", Usage: "the SC-Signature header, instead of the one that is kept"},
			&cli.BoolFlag{Name: "payload", Usage: "print only the bytes that are kept (they may hold a location and a VIN)"},
			&cli.BoolFlag{Name: "list", Usage: "list the quarantine, newest first"},
			&cli.Int32Flag{Name: limitFlag, Value: defaultListLimit, Usage: "list at most so many"},
			&cli.BoolFlag{Name: "readmit", Usage: "store what verifies with the tokens there are now"},
			&cli.BoolFlag{Name: "all", Usage: "with --readmit: everything in quarantine"},
			jsonFlag(),
		},
		Action: tools.run,
	}
}

func (t explainTools) run(ctx context.Context, command *cli.Command) error {
	if err := contradiction(command); err != nil {
		return err
	}
	switch {
	case command.Bool("list"):
		return withStore(t.environment, t.list)(ctx, command)
	case command.Bool("readmit"):
		return withStore(t.environment, t.readmit)(ctx, command)
	case command.Args().Len() != 1:
		return errors.New("give exactly one file or quarantine id; `milepost explain --list` shows the ids")
	}
	if _, err := strconv.ParseInt(command.Args().First(), 10, 64); err == nil {
		return withStore(t.environment, t.explainKept)(ctx, command)
	}
	return t.explainFile(command)
}

// contradiction says which arguments do not go together.
func contradiction(command *cli.Command) error {
	list, readmit := command.Bool("list"), command.Bool("readmit")
	ofOne := command.IsSet("signature") || command.Bool("payload")
	given := command.Args().Len()
	switch {
	case list && (readmit || ofOne || given > 0):
		return errors.New("--list goes with --limit and --json only")
	case readmit && ofOne:
		return errors.New("--readmit takes the signature that came with the delivery: leave --signature and --payload out")
	case readmit && command.Bool("all") == (given > 0):
		return errors.New("say which to re-admit: ids of `milepost explain --list`, or --all, not both")
	case command.Bool("all") && !readmit:
		return errors.New("--all goes with --readmit")
	default:
		return nil
	}
}

func (t explainTools) list(ctx context.Context, command *cli.Command, store *db.Store) error {
	limit := command.Int32(limitFlag)
	if limit < 1 {
		return errors.New("--limit must be at least 1")
	}
	kept, err := quarantineOf(store).List(ctx, limit)
	if err != nil {
		return err
	}
	if command.Bool("json") {
		return writeJSON(t.output, kept)
	}
	return writeQuarantineTable(t.output, kept)
}

func (t explainTools) explainKept(ctx context.Context, command *cli.Command, store *db.Store) error {
	id, err := quarantineID(command.Args().First())
	if err != nil {
		return err
	}
	row, err := quarantineOf(store).Get(ctx, id)
	if err != nil {
		return explainMissing(err, id)
	}
	if command.Bool("payload") {
		_, err := t.output.Write(row.Body)
		return err
	}
	signatures := row.Signatures
	if command.IsSet("signature") {
		signatures = []string{command.String("signature")}
	}
	return t.explain(command, explainedDelivery{ID: id, ReceivedAt: &row.ReceivedAt, Reason: row.Reason}, row.Body, signatures)
}

func (t explainTools) explainFile(command *cli.Command) error {
	file := command.Args().First()
	if !command.IsSet("signature") || command.Bool("payload") {
		return errors.New("a file needs --signature, the SC-Signature header that came with the body, and takes no --payload; " +
			"a quarantine id is a number, see `milepost explain --list`")
	}
	body, err := os.ReadFile(file) //nolint:gosec // the caller's own file, named by the caller
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	return t.explain(command, explainedDelivery{File: file}, body, []string{command.String("signature")})
}

// explainedDelivery is what `milepost explain` prints of one delivery.
type explainedDelivery struct {
	ID         int64      `json:"id,omitempty"`
	File       string     `json:"file,omitempty"`
	ReceivedAt *time.Time `json:"receivedAt,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	BodyBytes  int        `json:"bodyBytes"`
	// Signatures has one explanation for each signature, and one when there is none at all.
	Signatures []smartcar.Explanation `json:"signatures"`
}

func (t explainTools) explain(command *cli.Command, delivery explainedDelivery, body []byte, signatures []string) error {
	_, keys, err := signingKeys(t.environment)
	if err != nil {
		return err
	}
	if len(signatures) == 0 {
		signatures = []string{""}
	}
	for _, signature := range signatures {
		delivery.Signatures = append(delivery.Signatures, smartcar.Explain(body, signature, keys))
	}
	delivery.BodyBytes = len(body)
	if command.Bool("json") {
		return writeJSON(t.output, delivery)
	}
	return writeExplanation(t.output, delivery)
}

func quarantineOf(store *db.Store) *db.Quarantine {
	return db.NewQuarantine(store, db.QuarantineBounds{})
}

func quarantineID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, fmt.Errorf("%q is no quarantine id; `milepost explain --list` shows them", text)
	}
	return id, nil
}

func explainMissing(err error, id int64) error {
	if errors.Is(err, db.ErrNotFound) {
		return fmt.Errorf("there is no delivery %d in quarantine: it was re-admitted or made room for newer ones; "+
			"`milepost explain --list` shows what there is", id)
	}
	return err
}

// signingKeys reads the keys that the receiver accepts, and their names for people.
func signingKeys(environment map[string]string) (smartcar.Keyring, []smartcar.NamedKey, error) {
	var settings struct {
		ManagementTokens []config.Secret `env:"SMARTCAR_MANAGEMENT_TOKEN"`
		WebhookSecret    config.Secret   `env:"SMARTCAR_WEBHOOK_SECRET"`
	}
	if err := env.ParseWithOptions(&settings, env.Options{Environment: environment}); err != nil {
		return smartcar.Keyring{}, nil, fmt.Errorf("read the signing keys: %w", err)
	}
	var tokens []string
	var named []smartcar.NamedKey
	for i, token := range settings.ManagementTokens {
		tokens = append(tokens, token.Reveal())
		named = append(named, smartcar.NamedKey{
			Name: fmt.Sprintf("token %d of SMARTCAR_MANAGEMENT_TOKEN", i+1), Key: smartcar.Token(token.Reveal()),
		})
	}
	keyring, err := smartcar.NewKeyring(tokens...)
	if err != nil {
		return smartcar.Keyring{}, nil, errors.New("SMARTCAR_MANAGEMENT_TOKEN is not set, or holds an empty token: " +
			"give it what the receiver has")
	}
	if settings.WebhookSecret != "" {
		named = append(named, smartcar.NamedKey{
			Name: "SMARTCAR_WEBHOOK_SECRET", Key: smartcar.Token(settings.WebhookSecret.Reveal()),
		})
	}
	return keyring.WithSigningKeys(settings.WebhookSecret.Reveal()), named, nil
}
