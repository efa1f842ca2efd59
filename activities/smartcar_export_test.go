package activities

import (
	"time"

	"github.com/milepost/milepost/db"
)

// Classify decides what is tried again.
func Classify(err error) error { return classify(err) }

// RefreshFault is what the vault is told of a refresh that failed.
func RefreshFault(err error) error { return refreshFault(err) }

// IsRefusal tells a refusal of a vehicle from trouble.
func IsRefusal(err error) bool { return isRefusal(err) }

// RefreshAt says when tokens are due.
func RefreshAt(status db.TokenStatus, refreshing Refreshing) time.Time {
	return refreshAt(status, refreshing)
}
