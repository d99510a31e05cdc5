package daemon

import (
	"slices"
	"time"
)

// relieve asks those to yield whose room is needed by who waits: room of their
// own account, or of their server. Thousands may wait, and the most of them where
// nobody has room to spare: they are not gone through.
func (s *slots) relieve() {
	for _, at := range s.servers {
		at.coming, at.spent = at.leaving, [2]bool{}
	}
	for _, own := range s.touched {
		own.touched = false
		s.relieveAccount(own)
	}
	s.touched = s.touched[:0]
	for i, r := range s.waiting {
		if i%64 == 0 && s.allSpent() {
			return
		}
		urgent := 0
		if r.purpose == forLive {
			urgent = 1
		}
		for _, share := range r.shares {
			at := share.at
			lack := at.used + share.n - s.bound(at, r.purpose)
			for lack > at.coming && !at.spent[urgent] {
				g := s.dispensable(r, at, nil)
				if g == nil {
					at.spent[urgent] = true
					at.spent[0] = true // who needs it less gets no more
					break
				}
				s.ask(g)
			}
			at.coming -= max(0, min(at.coming, lack))
		}
	}
}

// relieveAccount is relieve for those who wait for room of their own account.
func (s *slots) relieveAccount(own *tally) {
	coming := -1 // of what it has been told to give back nobody reckons with so much yet; -1: not counted
	for _, r := range own.waiting {
		for _, share := range r.shares {
			lack := own.used + share.n - share.at.mostOf(share.account, share.perAccount)
			if share.own != own || lack <= 0 {
				continue
			}
			if coming < 0 {
				coming = s.leavingOf(own)
			}
			for lack > coming {
				g := s.dispensable(r, share.at, own)
				if g == nil {
					break
				}
				s.ask(g)
				coming += g.of(own)
			}
			coming -= min(coming, lack)
		}
	}
}

// ask has the room of a grant given back, which who waits reckons with.
func (s *slots) ask(g *grant) {
	g.tell()
	for _, share := range g.shares {
		share.at.coming += share.n
	}
}

// allSpent tells whether no server has room to spare for anybody, or all have
// enough.
func (s *slots) allSpent() bool {
	for _, at := range s.servers {
		urgent := 0
		if s.urgent > 0 {
			urgent = 1
		}
		spent := at.coming == 0 && at.spent[urgent]
		if !spent && at.used+s.largest > min(s.bound(at, forLive), s.bound(at, forCopy)) {
			return false
		}
	}
	return true
}

// leavingOf is how many connections an account has been told to give back.
func (s *slots) leavingOf(own *tally) (n int) {
	for _, all := range [][]*grant{s.grants, s.sitting} {
		for _, g := range all {
			if g.leaving {
				n += g.of(own)
			}
		}
	}
	return n
}

// of is how many connections of an account a grant is for.
func (g *grant) of(own *tally) (n int) {
	for _, share := range g.shares {
		if share.own == own {
			n += share.n
		}
	}
	return n
}

// dispensable returns whose connections to a server are needed least, nil when
// all are needed more than those that are waited for. own: only those of the
// account.
func (s *slots) dispensable(r *request, at *server, own *tally) (least *grant) {
	cost := 4
	for _, g := range s.grants {
		if g.leaving || !slices.ContainsFunc(g.shares, func(share share) bool { return share.at == at && (own == nil || share.own == own) }) {
			continue
		}
		c := 4
		switch {
		case g.idle:
			c = 1
		case g.purpose == forLane:
			c = 2
		case g.purpose == forCopy && (r.purpose == forLive || time.Since(g.since) >= s.turnTime()):
			c = 3
		}
		if c < cost {
			if cost, least = c, g; c == 1 {
				break // there is none that is needed less
			}
		}
	}
	return least
}
