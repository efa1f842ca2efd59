package devstack

import "syscall"

// childAttributes adds the parent-death signal, so that no child outlives a
// parent that was killed itself.
func childAttributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: credential}
}
