package db_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands before PostgreSQL, so that it can go away for those behind it only.
type proxy struct {
	url, server string

	mutex sync.Mutex
	away  bool
	open  []*proxied
}

// proxied is one connection; silent keeps the client from hearing of the server's end.
type proxied struct {
	client, server net.Conn
	silent         atomic.Bool
}

func newProxy(t *testing.T, databaseURL string) *proxy {
	t.Helper()
	address, err := url.Parse(databaseURL)
	require.NoError(t, err)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{server: address.Host}
	address.Host = listener.Addr().String()
	p.url = address.String()
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.accept(t.Context(), client)
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		accepting.Wait()
		p.leave()
	})
	return p
}

func (p *proxy) accept(ctx context.Context, client net.Conn) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.server)
	if err != nil || p.away {
		_ = client.Close()
		if err == nil {
			_ = server.Close()
		}
		return
	}
	opened := &proxied{client: client, server: server}
	p.open = append(p.open, opened)
	go func() {
		_, _ = io.Copy(client, server)
		if !opened.silent.Load() {
			_ = client.Close()
		}
	}()
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
		_, _ = io.Copy(io.Discard, client)
		_ = client.Close()
	}()
}

// vanish ends the server's side of what is open, and says nothing to the client. New connections work.
func (p *proxy) vanish() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, connection := range p.open {
		connection.silent.Store(true)
		_ = connection.server.Close()
	}
}

// leave ends what is open, and takes nothing more until comeBack.
func (p *proxy) leave() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.away = true
	for _, connection := range p.open {
		_, _ = connection.client.Close(), connection.server.Close()
	}
	p.open = nil
}

func (p *proxy) comeBack() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.away = false
}
