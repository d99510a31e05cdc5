package daemon

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/netsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// weather is what goes wrong in a random world. What does depends on the seed, on
// the time and on what is said, not on the order in which goroutines happen to
// come.
type weather struct {
	*wire
	seed uint64
	busy bool // people act while commands are answered
	rare int  // how rarely connections and commands go wrong: once in so many; 0: often

	mu    sync.Mutex
	clear bool           // nothing goes wrong any more
	asked map[string]int // how often in a moment
	at    time.Time
}

// dice are thrown for one thing that happens now.
func (w *weather) dice(what ...string) *rand.Rand {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); !now.Equal(w.at) {
		w.at, w.asked = now, make(map[string]int)
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %q", w.at.UnixNano(), what)
	key := strings.Join(what, "\x00")
	w.asked[key]++
	return rand.New(rand.NewPCG(w.seed, h.Sum64()+uint64(w.asked[key])))
}

func (w *weather) isClear() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clear
}

// clearUp ends the bad weather.
func (w *weather) clearUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clear = true
}

func (w *weather) jitter(below time.Duration) time.Duration {
	return time.Duration(w.dice("jitter").Int64N(int64(below)))
}

// connection says what is wrong with the next connection.
func (w *weather) connection(address string) (f netsim.Faults) {
	if w.isClear() || !strings.HasPrefix(address, "127.0.0.1:") {
		return f
	}
	dice := w.dice("connection", address)
	if w.rare > 0 && dice.IntN(w.rare) > 0 {
		return f
	}
	fuse := func() *netsim.Fuse {
		if dice.IntN(6) > 0 {
			return nil
		}
		return netsim.NewFuse(dice.IntN(1<<(4+dice.IntN(10))), netsim.Break(dice.IntN(3)))
	}
	f.Refused, f.Lost = dice.IntN(20) == 0, dice.IntN(50) == 0
	f.ToServer, f.ToClient = fuse(), fuse()
	if dice.IntN(12) == 0 {
		f.Trickle = time.Millisecond
	}
	return f
}

// command says how a server reacts to a command.
func (w *weather) command(server string, c imapsim.Command) imapsim.Reaction {
	if w.isClear() || c.Verb == "LOGOUT" {
		return imapsim.Reaction{}
	}
	words := strings.Fields(strings.NewReplacer("(", " ", ")", " ").Replace(c.Line))
	slices.Sort(words) // the library asks for items in any order
	dice := w.dice(server, strings.Join(words, " "))
	if c.User != "" && w.busy && dice.IntN(20) == 0 {
		w.act(w.somebody)
	}
	if w.rare > 0 && dice.IntN(w.rare) > 0 {
		return imapsim.Reaction{}
	}
	often := 60
	if w.rare > 0 {
		often = 4
	}
	switch {
	case dice.IntN(often) == 0:
		return imapsim.Reaction{Say: "BYE [UNAVAILABLE] I have to go"}
	case dice.IntN(often) == 0:
		return imapsim.Reaction{Say: "BYE [SERVERBUG] that was it", After: true}
	case w.rare > 0 || dice.IntN(25) == 0:
		if list := answersTo(c.Verb); len(list) > 0 {
			return imapsim.Reaction{Say: list[dice.IntN(len(list))]}
		}
	}
	return imapsim.Reaction{}
}

// somebody does something on either side.
func (w *weather) somebody() {
	switch w.people.Rand.IntN(5) {
	case 0, 1:
		w.people.OnSource()
	case 2, 3:
		w.people.OnDestination()
	case 4:
		w.people.Deliver()
	}
}

// some is a random choice of capabilities.
func some(rng *rand.Rand) []string {
	missing := rng.IntN(4)
	return slices.DeleteFunc(slices.Clone(imapsim.Capabilities), func(string) bool { return rng.IntN(8) < missing })
}

// randomWire lives through one random world.
func randomWire(t *testing.T, dir string, seed int64, mutate func(*wire, *pass.Options)) error {
	rng := rand.New(rand.NewPCG(uint64(seed), 4))
	w := &weather{seed: uint64(seed), busy: rng.IntN(4) > 0}
	var trace []string
	w.wire = newWire(t, dir, rand.New(rand.NewPCG(uint64(seed), 6)), func(old, new *imapsim.Options) {
		for side, o := range map[string]*imapsim.Options{"old": old, "new": new} {
			o.Before = func(c imapsim.Command) imapsim.Reaction {
				r := w.command(side, c)
				fmt.Fprintf(&w.log, "time=%s level=WIRE server=%s command=%q %+v\n", time.Now().Format("15:04:05.000"), side, c.Line, r)
				return r
			}
		}
		for _, o := range []*imapsim.Options{old, new} {
			o.Capabilities, o.Eager = some(rng), rng.IntN(2) == 0
			if rng.IntN(4) == 0 {
				o.Separator = '.'
				if slices.Contains(o.Capabilities, "NAMESPACE") { // else nobody would know
					o.Prefix = "INBOX."
				}
			}
		}
		if longest := rng.IntN(3) * rng.IntN(1500); longest > 0 {
			new.Commit = func() time.Duration { return time.Duration(w.dice("commit").IntN(longest)) * time.Millisecond }
		}
		trace = append(trace, fmt.Sprintf("old: %v", old.Capabilities), fmt.Sprintf("new: %v", new.Capabilities))
	})
	defer w.close()
	if rng.IntN(2) == 0 {
		trace = append(trace, "compressed")
		w.compressed()
	}
	w.mutate = mutate
	w.network.Faults, w.wire.jitter = w.connection, w.jitter
	w.people.New.Alters = rng.IntN(6) == 0
	if rng.IntN(6) == 0 {
		w.keepDeleted()
	}
	w.lookAgain = 3 * time.Minute
	w.config.FlagsInterval, w.config.FullSweep = 10*time.Minute, time.Hour
	note := func(format string, args ...any) {
		w.act(func() { w.people.Note(format, args...) })
	}

	w.people.Deliver()
	w.run()
	for range 2 + rng.IntN(4) {
		time.Sleep(time.Duration(rng.IntN(600)) * time.Second)
		for range rng.IntN(4) {
			w.act(w.somebody)
		}
		time.Sleep(time.Duration(rng.IntN(20_000)) * time.Millisecond)
		switch rng.IntN(6) {
		case 0:
			note("killed")
			w.crash()
			w.run()
		case 1:
			note("stopped")
			if err := w.stop(); err != nil {
				return fmt.Errorf("stopping: %w", err)
			}
			w.run()
		case 2:
			note("reloaded")
			w.reload()
		}
	}
	w.clearUp()
	note("the weather clears up")
	time.Sleep(30 * time.Minute)
	if err := w.retryHeld(); err != nil {
		return err
	}
	time.Sleep(30 * time.Minute)
	if err := w.check(); err != nil {
		return fmt.Errorf("%s\n%s\n%w\n%s", strings.Join(trace, "\n"), w.people.Trace(), err, &w.log)
	}
	return nil
}

// reload has a configuration taken in force that reconnects the account.
func (w *wire) reload() {
	next := *w.config
	next.Accounts = slices.Clone(next.Accounts)
	next.Accounts[0].Source.MaxConnectionsPerAccount ^= 1
	w.acting.Lock()
	w.config = &next
	w.acting.Unlock()
	if err := w.running.Reload(context.Background(), false); err != nil {
		w.t.Errorf("reload: %v", err)
	}
}

// retryHeld has everything tried again that is held.
func (w *wire) retryHeld() error {
	operator := w.running.operator()
	holds, err := operator.Holds(context.Background())
	if err != nil || len(holds) == 0 {
		return err
	}
	var names []string
	for _, h := range holds {
		if h.Reason != mail.ReasonLateTwin {
			names = append(names, h.Name())
		}
	}
	_, err = operator.Retry(context.Background(), names)
	return err
}

// TestWireWorlds has everything happen at once: people at work on both sides,
// servers that know little or answer no, networks that break, a daemon that is
// killed. A seed decides all but the order in which goroutines come that are
// ready at the same moment.
func TestWireWorlds(t *testing.T) {
	begun := time.Now()
	dir := shm(t)
	first, last := int64(0), int64(*wires)
	if *wireNow >= 0 {
		first, last = *wireNow, *wireNow+1
	}
	for seed := first; seed < last; seed++ {
		if err := inBubble(t, func(t *testing.T) error { return randomWire(t, dir, seed, nil) }); err != nil {
			t.Errorf("go test ./daemon -run %s -wire-seed=%d -count=10\n%v", t.Name(), seed, err)
		}
	}
	proof.Count(t, begun, "%d worlds", last-first)
}
