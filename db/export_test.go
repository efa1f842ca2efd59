package db

import "time"

// NewDialer shows tests how connections are made.
var NewDialer = newDialer

// WithStoreTimeout gives the same vault with less patience for a database that does not answer.
func (v *Vault) WithStoreTimeout(timeout time.Duration) *Vault {
	changed := *v
	changed.storeTimeout = timeout
	return &changed
}
