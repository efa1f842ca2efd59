package keyset

import (
	"fmt"
	"io"
	"log/slog"
)

// masked keeps whatever embeds it out of fmt (every verb that asks its value), slog, JSON, XML and YAML.
type masked struct{}

const mask = "keyset(masked)"

// Format implements fmt.Formatter.
func (masked) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, mask) // fmt keeps the writer's error
}

// LogValue implements slog.LogValuer.
func (masked) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalText implements encoding.TextMarshaler.
func (masked) MarshalText() ([]byte, error) { return []byte(mask), nil }
