package daemon

import "slices"

// waits is who waits for a server.
type waits uint8

const (
	waitSome   waits = 1 << iota
	waitCopies       // first copies, which wait for one another, and for all others
)

// share grants what there is room for, news before the rest, each in the order
// in which they came. Nobody gets ahead of one that waits for the same server,
// but for one that many with news have got ahead of, and for those who may use
// the room that first copies have to leave.
func (s *slots) share() {
	s.seat() // passes keep what watchers may not have
	live := func(p purpose) bool { return p == forLive }
	rest := func(p purpose) bool { return p != forLive }
	waits := func() bool { return slices.ContainsFunc(s.waiting, func(r *request) bool { return rest(r.purpose) }) }
	if !waits() {
		s.ahead = 0
	} else if s.ahead >= aheadMost && s.grantSome(rest, 1) > 0 {
		s.ahead = 0
	}
	s.nobodyWaits()
	if n := s.grantSome(live, len(s.waiting)); waits() {
		s.ahead += n
	}
	s.grantSome(rest, len(s.waiting))
	s.nobodyWaits()
	s.relieve()
	s.moveSeats()
}

func (s *slots) nobodyWaits() {
	for _, at := range s.servers {
		at.waits = 0
	}
}

// grantSome grants at most so many of those that wait for some purposes, and
// tells how many. Thousands may wait for what is granted to somebody every few
// milliseconds: those who cannot but wait on are passed over at once.
func (s *slots) grantSome(of func(purpose) bool, most int) (granted int) {
	s.waiting = slices.DeleteFunc(s.waiting, func(r *request) bool {
		if granted == most || !of(r.purpose) {
			return false
		}
		mine, before := waitSome, waitSome
		if r.purpose == forCopy {
			mine, before = waitCopies, waitSome|waitCopies
		}
		source, destination := r.ends()
		from, to := source.at, destination.at
		if from.waits&to.waits&mine != 0 {
			return false
		}
		r.shrink()
		servers, account := s.fits(r.grant)
		switch {
		case !account:
			return false // which is nothing to others
		case !servers || (from.waits|to.waits)&before != 0:
			from.waits |= mine
			to.waits |= mine
			return false
		}
		r.leave()
		s.take(r.grant)
		close(r.granted)
		granted++
		return true
	})
	return granted
}

// widen takes what one who borrowed a connection needs of the source after all, if there is
// room for it.
func (g *grant) widen(source need) bool {
	s := g.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	more := s.at(source).share(source)
	if g.told() || more.at.used+more.n > s.bound(more.at, g.purpose) || !more.fitsAccount() {
		return false
	}
	g.count(-1)
	g.shares = slices.Insert(g.shares, 0, more)
	g.count(1)
	more.at.used += more.n
	more.own.used += more.n
	s.touch(g)
	return true
}

// enqueue has a request wait.
func (s *slots) enqueue(r *request) {
	s.waiting = append(s.waiting, r)
	if r.purpose == forLive {
		s.urgent++
	}
	for _, share := range r.shares {
		share.own.waiting = append(share.own.waiting, r)
	}
	s.touch(r.grant)
}

// leave ends that, but for s.waiting.
func (r *request) leave() {
	if r.purpose == forLive {
		r.slots.urgent--
	}
	for _, share := range r.shares {
		share.own.waiting = slices.DeleteFunc(share.own.waiting, func(other *request) bool { return other == r })
	}
}

// touch notes that something of what accounts have, or want, has changed.
func (s *slots) touch(g *grant) {
	for _, share := range g.shares {
		if !share.own.touched && len(share.own.waiting) > 0 {
			share.own.touched = true
			s.touched = append(s.touched, share.own)
		}
	}
}

// touchAll is touch for all who wait.
func (s *slots) touchAll() {
	for _, r := range s.waiting {
		s.touch(r.grant)
	}
}
