//go:build !linux

package db

import "syscall"

// limitSilence leaves it to keep-alive where there is no TCP_USER_TIMEOUT.
func limitSilence(string, string, syscall.RawConn) error { return nil }
