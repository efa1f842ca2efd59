package db_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func TestAHostThatAcknowledgesNothingIsGivenUpAfterTenSeconds(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	connection, err := db.NewDialer().DialContext(t.Context(), "tcp", listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, connection.Close()) })
	socket, isTCP := connection.(*net.TCPConn)
	require.True(t, isTCP)
	raw, err := socket.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(descriptor uintptr) {
		for option, want := range map[int]int{0x12: 10_000 /* TCP_USER_TIMEOUT */, syscall.TCP_KEEPIDLE: 5, syscall.TCP_KEEPINTVL: 5} {
			got, err := syscall.GetsockoptInt(int(descriptor), syscall.IPPROTO_TCP, option)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}))
}
