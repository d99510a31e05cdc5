package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// TestWireMonth follows an account for some days, thirty at length, with people at work every
// few hours, the daemon restarted or killed every few days, and weather.
func TestWireMonth(t *testing.T) {
	begun := time.Now()
	days := min(30, 1+*wires/30)
	deeds := 0
	if err := inBubble(t, func(t *testing.T) error { return month(t, shm(t), days, &deeds) }); err != nil {
		t.Error(err)
	}
	proof.Count(t, begun, "%d days, %d deeds", days, deeds)
}

func month(t *testing.T, dir string, days int, deeds *int) error {
	rng := rand.New(rand.NewPCG(30, 4))
	w := &weather{seed: 30, rare: 20}
	w.wire = newWire(t, dir, rng, func(old, new *imapsim.Options) {
		for side, o := range map[string]*imapsim.Options{"old": old, "new": new} {
			o.Before = func(c imapsim.Command) imapsim.Reaction { return w.command(side, c) }
		}
	})
	defer w.close()
	w.network.Faults, w.wire.jitter = w.connection, w.jitter
	w.config.PollInterval = 15 * time.Minute
	w.run()
	for day := range days {
		for end := time.Now().Add(24 * time.Hour); time.Now().Before(end); {
			time.Sleep(time.Duration(1+rng.IntN(6*3600)) * time.Second)
			for range 1 + rng.IntN(4) {
				w.act(w.somebody)
				*deeds++
			}
		}
		switch day % 6 {
		case 2:
			w.crash()
			w.run()
		case 5:
			if err := w.stop(); err != nil {
				return fmt.Errorf("stopping: %w", err)
			}
			w.run()
		}
	}
	w.clearUp()
	time.Sleep(time.Hour)
	err := w.retryHeld()
	time.Sleep(time.Hour)
	if err = errors.Join(err, w.check()); err != nil {
		return fmt.Errorf("%s\n%w\n%s", w.people.Trace(), err, &w.log)
	}
	return nil
}

// TestWireMany follows many accounts for a day, one in a hundred connections and
// commands of which goes wrong: goroutines, descriptors and heap stay as they
// are.
func TestWireMany(t *testing.T) {
	begun := time.Now()
	accounts, hours, poll := min(200, 3+*wires/10), 8, 5*time.Minute
	if *wires >= 1000 {
		hours, poll = 24, time.Minute
	}
	var told string
	if err := inBubble(t, func(t *testing.T) (err error) {
		told, err = many(t, shm(t), accounts, hours, poll)
		return err
	}); err != nil {
		t.Error(err)
	}
	proof.Count(t, begun, "%d accounts for %d hours, %s", accounts, hours, told)
}

// held is what a process holds.
type held struct{ goroutines, descriptors, heap int }

func holding(t *testing.T) held {
	t.Helper()
	runtime.GC()
	runtime.GC() // what is in a sync.Pool outlives the first
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return held{runtime.NumGoroutine(), len(files), int(memory.HeapAlloc)}
}

// most is the most of each.
func most(list []held) (m held) {
	for _, h := range list {
		m = held{max(m.goroutines, h.goroutines), max(m.descriptors, h.descriptors), max(m.heap, h.heap)}
	}
	return m
}

func many(t *testing.T, dir string, accounts, hours int, poll time.Duration) (string, error) {
	w := &weather{seed: 200, rare: 100}
	w.wire = &wire{t: t, dir: dir, level: slog.LevelError}
	before := func(side string) func(imapsim.Command) imapsim.Reaction {
		return func(c imapsim.Command) (r imapsim.Reaction) {
			if c.Verb == "APPEND" || c.Verb == "LOGIN" {
				return r // else messages are held, and accounts wait for their operator
			}
			return w.command(side, c)
		}
	}
	oldUsers, newUsers := make(map[string]*simtest.Server), make(map[string]*simtest.Server)
	var names []string
	for i := range accounts {
		name := fmt.Sprintf("u%03d", i)
		names = append(names, name)
		oldUsers[name], newUsers[name] = simtest.NewServer(10), simtest.NewServer(5000)
	}
	w.old = imapsim.New(imapsim.Options{Users: oldUsers, Password: wirePassword, Capabilities: imapsim.Capabilities, Source: true, Before: before("old")})
	w.new = imapsim.New(imapsim.Options{Users: newUsers, Password: wirePassword, Capabilities: imapsim.Capabilities, Before: before("new")})
	w.config = wireConfig(t, dir, names...)
	w.config.PollInterval = poll
	for i := range w.config.Accounts {
		w.config.Accounts[i].Source.MaxConnections, w.config.Accounts[i].Destination.MaxConnections = 1000, 1000
	}
	w.network.Faults, w.wire.jitter = w.connection, w.jitter
	w.serve(w.old, oldPort)
	w.serve(w.new, newPort)
	defer w.close()

	n := 0
	deliver := func(name string) {
		n++
		oldUsers[name].Deliver("INBOX", wireText(n), time.Date(1990, 5, 6, 7, 8, 9, 0, time.UTC), mail.Flags{})
	}
	for _, name := range names {
		for range 10 {
			deliver(name)
		}
	}
	w.run()
	var held []held
	for hour := range hours {
		for _, name := range names {
			time.Sleep(time.Hour / time.Duration(accounts))
			if hour%2 == 0 { // more than 20 a day would wait for the operator's word
				oldUsers[name].Expunge("INBOX", 0)
			}
			deliver(name)
		}
		held = append(held, holding(t))
	}
	w.clearUp()
	time.Sleep(time.Hour)
	// What was refused again and again waits for the operator, and comes last.
	holds, err := w.running.operator().Holds(t.Context())
	errs := []error{err, w.retryHeld()}
	time.Sleep(time.Hour)
	for _, name := range names {
		old, new := texts(oldUsers[name]), texts(newUsers[name])
		if slices.ContainsFunc(holds, func(h AccountHold) bool { return h.Account == name }) {
			slices.Sort(old)
			slices.Sort(new)
		}
		if !slices.Equal(old, new) {
			errs = append(errs, fmt.Errorf("%s has %q, and on the new server %q", name, old, new))
		}
	}
	if n := w.old.Count(imapsim.Changing...); n != 0 {
		errs = append(errs, fmt.Errorf("%d commands that change something were sent to the old server", n))
	}
	early, late := most(held[hours/8:hours/2]), most(held[hours/2:])
	if late.goroutines > early.goroutines*11/10+20 || late.descriptors > early.descriptors*11/10+10 || late.heap > early.heap*11/10+1<<20 {
		errs = append(errs, fmt.Errorf("they grow: %+v", held))
	}
	return fmt.Sprintf("%d messages; at most %d goroutines and %d, %d descriptors and %d, %.1f MB and %.1f in the first and second half",
		n, early.goroutines, late.goroutines, early.descriptors, late.descriptors, float64(early.heap)/1e6, float64(late.heap)/1e6), errors.Join(errs...)
}

// texts are the messages of an INBOX.
func texts(s *simtest.Server) (list []string) {
	s.Look(func() {
		for _, m := range s.Boxes["INBOX"].Messages {
			list = append(list, m.Data)
		}
	})
	return list
}
