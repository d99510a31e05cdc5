package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
)

// crowd is a world of many accounts with the same mailboxes, by their names.
type crowd struct {
	*wire
	names    []string
	old, new map[string]*simtest.Server
}

// newCrowd makes one whose servers run until close.
func newCrowd(t *testing.T, accounts int, change func(old, new *imapsim.Options)) *crowd {
	w := &crowd{wire: &wire{t: t, dir: shm(t), level: slog.LevelInfo}, old: make(map[string]*simtest.Server), new: make(map[string]*simtest.Server)}
	for i := range accounts {
		name := fmt.Sprintf("u%03d", i)
		w.names = append(w.names, name)
		w.old[name], w.new[name] = simtest.NewServer(10), simtest.NewServer(5000)
		w.deliver(name)
	}
	before := imapsim.Options{Users: w.old, Password: wirePassword, Capabilities: imapsim.Capabilities, Source: true}
	after := imapsim.Options{Users: w.new, Password: wirePassword, Capabilities: imapsim.Capabilities}
	if change != nil {
		change(&before, &after)
	}
	w.wire.old, w.wire.new = imapsim.New(before), imapsim.New(after)
	w.config = wireConfig(t, w.dir, w.names...)
	w.serve(w.wire.old, oldPort)
	w.serve(w.wire.new, newPort)
	return w
}

// connections sets max_connections.
func (w *crowd) connections(source, destination int) {
	for i := range w.config.Accounts {
		a := &w.config.Accounts[i]
		a.Source.MaxConnections, a.Destination.MaxConnections = source, destination
	}
}

func (w *crowd) deliver(name string) {
	w.old[name].Deliver("INBOX", wireText(len(name)), time.Now(), mail.Flags{})
}

// missing is how many messages of an account are not on the new server.
func (w *crowd) missing(name string) int {
	before, _ := stored(w.old[name])
	after, _ := stored(w.new[name])
	return before - after
}

// stored is what a server holds.
func stored(s *simtest.Server) (messages, octets int) {
	s.Look(func() {
		for _, b := range s.Boxes {
			messages += len(b.Messages)
			for _, m := range b.Messages {
				octets += len(m.Data)
			}
		}
	})
	return messages, octets
}

func (w *crowd) follower(name string) *follower {
	w.t.Helper()
	f, err := w.running.follower(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// said is how many lines of the log have that in them.
func (w *wire) said(text string) int { return strings.Count(w.log.String(), text) }

// atLength is one number for long runs, and another for short ones.
func atLength(long, short int) int {
	if *wires >= 1000 {
		return long
	}
	return short
}

// complete are the errors of what is not as it should be in the end, and of the
// end itself.
func (w *crowd) complete(errs ...error) error {
	for _, name := range w.names {
		if n := w.missing(name); n != 0 {
			errs = append(errs, fmt.Errorf("%d messages of %s are not on the new server", n, name))
		}
		if s := w.follower(name).Status(); s.Health != mail.HealthOK {
			errs = append(errs, fmt.Errorf("%s is %s: %s", name, s.Health, s.Error))
		}
	}
	errs = append(errs, w.stop())
	for _, v := range append(w.wire.old.Violations(), w.wire.new.Violations()...) {
		errs = append(errs, errors.New(v))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w\n%s", err, &w.log)
	}
	return nil
}

// TestWireCrowd: with fewer connections than accounts those are listened to that
// had news last, and the others are asked about in turn; that this takes longer
// than poll_interval is said once, with what to raise, and when it no longer
// does.
func TestWireCrowd(t *testing.T) {
	if err := inBubble(t, func(t *testing.T) error {
		var errs []error
		fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
		w := newCrowd(t, 24, nil)
		defer w.close()
		w.connections(5, 50) // three may listen
		w.config.PollInterval = time.Minute
		w.config.SourceLimits.LoginsPerSecond = 0.2 // 21 accounts take 105 seconds
		w.run()
		time.Sleep(15 * time.Minute)

		if n := w.said("poll_interval cannot be met"); n != 1 || w.said("raise logins_per_second in [source.limits] to 1") != 1 {
			fail("said %d times that poll_interval cannot be met", n)
		}
		o := w.running.Status().Outlooks[0]
		if o.Listened != 3 || o.Accounts != 24 || o.DelaySeconds != 105 {
			fail("outlook: %+v", o)
		}
		for _, name := range w.names {
			w.deliver(name)
		}
		time.Sleep(3 * time.Minute)
		for _, name := range w.names {
			if n := w.missing(name); n != 0 {
				fail("%d messages of %s are missing", n, name)
			}
		}

		quick := "u023"
		for range 10 {
			time.Sleep(2 * time.Minute)
			w.deliver(quick)
		}
		time.Sleep(20 * time.Second) // another's look and a log-in; by a poll it takes 105 seconds
		if !w.follower(quick).Status().Watching || w.missing(quick) != 0 {
			fail("the account with news is not listened to")
		}
		watching := 0
		for _, name := range w.names {
			if w.follower(name).Status().Watching {
				watching++
			}
		}
		if watching != 3 {
			fail("%d accounts are listened to", watching)
		}

		more := *w.config
		more.SourceLimits.LoginsPerSecond = 10
		w.config = &more
		errs = append(errs, w.running.Reload(t.Context(), false))
		time.Sleep(10 * time.Minute)
		if n := w.said("poll_interval is met again"); n != 1 || w.said("poll_interval cannot be met") != 1 {
			fail("said %d times that poll_interval is met again", n)
		}
		if o := w.running.Status().Outlooks[0]; !o.Met() || len(o.Raise) != 0 {
			fail("outlook: %+v", o)
		}
		errs = append(errs, w.stop())
		for _, v := range w.wire.old.Violations() {
			fail("to the old server: %s", v)
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("%w\n%s", err, &w.log)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
