//go:build !linux

package devstack

import "syscall"

// childAttributes has no parent-death signal to use here: a child that outlives
// a killed parent is stopped by the next start on the same data.
func childAttributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: credential}
}
