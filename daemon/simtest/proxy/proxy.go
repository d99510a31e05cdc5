// Package proxy puts a recording, cutting TCP proxy before a server in tests.
package proxy

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Proxy forwards connections in clear text and keeps what clients sent.
type Proxy struct {
	Address string
	target  string
	// Cut is asked, with all that a connection's server has sent so far and the
	// part that is about to be forwarded; true cuts the connection before it.
	Cut func(seen, next []byte) bool
	// Sent is told each part that a client has sent, before it is forwarded.
	Sent func(next []byte)
	// Drop is asked with each part that a server has sent; true: it is not
	// forwarded.
	Drop func(next []byte) bool

	mu      sync.Mutex
	delay   time.Duration
	client  []*bytes.Buffer
	conns   map[net.Conn]bool
	closed  bool
	hole    bool      // nothing is forwarded
	changed sync.Cond // of closed and hole
}

// Start starts a proxy that ends with its test. Set its hooks before the first
// connection.
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Address: l.Addr().String(), target: target, conns: make(map[net.Conn]bool)}
	p.changed.L = &p.mu
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			ended.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.closed = true
		p.changed.Broadcast()
		for c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		ended.Wait()
	})
	return p
}

// Delay has every piece of data of the connections from now on take so long on each
// way. Others may follow it meanwhile.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Port is that of Address.
func (p *Proxy) Port() int {
	_, port, _ := net.SplitHostPort(p.Address)
	n, _ := strconv.Atoi(port)
	return n
}

// Connections is how many connections there have been.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.client)
}

// Open is how many connections there are now.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) / 2
}

// BlackHole stops the forwarding, of new connections too, without closing
// anything, or takes it up again with what has been kept back, as TCP does.
func (p *Proxy) BlackHole(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = on
	p.changed.Broadcast()
}

// forwards waits until something may be forwarded; false: never again.
func (p *Proxy) forwards() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.hole && !p.closed {
		p.changed.Wait()
	}
	return !p.closed
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) forget(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.keep(client) || !p.keep(server) {
		return
	}
	defer p.forget(client, server)
	sent := new(bytes.Buffer)
	p.mu.Lock()
	p.client = append(p.client, sent)
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		p.pipe(client, server, func(data []byte) fate {
			p.mu.Lock()
			sent.Write(data)
			p.mu.Unlock()
			if p.Sent != nil {
				p.Sent(data)
			}
			return forwarded
		})
	})
	var seen []byte
	both.Go(func() {
		p.pipe(server, client, func(data []byte) fate {
			switch {
			case p.Drop != nil && p.Drop(data):
				return dropped
			case p.Cut == nil:
				return forwarded
			case p.Cut(seen, data):
				return cut
			}
			seen = append(seen, data...)
			return forwarded
		})
	})
	both.Wait()
}

// fate is what becomes of a piece of data.
type fate int

const (
	forwarded fate = iota
	dropped
	cut // with the connection
)

func (p *Proxy) pipe(from, to net.Conn, decide func([]byte) fate) {
	defer from.Close()
	defer to.Close()
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if delay > 0 {
		far := distantBy(to, delay)
		defer far.Close()
		to = far
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if !p.forwards() {
			return
		}
		if n > 0 {
			switch decide(buf[:n]) {
			case cut:
				return
			case dropped:
				continue
			}
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// distant is a connection to which everything takes the simulated distance's time.
type distant struct {
	net.Conn
	delay  time.Duration
	pieces chan piece
	ended  chan struct{} // all has been written, or cannot be
}

type piece struct {
	data []byte
	due  time.Time
}

// underway is how many pieces may be on their way at a time.
const underway = 1000

func distantBy(to net.Conn, delay time.Duration) *distant {
	d := &distant{to, delay, make(chan piece, underway), make(chan struct{})}
	go func() {
		defer close(d.ended)
		for piece := range d.pieces {
			time.Sleep(time.Until(piece.due))
			if _, err := to.Write(piece.data); err != nil {
				return
			}
		}
	}()
	return d
}

// Write does not wait until it is there.
func (d *distant) Write(data []byte) (int, error) {
	select {
	case <-d.ended:
		return 0, net.ErrClosed
	case d.pieces <- piece{bytes.Clone(data), time.Now().Add(d.delay)}:
	}
	return len(data), nil
}

// Close is Close once all has arrived.
func (d *distant) Close() error {
	close(d.pieces)
	<-d.ended
	return d.Conn.Close()
}

// Commands returns what all clients have sent, command by command, without
// tags, literals and the words of log-ins.
func (p *Proxy) Commands() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, c := range p.client {
		all = append(all, commands(c.Bytes())...)
	}
	return all
}

// Forget drops what has been recorded.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.client {
		c.Reset()
	}
}

func commands(data []byte) []string {
	var list []string
	within := false
	for len(data) > 0 {
		line, rest, found := bytes.Cut(data, []byte("\r\n"))
		if !found {
			return list
		}
		data = rest
		literal := -1
		if open := bytes.LastIndexByte(line, '{'); open >= 0 && bytes.HasSuffix(line, []byte("}")) {
			if n, err := strconv.Atoi(strings.TrimSuffix(string(line[open+1:len(line)-1]), "+")); err == nil {
				literal = n
			}
		}
		if !within {
			if _, command, ok := strings.Cut(string(line), " "); ok {
				list = append(list, command)
			} else if len(line) > 0 {
				list = append(list, string(line))
			}
		}
		within = literal >= 0
		if literal >= 0 {
			data = data[min(literal, len(data)):]
		}
	}
	return list
}
