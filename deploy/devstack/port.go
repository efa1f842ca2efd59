package devstack

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
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

// FreePorts picks count different TCP ports that are free on 127.0.0.1. No port is
// given twice by this process, or by another of the same account while this one lives.
func FreePorts(count int) ([]int, error) {
	ports := make([]int, 0, count)
	for attempt := 0; len(ports) < count && attempt < portAttempts; attempt++ {
		offset, err := rand.Int(rand.Reader, big.NewInt(portCount))
		if err != nil {
			return nil, fmt.Errorf("pick a port: %w", err)
		}
		port := lowestPort + int(offset.Int64())
		ours, err := reserved.reserve(port)
		if err != nil {
			return nil, err
		}
		if ours && isFree(port) {
			ports = append(ports, port)
		}
	}
	if len(ports) < count {
		return nil, errNoFreePort
	}

	return ports, nil
}

func isFree(port int) bool {
	//nolint:noctx // Binding on the loopback address does not block.
	listener, err := net.Listen("tcp4", net.JoinHostPort(loopback, strconv.Itoa(port)))

	return err == nil && listener.Close() == nil
}

// reservations are the ports that this process was given. Each is a lock on one byte of
// a file that all processes of the account share; the kernel drops it with the process.
type reservations struct {
	mutex sync.Mutex
	given map[int]bool
	file  *os.File
}

var reserved = &reservations{given: make(map[int]bool)} //nolint:gochecknoglobals // Such a lock belongs to the process.

// reserve says whether the port was nobody's.
func (r *reservations) reserve(port int) (bool, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()

	if r.file == nil {
		path := filepath.Join(os.TempDir(), fmt.Sprintf("milepost-ports-%d.lock", os.Geteuid()))
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, privateFileMode) //nolint:gosec // A name of ours.
		if err != nil {
			return false, fmt.Errorf("open the file of ports: %w", err)
		}
		r.file = file // It stays open: closing it would drop the locks.
	}
	if r.given[port] {
		return false, nil
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: int64(port), Len: 1}
	err := syscall.FcntlFlock(r.file.Fd(), syscall.F_SETLK, &lock)
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reserve a port: %w", err)
	}
	r.given[port] = true

	return true, nil
}
