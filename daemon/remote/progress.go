package remote

import (
	"context"
	"io"
	"strings"
	"time"
)

// progress is the transport with a deadline on each step. It runs only while
// an answer is due: what waits for nothing may wait for ever.
type progress struct{ *Conn }

func (p progress) Read(b []byte) (int, error) {
	p.clock.Lock()
	p.silent = time.Now()
	p.clock.Unlock()
	for {
		p.clock.Lock()
		if p.creeps() {
			p.clock.Unlock()
			return 0, errCreeps
		}
		p.sits = !p.glance.IsZero()
		switch {
		case p.sits && p.isCalled:
			p.wakeAt(longAgo)
		case p.sits:
			p.wakeAt(p.glance)
		case p.pending.Load() > 0:
			p.setDeadline()
		default:
			p.wakeBy(time.Time{})
		}
		p.clock.Unlock()
		began := time.Now()
		n, err := p.transport.Read(b)
		p.Conn.read.Add(int64(n))
		p.waited(began)
		if p.inflating != nil && err == nil {
			err = p.inflating.take(n)
		}
		if n == 0 && isTimeout(err) && p.glance.IsZero() && p.patient() {
			continue
		}
		return n, err
	}
}

func (p progress) Write(b []byte) (int, error) {
	began := time.Now()
	p.clock.Lock()
	// Half as long is long as well, and most writes need no new deadline then.
	if p.writeBy.Sub(began) < p.options.Timeout/2 {
		p.writeBy = began.Add(p.options.Timeout)
		p.transport.SetWriteDeadline(p.writeBy)
	}
	p.clock.Unlock()
	n, err := p.transport.Write(b)
	p.written.Add(int64(n))
	p.waited(began)
	return n, err
}

// due counts an answer that has to come, and starts the clock for a read that
// is under way.
func (c *Conn) due(n int32) {
	c.clock.Lock()
	defer c.clock.Unlock()
	switch now := c.pending.Add(n); {
	case now == 0:
		c.rested = time.Now()
	case now == n && n > 0:
		c.silent = time.Now()
		c.setDeadline()
	}
}

// longAgo is a deadline that is over.
var longAgo = time.Unix(1, 0)

// wakeAt has a read end at a time; zero: never. The caller holds clock.
func (c *Conn) wakeAt(t time.Time) {
	c.readBy = t
	c.transport.SetReadDeadline(t)
}

// wakeBy has a read end at a time at the latest, and look then whether it is to go on:
// a deadline that is sooner is left as it is, since Go looks through all timers once one
// has been moved. The caller holds clock.
func (c *Conn) wakeBy(t time.Time) {
	sooner := !c.readBy.IsZero() && (t.IsZero() || !c.readBy.After(t)) && c.readBy.After(time.Now())
	if !sooner && c.readBy != t {
		c.wakeAt(t)
	}
}

const (
	restLong   = 5 * time.Second
	glanceTime = time.Millisecond
)

// gone looks whether a connection that has not been used for some time is still
// there: servers and the boxes before them close what does nothing. It would else be
// found out by a command that fails.
func (c *Conn) gone(ctx context.Context) bool {
	c.clock.Lock()
	rests := c.pending.Load() == 0 && time.Since(c.rested) > restLong
	c.clock.Unlock()
	if !rests {
		return false
	}
	if c.in.Buffered()+c.wire.Buffered() == 0 {
		c.glance = time.Now().Add(glanceTime)
		_, err := c.wire.Peek(1)
		if c.glance = (time.Time{}); err != nil && !isTimeout(err) {
			c.ended(err)
			return true
		}
	}
	if said, _ := c.in.Peek(min(c.in.Buffered(), len(farewell))); strings.EqualFold(string(said), farewell) {
		c.Next(ctx) // for its last words
		c.ended(io.EOF)
		return true
	}
	return false
}

// farewell is how a server begins that ends a connection (RFC 3501 §7.1.5).
const farewell = "* BYE"
