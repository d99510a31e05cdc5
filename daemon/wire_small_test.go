package daemon

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/netsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

var (
	wires   = flag.Int("wires", 5, "random worlds to simulate on the wire; with fewer than 1000, about as many cuts and answers are tried as well, and the long runs are shorter")
	wireNow = flag.Int64("wire-seed", -1, "replay one random world on the wire")
)

// smallSeed has one message moved, one expunged and one flagged on the source,
// and another flagged on the destination.
const smallSeed = 12

// small is a life of a few messages that goes the same way each time.
func (w *wire) small() {
	w.config.PollInterval, w.config.FlagsInterval = 5*time.Minute, 10*time.Minute
	w.lookAgain = 15 * time.Second
	for _, box := range []string{"INBOX", "INBOX", "INBOX", "a"} {
		w.people.DeliverTo(box)
	}
	w.run()
	time.Sleep(5 * time.Second)
	for range 4 {
		w.act(w.people.OnSource)
	}
	w.act(w.people.OnDestination)
	w.people.DeliverTo("INBOX")
	time.Sleep(time.Minute)
}

// lose has a life lose its state: everything is there already, and one message
// is not. began is called when the daemon is about to go on.
func (w *wire) lose(began func()) error {
	if err := w.stop(); err != nil {
		return err
	}
	if err := os.Remove(StatePath(w.config.StateDir, "u")); err != nil {
		return err
	}
	w.people.DeliverTo("a")
	began()
	w.run()
	time.Sleep(time.Minute)
	return nil
}

// way is one direction of what is said to one server.
type way struct {
	port     int
	toClient bool
}

// place is where a connection breaks.
type place struct {
	way
	octets int
	how    netsim.Break
}

func (p place) String() string {
	side := map[int]string{oldPort: "old", newPort: "new"}[p.port]
	direction := "to"
	if p.toClient {
		direction = "from"
	}
	return fmt.Sprintf("%s after %d octets %s the %s server", [...]string{"cut", "reset", "stalled"}[p.how], p.octets, direction, side)
}

// cutAt lives through the small world with a connection that breaks.
func cutAt(t *testing.T, dir string, at place) error {
	w := newWire(t, dir, rand.New(rand.NewPCG(1, smallSeed)), nil)
	defer w.close()
	fuse := netsim.NewFuse(at.octets, at.how)
	w.network.Faults = func(address string) (f netsim.Faults) {
		if address == fmt.Sprintf("127.0.0.1:%d", at.port) {
			if at.toClient {
				f.ToClient = fuse
			} else {
				f.ToServer = fuse
			}
		}
		return f
	}
	w.small()
	time.Sleep(15 * time.Minute)
	err := w.check()
	if err == nil && !fuse.Blown() {
		return errNotReached
	}
	if err != nil {
		return fmt.Errorf("%s:\n%s\n%w\n%s", at, w.people.Trace(), err, &w.log)
	}
	return nil
}

var errNotReached = errors.New("nothing broke: so much is not said")

// places are where the small world can be broken: at every boundary of two
// responses and the two octets before and behind it, and at every 17th octet.
func places(t *testing.T, dir string) (list []place) {
	said := make(map[way][]int) // the length of each piece, in order
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, dir, rand.New(rand.NewPCG(1, smallSeed)), nil)
		defer w.close()
		w.network.Faults = func(address string) netsim.Faults {
			port := oldPort
			if address == fmt.Sprintf("127.0.0.1:%d", newPort) {
				port = newPort
			}
			return netsim.Faults{Tap: func(toClient bool, p []byte) {
				w.acting.Lock()
				defer w.acting.Unlock()
				said[way{port, toClient}] = append(said[way{port, toClient}], len(p))
			}}
		}
		w.small()
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
	for way, lengths := range said {
		var octets []int
		total := 0
		for _, n := range lengths {
			total += n
			if way.toClient {
				octets = append(octets, total-2, total-1, total, total+1, total+2)
			}
		}
		for n := 1; n < total; n += 17 {
			octets = append(octets, n)
		}
		slices.Sort(octets)
		for _, n := range slices.Compact(octets) {
			list = append(list, place{way, n, netsim.Break(n % 3)})
		}
	}
	return list
}

// everyNth is which of so many cases are tried.
func everyNth(all int) int {
	if *wires >= 1000 {
		return 1
	}
	return max(1, all / *wires)
}

// inBubble runs what takes no time, and returns its error, so that the test goes
// on after it.
func inBubble(t *testing.T, f func(t *testing.T) error) (err error) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // the same again, as far as that can be had
	synctest.Test(t, func(t *testing.T) { err = f(t) })
	return err
}

// TestWireCuts breaks the small world at every place.
func TestWireCuts(t *testing.T) {
	begun := time.Now()
	dir := shm(t)
	all := places(t, dir)
	n, vain := 0, 0
	for i, at := range all {
		if i%everyNth(len(all)) != 0 {
			continue
		}
		err := inBubble(t, func(t *testing.T) error { return cutAt(t, dir, at) })
		switch {
		case errors.Is(err, errNotReached):
			vain++ // two connections have come in another order, and less was said
		case err != nil:
			t.Error(err)
		}
		n++
	}
	if vain > 2+n/20 {
		t.Errorf("%d places of %d were not reached", vain, n)
	}
	proof.Count(t, begun, "%d of %d places", n-vain, len(all))
}
