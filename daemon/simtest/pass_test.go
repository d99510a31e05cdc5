package simtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
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

var (
	_ pass.Source      = View{}
	_ pass.Destination = Writable{}
	_ pass.Journal     = JournalView{}
)

// spool is where large messages would wait; there are none.
var spool = os.TempDir()

// world is two servers, a journal, and what has gone wrong so far.
type world struct {
	old, new *Server
	journal  *Journal
	mu       sync.Mutex // of errs, while passes run
	errs     []error
	// pace is that of the faults that name none; beside is over how many further
	// lanes mailboxes are carried, parcel how many messages are sent between two
	// commits.
	pace    uint64
	beside  int
	parcel  int
	foreign map[string]int // contents that were put on the new server by others
	gone    map[string]int // contents that their user removed there
	policy  pass.Policy
	// mutate makes something else of what a pass works with; nil: nothing.
	mutate func(*pass.Options)
}

func newWorld() *world {
	return &world{
		old: NewServer(10), new: NewServer(5000), journal: NewJournal(), foreign: make(map[string]int), gone: make(map[string]int),
		pace: 1, beside: 2, parcel: 1,
	}
}

// live runs one incarnation until it is done, ends, or f's fault crashes it.
func (w *world) live(t *testing.T, f *Faults) error {
	t.Helper()
	if f.Pace == 0 {
		f.Pace = w.pace
	}
	p := w.incarnation(t, f)
	for range 8 {
		result, err := p.Run(context.Background())
		switch {
		case f.Dead():
			return errCrash
		case err == nil && !result.Changed:
			return nil
		case errors.Is(err, pass.ErrJournal):
			p = w.incarnation(t, f) // I6: read again
		case err != nil && !errors.Is(err, errCut) && !errors.Is(err, mail.ErrUIDValidity) && !errors.Is(err, mail.ErrInDoubt):
			return err
		}
	}
	return errors.New("eight runs do not suffice")
}

func (w *world) incarnation(t *testing.T, f *Faults) *pass.Pass {
	wrong := func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.errs = append(w.errs, err)
	}
	old := View{w.old, f}
	new := Writable{
		View: View{w.new, f},
		Intended: func(box string, size int64, print mail.Fingerprint) error {
			if !w.journal.intended(box, size, print) {
				wrong(fmt.Errorf("I1: an APPEND to %s of %d octets without a durable intent", box, size))
			}
			return nil
		},
		Changing: func(kind mail.IntentKind, box mail.Ref, uid mail.UID) {
			intended, named := w.journal.changing(kind, box, uid)
			if !intended {
				wrong(fmt.Errorf("I1: a change (%d) of UID %d in %v without a durable intent", kind, uid, box))
			}
			if !named {
				wrong(fmt.Errorf("I4: a change (%d) of UID %d in %v, which no receipt names", kind, uid, box))
			}
			if w.policy.Draining {
				wrong(fmt.Errorf("I8: a change (%d) of UID %d in %v after the handover", kind, uid, box))
			}
		},
	}
	options := pass.Options{
		Policy: w.policy, Source: old, Destination: new, Journal: anchored{w.journal.View(f), w}, SpoolDir: spool,
		MostBeside: w.beside, LaneWorth: 1, Parcel: w.parcel,
	}
	opened := 0
	options.Beside = func(context.Context) (pass.Lane, error) {
		w.mu.Lock()
		opened++
		lane := fmt.Sprint("lane ", opened)
		w.mu.Unlock()
		if err := f.ask(step{what: lane}); err != nil {
			return pass.Lane{}, err
		}
		yield := make(chan struct{})
		timer := time.AfterFunc(20*f.duration(step{what: "yield of " + lane}), func() { close(yield) })
		return pass.Lane{Source: options.Source, Destination: options.Destination, Yield: yield, Close: func() { timer.Stop() }}, nil
	}
	if w.mutate != nil {
		w.mutate(&options)
	}
	return pass.New(options)
}

// settle runs without faults until nothing is left to do.
func (w *world) settle(t *testing.T) {
	t.Helper()
	if err := w.live(t, &Faults{}); err != nil {
		w.errs = append(w.errs, fmt.Errorf("a run without faults: %w", err))
	}
}

// check compares the two servers and the journal once all is quiet: every
// message exactly once, what others put there as it was, receipts one to one.
func (w *world) check(t *testing.T, inOrder bool) error {
	t.Helper()
	changes := w.new.Changes
	w.settle(t)
	errs := w.errs
	if w.new.Changes != changes {
		errs = append(errs, fmt.Errorf("a second run changed something %d times", w.new.Changes-changes))
	}
	want, have := make(map[string]int), make(map[string]int)
	for _, b := range w.old.Boxes {
		for _, m := range b.Messages {
			if w.new.Refuse == nil || !w.new.Refuse(m.Data) {
				want[key(m)]++
			}
		}
	}
	for content, n := range w.foreign {
		want[content] += n
	}
	for content, n := range w.gone {
		want[content] -= n
	}
	for name, b := range w.new.Boxes {
		last := ""
		for _, m := range b.Messages {
			have[key(m)]++
			if number, ours := strings.CutPrefix(m.Data, "n"); inOrder && ours && !strings.Contains(number, "twin") {
				if number < last {
					errs = append(errs, fmt.Errorf("I9: in %s %q comes after %q", name, number, last))
				}
				last = number
			}
		}
	}
	for content, n := range want {
		if have[content] != n {
			errs = append(errs, fmt.Errorf("%q is there %d times, not %d", content, have[content], n))
		}
	}
	for content, n := range have {
		if _, known := want[content]; !known {
			errs = append(errs, fmt.Errorf("%q is there %d times and should not be", content, n))
		}
	}
	return errors.Join(append(errs, w.checkReceipts()...)...)
}

// key tells messages apart, whatever form a server has given them. Those of the
// tests are of one day; what is stored on another has lost its date.
func key(m Message) string {
	date := " of " + m.Date.Format(time.DateOnly)
	if strings.HasSuffix(m.Data, "\r\n") && m.Date.Year() == 2000 {
		date = " of " + future.Format(time.DateOnly) // the day on which simulations begin
	}
	return strings.TrimSuffix(m.Data, "\r\n") + date
}

// checkReceipts: each receipt names a message of its fingerprint, and no two
// name one.
func (w *world) checkReceipts() (errs []error) {
	named := make(map[string]bool)
	for id, list := range w.journal.receipts {
		pair := w.journal.pairs[id]
		for _, r := range list {
			if r.Destination == 0 {
				continue
			}
			name, validity := pair.Destination, pair.DestinationValidity
			if r.Mailbox != "" {
				name, validity = r.Mailbox, r.UIDValidity
			}
			at := fmt.Sprint(name, validity, r.Destination)
			if named[at] {
				errs = append(errs, fmt.Errorf("two receipts name %s", at))
			}
			named[at] = true
			b := w.new.Boxes[name]
			if b == nil || b.Validity != validity {
				continue
			}
			for _, m := range b.Messages {
				if m.UID == r.Destination && !w.new.Alters && mail.NewFingerprint(int64(len(m.Data)), m.Date, []byte(m.Data)) != r.Fingerprint {
					errs = append(errs, fmt.Errorf("the receipt for %s is of another message", at))
				}
			}
		}
	}
	return errs
}

// small is a world of three messages in INBOX, twins among them, and two in
// another mailbox.
func small() *world {
	w := newWorld()
	w.old.Deliver("INBOX", "n1", day, mail.Flags{System: mail.Seen})
	w.old.Deliver("INBOX", "n2 twin", day, mail.Flags{})
	w.old.Deliver("INBOX", "n2 twin", day, mail.Flags{Keywords: "Work"})
	w.old.Deliver("a/b", "n4", day, mail.Flags{})
	w.old.Deliver("a/b", "n5", day, mail.Flags{})
	w.old.Boxes["a/b"].Subscribed = true
	return w
}

var lateness = map[string]func() (time.Duration, bool){
	"never stored": nil,
	"stored":       func() (time.Duration, bool) { return 0, true },
	"stored late":  func() (time.Duration, bool) { return 3 * time.Second, true },
}

// TestEveryFault breaks small worlds at every step of a pass, in every way:
// the process ends or a connection, and what was in flight is stored or not.
func TestEveryFault(t *testing.T) {
	begun, runs := time.Now(), 0
	for _, crash := range []bool{true, false} {
		for late, after := range lateness {
			for _, uidplus := range []bool{true, false} {
				for pace := range uint64(3) {
					name := fmt.Sprintf("crash=%v, %s, uidplus=%v, pace=%d", crash, late, uidplus, pace)
					for at := 1 + runs%oneIn(); ; at += oneIn() {
						var asked int
						synctest.Test(t, func(t *testing.T) {
							w := small()
							w.pace = pace + 1
							w.new.NoUIDPlus = !uidplus
							f := &Faults{At: at, Crash: crash, Late: after}
							if err := w.live(t, f); err != nil && !f.Dead() {
								t.Errorf("%s, step %d: %v", name, at, err)
							}
							asked = f.Asked()
							w.settle(t)
							time.Sleep(time.Minute) // what is late has come
							if err := w.check(t, true); err != nil {
								t.Errorf("%s, step %d:\n%v", name, at, err)
							}
						})
						runs++
						if at > asked || t.Failed() {
							break
						}
					}
				}
			}
		}
	}
	proof.Count(t, begun, "%d worlds", runs)
	if runs < 1500/oneIn() {
		t.Errorf("only %d worlds: the faults do not reach all steps", runs)
	}
}

// TestPairsOfFaults breaks a world of two mailboxes twice, the second time anywhere
// in the recovery from the first.
func TestPairsOfFaults(t *testing.T) {
	begun, runs := time.Now(), 0
	for first := 1; first < 40 && !t.Failed(); first++ {
		for second := 1 + runs%oneIn(); ; second += oneIn() {
			var asked int
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.old.Deliver("INBOX", "n1", day, mail.Flags{})
				w.old.Deliver("a", "n2", day, mail.Flags{})
				for _, at := range []int{first, second} {
					f := &Faults{At: at, Crash: true, Late: func() (time.Duration, bool) { return 2 * time.Second, true }}
					if err := w.live(t, f); err != nil && !f.Dead() {
						t.Errorf("steps %d and %d: %v", first, second, err)
					}
					asked = f.Asked()
				}
				w.settle(t)
				time.Sleep(time.Minute)
				if err := w.check(t, true); err != nil {
					t.Errorf("steps %d and %d:\n%v", first, second, err)
				}
			})
			runs++
			if second > asked || t.Failed() {
				break
			}
		}
	}
	proof.Count(t, begun, "%d worlds", runs)
}

// TestRandomWorlds puts everything together: deliveries, refusals, faults, a
// state that is lost or old, indexes rebuilt, a user who moves copies.
func TestRandomWorlds(t *testing.T) {
	everySeed(t, func(t *testing.T, seed int64) error { return random(t, seed, nil) })
}

func random(t *testing.T, seed int64, mutate func(*world, *pass.Options)) error {
	rng := rand.New(rand.NewPCG(uint64(seed), 1))
	w := newWorld()
	w.mutated(mutate)
	w.pace, w.beside, w.parcel = uint64(seed)+1, rng.IntN(3), 1+rng.IntN(3)
	if seed%2 == 0 {
		w.old.Labels = SameContents
	}
	w.new.NoUIDPlus = rng.IntN(4) == 0
	w.new.Alters = rng.IntN(4) == 0
	w.new.Refuse = func(data string) bool { return strings.Contains(data, "refuse") }
	boxes := []string{"INBOX", "a", "a/b"}
	n := 0
	deliver := func() {
		for range rng.IntN(5) {
			n++
			text := fmt.Sprintf("n%04d", n)
			switch rng.IntN(8) {
			case 0:
				text = "ntwin" // the same again and again
			case 1:
				text += " refuse"
			}
			if seed%4 == 0 {
				text += strings.Repeat(".", 1000) // worth to be asked about
			}
			date := day
			if rng.IntN(8) == 0 {
				date = future
			}
			at, flags := rng.IntN(3), mail.Flags{System: mail.System(rng.IntN(4))}
			w.old.Deliver(boxes[at], text, date, flags)
			for other := range boxes {
				if w.old.Labels != nil && other != at && rng.IntN(2) == 0 {
					w.old.Deliver(boxes[other], text, date, flags)
				}
			}
		}
	}
	deliver()
	backup := w.journal.Clone()
	var done trace
	inOrder := true
	for range 1 + rng.IntN(4) {
		f := &Faults{At: 1 + rng.IntN(80), Crash: rng.IntN(2) == 0}
		delay := time.Duration(rng.IntN(4)) * time.Second
		if rng.IntN(3) > 0 {
			f.Late = func() (time.Duration, bool) { return delay, true }
		}
		err := w.live(t, f)
		done.note("run with a fault at %d (crash %v, late %v): %v", f.At, f.Crash, f.Late != nil, err)
		time.Sleep(5 * time.Second) // later than any late commit: the promise has that limit
		switch rng.IntN(6) {
		case 0:
			w.settle(t)
			w.journal = NewJournal()
			done.note("state lost")
			inOrder = false
		case 1:
			w.settle(t)
			w.journal = backup.Clone()
			done.note("an old state restored")
			inOrder = false
		case 2:
			name := boxes[rng.IntN(3)]
			if w.old.Boxes[name] != nil {
				w.old.Rebuild(name)
				done.note("old %s rebuilt", name)
			}
		case 3:
			name := boxes[rng.IntN(3)]
			if w.new.Boxes[name] != nil {
				w.settle(t)
				w.new.Rebuild(name)
				done.note("new %s rebuilt", name)
			}
		case 4:
			w.settle(t)
			// A moved copy in another form, its twin and an old state together are
			// beyond recognition: such a twin may come again.
			if b := w.new.Boxes["INBOX"]; len(b.Messages) > 0 && !w.new.Alters {
				w.new.Move("INBOX", rng.IntN(len(b.Messages)), "kept")
				done.note("a copy moved by its user")
				inOrder = false
			}
		case 5:
			w.settle(t)
			backup = w.journal.Clone()
			w.new.Deliver("INBOX", "born here", day, mail.Flags{})
			w.foreign["born here of "+day.Format(time.DateOnly)]++
			done.note("backup; mail born on the new server")
		}
		deliver()
	}
	w.settle(t)
	time.Sleep(time.Minute)
	if err := w.check(t, inOrder); err != nil {
		return fmt.Errorf("%s\n%w", done, err)
	}
	return nil
}

// TestTheCheckerFails plants violations and expects each to be found.
func TestTheCheckerFails(t *testing.T) {
	for name, plant := range map[string]func(*world){
		"a duplicate":       func(w *world) { w.new.Deliver("INBOX", "n1", day, mail.Flags{}) },
		"a loss":            func(w *world) { w.new.Boxes["INBOX"].Messages = w.new.Boxes["INBOX"].Messages[1:] },
		"an altered octet":  func(w *world) { w.new.Boxes["INBOX"].Messages[0].Data = "m1" },
		"another date":      func(w *world) { w.new.Boxes["INBOX"].Messages[0].Date = day.AddDate(0, 0, 1) },
		"another order":     func(w *world) { slices.Reverse(w.new.Boxes["a/b"].Messages) },
		"a foreign message": func(w *world) { w.new.Deliver("INBOX", "who knows", day, mail.Flags{}) },
		"a receipt too many": func(w *world) {
			w.journal.receipts[1] = append(w.journal.receipts[1], mail.Receipt{Source: 99, Destination: 1})
		},
		"no intent": func(w *world) {
			a, _ := Writable{View: View{w.new, &Faults{}}, Intended: w.unintended}.Appender(context.Background(), mail.Ref{Name: "INBOX"})
			<-a.Append(context.Background(), []mail.Upload{{Size: 1, Content: strings.NewReader("x")}})
			w.foreign["x of 0001-01-01"]++
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := small()
			w.settle(t)
			if err := w.check(t, true); err != nil {
				t.Fatalf("before anything is planted: %v", err)
			}
			plant(w)
			if w.check(t, true) == nil {
				t.Errorf("%s: not found", name)
			}
		})
	}
}

func (w *world) unintended(string, int64, mail.Fingerprint) error {
	w.errs = append(w.errs, errors.New("I1"))
	return nil
}
