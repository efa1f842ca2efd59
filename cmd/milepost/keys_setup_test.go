package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"

	"github.com/milepost/milepost/db"
	"github.com/milepost/milepost/db/dbtest"
	"github.com/milepost/milepost/db/keyset"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m, db.Migrate)) }

// storedRows stands in for the database: rows by the key they are under.
type storedRows struct {
	byKey map[uint32]int64
	// primary is the keyset's, as the command opened it.
	primary uint32
	// heldFor is how many batches find all rows in use.
	heldFor int
	// after runs after every batch.
	after func() error
}

func (s *storedRows) Rows(context.Context) (map[uint32]int64, error) { return s.byKey, nil }

func (s *storedRows) Reencrypt(ctx context.Context, limit int32) (done, left int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	for key, rows := range s.byKey {
		if key == s.primary {
			continue
		}
		moved := min(rows, int64(limit)-done)
		if s.heldFor > 0 {
			moved = 0
		}
		s.byKey[key] -= moved
		s.byKey[s.primary] += moved
		done, left = done+moved, left+rows-moved
	}
	s.heldFor--
	if s.after != nil {
		err = s.after()
	}
	return done, left, err
}

// keysBundle is a keyset file and a database that the keys commands work on.
type keysBundle struct {
	keyTools

	t    *testing.T
	rows *storedRows
	file string
	// commands makes the commands; with a stand-in for the database unless a test says otherwise.
	commands func() *cli.Command
	// out and notes are what the last command printed on its two streams.
	out, notes *bytes.Buffer
}

func setupKeys(t *testing.T) *keysBundle {
	t.Helper()
	b := &keysBundle{t: t, rows: &storedRows{byKey: map[uint32]int64{}}, file: filepath.Join(t.TempDir(), "keyset.json")}
	b.out, b.notes = &bytes.Buffer{}, &bytes.Buffer{}
	b.keyTools = keyTools{
		environment: map[string]string{"MILEPOST_KEYSET_FILE": b.file}, output: b.out, progress: b.notes,
		openRows: func(_ context.Context, _ map[string]string, keys *keyset.Source) (keyRows, func(), error) {
			b.rows.primary = keys.PrimaryID()
			return b.rows, func() {}, nil
		},
		pause: time.Microsecond, patience: 100 * time.Microsecond,
	}
	b.commands = func() *cli.Command { return b.command() }
	require.NoError(t, b.run("new", "--file", b.file))
	return b
}

// inVariable moves the keyset from the file to MILEPOST_KEYSET.
func (b *keysBundle) inVariable() {
	b.set(b.keyset().Text())
	require.NoError(b.t, os.Remove(b.file))
}

func (b *keysBundle) set(text string) { b.environment = map[string]string{"MILEPOST_KEYSET": text} }

func (b *keysBundle) run(arguments ...string) error {
	b.t.Helper()
	return b.runUntil(b.t.Context(), arguments...)
}

func (b *keysBundle) runUntil(ctx context.Context, arguments ...string) error {
	b.t.Helper()
	b.out.Reset()
	b.notes.Reset()
	root := &cli.Command{Name: "milepost", Writer: b.out, ErrWriter: b.notes, Commands: []*cli.Command{b.commands()}}
	return root.Run(ctx, append([]string{"milepost", "keys"}, arguments...))
}

func (b *keysBundle) keyset() *keyset.Keyset {
	b.t.Helper()
	found, err := keyset.Read(b.file)
	require.NoError(b.t, err)
	return found
}

func (b *keysBundle) printed() *keyset.Keyset {
	b.t.Helper()
	found, err := keyset.Parse(b.out.String())
	require.NoError(b.t, err)
	return found
}

// twoKeys puts rows under the first key, and adds one.
func (b *keysBundle) twoKeys(rows int64) (first, second uint32) {
	b.t.Helper()
	first = b.keyset().PrimaryID()
	b.rows.byKey[first] = rows
	require.NoError(b.t, b.run("add"))
	return first, b.keyset().NewestID()
}

func (b *keysBundle) decode(value any) {
	b.t.Helper()
	require.NoError(b.t, json.Unmarshal(b.out.Bytes(), value), b.out.String())
}
