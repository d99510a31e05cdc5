package daemon

import (
	"slices"
	"time"
)

// relieve asks those to yield whose room is needed by who waits. Thousands may
// wait, and thousands may have room: who has none to spare is looked for once.
func (s *slots) relieve() {
	for _, at := range s.servers {
		at.coming, at.spent = at.leaving, [2]bool{}
	}
	own := leavers{slots: s}
	tell := func(g *grant) {
		g.tell()
		for _, share := range g.shares {
			share.at.coming += share.n
		}
		own.add(g)
	}
	for _, r := range s.waiting {
		urgent := 0
		if r.purpose == forLive {
			urgent = 1
		}
		for _, share := range r.shares {
			at := share.at
			if lack := at.used + share.n - s.bound(at, r.purpose); lack > 0 {
				for lack > at.coming && !at.spent[urgent] {
					if g := s.dispensable(r, at, ""); g != nil {
						tell(g)
					} else {
						at.spent[urgent] = true
					}
				}
				at.coming -= min(at.coming, lack)
			}
			if lack := *share.own + share.n - at.mostOf(share.account, share.perAccount); lack > 0 {
				coming := own.of(share)
				for lack > *coming {
					g := s.dispensable(r, at, share.account)
					if g == nil {
						break
					}
					tell(g)
				}
				*coming -= min(*coming, lack)
			}
		}
	}
}

// leavers is how many connections accounts have been told to give back that
// nobody who waits reckons with yet.
type leavers struct {
	*slots
	coming map[*int]*int // by share.own; nil: nobody has asked
}

func (l *leavers) of(share share) *int {
	if l.coming == nil {
		l.coming = make(map[*int]*int)
		for _, g := range l.grants {
			if g.leaving {
				l.add(g)
			}
		}
	}
	if l.coming[share.own] == nil {
		l.coming[share.own] = new(int)
	}
	return l.coming[share.own]
}

// add takes in one more who has been told.
func (l *leavers) add(g *grant) {
	if l.coming == nil {
		return
	}
	for _, share := range g.shares {
		if l.coming[share.own] == nil {
			l.coming[share.own] = new(int)
		}
		*l.coming[share.own] += share.n
	}
}

// dispensable returns whose connections to a server are needed least, nil when
// all are needed more than those that are waited for.
func (s *slots) dispensable(r *request, at *server, account string) (least *grant) {
	cost := 4
	for _, g := range s.grants {
		if g.leaving || !slices.ContainsFunc(g.shares, func(share share) bool { return share.at == at && (account == "" || share.account == account) }) {
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
