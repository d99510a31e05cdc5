package remote

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// Thousands of connections are listened on for days. What waits for one of them
// waits below all that it takes to read: a stack stays as deep as it has been until
// it is nearly empty when Go collects.

// apart does something on a stack that ends with it.
func apart(do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	return <-done
}

// comes waits until then for octets of a response, of which none is due; false: none
// have come. Nothing may have been read that has not been taken (hasCome). What has come
// may be of TLS alone. Who calls closes the connection when ctx ends.
func (c *Conn) comes(ctx context.Context, until time.Time) (bool, error) {
	raw := c.raw()
	if raw == nil {
		return c.hasCome(ctx, until)
	}
	c.clock.Lock()
	if c.sits = true; c.isCalled {
		until = longAgo
	}
	c.wakeAt(until)
	c.clock.Unlock()
	err := raw.Read(isReadable)
	return err == nil, c.endedUnlessLate(ctx, err)
}

// call has comes, and hasCome, wait no more: once, at the next time else.
func (c *Conn) call() {
	c.clock.Lock()
	defer c.clock.Unlock()
	if c.isCalled = true; c.sits {
		c.wakeAt(longAgo)
	}
}

// wasCalled tells whether it has been called, once.
func (c *Conn) wasCalled() bool {
	c.clock.Lock()
	defer c.clock.Unlock()
	was := c.isCalled
	c.isCalled = false
	return was
}

// hasCome waits until then for the first octet of a response, of which none is due. The
// socket is not asked once that is over, only what has been taken from it: TLS may have
// read more than it was asked for.
func (c *Conn) hasCome(ctx context.Context, until time.Time) (bool, error) {
	c.glance = until
	_, err := c.in.Peek(1)
	c.glance = time.Time{}
	return err == nil, c.endedUnlessLate(ctx, err)
}

// endedUnlessLate is ended, but for nil and for a time that is over.
func (c *Conn) endedUnlessLate(ctx context.Context, err error) error {
	if err == nil || isTimeout(err) && ctx.Err() == nil {
		return nil
	}
	return c.ended(errors.Join(ctx.Err(), err))
}

// raw is the socket below the transport; nil: there is none, or what comes over it
// is compressed.
func (c *Conn) raw() syscall.RawConn {
	below := c.transport
	if t, ok := below.(interface{ NetConn() net.Conn }); ok {
		below = t.NetConn()
	}
	socket, ok := below.(syscall.Conn)
	if !ok || c.inflating != nil {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// isReadable tells whether a read of a socket would not have to wait.
func isReadable(fd uintptr) bool {
	var octet [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(fd), octet[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err != syscall.EINTR {
			return err != syscall.EAGAIN
		}
	}
}
