package db_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/db"
)

func TestAServerThatTakesConnectionsAndSaysNothingIsGivenUpInTime(t *testing.T) {
	t.Parallel()
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, silent.Close()) })
	url := "postgres://user@" + silent.Addr().String() + "/x?sslmode=disable"
	store, err := db.Open(t.Context(), db.Config{URL: url, ConnectTimeout: 50 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	began := time.Now()
	require.ErrorIs(t, store.Ping(t.Context()), db.ErrUnavailable)
	require.Less(t, time.Since(began), 10*time.Second)
}
