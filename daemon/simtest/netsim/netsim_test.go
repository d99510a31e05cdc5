package netsim

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pair returns both ends of a connection.
func pair(t *testing.T, n *Network) (client, server net.Conn) {
	t.Helper()
	l, err := n.Listen("tcp", "here:1")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	if client, err = n.Dial(context.Background(), "tcp", "here:1"); err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() {
		client.Close()
		server.Close()
		l.Close()
		if open := n.Open(); open != 0 {
			t.Errorf("%d connections are open", open)
		}
	})
	return client, server
}

func bubble(name string, t *testing.T, faults Faults, f func(t *testing.T, client, server net.Conn)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, server := pair(t, &Network{Faults: func(string) Faults { return faults }})
			f(t, client, server)
		})
	})
}

func reads(t *testing.T, c net.Conn, want string, wantErr error) {
	t.Helper()
	got, err := io.ReadAll(c)
	if string(got) != want || err != wantErr && !errors.Is(err, wantErr) {
		t.Errorf("read %q and %v, want %q and %v", got, err, want, wantErr)
	}
}

func TestConnections(t *testing.T) {
	bubble("sound", t, Faults{}, func(t *testing.T, client, server net.Conn) {
		io.WriteString(client, "one")
		client.Close()
		reads(t, server, "one", nil)
		if _, err := server.Write([]byte("two")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("written to a closed connection: %v", err)
		}
	})
	bubble("cut", t, Faults{ToClient: NewFuse(3, Cut)}, func(t *testing.T, client, server net.Conn) {
		io.WriteString(client, "question")
		io.WriteString(server, "answer")
		reads(t, client, "ans", nil)
		reads(t, server, "question", nil)
	})
	bubble("reset", t, Faults{ToServer: NewFuse(3, Reset)}, func(t *testing.T, client, server net.Conn) {
		io.WriteString(client, "question")
		reads(t, server, "", syscall.ECONNRESET)
		reads(t, client, "", syscall.ECONNRESET)
	})
	bubble("stall", t, Faults{ToClient: NewFuse(3, Stall)}, func(t *testing.T, client, server net.Conn) {
		io.WriteString(server, "answer")
		client.SetReadDeadline(time.Now().Add(time.Hour))
		reads(t, client, "ans", os.ErrDeadlineExceeded)
		io.WriteString(client, "question")
		server.SetReadDeadline(time.Now().Add(time.Minute))
		reads(t, server, "", os.ErrDeadlineExceeded)
		server.SetWriteDeadline(time.Now().Add(time.Minute))
		if n, err := io.WriteString(server, strings.Repeat("x", 2*window)); n > window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d octets were taken: %v", n, err)
		}
	})
	bubble("trickle", t, Faults{Trickle: time.Second}, func(t *testing.T, client, server net.Conn) {
		begin := time.Now()
		io.WriteString(server, "answer")
		server.Close()
		reads(t, client, "answer", nil)
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	bubble("full", t, Faults{}, func(t *testing.T, client, server net.Conn) {
		text := strings.Repeat("x", 3*window)
		go func() {
			io.WriteString(client, text)
			client.Close()
		}()
		reads(t, server, text, nil)
	})
	bubble("deadline of a read under way", t, Faults{}, func(t *testing.T, client, server net.Conn) {
		begin := time.Now()
		time.AfterFunc(time.Second, func() { client.SetReadDeadline(time.Now().Add(time.Second)) })
		reads(t, client, "", os.ErrDeadlineExceeded)
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("it took %s", took)
		}
		client.SetReadDeadline(time.Time{})
		io.WriteString(server, "answer")
		server.Close()
		reads(t, client, "answer", nil)
	})
	bubble("severed", t, Faults{}, func(t *testing.T, client, server net.Conn) {
		client.(*conn).network.Sever()
		reads(t, client, "", syscall.ECONNRESET)
		reads(t, server, "", syscall.ECONNRESET)
	})
}

func TestFuseIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fuse := NewFuse(8, Cut)
		n := &Network{Faults: func(string) Faults { return Faults{ToClient: fuse} }}
		client, server := pair(t, n)
		io.WriteString(server, "first")
		if fuse.Blown() {
			t.Error("blown too early")
		}
		io.WriteString(server, "second")
		reads(t, client, "firstsec", nil)
		if !fuse.Blown() {
			t.Error("not blown")
		}
	})
}

func TestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Network{}
		if _, err := n.Dial(context.Background(), "tcp", "nobody:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		l, err := n.Listen("tcp", "here:1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen("tcp", "here:1"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listening twice: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := n.Dial(ctx, "tcp", "here:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nobody accepts: %v", err)
		}
		n.Faults = func(string) Faults { return Faults{Lost: true} }
		ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := n.Dial(ctx, "tcp", "here:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the network swallows it: %v", err)
		}
		l.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if n.Dialed() != 3 || n.Open() != 0 {
			t.Errorf("%d dialed, %d open", n.Dialed(), n.Open())
		}
	})
}
