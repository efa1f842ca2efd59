package activities

import (
	"fmt"
	"strings"
)

// typesOf names an error's type and, in brackets, those of what it wraps.
func typesOf(err error) string {
	var inner []error
	switch wrapping := err.(type) { //nolint:errorlint // each layer is looked at
	case interface{ Unwrap() error }:
		inner = append(inner, wrapping.Unwrap())
	case interface{ Unwrap() []error }:
		inner = wrapping.Unwrap()
	}
	var names []string
	for _, each := range inner {
		if each != nil {
			names = append(names, typesOf(each))
		}
	}
	if len(names) == 0 {
		return fmt.Sprintf("%T", err)
	}
	return fmt.Sprintf("%T(%s)", err, strings.Join(names, ", "))
}
