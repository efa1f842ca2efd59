package db

import (
	"net"
	"time"
)

const (
	// silenceTimeout is how long what was sent may go unacknowledged before the connection is given up: a host
	// that vanishes says nothing, and TCP alone would wait for a quarter of an hour.
	silenceTimeout = 10 * time.Second
	// keepAliveInterval finds out the same where nothing is sent.
	keepAliveInterval = 5 * time.Second
)

// newDialer makes connections that notice when the other host is gone.
func newDialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: keepAliveInterval, Interval: keepAliveInterval, Count: int(silenceTimeout / keepAliveInterval),
		},
		Control: limitSilence,
	}
}
