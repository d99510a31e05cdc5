package daemon

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// TestWireStart: many accounts are followed as soon as the limit of log-ins lets
// them, and again after a kill, without anything being read twice. A reload that
// changes three of them connects only these again, and one that lacks half
// changes nothing.
func TestWireStart(t *testing.T) {
	begun := time.Now()
	accounts := atLength(500, 12)
	const rate = 10
	if err := inBubble(t, func(t *testing.T) error {
		var errs []error
		fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
		o := outage{port: oldPort}
		w := newCrowd(t, accounts, func(old, _ *imapsim.Options) { o.of(old) })
		defer w.close()
		w.network.Faults = o.faults
		w.connections(accounts*3/2, 200)
		w.config.SourceLimits.LoginsPerSecond, w.config.DestinationLimits.LoginsPerSecond = rate, rate
		start := func(what string) {
			w.run()
			time.Sleep(time.Millisecond) // it knows its accounts
			after, ok := w.recoveredBy(time.Hour)
			fetched := w.wire.old.Count("UID FETCH", "FETCH")
			most := o.quickest()
			t.Logf("%s: all %d accounts followed after %s, with up to %d log-ins in a second; %d FETCH so far", what, accounts, after.Round(100*time.Millisecond), most, fetched)
			if !ok || most > 2*rate {
				fail("%s: all are followed: %v, with %d log-ins in a second", what, ok, most)
			}
		}
		start("started")
		time.Sleep(5 * time.Minute) // all are listened to
		fetched, appended := w.wire.old.Count("UID FETCH", "FETCH"), w.wire.new.Count("APPEND")
		w.crash()
		o.quickest()
		logIns := []map[string]int{w.wire.old.LogIns(), w.wire.new.LogIns()}
		loggedIn := func(name string) (old, new int) {
			return w.wire.old.LogIns()[name] - logIns[0][name], w.wire.new.LogIns()[name] - logIns[1][name]
		}
		start("started after a kill")
		if n := w.wire.old.Count("UID FETCH", "FETCH") - fetched; n != 0 || w.wire.new.Count("APPEND") != appended {
			fail("%d FETCHes after the kill", n)
		}
		time.Sleep(5 * time.Minute)
		apart := 0 // did not wait for the connection that listens
		for _, name := range w.names {
			old, new := loggedIn(name)
			if old != 1 {
				apart++
			}
			if old < 1 || old > 2 || new != 1 || apart > 1+accounts/50 { // to listen and to look
				fail("%s has logged in %d and %d times after the kill, %d in two ways", name, old, new, apart)
			}
		}

		before := make(map[string]*follower)
		for _, name := range w.names {
			before[name] = w.follower(name)
		}
		next := *w.config
		next.Accounts = append([]config.Account(nil), w.config.Accounts...)
		for _, i := range []int{1, 3, 5} {
			next.Accounts[i].Source.MaxConnectionsPerAccount++
		}
		half := *w.config
		half.Accounts = w.config.Accounts[:accounts/2]
		good := w.config
		w.config = &half
		if err := w.running.Reload(t.Context(), false); err == nil || !strings.Contains(err.Error(), "--allow-removals") {
			fail("a configuration that lacks half is taken: %v", err)
		}
		w.config = good
		logIns = []map[string]int{w.wire.old.LogIns(), w.wire.new.LogIns()}
		w.config = &next
		errs = append(errs, w.running.Reload(t.Context(), false))
		time.Sleep(20 * time.Second)
		for i, name := range w.names {
			changed := i == 1 || i == 3 || i == 5
			if again := w.follower(name) != before[name]; again != changed {
				fail("%s has been started again: %v", name, again)
			}
			old, new := loggedIn(name)
			if (old > 0) != changed || old > 2 || (new > 0) != changed || new > 2 { // to listen, and to look
				fail("%s has logged in %d and %d times after a reload that changed three accounts", name, old, new)
			}
		}
		return w.complete(errs...)
	}); err != nil {
		t.Error(err)
	}
	proof.Count(t, begun, "%d accounts", accounts)
}
