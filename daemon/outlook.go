package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// room is what may be asked of one server at a time.
type room struct {
	connections int
	logins      float64 // a second; 0: any number
}

// clientele are the accounts of one old server.
type clientele struct {
	accounts int
	deaf     int // of them may not listen, by max_connections_per_account
	room     room
	targets  map[string]int // accounts by new server
}

// prospect is what the delay of new mail follows from.
type prospect struct {
	poll time.Duration
	// look is how long a look at an account takes that is not listened to, with
	// its log-ins.
	look    time.Duration
	sources map[string]*clientele
	targets map[string]room
}

// watchersAt is how many of a server's connections may be for listening: they
// are kept for days, so that a quarter at least is left for passes.
func watchersAt(size int) int {
	return max(0, size-max(size/4, sourceConnections+destinationConnections))
}

// polled are the accounts that have to be asked, where so many connections are
// allowed.
func (c *clientele) polled(connections int) int {
	return c.accounts - min(c.accounts-c.deaf, watchersAt(connections))
}

// bound is a limit by which each account is asked about no sooner than that.
type bound struct {
	every time.Duration
	raise string // what to raise, and to what, where that is longer than poll_interval
}

// outlooks are those of all old servers, by address. An account is asked about
// by a log-in on either side, and needs what a pass needs meanwhile.
func (p prospect) outlooks() []web.Outlook {
	asked := make(map[string]float64) // by new server: how many accounts
	for _, c := range p.sources {
		for target, n := range c.targets {
			asked[target] += float64(n) * float64(c.polled(c.room.connections)) / float64(c.accounts)
		}
	}
	var list []web.Outlook
	for _, address := range slices.Sorted(maps.Keys(p.sources)) {
		c := p.sources[address]
		polled := c.polled(c.room.connections)
		o := web.Outlook{Server: address, Accounts: c.accounts, Listened: c.accounts - polled, PollSeconds: p.poll.Seconds(), DelaySeconds: p.poll.Seconds()}
		if polled == 0 {
			list = append(list, o)
			continue
		}
		bounds := []bound{p.byLogins("source", float64(polled), c.room.logins), p.bySource(c)}
		for _, target := range slices.Sorted(maps.Keys(c.targets)) {
			n, room := asked[target], p.targets[target]
			bounds = append(bounds, p.byLogins("destination", n, room.logins), p.byTarget(n, room.connections))
		}
		for _, b := range bounds {
			o.DelaySeconds = max(o.DelaySeconds, b.every.Seconds())
			if b.every > p.poll && !slices.Contains(o.Raise, b.raise) {
				o.Raise = append(o.Raise, b.raise)
			}
		}
		if c.accounts > c.deaf && watchersAt(c.room.connections) < c.accounts-c.deaf {
			o.Listen = append(o.Listen, fmt.Sprintf("max_connections in [source] to %d", p.enough(c.accounts-c.deaf)))
		}
		if c.deaf > 0 {
			o.Listen = append(o.Listen, "max_connections_per_account in [source] to 2")
		}
		list = append(list, o)
	}
	return list
}

// byLogins is the bound of a limit of log-ins.
func (p prospect) byLogins(side string, accounts, rate float64) bound {
	if rate == 0 {
		return bound{}
	}
	return bound{seconds(accounts / rate), fmt.Sprintf("logins_per_second in [%s.limits] to %.0f", side, math.Ceil(accounts/p.poll.Seconds()))}
}

// bySource is the bound of the connections to the old server that are not
// listening. Of more of them, most would be.
func (p prospect) bySource(c *clientele) bound {
	every := func(connections int) time.Duration {
		polled := c.polled(connections)
		free := max(1, connections-(c.accounts-polled))
		return seconds(float64(polled) * p.look.Seconds() / float64(free))
	}
	need := c.room.connections
	for most := p.enough(c.accounts); need < most && every(need) > p.poll; {
		need++
	}
	return bound{every(c.room.connections), fmt.Sprintf("max_connections in [source] to %d", need)}
}

// byTarget is the bound of the connections to the new server.
func (p prospect) byTarget(accounts float64, connections int) bound {
	work := accounts * p.look.Seconds()
	return bound{seconds(work / float64(max(connections, 1))), fmt.Sprintf("max_connections in [destination] to %.0f", math.Ceil(work/p.poll.Seconds()))}
}

// enough is how many connections are so many that as many accounts are listened
// to.
func (p prospect) enough(accounts int) int {
	n := accounts + sourceConnections + destinationConnections
	for watchersAt(n) < accounts {
		n++
	}
	return n
}

func seconds(n float64) time.Duration {
	return time.Duration(min(n, float64(math.MaxInt64)/float64(2*time.Second)) * float64(time.Second))
}

// outlooks are those of a configuration, by the limits that are in force now.
func (d *Daemon) outlooks(accounts []config.Account, poll, look time.Duration) []web.Outlook {
	p := prospect{poll: poll, look: look, sources: make(map[string]*clientele), targets: make(map[string]room)}
	logins := func(side remote.Side) float64 { return d.limits.shared(side).At(config.RateLogins, d.Now) }
	for _, a := range accounts {
		from, to := addressOf(a.Source), addressOf(a.Destination)
		c := p.sources[from]
		if c == nil {
			c = &clientele{room: room{a.Source.MaxConnections, logins(remote.SideSource)}, targets: make(map[string]int)}
			p.sources[from] = c
		}
		c.accounts++
		if !mayListen(a) {
			c.deaf++
		}
		c.targets[to]++
		if _, known := p.targets[to]; !known {
			p.targets[to] = room{a.Destination.MaxConnections, logins(remote.SideDestination)}
		}
	}
	return p.outlooks()
}

// outlooks are those of the accounts that are followed now.
func (r *running) outlooks() []web.Outlook {
	r.mu.Lock()
	c := r.config
	r.mu.Unlock()
	return r.Daemon.outlooks(c.Accounts, c.PollInterval, r.look.typical())
}

// looks measures how long looks take that bring no news.
type looks struct{ nanoseconds atomic.Int64 }

func (l *looks) typical() time.Duration {
	return cmp.Or(time.Duration(l.nanoseconds.Load()), typicalLook)
}

// took takes one into account.
func (l *looks) took(d time.Duration) {
	old := l.typical()
	l.nanoseconds.Store(int64(old + (d-old)/8))
}

// mayListen tells whether an account may have a connection beside its pass.
func mayListen(a config.Account) bool {
	return a.Source.MaxConnectionsPerAccount > sourceConnections
}

// typicalLook is how long a look takes before one has been measured.
const typicalLook = time.Second

// quickest is the shortest of what was measured, which is without waiting for
// limits of ours.
func quickest(results []CheckResult) time.Duration {
	var least time.Duration
	for _, r := range results {
		if took := max(r.Source.Took, r.Destination.Took); took > 0 && r.Source.Error == "" && r.Destination.Error == "" {
			least = min(cmp.Or(least, took), took)
		}
	}
	return cmp.Or(least, typicalLook)
}
