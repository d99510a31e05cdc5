package simtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// counted is a destination that notes which mailboxes are written to, and how
// many at once.
type counted struct {
	pass.Destination
	*count
	lane int
}

type count struct {
	mu         sync.Mutex
	now, most  int
	opened     []string
	lanes      map[int]bool
	unwritable string
}

func (c counted) Appender(ctx context.Context, box mail.Ref) (mail.Appender, error) {
	return c.count.open(c.lane, box.Name)(c.Destination.Appender(ctx, box))
}

func (c counted) Make(ctx context.Context, box mail.Creation) (mail.Appender, error) {
	return c.count.open(c.lane, box.Name)(c.Destination.Make(ctx, box))
}

func (c *count) open(lane int, name string) func(mail.Appender, error) (mail.Appender, error) {
	return func(a mail.Appender, err error) (mail.Appender, error) {
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.opened = append(c.opened, name)
		if name == c.unwritable {
			return nil, &mail.Refused{Command: "SELECT", Type: "NO", Code: "NOPERM"}
		}
		c.lanes[lane] = true
		c.now++
		c.most = max(c.most, c.now)
		return countedAppender{a, c}, nil
	}
}

type countedAppender struct {
	mail.Appender
	*count
}

func (a countedAppender) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now--
	return a.Appender.Close()
}

// sideBySide is a world of six mailboxes, and what is written to it.
func sideBySide(beside int) (*world, *count) {
	w, c := newWorld(), &count{lanes: make(map[int]bool)}
	w.beside = beside
	for i, name := range []string{"INBOX", "Trash", "a", "b", "Sent", "Drafts"} {
		for n := range 5 {
			w.old.Deliver(name, fmt.Sprintf("n%d%d", i, n), day, mail.Flags{})
		}
	}
	for _, role := range []string{"Trash", "Sent", "Drafts"} {
		w.old.Boxes[role].Role = `\` + role
	}
	w.mutate = func(o *pass.Options) {
		o.Destination = counted{o.Destination, c, 0}
		opened := 0
		beside := o.Beside
		o.Beside = func(ctx context.Context) (pass.Lane, error) {
			lane, err := beside(ctx)
			c.mu.Lock()
			defer c.mu.Unlock()
			opened++
			lane.Yield = nil
			if err == nil {
				lane.Destination = counted{lane.Destination.(counted).Destination, c, opened}
			}
			return lane, err
		}
	}
	return w, c
}

// TestSideBySide: as many mailboxes are carried at once as there are lanes, and
// they are begun in the order of importance.
func TestSideBySide(t *testing.T) {
	for _, beside := range []int{0, 1, 3} {
		synctest.Test(t, func(t *testing.T) {
			w, c := sideBySide(beside)
			w.settle(t)
			if c.most != beside+1 || len(c.lanes) != beside+1 {
				t.Errorf("%d further lanes: %d lanes in use, %d mailboxes at once", beside, len(c.lanes), c.most)
			}
			if beside == 0 && !slices.Equal(c.opened, []string{"INBOX", "Sent", "Drafts", "a", "b", "Trash"}) {
				t.Errorf("one after the other: %q", c.opened)
			}
			first := slices.Sorted(slices.Values(c.opened[:beside+1]))
			if want := slices.Sorted(slices.Values([]string{"INBOX", "Sent", "Drafts", "a"}[:beside+1])); !slices.Equal(first, want) {
				t.Errorf("%d further lanes: %q are begun first, not %q", beside, first, want)
			}
			if err := w.check(t, true); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHeavyMailboxBegunInTime: what would go on by itself in the end is begun before its
// turn, but not before what people look at first.
func TestHeavyMailboxBegunInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := sideBySide(1)
		for n := range 40 {
			w.old.Deliver("Trash", fmt.Sprintf("heavy%d", n), day, mail.Flags{})
		}
		w.settle(t)
		last := slices.Sorted(slices.Values(c.opened[3:]))
		if c.opened[3] != "Trash" || !slices.Equal(last, []string{"Trash", "a", "b"}) {
			t.Errorf("begun in the order %q", c.opened)
		}
		if err := w.check(t, true); err != nil {
			t.Error(err)
		}
	})
}

// TestNoLaneToBeHad: mailboxes are carried over the one that there is.
func TestNoLaneToBeHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := sideBySide(2)
		mutate := w.mutate
		w.mutate = func(o *pass.Options) {
			mutate(o)
			o.Beside = func(context.Context) (pass.Lane, error) { return pass.Lane{}, errors.New("too many connections") }
		}
		w.settle(t)
		if c.most != 1 {
			t.Errorf("%d mailboxes at once", c.most)
		}
		if err := w.check(t, true); err != nil {
			t.Error(err)
		}
	})
}

// TestOneMailboxRefused: the others are carried all the same, by one pass.
func TestOneMailboxRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := sideBySide(2)
		c.unwritable = "Sent"
		w.settle(t)
		if n := len(w.new.Boxes["Sent"].Messages); n != 0 || w.new.Appends != 25 {
			t.Errorf("%d messages in Sent, %d in all", n, w.new.Appends)
		}
		var held []mail.Hold
		for _, h := range w.journal.holds {
			held = append(held, h)
		}
		if len(held) != 1 || held[0].Reason != mail.ReasonMailbox || held[0].Mailbox != "Sent" {
			t.Errorf("%+v", held)
		}
		c.unwritable = ""
		w.settle(t)
		if err := w.check(t, true); err != nil {
			t.Error(err)
		}
	})
}

// TestLaneYields: a lane that others need is closed at once, its mailbox goes on
// over the one that stays, and the pass that yields ends as if it were to stop.
func TestLaneYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := sideBySide(1)
		mutate := w.mutate
		whole := make(chan struct{})
		yielded, open := false, 0
		w.mutate = func(o *pass.Options) {
			mutate(o)
			o.Yield = whole
			beside := o.Beside
			o.Beside = func(ctx context.Context) (pass.Lane, error) {
				lane, err := beside(ctx)
				yield := make(chan struct{})
				time.AfterFunc(5*time.Millisecond, func() { close(yield) })
				lane.Yield = yield
				lane.Close = func() {
					c.mu.Lock()
					defer c.mu.Unlock()
					open, yielded = open-1, len(c.opened) < 6
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				open++
				return lane, err
			}
		}
		w.settle(t)
		if open != 0 || !yielded {
			t.Errorf("open %d, closed in time %v", open, yielded)
		}
		if err := w.check(t, true); err != nil {
			t.Error(err)
		}
		close(whole)
		w.old.Deliver("INBOX", "n99", day, mail.Flags{})
		if err := w.live(t, &Faults{}); !errors.Is(err, pass.ErrStopped) {
			t.Errorf("a pass that is to yield ends with %v", err)
		}
	})
}

// TestLateInOrder: what a connection had in flight when it was lost is stored in
// the order in which it was sent, however late.
func TestLateInOrder(t *testing.T) {
	sent := []string{"n1", "n2", "n3"}
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			s := NewServer(1)
			s.Box("a")
			f := &Faults{At: 2, Pace: 1, Late: func() (time.Duration, bool) { return time.Second, true }}
			w := Writable{View: View{s, f}, Intended: func(string, int64, mail.Fingerprint) error { return nil }}
			a, err := w.Appender(t.Context(), mail.Ref{Name: "a"})
			if err != nil {
				t.Fatal(err)
			}
			var answers []<-chan mail.Answer
			for _, text := range sent {
				answers = append(answers, a.Append(t.Context(), []mail.Upload{{Size: int64(len(text)), Date: day, Content: strings.NewReader(text)}}))
			}
			for i, answer := range answers {
				if outcome := (<-answer).Outcomes[0]; !errors.Is(outcome.Err, mail.ErrInDoubt) {
					t.Errorf("%s: %v", sent[i], outcome.Err)
				}
			}
			time.Sleep(2 * time.Second)
			var stored []string
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, m := range s.Boxes["a"].Messages {
				stored = append(stored, m.Data)
			}
			if !slices.Equal(stored, sent) {
				t.Errorf("stored in the order %q", stored)
			}
		})
	}
}
