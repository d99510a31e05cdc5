// Package netsim is a network in memory for tests inside testing/synctest:
// whoever waits for it is durably blocked, so that fake time goes on, and it
// breaks where it is told to.
//
// A connection buffers like a kernel does. What has been sent before its end
// closes can still be read by the other end; the deadlines of net.Conn hold.
package netsim

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// window is how many octets may be under way in one direction.
const window = 64 << 10

// Network is where listeners are found. The zero value is one without any.
type Network struct {
	// Faults is asked at each dial what is wrong with the connection; nil:
	// nothing. It is called by the one who dials.
	Faults func(address string) Faults

	mu        sync.Mutex
	listeners map[string]*listener
	dialed    int
	links     map[*link]bool // that are not closed at both ends
}

// Faults is what is wrong with one connection. The zero value is a sound one.
type Faults struct {
	// Refused: nobody listens. Lost: no answer ever comes to the dial.
	Refused, Lost bool
	// ToServer and ToClient break it; nil: they do not.
	ToServer, ToClient *Fuse
	// Trickle is how long each octet takes that a client reads, one at a time;
	// 0: they come as they are sent.
	Trickle time.Duration
	// Tap is told what either end sends, before it is sent; nil: nobody.
	Tap func(toClient bool, p []byte)
}

// Break is how a connection breaks.
type Break int

const (
	// Cut ends it: what has arrived at either end can be read there.
	Cut Break = iota
	// Reset ends it, and what nobody has read yet is lost.
	Reset
	// Stall lets nothing arrive any more, and nobody is told.
	Stall
)

// Fuse breaks a connection once so many octets have passed in one direction.
// Connections may share one: they count together, and the one that is sending
// when it blows breaks.
type Fuse struct {
	Break Break

	mu    sync.Mutex
	left  int
	blown bool
}

// NewFuse returns a fuse that lets so many octets pass.
func NewFuse(octets int, how Break) *Fuse { return &Fuse{Break: how, left: octets} }

// Blown tells whether it has broken a connection.
func (f *Fuse) Blown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blown
}

// pass takes n octets; blows tells that only so many of them may pass, and the
// connection breaks behind them.
func (f *Fuse) pass(n int) (passed int, blows bool) {
	if f == nil {
		return n, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blown {
		return n, false
	}
	if n <= f.left {
		f.left -= n
		return n, false
	}
	f.blown = true
	return f.left, true
}

type listener struct {
	network *Network
	address string
	arrived chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// Listen takes an address, whatever it looks like.
func (n *Network) Listen(network, address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: addr(address), Err: syscall.EADDRINUSE}
	}
	if n.listeners == nil {
		n.listeners = make(map[string]*listener)
	}
	l := &listener{network: n, address: address, arrived: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[address] = l
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.arrived:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "sim", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

func (l *listener) Addr() net.Addr { return addr(l.address) }

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.network.mu.Lock()
		delete(l.network.listeners, l.address)
		l.network.mu.Unlock()
	})
	return nil
}

// Dial connects to who listens at an address.
func (n *Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var faults Faults
	if n.Faults != nil {
		faults = n.Faults(address)
	}
	n.mu.Lock()
	l := n.listeners[address]
	n.dialed++
	n.mu.Unlock()
	fail := func(err error) error { return &net.OpError{Op: "dial", Net: network, Addr: addr(address), Err: err} }
	if faults.Lost {
		<-ctx.Done()
		return nil, fail(ctx.Err())
	}
	if l == nil || faults.Refused {
		return nil, fail(syscall.ECONNREFUSED)
	}
	c := n.link(faults)
	select {
	case l.arrived <- c.ends[server]:
		return c.ends[client], nil
	case <-l.closed:
		c.ends[client].Close()
		c.ends[server].Close()
		return nil, fail(syscall.ECONNREFUSED)
	case <-ctx.Done():
		c.ends[client].Close()
		c.ends[server].Close()
		return nil, fail(ctx.Err())
	}
}

// Dialed is how often somebody dialed.
func (n *Network) Dialed() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dialed
}

// Open is how many connections there are that not both ends have closed.
func (n *Network) Open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.links)
}

// Sever resets every connection.
func (n *Network) Sever() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.links {
		l.mu.Lock()
		l.cut(Reset)
		l.mu.Unlock()
	}
}

// Serve has serve talk to each client of l until l is closed, and then waits until
// all have ended.
func Serve(l net.Listener, serve func(net.Conn)) error {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		sessions.Go(func() { serve(conn) })
	}
}

type addr string

func (addr) Network() string  { return "sim" }
func (a addr) String() string { return string(a) }
