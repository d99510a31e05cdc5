package remote

import (
	"fmt"
	"time"
)

const (
	// creepTimes the timeout is how long less than creepLeast octets may take both
	// ways together while an answer is due: who says an octet now and then does make
	// progress, but never ends.
	creepTimes = 30
	creepLeast = 16 << 10
)

// window is how little has gone either way, and since when.
type window struct {
	since  time.Time // zero: nothing is due
	before int64     // octets
}

var errCreeps = fmt.Errorf("%w: the server says next to nothing, and does not end", errProtocol)

// creeps tells whether a server draws out an answer. The caller holds clock.
func (c *Conn) creeps() bool {
	now, total := time.Now(), c.read.Load()+c.written.Load()
	switch w := &c.window; {
	case c.pending.Load() == 0:
		w.since = time.Time{}
	case w.since.IsZero() || total-w.before >= creepLeast:
		w.since, w.before = now, total
	default:
		return now.Sub(w.since) > creepTimes*c.options.Timeout
	}
	return false
}

// waited begins the window anew after what has taken longer than any server may:
// it has waited for a limit of ours.
func (c *Conn) waited(since time.Time) {
	if time.Since(since) > c.options.Timeout {
		c.clock.Lock()
		c.window.since = time.Time{}
		c.clock.Unlock()
	}
}
