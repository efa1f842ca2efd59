package keyset_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db/keyset"
)

// bundle is a file, a source that follows it, and a clock that stands still.
type bundle struct {
	*keyset.Source

	path  string
	first *keyset.Keyset
	log   *bytes.Buffer
	now   time.Time
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{log: &bytes.Buffer{}, now: time.Unix(1_700_000_000, 0)}
	b.path, b.first = written(t)
	var err error
	b.Source, err = keyset.Open(keyset.SourceConfig{
		File: b.path, Logger: slog.New(slog.NewTextHandler(b.log, nil)), Clock: func() time.Time { return b.now },
	})
	require.NoError(t, err)
	return b
}

func (b *bundle) pass(duration time.Duration) { b.now = b.now.Add(duration) }

// logged counts the lines about an event.
func (b *bundle) logged(event string) int { return strings.Count(b.log.String(), event) }

// next is the file's keyset rotated: one more key, which is primary.
func (b *bundle) next(t *testing.T) *keyset.Keyset {
	t.Helper()
	return made(t)(made(t)(b.first.Add()).Promote())
}

func TestASourceNeedsExactlyOneKeyset(t *testing.T) {
	t.Parallel()
	_, err := keyset.Open(keyset.SourceConfig{})
	require.ErrorContains(t, err, "milepost keys new")
	_, err = keyset.Open(keyset.SourceConfig{File: filepath.Join(t.TempDir(), "absent")})
	require.ErrorContains(t, err, "milepost keys new")
	path, keys := written(t)
	_, err = keyset.Open(keyset.SourceConfig{File: path, Text: keys.Text()})
	require.ErrorContains(t, err, "set one of them")
	_, err = keyset.Open(keyset.SourceConfig{Text: "hunter2"})
	require.ErrorIs(t, err, keyset.ErrKeyset)
	require.NoError(t, os.Chmod(path, 0o644))
	_, err = keyset.Open(keyset.SourceConfig{File: path})
	require.ErrorContains(t, err, "chmod 600")
}

func TestAFixedKeysetIsUsedAsItIs(t *testing.T) {
	t.Parallel()
	keys := made(t)(made(t)(keyset.New()).Add())
	source, err := keyset.Open(keyset.SourceConfig{Text: keys.Text()})
	require.NoError(t, err)
	require.Equal(t, keys.PrimaryID(), source.PrimaryID())
	require.Equal(t, keys.KeyIDs(), source.KeyIDs())
	requireDecrypts(t, source, encrypt(t, source))
	requireDecrypts(t, keys, encrypt(t, source))
	_, err = source.Decrypt(encrypt(t, made(t)(keyset.New())), row)
	require.ErrorIs(t, err, keyset.ErrUnknownKey)
}

func TestAReplacedFileIsInUseWithinASecond(t *testing.T) {
	t.Parallel()
	b := setup(t)
	old := encrypt(t, b)
	next := b.next(t)
	require.NoError(t, keyset.Write(b.path, next, true))
	b.pass(999 * time.Millisecond)
	require.Equal(t, b.first.PrimaryID(), b.PrimaryID())
	b.pass(time.Millisecond)
	require.Equal(t, next.PrimaryID(), b.PrimaryID())
	requireDecrypts(t, b, old)
	_, err := b.first.Decrypt(encrypt(t, b), row)
	require.ErrorIs(t, err, keyset.ErrUnknownKey)
	require.Equal(t, 1, b.logged("keyset.changed"))
}

func TestACiphertextOfANewKeyIsDecryptedAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	next := b.next(t)
	require.NoError(t, keyset.Write(b.path, next, true))
	requireDecrypts(t, b, encrypt(t, next))
	require.Equal(t, next.PrimaryID(), b.PrimaryID())
	_, err := b.Decrypt(encrypt(t, made(t)(keyset.New())), row)
	require.ErrorIs(t, err, keyset.ErrUnknownKey)
}

func TestAFileWrittenInPlaceIsNoticed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := made(t)(keyset.New()) // about as long as the first
	require.NoError(t, os.WriteFile(b.path, []byte(other.Text()), 0o600))
	require.NoError(t, os.Chtimes(b.path, time.Time{}, b.now))
	b.pass(time.Second)
	require.Equal(t, other.PrimaryID(), b.PrimaryID())
}

func TestAFileThatCannotBeUsedLeavesTheLastKeysetInUse(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, path string){
		"removed": func(t *testing.T, path string) { t.Helper(); require.NoError(t, os.Remove(path)) },
		"invalid": func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
		},
		"empty":           func(t *testing.T, path string) { t.Helper(); require.NoError(t, os.Truncate(path, 0)) },
		"open for others": func(t *testing.T, path string) { t.Helper(); require.NoError(t, os.Chmod(path, 0o644)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ciphertext := encrypt(t, b)
			spoil(t, b.path)
			for range 3 {
				b.pass(time.Second)
				requireDecrypts(t, b, ciphertext)
				_, err := b.Decrypt(encrypt(t, made(t)(keyset.New())), row)
				require.ErrorIs(t, err, keyset.ErrUnknownKey)
			}
			require.Equal(t, 1, b.logged("keyset.unusable"), b.log.String())
			require.Zero(t, b.logged("keyset.changed"))

			next := b.next(t)
			require.NoError(t, keyset.Write(b.path, next, true))
			b.pass(time.Second)
			require.Equal(t, next.PrimaryID(), b.PrimaryID())
			require.Equal(t, 1, b.logged("keyset.changed"))
		})
	}
}

func TestAFileMadePrivateAgainIsUsedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	next := b.next(t)
	require.NoError(t, keyset.Write(b.path, next, true))
	require.NoError(t, os.Chmod(b.path, 0o644))
	b.pass(time.Second)
	require.Equal(t, b.first.PrimaryID(), b.PrimaryID())
	require.NoError(t, os.Chmod(b.path, 0o600))
	b.pass(time.Second)
	require.Equal(t, next.PrimaryID(), b.PrimaryID())
}

func TestANewFaultIsLoggedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, os.Remove(b.path))
	b.pass(time.Second)
	b.PrimaryID()
	require.NoError(t, os.WriteFile(b.path, []byte("{"), 0o600))
	b.pass(time.Second)
	b.PrimaryID()
	require.Equal(t, 2, b.logged("keyset.unusable"))
}

func TestASourceServesManyWhileItsFileChanges(t *testing.T) {
	t.Parallel()
	path, first := written(t)
	source, err := keyset.Open(keyset.SourceConfig{File: path})
	require.NoError(t, err)
	old := encrypt(t, source)
	next := made(t)(made(t)(first.Add()).Promote())
	fresh := encrypt(t, next)
	require.NoError(t, keyset.Write(path, next, true))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				for _, ciphertext := range [][]byte{old, fresh} {
					if decrypted, err := source.Decrypt(ciphertext, row); err != nil || !bytes.Equal(decrypted, plaintext) {
						t.Errorf("decrypt: %v", err)
					}
				}
			}
		})
	}
	group.Wait()
	require.Equal(t, next.PrimaryID(), source.PrimaryID())
}
