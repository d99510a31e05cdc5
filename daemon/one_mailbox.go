package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/imapsyncd/imapsyncd/daemon/config"
)

// errOneMailbox: two accounts have one log-in on the new server, which the
// configuration gives two names.
var errOneMailbox = errors.New("two accounts fill one mailbox of the new server")

// errOneLogIn: an account is to be carried onto itself (I10).
var errOneLogIn = errors.New("old and new server are the same log-in")

// logIns are those of all accounts on the new server. Under one name the
// configuration refuses two that are the same; which names are one server's is
// known when they are resolved. They are looked up before each connection.
type logIns struct {
	mu     sync.Mutex
	byName map[string]*config.Account
	alike  map[logIn][]*config.Account
}

// logIn is one on the new server, but for the name of the host.
type logIn struct {
	user string // lower case
	port int
}

func logInOf(s config.Server) logIn { return logIn{strings.ToLower(s.User), s.Port} }

func (l *logIns) use(c *config.Config) {
	byName := make(map[string]*config.Account, len(c.Accounts))
	alike := make(map[logIn][]*config.Account, len(c.Accounts))
	for i := range c.Accounts {
		a := &c.Accounts[i]
		byName[a.Name] = a
		alike[logInOf(a.Destination)] = append(alike[logInOf(a.Destination)], a)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byName, l.alike = byName, alike
}

// others are the accounts whose log-ins on the new server are those of one but for
// the name of the host.
func (l *logIns) others(account string, s config.Server) (others []*config.Account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.alike[logInOf(s)] {
		if a.Destination.Host != s.Host && a.Name != account {
			others = append(others, a)
		}
	}
	return others
}

// sourceOf is the log-in of an account on the old server, where it is that on the new
// one but for the name of the host.
func (l *logIns) sourceOf(account string, s config.Server) (config.Server, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.byName[account]
	if a == nil {
		return config.Server{}, false
	}
	return a.Source, a.Source.Host != s.Host && logInOf(a.Source) == logInOf(s)
}

// checkDestination refuses, before the new server hears of it, a log-in that is
// another account's under another name: the names share an address. Each of the two
// is refused, so that no start decides whose mail the mailbox gets.
func (d *Daemon) checkDestination(ctx context.Context, account string, s config.Server) error {
	others := d.logIns.others(account, s)
	old, same := d.logIns.sourceOf(account, s)
	if len(others) == 0 && !same {
		return nil
	}
	mine := d.addressesOf(ctx, s.Host)
	shared := func(host string) int {
		theirs := d.addressesOf(ctx, host)
		return slices.IndexFunc(mine, func(at netip.Addr) bool { return slices.Contains(theirs, at) })
	}
	if same {
		if i := shared(old.Host); i >= 0 {
			return fmt.Errorf("%w: the log-in %s on %s and on %s, which are both %s; correct host in [source] or [destination]", errOneLogIn, s.User, old.Host, s.Host, mine[i])
		}
	}
	for _, other := range others {
		if i := shared(other.Destination.Host); i >= 0 {
			return fmt.Errorf("%w: %s and %s, by the log-in %s on %s and on %s, which are both %s; give one of them a log-in of its own, or take it out; if these are two servers behind one address, write the address that each has of its own",
				errOneMailbox, account, other.Name, s.User, s.Host, other.Destination.Host, mine[i])
		}
	}
	return nil
}
