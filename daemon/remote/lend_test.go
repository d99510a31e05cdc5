package remote

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// lentTo is a Source that has nothing but what it is lent.
func lentTo(loan *Loan) *Source {
	s := NewSource(SourceOptions{Logger: quiet(), Open: func(context.Context) (*Conn, error) {
		return nil, errors.New("a connection of its own")
	}})
	s.Use(loan)
	return s
}

func giveBack(s *Source, loan *Loan, news bool) {
	s.Leave(loan)
	loan.Return(news)
}

// next is the UIDNEXT of Archive that a listing shows.
func (w *watched) next(t *testing.T, s *Source) mail.UID {
	t.Helper()
	listing, err := s.Mailboxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, box := range listing.Mailboxes {
		if box.Name == "Archive" {
			return box.Status.UIDNext
		}
	}
	t.Fatalf("no Archive in %v", listing.Mailboxes)
	return 0
}

func (w *watched) arrives() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.uidNext++
}

// TestLend: the connection that listens is read over meanwhile, and then listens again.
// What the one who had it has seen is no news afterwards, what he has not is.
func TestLend(t *testing.T) {
	for name, c := range map[string]struct {
		caps string
		w    *watched
		o    WatchOptions
	}{
		"IDLE":                       {watchCaps, &watched{}, WatchOptions{}},
		"answers DONE with the next": {watchCaps, &watched{waits: true}, WatchOptions{}},
		"loses what is behind DONE":  {watchCaps, &watched{loses: true}, WatchOptions{Stepwise: true}},
		"no IDLE":                    {"LIST-EXTENDED LIST-STATUS", &watched{}, WatchOptions{}},
		"refuses IDLE":               {watchCaps, &watched{refuses: true}, WatchOptions{}},
		"lists one by one":           {"IDLE", &watched{}, WatchOptions{}},
	} {
		t.Run(name, func(t *testing.T) {
			w, lender := c.w, new(Lender)
			c.o.Lender, c.o.Sweep = lender, func() time.Duration { return time.Hour }
			listening, hints, ended := w.watch(t, c.caps, 10*time.Second, c.o)
			await(t, listening, "word that it listens")
			sweeps := func() int { return w.seen("LIST") }

			w.arrives()
			loan := lender.Borrow(t.Context())
			if loan == nil {
				t.Fatal("the connection is not lent")
			}
			s := lentTo(loan)
			if n := w.next(t, s); n != 3 {
				t.Fatalf("UIDNEXT is %d", n)
			}
			if n := w.seen("EXAMINE"); n > 1 && strings.Contains(c.caps, "LIST-STATUS") {
				t.Errorf("%d mailboxes opened", n)
			}
			before := sweeps()
			giveBack(s, loan, true)
			if strings.Contains(c.caps, "LIST-STATUS") {
				loan = lender.Borrow(t.Context()) // once it has been swept
				if n := len(hints); sweeps() != before+1 || n != 0 {
					t.Errorf("%d sweeps after it came back, %d hints", sweeps()-before, n)
				}
				s = lentTo(loan)
				w.next(t, s)
				w.arrives()
				giveBack(s, loan, false)
			}
			await(t, hints, "hint")
			if strings.Contains(c.caps, "IDLE") && !w.refuses {
				for push := await(t, w.idling, "IDLE"); ; push = await(t, w.idling, "IDLE") {
					push("* 3 EXISTS") // of one that has ended nothing is heard
					select {
					case <-hints:
						return
					case err := <-ended:
						t.Fatal(err)
					case <-time.After(10 * time.Millisecond):
					}
				}
			}
		})
	}
}

// TestLendEnds: who has borrowed the connection keeps it until he gives it back, though
// nobody is to listen any more; then it ends at once. Nobody is lent one that has ended.
func TestLendEnds(t *testing.T) {
	for name, c := range map[string]struct {
		caps string
		w    *watched
	}{
		"IDLE":         {watchCaps, &watched{}},
		"no IDLE":      {"LIST-EXTENDED LIST-STATUS", &watched{}},
		"refuses IDLE": {watchCaps, &watched{refuses: true}},
	} {
		t.Run(name, func(t *testing.T) {
			w, lender := c.w, new(Lender)
			w.idling, w.uidNext = make(chan func(string), 1), 2
			if lender.Lends() || lender.Borrow(t.Context()) != nil {
				t.Fatal("something is lent though nobody listens")
			}
			server := newFakeServer(t, SideSource, c.caps, w.serve)
			ctx, cancel := context.WithCancel(t.Context())
			listening, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				ended <- Watch(ctx, WatchOptions{
					Open: server.dial, Lender: lender, Sweep: func() time.Duration { return time.Hour },
					Listening: func() { close(listening) }, Hint: func(string) {},
				})
			}()
			await(t, listening, "word that it listens")
			loan := lender.Borrow(t.Context())
			cancel()
			s := lentTo(loan)
			w.next(t, s)
			if len(ended) != 0 {
				t.Error("it ended while it was lent")
			}
			giveBack(s, loan, false)
			if err := await(t, ended, "end"); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if lender.Lends() || lender.Borrow(t.Context()) != nil {
				t.Error("lent after its end")
			}
		})
	}
}

// TestStatusInParts: what NOTIFY tells of a mailbox in the middle of a listing takes
// nothing from what the listing tells.
func TestStatusInParts(t *testing.T) {
	l := newLister()
	for _, line := range []string{
		"* STATUS a (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3 HIGHESTMODSEQ 4)",
		"* STATUS a (MESSAGES 2 UIDNEXT 3)",
	} {
		r, err := parseResponse([][]byte{[]byte(line)})
		if err != nil || !l.take(r) {
			t.Fatal(line, err)
		}
	}
	want := mail.Status{Messages: 2, MessagesKnown: true, UIDNext: 3, UIDValidity: 3, HighestModSeq: 4}
	if got := l.statuses["a"]; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestLendBreaks: a connection that breaks while it is lent fails who has it, who gets no
// other, and who listens.
func TestLendBreaks(t *testing.T) {
	w, lender := &watched{deaf: true}, new(Lender)
	listening, _, ended := w.watch(t, watchCaps, 50*time.Millisecond, WatchOptions{Lender: lender, Sweep: func() time.Duration { return time.Hour }})
	await(t, listening, "word that it listens")
	loan := lender.Borrow(t.Context())
	s := lentTo(loan)
	var far *Error
	if _, err := s.Mailboxes(t.Context()); !errors.As(err, &far) || far.Class != ClassTimeout {
		t.Error(err)
	}
	if _, err := s.Mailboxes(t.Context()); err == nil || !strings.Contains(err.Error(), "of its own") {
		t.Error(err)
	}
	giveBack(s, loan, true)
	await(t, ended, "end")
	if lender.Borrow(t.Context()) != nil {
		t.Error("lent after its end")
	}
}

// TestBorrowInVain: who waits for a connection that is busy is told when there is none any
// more, and may give up.
func TestBorrowInVain(t *testing.T) {
	w, lender := &watched{deaf: true}, new(Lender)
	listening, _, ended := w.watch(t, watchCaps, 200*time.Millisecond, WatchOptions{
		Lender: lender, Stepwise: true, Sweep: func() time.Duration { return time.Hour },
	})
	await(t, listening, "word that it listens")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if loan := lender.Borrow(ctx); loan != nil { // it may just have been handed over
		giveBack(lentTo(loan), loan, false)
	}
	for lender.Lends() {
		if loan := lender.Borrow(t.Context()); loan != nil {
			giveBack(lentTo(loan), loan, false)
		}
	}
	await(t, ended, "end")
}

// TestLendNoEcho: a server that never tells the same twice has one look follow the other at
// the pace of the sweeps, not at its own.
func TestLendNoEcho(t *testing.T) {
	w, lender := &watched{restless: true}, new(Lender)
	listening, hints, _ := w.watch(t, watchCaps, 10*time.Second, WatchOptions{Lender: lender, Sweep: func() time.Duration { return time.Hour }})
	await(t, listening, "word that it listens")
	for range 5 {
		loan := lender.Borrow(t.Context())
		s := lentTo(loan)
		w.next(t, s)
		giveBack(s, loan, false)
	}
	loan := lender.Borrow(t.Context())
	if len(hints) != 1 {
		t.Errorf("%d hints", len(hints))
	}
	giveBack(lentTo(loan), loan, false)
}
