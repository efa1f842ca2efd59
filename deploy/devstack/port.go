package devstack

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strconv"
)

// Ports are taken from below the ranges that Linux (32768 up) and macOS (49152
// up) use for outgoing connections: a client that keeps dialling a dead server
// could otherwise be given the server's own port, which then cannot come back.
const (
	lowestPort   = 20000
	portCount    = 12000
	portAttempts = 1000
	loopback     = "127.0.0.1"
)

var errNoFreePort = errors.New("no free port")

// FreePorts picks count different TCP ports that are free on 127.0.0.1. They
// are not reserved: start what listens on them soon.
func FreePorts(count int) ([]int, error) {
	listeners := make([]net.Listener, 0, count)
	ports := make([]int, 0, count)
	for attempt := 0; len(ports) < count && attempt < portAttempts; attempt++ {
		offset, err := rand.Int(rand.Reader, big.NewInt(portCount))
		if err != nil {
			return nil, fmt.Errorf("pick a port: %w", err)
		}
		port := lowestPort + int(offset.Int64())
		//nolint:noctx // Binding on the loopback address does not block.
		listener, err := net.Listen("tcp4", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		// Listening until all are picked keeps them different.
		listeners = append(listeners, listener)
		ports = append(ports, port)
	}

	var err error
	if len(ports) < count {
		err = errNoFreePort
	}
	for _, listener := range listeners {
		err = errors.Join(err, listener.Close())
	}

	return ports, err
}
