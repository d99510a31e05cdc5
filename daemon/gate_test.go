package daemon_test

import (
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// gate stands before the old server and can be shut.
type gate struct {
	config string // that leads through the gate
	target string

	mu     sync.Mutex
	isShut bool
	conns  []net.Conn
	done   sync.WaitGroup
}

// newGate puts a gate before the first server of a configuration.
func newGate(t *testing.T, config string) *gate {
	t.Helper()
	port := regexp.MustCompile(`port = (\d+)`).FindStringSubmatch(config)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, own, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{target: net.JoinHostPort("127.0.0.1", port[1]), config: strings.Replace(config, port[0], "port = "+own, 1)}
	g.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.done.Go(func() { g.pass(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		g.shut()
		g.done.Wait()
	})
	return g
}

func (g *gate) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", g.target)
	if err != nil {
		return
	}
	defer server.Close()
	g.mu.Lock()
	if g.isShut {
		g.mu.Unlock()
		return
	}
	g.conns = append(g.conns, client, server)
	g.mu.Unlock()
	g.done.Go(func() {
		io.Copy(server, client)
		server.Close()
	})
	io.Copy(client, server)
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isShut = true
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isShut = false
}
