package demo

import (
	"net"
	"sync"
	"time"
)

// listener accepts connections and remembers them, so that none outlives the
// server.
type listener struct {
	net.Listener

	mutex  sync.Mutex
	open   map[*conn]bool
	closed bool
	done   sync.WaitGroup
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.closed {
		c.Close()
		return nil, net.ErrClosed
	}
	queued := &conn{Conn: c}
	queued.wake.L = &queued.mutex
	l.open[queued] = true
	l.done.Go(func() {
		queued.drain()
		l.mutex.Lock()
		delete(l.open, queued)
		l.mutex.Unlock()
	})
	return queued, nil
}

func (l *listener) closeAll() {
	l.mutex.Lock()
	l.closed = true
	for c := range l.open {
		c.Close()
	}
	l.mutex.Unlock()
	l.done.Wait()
}

// conn never lets Write wait for the client. The memory server writes while it
// holds the lock of the mailbox: a client that reads a FETCH only as fast as
// its own APPEND to that mailbox goes on would wait for itself for ever. What
// is queued is at most what the server holds in memory anyway.
type conn struct {
	net.Conn

	mutex  sync.Mutex
	wake   sync.Cond
	queue  []byte
	closed bool
}

func (c *conn) Write(p []byte) (int, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.queue = append(c.queue, p...)
	c.wake.Signal()
	return len(p), nil
}

// SetWriteDeadline does nothing: a write is over at once.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// Close lets what is queued be sent, for a second at most.
func (c *conn) Close() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.wake.Signal()
	return c.Conn.SetWriteDeadline(time.Now().Add(time.Second))
}

// drain sends what is queued until the connection is closed or breaks.
func (c *conn) drain() {
	defer c.Conn.Close()
	for {
		c.mutex.Lock()
		for len(c.queue) == 0 && !c.closed {
			c.wake.Wait()
		}
		next := c.queue
		c.queue = nil
		c.mutex.Unlock()
		if len(next) == 0 {
			return
		}
		if _, err := c.Conn.Write(next); err != nil {
			c.Close()
			return
		}
	}
}
