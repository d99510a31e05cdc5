package netsim

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// The two ends of a link.
const (
	client = iota
	server
)

// link is one connection.
type link struct {
	network *Network
	trickle time.Duration
	tap     func(toClient bool, p []byte)

	mu      sync.Mutex
	changed sync.Cond // of anything below
	ends    [2]*conn
	stalled bool
}

// conn is one end of a link. What stands below is under the link's mutex.
type conn struct {
	*link
	other *conn
	fuse  *Fuse // of what this end sends

	inbox   []byte    // what has arrived and has not been read
	next    time.Time // when the next octet of a trickle can be read
	lost    int       // octets that fill a buffer which nobody empties
	closed  bool      // by who has this end
	ended   bool      // nothing more arrives: the other end has closed, or the link is cut
	reset   bool      // and what had arrived is lost
	reading deadline
	writing deadline
}

func (n *Network) link(f Faults) *link {
	l := &link{network: n, trickle: f.Trickle, tap: f.Tap}
	l.changed.L = &l.mu
	l.ends = [2]*conn{{link: l, fuse: f.ToServer}, {link: l, fuse: f.ToClient}}
	l.ends[client].other, l.ends[server].other = l.ends[server], l.ends[client]
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.links == nil {
		n.links = make(map[*link]bool)
	}
	n.links[l] = true
	return l
}

// cut breaks the link; the caller has the mutex.
func (l *link) cut(how Break) {
	for _, end := range l.ends {
		end.ended = true
		if how == Reset {
			end.reset, end.inbox = true, nil
		}
	}
	l.changed.Broadcast()
}

func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.reading.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(c.inbox) > 0:
			if c.trickle > 0 && c == c.ends[client] {
				now := time.Now()
				if now.Before(c.next) {
					c.wakeIn(c.next.Sub(now))
					break
				}
				c.next, p = now.Add(c.trickle), p[:1]
			}
			n := copy(p, c.inbox)
			if c.inbox = c.inbox[n:]; len(c.inbox) == 0 {
				c.inbox = nil
			}
			c.changed.Broadcast()
			return n, nil
		case c.reset:
			return 0, &net.OpError{Op: "read", Net: "sim", Err: syscall.ECONNRESET}
		case c.ended && !c.stalled:
			return 0, io.EOF
		}
		c.changed.Wait()
	}
}

// wakeIn has those who wait look again.
func (l *link) wakeIn(d time.Duration) {
	time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	})
}

func (c *conn) Write(p []byte) (written int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tap != nil {
		c.tap(c == c.ends[server], p)
	}
	for len(p) > 0 {
		room := window - len(c.other.inbox) - c.other.lost
		switch {
		case c.closed:
			return written, net.ErrClosed
		case c.reset || c.ended && !c.stalled:
			return written, &net.OpError{Op: "write", Net: "sim", Err: syscall.EPIPE}
		case c.writing.passed():
			return written, os.ErrDeadlineExceeded
		case room <= 0:
			c.changed.Wait()
			continue
		}
		n := min(len(p), room)
		if c.stalled {
			c.other.lost += n
		} else {
			n = c.send(p[:n])
		}
		written += n
		p = p[n:]
	}
	return written, nil
}

// send has octets arrive, as many as the fuse lets pass, and tells how many
// these are.
func (c *conn) send(p []byte) int {
	n, blows := c.fuse.pass(len(p))
	c.other.inbox = append(c.other.inbox, p[:n]...)
	c.changed.Broadcast()
	switch {
	case blows && c.fuse.Break == Stall:
		c.stalled = true
	case blows:
		c.cut(c.fuse.Break)
	}
	return n
}

func (c *conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed, c.inbox = true, nil
	c.other.ended = true
	c.ended = true
	c.reading.stop()
	c.writing.stop()
	both := c.other.closed
	c.changed.Broadcast()
	c.mu.Unlock()
	if both {
		c.network.mu.Lock()
		delete(c.network.links, c.link)
		c.network.mu.Unlock()
	}
	return nil
}

// deadline wakes those who wait for a link.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

func (c *conn) set(d *deadline, at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	d.stop()
	d.at = at
	switch {
	case at.IsZero():
	case d.timer == nil:
		d.timer = time.AfterFunc(time.Until(at), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.changed.Broadcast()
		})
	default:
		d.timer.Reset(time.Until(at))
	}
	c.changed.Broadcast()
	return nil
}

func (c *conn) SetReadDeadline(at time.Time) error  { return c.set(&c.reading, at) }
func (c *conn) SetWriteDeadline(at time.Time) error { return c.set(&c.writing, at) }

func (c *conn) SetDeadline(at time.Time) error {
	if err := c.SetReadDeadline(at); err != nil {
		return err
	}
	return c.SetWriteDeadline(at)
}

func (c *conn) LocalAddr() net.Addr  { return addr("here") }
func (c *conn) RemoteAddr() net.Addr { return addr("there") }
