package keyset

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// lookInterval bounds how long a changed file goes unnoticed.
const lookInterval = time.Second

// SourceConfig says where the keyset is: exactly one of Text and File. It prints masked.
type SourceConfig struct {
	masked

	// Text is what Parse reads. It stays as it is for as long as the process runs.
	Text string
	// File names a file with such text, which is followed.
	File string
	// Logger is told when the file changes, and when it can no longer be used; nil for nobody.
	Logger *slog.Logger
	// Clock is time.Now when it is nil.
	Clock func() time.Time
}

// Source is the keyset in use: that of a file as it is now, or a fixed one. A file
// that can no longer be used leaves the last good keyset in use. A Source is safe for
// concurrent use.
type Source struct {
	masked

	path   string // empty: the keyset is fixed
	logger *slog.Logger
	clock  func() time.Time

	mutex   sync.Mutex
	current *Keyset
	looked  time.Time
	seen    state
	// fault is the last error that was logged about the state seen.
	fault string
}

// Open reads the keyset. ErrKeyset when it cannot be used; the text says what to do.
func Open(config SourceConfig) (*Source, error) {
	source := &Source{path: config.File, logger: config.Logger, clock: config.Clock}
	if source.logger == nil {
		source.logger = slog.New(slog.DiscardHandler)
	}
	if source.clock == nil {
		source.clock = time.Now
	}
	var err error
	switch {
	case config.Text == "" && config.File == "":
		return nil, errors.New("there is no keyset: make one with `milepost keys new --file FILE`, keep a copy, " +
			"and set MILEPOST_KEYSET_FILE (or MILEPOST_KEYSET to the keyset itself)")
	case config.Text != "" && config.File != "":
		return nil, errors.New("MILEPOST_KEYSET and MILEPOST_KEYSET_FILE are both set: set one of them")
	case config.File != "":
		source.looked = source.clock()
		source.seen, source.current, err = read(config.File)
	default:
		source.current, err = Parse(config.Text)
	}
	if err != nil {
		return nil, err
	}
	return source, nil
}

// Encrypt is Keyset.Encrypt with the keyset in use.
func (s *Source) Encrypt(plaintext, associatedData []byte) ([]byte, error) {
	return s.keyset().Encrypt(plaintext, associatedData)
}

// Decrypt is Keyset.Decrypt with the keyset in use. When that does not have the key,
// another process may have just begun to use a new one: the file is read at once.
func (s *Source) Decrypt(ciphertext, associatedData []byte) ([]byte, error) {
	plaintext, err := s.keyset().Decrypt(ciphertext, associatedData)
	if s.path != "" && errors.Is(err, ErrUnknownKey) {
		return s.reread().Decrypt(ciphertext, associatedData)
	}
	return plaintext, err
}

// PrimaryID names the key that Encrypt uses.
func (s *Source) PrimaryID() uint32 { return s.keyset().PrimaryID() }

// KeyIDs names the keys that decrypt, in order of addition.
func (s *Source) KeyIDs() []uint32 { return s.keyset().KeyIDs() }

func (s *Source) keyset() *Keyset {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if now := s.clock(); s.path != "" && now.Sub(s.looked) >= lookInterval {
		s.looked = now
		if found, err := look(s.path); found != s.seen || err != nil {
			s.read()
		}
	}
	return s.current
}

func (s *Source) reread() *Keyset {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.read()
	return s.current
}

// read is for whoever holds the mutex.
func (s *Source) read() {
	seen, found, err := read(s.path)
	if err != nil {
		if seen != s.seen || err.Error() != s.fault {
			s.logger.Error("keyset.unusable", slog.String("file", s.path), slog.Any("error", err))
		}
		s.seen, s.fault = seen, err.Error()
		return
	}
	if s.fault != "" || found.Text() != s.current.Text() {
		s.logger.Info("keyset.changed", slog.String("file", s.path),
			slog.String("primary", fmt.Sprintf("%08x", found.PrimaryID())), slog.Int("keys", len(found.KeyIDs())))
	}
	s.seen, s.fault, s.current = seen, "", found
}
