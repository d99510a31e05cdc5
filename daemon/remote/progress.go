package remote

import "time"

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
		if p.pending.Load() > 0 {
			p.setDeadline()
		} else {
			p.transport.SetReadDeadline(time.Time{})
		}
		p.clock.Unlock()
		began := time.Now()
		n, err := p.transport.Read(b)
		p.Conn.read.Add(int64(n))
		p.waited(began)
		if p.inflating != nil && err == nil {
			err = p.inflating.take(n)
		}
		if n == 0 && isTimeout(err) && (p.pending.Load() == 0 || p.nudged()) {
			continue // the deadline of a command that has been answered, or not the last one
		}
		return n, err
	}
}

func (p progress) Write(b []byte) (int, error) {
	p.transport.SetWriteDeadline(time.Now().Add(p.options.Timeout))
	began := time.Now()
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
	if c.pending.Add(n) == n && n > 0 {
		c.silent = time.Now()
		c.setDeadline()
	}
}
