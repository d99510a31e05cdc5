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
	grants  []*grant // in use but to listen, the oldest first
	sitting []*grant // the same of those who listen
	waiting []*request
	urgent  int      // so many of them have news
	touched []*tally // those that are
	looks   bool     // lookAgain is to be called
	largest int      // so many connections to one server have been asked for at most
	seekers []*seeker
	ahead   int // so many with news went before others that wait
}

// aheadMost is how many with news go before one who waits without.
const aheadMost = 3

// purpose is what connections are for.
type purpose int

const (
	forLive  purpose = iota // to carry news, or a look that somebody waits for
	forLook                 // a look that nothing has called for
	forCopy                 // a first copy
	forLane                 // to make that faster
	forWatch                // to listen
)

// server is the room for connections to one server, by address.
type server struct {
	size, used int
	watching   int               // of them in use by watchers
	copying    int               // and by first copies
	leaving    int               // in use by those who have been told to give them back
	accounts   map[string]*tally // what each account has and wants, on one side
	learnt     learnt

	// What one round of sharing out has shown:
	waits  waits
	coming int     // of leaving what nobody who waits reckons with yet
	spent  [2]bool // nobody's connections are needed less, not even by who carries news
}

// most is how many connections may be in use.
func (at *server) most() int { return at.learnt.ceiling.of(at.size) }

// mostOf is the same of one account.
func (at *server) mostOf(account string, configured int) int {
	if own := at.learnt.own[account]; own != nil {
		return own.of(configured)
	}
	return configured
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
	own        *tally
}

// tally is what one account has of a server.
type tally struct {
	used    int
	waiting []*request
	touched bool // any of it has changed since those who can were asked to yield
}

// share is what an account wants of a server.
func (at *server) share(n need) share {
	own := at.accounts[n.account]
	if own == nil {
		own = new(tally)
		at.accounts[n.account] = own
	}
	return share{at, n.account, n.connections, n.perAccount, own}
}

// grant is what connections may be opened until it is released.
type grant struct {
	// yield is closed when others need the room: what goes on is to end soon.
	yield chan struct{}

	slots   *slots
	purpose purpose
	since   time.Time
	shares  []share
	idle    bool
	leaving bool // it has been told, under mu
	// Of one who listens:
	news    func() time.Time // when his account had news last
	listens time.Time        // since when; zero: not yet
	getUp   context.CancelFunc
}

// request waits for a grant.
type request struct {
	*grant
	granted chan struct{}
}

// acquire waits until the connections for both sides of an account are free, at least
// one on either; none of the source for who reads it over the connection that listens
// (connections: 0). None waits for a part of what it needs, so that no two wait for one
// another.
func (s *slots) acquire(ctx context.Context, p purpose, source, destination need) (*grant, error) {
	s.mu.Lock()
	g, err := s.grant(p, source, destination)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	r := &request{g, make(chan struct{})}
	s.enqueue(r)
	s.share()
	s.lookAgain()
	s.mu.Unlock()
	select {
	case <-r.granted:
		return g, nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		if i := slices.Index(s.waiting, r); i >= 0 {
			s.waiting = slices.Delete(s.waiting, i, i+1)
			r.leave()
		} else {
			s.giveBack(g)
		}
		s.share()
		return nil, ctx.Err()
	}
}

// lookAgain has those asked to yield, while anybody waits, whose turn has ended.
// The caller holds the mutex.
func (s *slots) lookAgain() {
	if s.looks || len(s.waiting) == 0 {
		return
	}
	s.looks = true
	time.AfterFunc(s.turnTime()/turnParts, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.looks = false
		s.touchAll()
		s.relieve()
		s.lookAgain()
	})
}

// turnParts is how often in a turn it is looked whose has ended.
const turnParts = 4

func (s *slots) turnTime() time.Duration {
	if s.turn == 0 {
		return time.Minute
	}
	return s.turn
}

// grant is what would be granted.
func (s *slots) grant(p purpose, source, destination need) (*grant, error) {
	g := &grant{slots: s, purpose: p, yield: make(chan struct{})}
	from, to := s.at(source), s.at(destination)
	if source.connections > 0 {
		if from == to && from.size < 2 {
			return nil, fmt.Errorf("max_connections of %s is 1, but source and destination are both there: allow at least 2", source.address)
		}
		g.shares = append(g.shares, from.share(source))
	}
	g.shares = append(g.shares, to.share(destination))
	g.shrink()
	return g, nil
}

// shrink leaves no more than the servers bear.
func (g *grant) shrink() {
	if g.purpose == forWatch {
		return
	}
	for i := range g.shares {
		share := &g.shares[i]
		share.n = max(1, min(share.n, share.at.most(), share.at.mostOf(share.account, share.perAccount)))
	}
	from, to := g.ends()
	if most := max(2, from.at.most()); from != to && from.at == to.at {
		from.n = min(from.n, most-1)
		to.n = min(to.n, most-from.n)
	}
	g.slots.largest = max(g.slots.largest, from.n, to.n)
}

// ends are the shares of the source and of the destination: the same one where nothing of
// the source is needed.
func (g *grant) ends() (from, to *share) { return &g.shares[0], &g.shares[len(g.shares)-1] }

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
	g.slots.touch(g)
	g.slots.relieve()
}

// use takes what was at rest into use again; false: somebody else needs it.
func (g *grant) use(p purpose) bool {
	g.slots.mu.Lock()
	defer g.slots.mu.Unlock()
	g.count(-1)
	g.idle, g.purpose = false, p
	g.count(1)
	return !g.told()
}

// tell has the room given back.
func (g *grant) tell() {
	close(g.yield)
	g.leaving = true
	for _, share := range g.shares {
		share.at.leaving += share.n
	}
	if g.getUp != nil {
		g.getUp()
	}
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

// crowded tells whether somebody waits for room.
func (s *slots) crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) > 0
}

// at returns the room at an address; its size is fixed by its first use.
func (s *slots) at(n need) *server {
	at, ok := s.servers[n.address]
	if !ok {
		if s.servers == nil {
			s.servers = make(map[string]*server)
		}
		at = &server{size: max(n.limit, 1), accounts: make(map[string]*tally), learnt: newLearnt()}
		s.servers[n.address] = at
	}
	return at
}

// bound is how many of a server's connections may be in use once some are taken
// for a purpose.
func (s *slots) bound(at *server, p purpose) int {
	const pass = sourceConnections + destinationConnections
	size := at.most()
	switch {
	case p == forWatch:
		return min(size, at.used+watchersAt(size)-at.watching)
	case s.live && (p == forCopy || p == forLane) && size >= 2*pass:
		return min(size, at.used+size-max(size/8, destinationConnections)-at.watching-at.copying)
	}
	return size
}

// fits tells whether there is room, on the servers and for the account.
func (s *slots) fits(g *grant) (servers, account bool) {
	servers, account = true, true
	for i, share := range g.shares {
		n := share.n
		if i > 0 && share.at == g.shares[0].at {
			n += g.shares[0].n
		}
		servers = servers && share.at.used+n <= s.bound(share.at, g.purpose)
		account = account && share.fitsAccount()
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
		share.own.used += share.n
	}
	g.count(1)
	g.since = time.Now()
	s.touch(g)
	in := s.of(g)
	*in = append(*in, g)
}

// of is where those who have connections for the same are.
func (s *slots) of(g *grant) *[]*grant {
	if g.purpose == forWatch {
		return &s.sitting
	}
	return &s.grants
}

func (s *slots) giveBack(g *grant) {
	in := s.of(g)
	i := slices.Index(*in, g)
	if i < 0 {
		return
	}
	*in = slices.Delete(*in, i, i+1)
	s.touch(g)
	for _, share := range g.shares {
		share.at.used -= share.n
		share.own.used -= share.n
		if g.leaving {
			share.at.leaving -= share.n
		}
	}
	g.count(-1)
}

// count counts connections by their purpose, or no more.
func (g *grant) count(sign int) {
	for _, share := range g.shares {
		switch g.purpose {
		case forWatch:
			share.at.watching += sign * share.n
		case forCopy, forLane:
			share.at.copying += sign * share.n
		}
	}
}
