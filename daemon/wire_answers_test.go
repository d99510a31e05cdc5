package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// answers are what servers are met to say instead of doing what they are told,
// by the verb; any fits every verb (RFC 5530, RFC 3501 §7.1).
var answers = map[string][]string{
	"": {"BYE too many connections from your address", "BYE [UNAVAILABLE] later"},
	"LOGIN": {
		"NO [AUTHENTICATIONFAILED] no", "NO [AUTHORIZATIONFAILED] no", "NO [EXPIRED] no", "NO [PRIVACYREQUIRED] no", "NO [CONTACTADMIN] no",
		"NO [INUSE] later", "NO too many connections", "NO Suggested Backoff Time: 5000 milliseconds", "NO [LIMIT] too many", "NO [THROTTLED] slowly",
	},
	"NOTIFY":    {"NO [NOTIFICATIONOVERFLOW] not for these", "NO [BADEVENT (MessageNew MessageExpunge)] not those", "BAD what?"},
	"SELECT":    {"NO [NOPERM] no", "NO [NONEXISTENT] no", "NO [INUSE] later"},
	"APPEND":    {"NO [OVERQUOTA] full", "NO [TOOBIG] too big", "NO [CANNOT] no", "NO not this one", "BAD what?", "NO [TRYCREATE] where?"},
	"UID FETCH": {"NO some of it cannot be had", "NO [INUSE] later", "NO [EXPUNGEISSUED] some of it has gone"},
	"any":       {"NO [UNAVAILABLE] later", "NO [SERVERBUG] sorry", "NO [LIMIT] too many", "NO [THROTTLED] slowly"},
}

// answersTo are those that a command may be given instead of its own.
func answersTo(verb string) []string {
	switch verb {
	case "LOGOUT":
		return nil
	case "", "CAPABILITY":
		return answers[verb]
	case "AUTHENTICATE":
		verb = "LOGIN"
	case "EXAMINE":
		verb = "SELECT"
	}
	return slices.Concat(answers[verb], answers["any"])
}

// told is an answer that the small world is given.
type told struct {
	server string // "old" or "new"
	verb   string
	n      int // which of its commands of that verb, from 0
	say    string
	after  bool          // the command is carried out, its own answer is lost
	lasts  time.Duration // all commands of that verb are answered so; 0: this one
	world  smallWorld
}

// smallWorld is a kind of small world.
type smallWorld int

const (
	sound     smallWorld = iota
	lost                 // it has lost its state
	lostAlter            // and its new server alters what it stores
	plain                // its servers know the least that is of use
	bare                 // and the new one less than that, and alters
)

// seed has nothing removed by its user where the state is lost, as that would
// come again.
func (w smallWorld) seed() uint64 {
	if w.alters() {
		return 1
	}
	return smallSeed
}

func (w smallWorld) alters() bool { return w == lostAlter || w == bare }

// without are the capabilities that its servers lack.
func (w smallWorld) without() []string {
	least := []string{"LITERAL+", "LITERAL-", "LIST-EXTENDED", "LIST-STATUS", "CONDSTORE", "MULTIAPPEND", "MOVE", "ESEARCH", "IDLE", "NOTIFY", "UNSELECT"}
	switch w {
	case plain:
		return least
	case bare:
		return append(least, "UIDPLUS")
	}
	return nil
}

var smallWorlds = []string{
	"small world", "small world without its state", "small world without its state, with a server that alters",
	"small world with plain servers", "small world with a bare server that alters",
}

func (p told) String() string {
	what := "answered"
	if p.after {
		what = "carried out and answered"
	}
	return fmt.Sprintf("%s: command %s number %d to the %s server is %s %q for %s", smallWorlds[p.world], p.verb, p.n, p.server, what, p.say, p.lasts)
}

// counting counts the commands to the servers of a world.
type counting struct {
	mu   sync.Mutex
	seen map[string]int // nil: it does not count yet
	// before is asked about the n-th command of its verb to a server.
	before func(server string, n int, c imapsim.Command) imapsim.Reaction
}

// begin has it count.
func (c *counting) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = make(map[string]int)
}

// end has it count no more.
func (c *counting) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = nil
}

// live is a small life, told what to answer from where it becomes interesting.
func (c *counting) live(w *wire, world smallWorld) error {
	w.people.New.Alters = world.alters()
	if world != lost && world != lostAlter {
		c.begin()
		w.small()
		return nil
	}
	w.small()
	return w.lose(c.begin)
}

// smallTold is a small world whose servers are told what to answer.
func smallTold(t *testing.T, dir string, world smallWorld, c *counting) *wire {
	return newWire(t, dir, rand.New(rand.NewPCG(1, world.seed())), func(old, new *imapsim.Options) {
		for server, o := range map[string]*imapsim.Options{"old": old, "new": new} {
			o.Capabilities = slices.DeleteFunc(slices.Clone(o.Capabilities), func(name string) bool { return slices.Contains(world.without(), name) })
			o.Before = func(command imapsim.Command) imapsim.Reaction {
				c.mu.Lock()
				defer c.mu.Unlock()
				if c.seen == nil {
					return imapsim.Reaction{}
				}
				key := server + " " + command.Verb
				c.seen[key]++
				return c.before(server, c.seen[key]-1, command)
			}
		}
	})
}

// tell lives through the small world with one answer.
func tell(t *testing.T, dir string, p told) error {
	var until time.Time
	c := &counting{before: func(server string, n int, c imapsim.Command) (r imapsim.Reaction) {
		if server != p.server || c.Verb != p.verb {
			return r
		}
		if n == p.n {
			until = time.Now().Add(p.lasts)
		}
		if n == p.n || time.Now().Before(until) {
			r = imapsim.Reaction{Say: p.say, After: p.after}
		}
		return r
	}}
	w := smallTold(t, dir, p.world, c)
	defer w.close()
	err := c.live(w, p.world)
	time.Sleep(15 * time.Minute)
	err = errors.Join(err, w.retryHeld())
	c.end()
	time.Sleep(15 * time.Minute)
	err = errors.Join(err, w.check())
	if err == nil && until.IsZero() {
		return errNotReached
	}
	if err != nil {
		return fmt.Errorf("%s:\n%s\n%w\n%s", p, w.people.Trace(), err, &w.log)
	}
	return nil
}

// allTold are all answers to all commands of a small world, once and for two
// minutes.
func allTold(t *testing.T, dir string, world smallWorld) (list []told) {
	err := inBubble(t, func(t *testing.T) error {
		c := &counting{before: func(server string, n int, c imapsim.Command) imapsim.Reaction {
			for _, say := range answersTo(c.Verb) {
				for _, lasts := range []time.Duration{0, 2 * time.Minute} {
					list = append(list, told{world: world, server: server, verb: c.Verb, n: n, say: say, lasts: lasts})
				}
			}
			if c.Verb != "" {
				list = append(list, told{world: world, server: server, verb: c.Verb, n: n, say: "BYE [SERVERBUG] that was it", after: true})
			}
			return imapsim.Reaction{}
		}}
		w := smallTold(t, dir, world, c)
		defer w.close()
		return errors.Join(c.live(w, world), w.stop())
	})
	if err != nil {
		t.Error(err)
	}
	slices.SortStableFunc(list, func(a, b told) int {
		return cmp.Or(cmp.Compare(a.server, b.server), cmp.Compare(a.verb, b.verb), cmp.Compare(a.n, b.n))
	})
	return list
}

// TestWireAnswers has the servers of the small worlds answer each command in
// every way that is known of them.
func TestWireAnswers(t *testing.T) {
	begun := time.Now()
	dir := shm(t)
	var all []told
	for world := range smallWorlds {
		all = append(all, allTold(t, dir, smallWorld(world))...)
	}
	n, vain := 0, 0
	for i, p := range all {
		if i%everyNth(len(all)) != 0 {
			continue
		}
		err := inBubble(t, func(t *testing.T) error { return tell(t, dir, p) })
		switch {
		case errors.Is(err, errNotReached):
			vain++ // two connections have come in another order
		case err != nil:
			t.Error(err)
		}
		n++
	}
	if vain > 2+n/20 {
		t.Errorf("%d answers of %d were not given", vain, n)
	}
	proof.Count(t, begun, "%d of %d answers", n-vain, len(all))
}

// TestWireFound are the answers that once led to a message too many, or to one
// too few.
func TestWireFound(t *testing.T) {
	dir := shm(t)
	const long = 2 * time.Minute
	for what, p := range map[string]told{
		"a mailbox that was said not to be there while it was being filled":           {world: sound, server: "new", verb: "APPEND", n: 2, say: "NO [TRYCREATE] where?", lasts: long},
		"copies that were not served were not recognised":                             {world: lost, server: "new", verb: "UID FETCH", n: 0, say: "NO some of it cannot be had", lasts: long},
		"messages that were not served were copied once they were":                    {world: lost, server: "old", verb: "UID FETCH", n: 0, say: "NO some of it cannot be had", lasts: long},
		"a mailbox that was refused while the others were recognised":                 {world: lost, server: "old", verb: "EXAMINE", n: 3, say: "NO [NONEXISTENT] no"},
		"copies that were altered, and not served to be compared":                     {world: lostAlter, server: "new", verb: "UID FETCH", n: 3, say: "NO some of it cannot be had"},
		"copies that were altered, in a mailbox that was refused":                     {world: lostAlter, server: "new", verb: "EXAMINE", n: 2, say: "NO [NONEXISTENT] no"},
		"messages whose copies were altered, and that were not served to be compared": {world: lostAlter, server: "old", verb: "UID FETCH", n: 3, say: "NO some of it cannot be had", lasts: long},
	} {
		t.Run(what, func(t *testing.T) {
			for range 10 {
				err := inBubble(t, func(t *testing.T) error { return tell(t, dir, p) })
				if err == nil {
					return
				}
				if !errors.Is(err, errNotReached) {
					t.Fatal(err)
				}
			}
			t.Errorf("not reached any more: %s", p)
		})
	}
}
