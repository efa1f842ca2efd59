// Package wiring puts the parts of Milepost together into a running process.
package wiring

import (
	"fmt"
	"slices"
	"strings"
)

// Role is one part of Milepost that can run on its own.
type Role string

// The roles of the one binary.
const (
	RoleReceiver Role = "receiver"
	RoleStarter  Role = "starter"
	RoleWorker   Role = "worker"
)

// AllRoles lists every role.
func AllRoles() []Role { return []Role{RoleReceiver, RoleStarter, RoleWorker} }

// Roles is a set of roles to run in one process.
type Roles []Role

// ParseRoles reads a comma-separated list; "" and "all" mean every role.
func ParseRoles(text string) (Roles, error) {
	if text == "" || text == "all" {
		return AllRoles(), nil
	}
	var roles Roles
	for name := range strings.SplitSeq(text, ",") {
		role := Role(strings.TrimSpace(name))
		if !slices.Contains(AllRoles(), role) {
			return nil, fmt.Errorf("there is no role %q: choose from %v, or all", name, AllRoles())
		}
		roles = append(roles, role)
	}
	return roles, nil
}

// Has says whether the role is to run.
func (r Roles) Has(role Role) bool { return slices.Contains(r, role) }
