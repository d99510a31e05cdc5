package daemon

import "time"

const (
	// raiseAfter is how long a server is left with fewer connections before more
	// are tried.
	raiseAfter = 10 * time.Minute
	// raiseMost is the same for one that has refused what was tried again and
	// again.
	raiseMost = 4 * time.Hour
)

// ceiling is how many connections a server has been seen to bear, where that is
// fewer than may be configured. The zero value knows of none.
type ceiling struct {
	bound   int // 0: none is known
	step    int // by which it is raised next
	wait    time.Duration
	raiseAt time.Time
	raised  bool // since it was lowered
	held    int  // what it was before it was raised last
}

// lower takes in that one more than so many connections was refused. More are
// tried after a while, one at first, then twice as many each time; where that is
// refused, only after twice that while.
func (c *ceiling) lower(now time.Time, borne int) {
	borne = max(borne, 1)
	if c.raised {
		borne = min(borne, c.held) // of those counted some may have been closed already
	}
	if c.bound > 0 && borne > c.bound {
		return // what was refused had been begun before it was lowered
	}
	switch {
	case c.bound == 0:
		c.wait = raiseAfter
	case c.raised:
		c.wait = min(2*c.wait, raiseMost)
	}
	*c = ceiling{bound: borne, step: 1, wait: c.wait, raiseAt: now.Add(c.wait)}
}

// of is how many of those that are configured may be in use now.
func (c *ceiling) of(configured int) int {
	if c.bound == 0 || c.bound >= configured {
		return configured
	}
	for now := time.Now(); c.bound < configured && !now.Before(c.raiseAt); {
		c.held = c.bound
		c.bound += c.step
		c.step *= 2
		c.raised, c.raiseAt = true, c.raiseAt.Add(c.wait)
	}
	return min(c.bound, configured)
}

// presence is how many connections a server may be counting.
type presence struct {
	coming int // they are not logged in yet
	open   int
	closed []time.Time // those that it may not have noticed to be closed
}

// lingers is how long a server may count a connection that was closed.
const lingers = 2 * time.Second

// count is how many the server may be counting.
func (p *presence) count(now time.Time) int {
	i := 0
	for i < len(p.closed) && now.Sub(p.closed[i]) > lingers {
		i++
	}
	p.closed = p.closed[i:]
	return p.coming + p.open + len(p.closed)
}

// close takes in that one of the open ones is closed.
func (p *presence) close(now time.Time) {
	p.count(now)
	p.open--
	p.closed = append(p.closed, now)
}
