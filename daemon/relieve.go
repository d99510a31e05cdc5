package daemon

import (
	"slices"
	"time"
)

// relieve asks those to yield whose room is needed by who waits.
func (s *slots) relieve() {
	type key struct {
		at      *server
		account string
	}
	coming := make(map[key]int) // what has been asked for; account "" is the whole server
	count := func(g *grant) {
		for _, share := range g.shares {
			coming[key{share.at, ""}] += share.n
			coming[key{share.at, share.account}] += share.n
		}
	}
	for _, g := range s.grants {
		if g.told() {
			count(g)
		}
	}
	for _, r := range s.waiting {
		for _, share := range r.shares {
			for _, of := range []key{{share.at, ""}, {share.at, share.account}} {
				lack := share.at.used + share.n - s.bound(share.at, r.purpose)
				if of.account != "" {
					lack = share.at.accounts[share.account] + share.n - share.at.mostOf(share.account, share.perAccount)
				}
				for lack > coming[of] {
					g := s.dispensable(r, of.at, of.account)
					if g == nil {
						break
					}
					g.tell()
					count(g)
				}
				coming[of] -= min(coming[of], max(lack, 0))
			}
		}
	}
}

// dispensable returns whose connections to a server are needed least, nil when
// all are needed more than those that are waited for.
func (s *slots) dispensable(r *request, at *server, account string) (least *grant) {
	cost := 4
	for _, g := range s.grants {
		if g.told() || !slices.ContainsFunc(g.shares, func(share share) bool { return share.at == at && (account == "" || share.account == account) }) {
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
			cost, least = c, g
		}
	}
	return least
}
