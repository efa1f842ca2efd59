//go:build !linux

package devstack_test

const killsWithParent = false
