package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/cmd/internal/config"
	"github.com/milepost/milepost/cmd/internal/telemetry"
	"github.com/milepost/milepost/cmd/internal/wiring"
	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/keyset"
)

const (
	keysOrder = "To change the key while a fleet of processes serves:\n" +
		"  1. milepost keys add      one more key, which decrypts and does not yet encrypt\n" +
		"  2. give the keyset to every process: a file (MILEPOST_KEYSET_FILE) is noticed within\n" +
		"     seconds, a variable (MILEPOST_KEYSET) needs a restart. Keep a copy.\n" +
		"  3. milepost keys rotate   makes the new key primary and re-encrypts what is stored.\n" +
		"     Give the keyset to every process again, and rotate once more if they took long.\n" +
		"  4. milepost keys status   when it shows no rows under the old key, and goes on doing so,\n" +
		"  5. milepost keys remove   may take the old key away."

	defaultBatch = 100
	// heldPause is how long rotate waits for rows that are in use.
	heldPause = time.Second
	// heldPatience ends a rotate that waits for nothing else; a refresh takes seconds.
	heldPatience = time.Minute
)

// keyRows is what is stored under the keys.
type keyRows interface {
	// Rows counts the rows under each key.
	Rows(ctx context.Context) (map[uint32]int64, error)
	// Reencrypt brings up to limit rows under the primary key. Rows in use are left for a later call.
	Reencrypt(ctx context.Context, limit int32) (done, left int64, err error)
}

// keyTools is what the keys commands work with.
type keyTools struct {
	environment map[string]string
	// output is for what was asked for, progress for what a person may like to know.
	output, progress io.Writer
	openRows         func(ctx context.Context, environment map[string]string, keys *keyset.Source) (rows keyRows, end func(), err error)
	pause, patience  time.Duration // heldPause and heldPatience
}

func keysCommand(environment map[string]string, output, logs io.Writer) *cli.Command {
	return keyTools{
		environment: environment, output: output, progress: logs, openRows: openVaultRows,
		pause: heldPause, patience: heldPatience,
	}.command()
}

func (t keyTools) command() *cli.Command {
	return &cli.Command{
		Name:        "keys",
		Usage:       "make and rotate the keys that tokens are encrypted with",
		Description: keysOrder,
		Commands: []*cli.Command{
			t.newCommand(), t.addCommand(), t.rotateCommand(), t.statusCommand(), t.removeCommand(),
		},
	}
}

func keysetFileFlag() cli.Flag {
	return &cli.StringFlag{Name: "file", TakesFile: true, Usage: "the keyset file, instead of MILEPOST_KEYSET_FILE or MILEPOST_KEYSET"}
}

func (t keyTools) newCommand() *cli.Command {
	return &cli.Command{
		Name:  "new",
		Usage: "make the first keyset",
		Description: "Prints a keyset, or writes it to a file of mode 0600. It is a secret, and without it the\n" +
			"stored tokens are worthless: keep a copy where you keep secrets. Set MILEPOST_KEYSET_FILE to\n" +
			"the file, or MILEPOST_KEYSET to what is printed, for every process.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "file", TakesFile: true, Usage: "write here; an existing file stays as it is"}},
		Action: func(_ context.Context, command *cli.Command) error {
			made, err := keyset.New()
			if err != nil {
				return err
			}
			file := command.String("file")
			if file == "" {
				_, err := fmt.Fprintln(t.output, made.Text())
				return err
			}
			if err := keyset.Write(file, made, false); err != nil {
				return err
			}
			return t.say("%s: key %s; keep a copy, and set MILEPOST_KEYSET_FILE to it", file, keyName(made.PrimaryID()))
		},
	}
}

func (t keyTools) addCommand() *cli.Command {
	return &cli.Command{
		Name:  "add",
		Usage: "add a key, which decrypts and does not yet encrypt",
		Description: "Changes the keyset file in place. With MILEPOST_KEYSET it prints the keyset to set instead.\n\n" +
			keysOrder,
		Flags: []cli.Flag{keysetFileFlag()},
		Action: func(_ context.Context, command *cli.Command) error {
			changed, err := t.change(command, (*keyset.Keyset).Add)
			if err != nil {
				return err
			}
			return t.say("key %s is there; when every process has the keyset, run `milepost keys rotate`", keyName(changed.NewestID()))
		},
	}
}

func (t keyTools) statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "list the keys and how many rows are encrypted with each",
		Description: "Ends with an error when rows are encrypted with a key that the keyset does not have: nobody\n" +
			"can read them until it is put back.",
		Flags: []cli.Flag{keysetFileFlag(), jsonFlag()},
		Action: func(ctx context.Context, command *cli.Command) error {
			return t.withRows(ctx, command, func(keys *keyset.Source, rows keyRows) error {
				counts, err := rows.Rows(ctx)
				if err != nil {
					return err
				}
				status := newKeysetStatus(keys, counts)
				write := writeKeysetStatus
				if command.Bool("json") {
					write = func(output io.Writer, status keysetStatus) error { return writeJSON(output, status) }
				}
				return errors.Join(write(t.output, status), status.alarm())
			})
		},
	}
}

func (t keyTools) removeCommand() *cli.Command {
	return &cli.Command{
		Name:  "remove",
		Usage: "take away an old key that no row needs",
		Description: "Changes the keyset file in place. With MILEPOST_KEYSET it prints the keyset to set instead.\n" +
			"Wait until every process has had the new primary key for a while: what a process writes\n" +
			"with the old one afterwards can be read by nobody.",
		ArgsUsage: "KEY-ID",
		Flags:     []cli.Flag{keysetFileFlag()},
		Action: func(ctx context.Context, command *cli.Command) error {
			id, err := oneKeyID(command)
			if err != nil {
				return err
			}
			return t.withRows(ctx, command, func(_ *keyset.Source, rows keyRows) error {
				counts, err := rows.Rows(ctx)
				if err != nil {
					return err
				}
				if counts[id] > 0 {
					return fmt.Errorf("%d rows are still encrypted with key %s: run `milepost keys rotate` first", counts[id], keyName(id))
				}
				_, err = t.change(command, func(old *keyset.Keyset) (*keyset.Keyset, error) { return old.Remove(id) })
				if err != nil {
					return err
				}
				return t.say("key %s is removed; give the keyset to every process", keyName(id))
			})
		},
	}
}

func oneKeyID(command *cli.Command) (uint32, error) {
	const hexadecimal, bits = 16, 32
	id, err := strconv.ParseUint(strings.TrimPrefix(command.Args().First(), "0x"), hexadecimal, bits)
	if err != nil || command.Args().Len() != 1 {
		return 0, errors.New("give exactly one key id, such as 1f9a03c2; `milepost keys status` shows them")
	}
	return uint32(id), nil
}

// place says where the keyset is: --file wins over the environment.
func (t keyTools) place(command *cli.Command) (config.Keyset, error) {
	if file := command.String("file"); file != "" {
		return config.Keyset{File: file}, nil
	}
	return config.LoadKeyset(t.environment)
}

// change changes the keyset file in place, or prints what MILEPOST_KEYSET has to become.
func (t keyTools) change(
	command *cli.Command, change func(*keyset.Keyset) (*keyset.Keyset, error),
) (*keyset.Keyset, error) {
	place, err := t.place(command)
	if err != nil {
		return nil, err
	}
	if _, err := t.open(place); err != nil {
		return nil, err
	}
	if place.File != "" {
		return keyset.Update(place.File, change)
	}
	old, err := keyset.Parse(place.Text.Reveal())
	if err != nil {
		return nil, err
	}
	changed, err := change(old)
	if err != nil || changed == old {
		return changed, err
	}
	if _, err := fmt.Fprintln(t.output, changed.Text()); err != nil {
		return nil, fmt.Errorf("write output: %w", err)
	}
	return changed, t.say("set MILEPOST_KEYSET to this, and restart every process")
}

func (t keyTools) open(place config.Keyset) (*keyset.Source, error) {
	return wiring.OpenKeyset(place, telemetry.NewLogger(t.progress, slog.LevelError))
}

func (t keyTools) withRows(
	ctx context.Context, command *cli.Command, action func(*keyset.Source, keyRows) error,
) error {
	place, err := t.place(command)
	if err != nil {
		return err
	}
	keys, err := t.open(place)
	if err != nil {
		return err
	}
	rows, end, err := t.openRows(ctx, t.environment, keys)
	if err != nil {
		return err
	}
	defer end()
	return action(keys, rows)
}

func (t keyTools) say(format string, values ...any) error {
	_, err := fmt.Fprintf(t.progress, format+"\n", values...)
	return err
}

// vaultRows is the database's part.
type vaultRows struct{ vault *db.Vault }

func openVaultRows( //nolint:ireturn // tests put another one in its place
	ctx context.Context, environment map[string]string, keys *keyset.Source,
) (rows keyRows, end func(), err error) {
	settings, err := config.LoadDatabase(environment)
	if err != nil {
		return nil, nil, err
	}
	store, err := db.Open(ctx, db.Config{URL: settings.URL.Reveal(), MaxConnections: 2})
	if err != nil {
		return nil, nil, err
	}
	return vaultRows{db.NewVault(store, keys)}, store.Close, nil
}

func (v vaultRows) Rows(ctx context.Context) (map[uint32]int64, error) { return v.vault.KeyRows(ctx) }

func (v vaultRows) Reencrypt(ctx context.Context, limit int32) (done, left int64, err error) {
	result, err := v.vault.Reencrypt(ctx, limit)
	return result.Done, result.Left, err
}
