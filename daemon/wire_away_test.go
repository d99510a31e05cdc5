package daemon

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/netsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// outage is what is wrong with one server of a crowd.
type outage struct {
	port int

	mu      sync.Mutex
	away    bool // nothing listens
	refuses bool // no log-in is taken
	dials   int  // while it is away
	refused int
	logins  map[time.Time]int // taken, by second
}

// of makes the server of a world suffer from it.
func (o *outage) of(s *imapsim.Options) {
	o.logins = make(map[time.Time]int)
	s.Before = func(c imapsim.Command) (r imapsim.Reaction) {
		if c.Verb != "LOGIN" && c.Verb != "AUTHENTICATE" {
			return r
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.refuses {
			o.refused++
			return imapsim.Reaction{Say: "NO [LIMIT] too many connections"}
		}
		o.logins[time.Now().Truncate(time.Second)]++
		return r
	}
}

func (o *outage) faults(address string) (f netsim.Faults) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away && strings.HasSuffix(address, fmt.Sprint(":", o.port)) {
		f.Refused, o.dials = true, o.dials+1
	}
	return f
}

// set changes what is wrong, and tells how often a connection or a log-in has
// been tried in vain meanwhile.
func (o *outage) set(away, refuses bool) (inVain int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	inVain = o.dials + o.refused
	o.away, o.refuses, o.dials, o.refused = away, refuses, 0, 0
	return inVain
}

// quickest is how many log-ins there were at most in one second since the last
// time it was asked.
func (o *outage) quickest() (most int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range o.logins {
		most = max(most, n)
	}
	clear(o.logins)
	return most
}

// recovered is how long it takes until all mail is on the new server and all
// accounts are followed and well; it waits for ten minutes at most.
func (w *crowd) recovered() (after time.Duration, ok bool) { return w.recoveredBy(10 * time.Minute) }

// recoveredBy is recovered, but that it waits for so long at most.
func (w *crowd) recoveredBy(most time.Duration) (after time.Duration, ok bool) {
	start := time.Now()
	for ; time.Since(start) < most; time.Sleep(100 * time.Millisecond) {
		ok = true
		for _, name := range w.names {
			f, err := w.running.follower(name)
			if err != nil { // it has not been started yet
				ok = false
				break
			}
			s := f.Status()
			ok = ok && w.missing(name) == 0 && s.Health == mail.HealthOK && !s.LastSuccess.IsZero()
		}
		if ok {
			break
		}
	}
	return time.Since(start), ok
}

// TestWireAway: a server is restarted, then away for ten minutes, then takes no
// log-ins for five. Meanwhile one account tries it and the others wait for that;
// it is said once. When it is back all come, within the limit of log-ins, and
// nothing is missing.
func TestWireAway(t *testing.T) {
	accounts, rate := atLength(200, 8), atLength(20, 4)
	for name, port := range map[string]int{"old": oldPort, "new": newPort} {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			if err := inBubble(t, func(t *testing.T) error {
				var errs []error
				fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
				o := outage{port: port}
				w := newCrowd(t, accounts, func(old, new *imapsim.Options) {
					if port == oldPort {
						o.of(old)
					} else {
						o.of(new)
					}
				})
				defer w.close()
				w.network.Faults = o.faults
				w.connections(accounts*3/2, 50)
				w.config.SourceLimits.LoginsPerSecond, w.config.DestinationLimits.LoginsPerSecond = float64(rate), float64(rate)
				w.run()
				if _, ok := w.recovered(); !ok {
					fail("not all accounts are followed after ten minutes")
				}
				time.Sleep(2 * time.Minute)
				for _, step := range []struct {
					what          string
					away, refuses bool
					lasts         time.Duration
				}{
					{"restarted", true, false, time.Second},
					{"away", true, false, 10 * time.Minute},
					{"refusing log-ins", false, true, 5 * time.Minute},
				} {
					// That each account carries its news is said of each.
					lines := func() int { return w.said("\n") - w.said("pass done") }
					before, went, back := lines(), w.said("the server takes nobody"), w.said("the server is back")
					o.set(step.away, step.refuses)
					w.network.Sever()
					for _, name := range w.names {
						w.deliver(name)
					}
					time.Sleep(step.lasts)
					inVain := o.set(false, false)
					o.quickest()
					after, ok := w.recovered()
					said, most := lines()-before, o.quickest()
					went, back = w.said("the server takes nobody")-went, w.said("the server is back")-back
					t.Logf("%s for %s: tried %d times; %d lines; all %d accounts well %s after its return, with up to %d log-ins in a second",
						step.what, step.lasts, inVain, said, accounts, after.Round(100*time.Millisecond), most)
					if !ok {
						fail("%s: not all accounts are well ten minutes after", step.what)
					}
					if went != 1 || back != 1 || said > 20+4*int(step.lasts.Minutes()) {
						fail("%s: said %d times that it is so, %d times that it is over, in %d lines", step.what, went, back, said)
					}
					if inVain > 20+60*int(step.lasts.Minutes()) || most > 2*rate {
						fail("%s: tried %d times, and then %d log-ins in a second", step.what, inVain, most)
					}
					time.Sleep(2 * time.Minute)
				}
				return w.complete(errs...)
			}); err != nil {
				t.Error(err)
			}
			proof.Count(t, begun, "%d accounts", accounts)
		})
	}
}
