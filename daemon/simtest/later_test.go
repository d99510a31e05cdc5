package simtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// unmade is a world of mailboxes that the new server does not have: with mail, without,
// subscribed to and not.
func unmade(beside int) *world {
	w := small()
	w.beside = beside
	w.old.Deliver("Sent", "n6", day, mail.Flags{})
	w.old.Deliver("c", "n7", day, mail.Flags{})
	for _, name := range []string{"empty", "a/none", "plain"} {
		w.old.Make(name)
	}
	w.old.Boxes["Sent"].Role = `\Sent`
	for _, name := range []string{"INBOX", "Sent", "empty", "a/none"} {
		w.old.Boxes[name].Subscribed = true
	}
	return w
}

// made fails unless all mailboxes are there, and subscribed to as on the old server, each
// with one pair.
func (w *world) made(t *testing.T) {
	t.Helper()
	for name, b := range w.old.Boxes {
		is := w.new.Boxes[name]
		if is == nil || is.Subscribed != b.Subscribed {
			t.Errorf("%s: %+v on the new server, %+v on the old", name, is, b)
		}
		n := 0
		for _, pair := range w.journal.pairs {
			if pair.Source == name {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s has %d pairs", name, n)
		}
	}
}

// TestLater: whatever breaks at whatever step of a first copy, all mailboxes are made in
// the end and their subscriptions carried, once: what a user has undone since stays so.
func TestLater(t *testing.T) {
	begun, runs := time.Now(), 0
	for _, beside := range []int{0, 2} {
		for _, crash := range []bool{true, false} {
			for at := 1; ; at++ {
				var asked int
				synctest.Test(t, func(t *testing.T) {
					w := unmade(beside)
					f := &Faults{At: at, Crash: crash, Late: lateness["stored late"]}
					if err := w.live(t, f); err != nil && !f.Dead() {
						t.Error(err)
					}
					asked = f.Asked()
					w.settle(t)
					time.Sleep(time.Minute) // what is late has come
					if err := w.check(t, true); err != nil {
						t.Error(err)
					}
					w.made(t)
					for _, name := range []string{"INBOX", "a/b", "empty"} {
						w.new.Boxes[name].Subscribed = false
					}
					w.old.Deliver("a/b", "n8", day, mail.Flags{})
					w.settle(t)
					w.settle(t)
					for _, name := range []string{"INBOX", "a/b", "empty"} {
						if w.new.Boxes[name].Subscribed {
							t.Errorf("%s is subscribed to again", name)
						}
					}
					if t.Failed() {
						t.Logf("%d lanes beside, crash=%v, step %d", beside, crash, at)
					}
				})
				runs++
				if at > asked || t.Failed() {
					break
				}
			}
		}
	}
	proof.Count(t, begun, "%d worlds", runs)
	if runs < 200 && !t.Failed() {
		t.Errorf("only %d worlds: the faults do not reach all steps", runs)
	}
}

// drawn is a journal whose commits take a second.
type drawn struct{ pass.Journal }

func (j drawn) Commit(c mail.Change) error {
	time.Sleep(time.Second)
	return j.Journal.Commit(c)
}

// waits is a destination that subscribes only after a while.
type waits struct {
	pass.Destination
	delay time.Duration
}

func (s waits) Subscribe(ctx context.Context, names []string) ([]error, error) {
	time.Sleep(s.delay)
	return s.Destination.Subscribe(ctx, names)
}

// TestLaterAside: whenever subscriptions are carried beside lanes that are at work, nothing
// that these have recorded is taken back by what is recorded of that.
func TestLaterAside(t *testing.T) {
	for delay := time.Duration(0); delay < 20*time.Second; delay += 250 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.beside, w.parcel = 2, 3
			for box, n := range map[string]int{"INBOX": 1, "a": 9, "c": 40} {
				for range n {
					w.old.Deliver(box, "n", day, mail.Flags{})
				}
				w.old.Boxes[box].Subscribed = true
			}
			w.mutate = func(o *pass.Options) {
				o.Journal, o.Destination = drawn{o.Journal}, waits{o.Destination, delay}
				lane := pass.Lane{Source: o.Source, Destination: o.Destination, Close: func() {}}
				o.Beside = func(context.Context) (pass.Lane, error) { return lane, nil }
			}
			_, err := w.incarnation(t, &Faults{Pace: 1}).Run(t.Context())
			for _, pair := range w.journal.pairs {
				if n := len(w.journal.receipts[pair.ID]); pair.DestinationValidity == 0 || int(pair.SourceAnchor.Messages) != n || pair.OwesSubscription {
					t.Errorf("%+v has %d receipts", pair, n)
				}
			}
			for _, err := range append(w.errs, err) {
				if err != nil {
					t.Errorf("subscribed after %v: %v", delay, err)
				}
			}
			w.made(t)
		})
	}
}

// order notes what the destination is asked, beside what is appended.
type order struct {
	pass.Destination
	*log
}

type log struct {
	mu   sync.Mutex
	said []string
}

func (l *log) add(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, what)
}

func (o order) Create(ctx context.Context, boxes []mail.Creation) ([]error, error) {
	o.add(fmt.Sprint("create ", boxes))
	return o.Destination.Create(ctx, boxes)
}

func (o order) Make(ctx context.Context, box mail.Creation) (mail.Appender, error) {
	o.add("make " + box.Name)
	return o.Destination.Make(ctx, box)
}

func (o order) Subscribe(ctx context.Context, names []string) ([]error, error) {
	o.add("subscribe")
	return o.Destination.Subscribe(ctx, names)
}

// TestLaterOrder: in a first copy nothing is made but by who is about to fill it, and what
// is left comes at the end, each together. A role goes to its mailbox before what is below
// it. In a second one, and in one that takes long, all is made at once.
func TestLaterOrder(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		want   []string
	}{
		"first": {func(*world) {}, []string{"make Sent", "make a/b", "make c", "create [{a/none } {empty } {plain }]", "subscribe"}},
		"with mailboxes below a role": {func(w *world) { w.old.Deliver("Sent/2004", "n9", day, mail.Flags{}) },
			[]string{`create [{Sent \Sent}]`, "make Sent/2004", "make a/b", "make c", "create [{a/none } {empty } {plain }]", "subscribe"}},
		"with state lost after the handover": {func(w *world) { w.policy.HoldBefore = day.AddDate(0, 0, -1) },
			[]string{`create [{Sent \Sent} {a/b } {a/none } {c } {empty } {plain }]`, "subscribe"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, l := unmade(0), new(log)
				c.change(w)
				w.mutate = func(o *pass.Options) { o.Destination = order{o.Destination, l} }
				w.settle(t)
				if !slices.Equal(l.said, c.want) {
					t.Errorf("%q\nnot %q", l.said, c.want)
				}
				w.made(t)
				l.said = nil
				w.old.Deliver("later", "n10", day, mail.Flags{})
				w.settle(t)
				if want := "create [{later }]"; !strings.HasPrefix(strings.Join(l.said, "; "), want) || w.new.Boxes["later"] == nil {
					t.Errorf("%q", l.said)
				}
				for _, err := range w.errs {
					t.Error(err)
				}
			})
		})
	}
}
