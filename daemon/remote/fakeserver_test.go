package remote

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeServer listens on loopback and serves each connection as if it had
// logged in already.
type fakeServer struct {
	t       testing.TB
	address string
	side    Side
	caps    []string
	options Options
	dials   atomic.Int32
	conns   []*Conn // as dialed
	serve   func(conn net.Conn, in *bufio.Reader)
	ended   sync.WaitGroup
}

// newFakeServer starts a server that ends with the test.
func newFakeServer(t testing.TB, side Side, caps string, serve func(net.Conn, *bufio.Reader)) *fakeServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{t: t, address: listener.Addr().String(), side: side, caps: strings.Fields(caps), serve: serve}
	s.options.Timeout = 10 * time.Second
	var mu sync.Mutex
	var conns []net.Conn
	s.ended.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			s.ended.Go(func() {
				defer conn.Close()
				s.serve(conn, bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		s.ended.Wait()
	})
	return s
}

// dial is the Open of a session under test.
func (s *fakeServer) dial(context.Context) (*Conn, error) {
	transport, err := net.Dial("tcp", s.address)
	if err != nil {
		return nil, err
	}
	s.dials.Add(1)
	c := newConn(Server{Side: s.side, Host: "127.0.0.1"}, s.options, transport)
	c.caps = make(map[string]bool)
	for _, name := range s.caps {
		c.caps[name] = true
	}
	s.conns = append(s.conns, c)
	return c, nil
}

// answers makes a server of a function that answers a command, given without
// its tag, by lines. "TAG" in them is replaced by the tag; "" ends the
// connection.
func answers(answer func(command string) string) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, in *bufio.Reader) {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
			text := answer(command)
			if command == "LOGOUT" && text == "" {
				text = "* BYE\r\nTAG OK\r\n"
			}
			if _, err := io.WriteString(conn, strings.ReplaceAll(text, "TAG", tag)); err != nil || text == "" {
				return
			}
		}
	}
}

// transcript records commands.
type transcript struct {
	mu    sync.Mutex
	lines []string
}

func (l *transcript) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *transcript) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

func (l *transcript) String() string { return strings.Join(l.all(), "\n") }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func closing(t testing.TB, c io.Closer) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// literal spells a string as a literal.
func literal(s string) string { return fmt.Sprintf("{%d}\r\n%s", len(s), s) }
