package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// slots shares out the connections to each server among all accounts
// (max_connections), and those of one account among what it does
// (max_connections_per_account). Who has to wait gets what others can give back:
// first what is only kept in case it is needed, then what makes a first copy
// faster, and at last the room of a first copy that had its turn.
type slots struct {
	// turn is how long a first copy may go on while others wait; 0: a minute.
	turn time.Duration

	mu      sync.Mutex
	live    bool // some room is kept for passes of accounts that are followed
	servers map[string]*server
	grants  []*grant // in use, the oldest first
	waiting []*request
}

// purpose is what connections are for.
type purpose int

const (
	forLive  purpose = iota // to carry news, or a look that somebody waits for
	forCopy                 // a first copy
	forLane                 // to make that faster
	forWatch                // to listen
)

// server is the room for connections to one server, by address.
type server struct {
	size, used int
	watching   int            // of them in use by watchers
	accounts   map[string]int // in use by account, on one side
}

// need is what an account needs of a server.
type need struct {
	address     string
	account     string // with its side
	connections int
	limit       int // max_connections of that server
	perAccount  int // max_connections_per_account
}

// share is what of a server is in use, or wanted, by one account.
type share struct {
	at         *server
	account    string
	n          int
	perAccount int
}

// grant is what connections may be opened until it is released.
type grant struct {
	source, destination int // how many
	// yield is closed when others need the room: what goes on is to end soon.
	yield chan struct{}

	slots   *slots
	purpose purpose
	since   time.Time
	shares  []share
	idle    bool
}

// request waits for a grant.
type request struct {
	*grant
	granted chan struct{}
}

// acquire waits until the connections for both sides of an account are free,
// at least one on either. None waits for a part of what it needs, so that no two
// wait for one another.
func (s *slots) acquire(ctx context.Context, p purpose, source, destination need) (*grant, error) {
	s.mu.Lock()
	g, err := s.grant(p, source, destination)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	r := &request{g, make(chan struct{})}
	s.waiting = append(s.waiting, r)
	s.share()
	s.mu.Unlock()
	// Others may have their turn until then.
	again := time.NewTicker(s.turnTime())
	defer again.Stop()
	for {
		select {
		case <-r.granted:
			return g, nil
		case <-again.C:
			s.mu.Lock()
			s.relieve()
			s.mu.Unlock()
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			if i := slices.Index(s.waiting, r); i >= 0 {
				s.waiting = slices.Delete(s.waiting, i, i+1)
			} else {
				s.giveBack(g)
			}
			s.share()
			return nil, ctx.Err()
		}
	}
}

func (s *slots) turnTime() time.Duration {
	if s.turn == 0 {
		return time.Minute
	}
	return s.turn
}

// grant is what would be granted.
func (s *slots) grant(p purpose, source, destination need) (*grant, error) {
	from, to := s.at(source), s.at(destination)
	if from == to && from.size < 2 {
		return nil, fmt.Errorf("max_connections of %s is 1, but source and destination are both there: allow at least 2", source.address)
	}
	g := &grant{slots: s, purpose: p, yield: make(chan struct{})}
	g.source, g.destination = min(source.connections, from.size), min(destination.connections, to.size)
	if from == to {
		g.source = min(g.source, from.size-1)
		g.destination = min(g.destination, from.size-g.source)
	}
	g.shares = []share{{from, source.account, g.source, source.perAccount}, {to, destination.account, g.destination, destination.perAccount}}
	return g, nil
}

// tryLane takes one connection on either side, if there is room for it now that
// nobody waits for.
func (s *slots) tryLane(source, destination need) (*grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.grant(forLane, source, destination)
	if err != nil || len(s.waiting) > 0 || !s.tryTake(g) {
		return nil, false
	}
	return g, true
}

// tryWatch takes one connection for listening, if there is room now.
func (s *slots) tryWatch(n need) (*grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := &grant{slots: s, purpose: forWatch, yield: make(chan struct{}), source: 1, shares: []share{{s.at(n), n.account, 1, n.perAccount}}}
	return g, s.tryTake(g)
}

// release gives the room back, once.
func (g *grant) release() {
	g.slots.mu.Lock()
	defer g.slots.mu.Unlock()
	g.slots.giveBack(g)
	g.slots.share()
}

// rest tells that the connections are only kept open in case they are needed.
func (g *grant) rest() {
	g.slots.mu.Lock()
	defer g.slots.mu.Unlock()
	g.idle = true
	g.slots.relieve()
}

// use takes what was at rest into use again; false: somebody else needs it.
func (g *grant) use(p purpose) bool {
	g.slots.mu.Lock()
	defer g.slots.mu.Unlock()
	g.idle, g.purpose = false, p
	return !g.told()
}

// told tells whether the room is to be given back.
func (g *grant) told() bool {
	select {
	case <-g.yield:
		return true
	default:
		return false
	}
}

// at returns the room at an address; its size is fixed by its first use.
func (s *slots) at(n need) *server {
	at, ok := s.servers[n.address]
	if !ok {
		if s.servers == nil {
			s.servers = make(map[string]*server)
		}
		at = &server{size: max(n.limit, 1), accounts: make(map[string]int)}
		s.servers[n.address] = at
	}
	return at
}

// bound is how many of a server's connections may be in use once some are taken
// for a purpose.
func (s *slots) bound(at *server, p purpose) int {
	const pass = sourceConnections + destinationConnections
	switch {
	case p == forWatch: // watchers keep theirs for days: a quarter at least is for passes
		return min(at.size, at.used+at.size-max(at.size/4, pass)-at.watching)
	case s.live && p != forLive && at.size >= 2*pass:
		return at.size - max(at.size/8, destinationConnections)
	}
	return at.size
}

// fits tells whether there is room, on the servers and for the account.
func (s *slots) fits(g *grant) (servers, account bool) {
	servers, account = true, true
	total := make(map[*server]int)
	for _, share := range g.shares {
		total[share.at] += share.n
		servers = servers && share.at.used+total[share.at] <= s.bound(share.at, g.purpose)
		account = account && share.at.accounts[share.account]+share.n <= share.perAccount
	}
	return servers, account
}

func (s *slots) tryTake(g *grant) bool {
	servers, account := s.fits(g)
	if servers && account {
		s.take(g)
	}
	return servers && account
}

func (s *slots) take(g *grant) {
	for _, share := range g.shares {
		share.at.used += share.n
		share.at.accounts[share.account] += share.n
		if g.purpose == forWatch {
			share.at.watching++
		}
	}
	g.since = time.Now()
	s.grants = append(s.grants, g)
}

func (s *slots) giveBack(g *grant) {
	i := slices.Index(s.grants, g)
	if i < 0 {
		return
	}
	s.grants = slices.Delete(s.grants, i, i+1)
	for _, share := range g.shares {
		share.at.used -= share.n
		if share.at.accounts[share.account] -= share.n; share.at.accounts[share.account] == 0 {
			delete(share.at.accounts, share.account)
		}
		if g.purpose == forWatch {
			share.at.watching--
		}
	}
}

// share grants what there is room for, news before first copies, each in the
// order in which they came. Nobody gets ahead of one that waits for the same
// server.
func (s *slots) share() {
	waited := make(map[*server]bool)
	for _, p := range []purpose{forLive, forCopy} {
		s.waiting = slices.DeleteFunc(s.waiting, func(r *request) bool {
			if r.purpose != p {
				return false
			}
			servers, account := s.fits(r.grant)
			servers = servers && !slices.ContainsFunc(r.shares, func(share share) bool { return waited[share.at] })
			switch {
			case !account:
				return false // which is nothing to others
			case !servers:
				for _, share := range r.shares {
					waited[share.at] = true
				}
				return false
			}
			s.take(r.grant)
			close(r.granted)
			return true
		})
	}
	s.relieve()
}

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
					lack = share.at.accounts[share.account] + share.n - share.perAccount
				}
				for lack > coming[of] {
					g := s.dispensable(r, of.at, of.account)
					if g == nil {
						break
					}
					close(g.yield)
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
