package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const followInterval = 200 * time.Millisecond

// follow gives every line that is appended to a file from now on, until ctx is done.
func follow(ctx context.Context, path string, line func([]byte)) (err error) {
	file, err := os.Open(path) //nolint:gosec // the stack's own log
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Seek(0, io.SeekEnd); err != nil {
		return fmt.Errorf("go to the end of the log: %w", err)
	}
	reader := bufio.NewReader(file)
	ticker := time.NewTicker(followInterval)
	defer ticker.Stop()
	var partial []byte
	for {
		part, err := reader.ReadBytes('\n')
		partial = append(partial, part...)
		switch {
		case err == nil:
			line(partial)
			partial = nil
			continue
		case !errors.Is(err, io.EOF):
			return fmt.Errorf("read log: %w", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}
