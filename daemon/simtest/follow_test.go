package simtest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// life is a world whose messages are followed one by one.
type life struct {
	*world
	*People
	t   *testing.T
	rng *rand.Rand
}

func newLife(t *testing.T, rng *rand.Rand) *life {
	w := newWorld()
	return &life{world: w, t: t, rng: rng, People: &People{
		Old: w.old, New: w.new, Rand: rng, Policy: &w.policy, Foreign: w.foreign,
		Intents: func() ([]mail.Intent, bool) { return slices.Collect(maps.Values(w.journal.intents)), true },
	}}
}

// quiet lets everything come to its end.
func (l *life) quiet() {
	for range 3 {
		l.settle(l.t)
		time.Sleep(16 * time.Minute)
	}
	l.settle(l.t)
}

// checkFates compares every message with what should have become of it.
func (l *life) checkFates() error {
	errs := append(l.errs, l.Check()...)
	for id, receipts := range l.journal.receipts {
		b := l.old.Boxes[l.journal.pairs[id].Source]
		if b == nil || b.Validity != l.journal.pairs[id].SourceAnchor.UIDValidity {
			continue
		}
		for _, r := range receipts {
			if there := slices.ContainsFunc(b.Messages, func(m Message) bool { return m.UID == r.Source }); there == r.Vanished() {
				errs = append(errs, fmt.Errorf("%s: the receipt %+v is wrong about its source", l.journal.pairs[id].Source, r))
			}
		}
	}
	changes := l.new.Changes
	l.settle(l.t)
	if l.new.Changes != changes {
		errs = append(errs, fmt.Errorf("a run without news changed something %d times", l.new.Changes-changes))
	}
	for _, i := range l.journal.intents {
		if i.Open() {
			errs = append(errs, fmt.Errorf("an intent is open: %+v", i))
		}
	}
	for _, h := range l.journal.holds {
		if h.Reason != mail.ReasonLateTwin {
			errs = append(errs, fmt.Errorf("held: %+v", h))
		}
	}
	return errors.Join(append(errs, l.checkReceipts()...)...)
}

// TestLives has people at work on both sides while passes run, fail and end in
// every way, and compares each message with what should have become of it.
func TestLives(t *testing.T) {
	everySeed(t, func(t *testing.T, seed int64) error { return live(t, seed, nil) })
}

// live simulates one life.
func live(t *testing.T, seed int64, mutate func(*world, *pass.Options)) error {
	l := newLife(t, rand.New(rand.NewPCG(uint64(seed), 2)))
	l.mutated(mutate)
	if l.new.Unflags = seed%5 == 3; seed%2 == 0 {
		l.old.Labels = SameContents
	}
	l.pace, l.beside, l.parcel = uint64(seed)+1, int(seed%3), 1+int(seed%4)
	if err := l.run(); err != nil {
		return fmt.Errorf("%s\n%w", l.Trace(), err)
	}
	return nil
}

func (l *life) run() error {
	l.new.NoUIDPlus = l.rng.IntN(8) == 0
	l.new.NoCondstore, l.new.NoMove = l.rng.IntN(4) == 0, l.rng.IntN(4) == 0
	l.new.Alters = l.rng.IntN(5) == 0
	l.policy.KeepDeleted = l.new.NoUIDPlus || l.rng.IntN(6) == 0
	l.note("uidplus %v, condstore %v, move %v, alters %v, unflags %v, %+v", !l.new.NoUIDPlus, !l.new.NoCondstore, !l.new.NoMove, l.new.Alters, l.new.Unflags, l.policy)
	l.Deliver()
	for range 2 + l.rng.IntN(5) {
		switch l.rng.IntN(12) {
		case 0:
			if !l.policy.Draining {
				l.quiet()
			}
			name := l.boxes()[l.rng.IntN(len(l.old.Boxes))]
			l.old.Rebuild(name)
			l.note("old %s rebuilt", name)
			l.settle(l.t) // what vanishes together with its UIDs is kept
		case 1:
			l.quiet()
			l.new.Rebuild("INBOX")
			l.note("new INBOX rebuilt")
			if l.new.Alters {
				l.settle(l.t) // an altered copy is recognised by its source message
			}
		case 2:
			l.new.Deliver("INBOX", "born here", day, mail.Flags{})
			l.foreign["born here"]++
		}
		if !l.policy.Draining && l.rng.IntN(8) == 0 {
			l.quiet()
			l.policy.Draining = true
			l.note("handover")
		}
		if l.policy.Draining {
			l.settle(l.t) // what arrives is carried, and then left alone
			for _, f := range l.fates {
				l.remain(f)
			}
		}
		for range l.rng.IntN(4) {
			l.OnSource()
		}
		for range l.rng.IntN(3) {
			l.OnDestination()
		}
		if l.rng.IntN(2) == 0 {
			l.Deliver()
		}
		f := &Faults{}
		if l.rng.IntN(3) > 0 {
			f.At, f.Crash = 1+l.rng.IntN(120), l.rng.IntN(2) == 0
		}
		delay := time.Duration(l.rng.IntN(4)) * time.Second
		if l.rng.IntN(3) > 0 {
			f.Late = func() (time.Duration, bool) { return delay, true }
		}
		if l.rng.IntN(2) == 0 {
			f.When, f.Meanwhile = 1+l.rng.IntN(60), l.amid
		}
		err := l.live(l.t, f)
		l.note("run with a fault at %d of %d (crash %v, late %v): %v", f.At, f.Asked(), f.Crash, f.Late != nil, err)
		time.Sleep(5 * time.Second) // what is late has come
		synctest.Wait()
		if l.rng.IntN(4) == 0 {
			time.Sleep(16 * time.Minute)
			l.note("a quarter of an hour passes")
		}
	}
	l.quiet()
	return l.checkFates()
}
