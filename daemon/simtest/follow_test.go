package simtest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// fate is what should become of one message: its life on the source, and what
// somebody did to its copy on the destination.
type fate struct {
	text  string
	alive bool
	box   string
	flags mail.Flags
	// flagged, kept and removed are deeds of the user of the copy: other flags,
	// another mailbox, no copy at all.
	flagged, removed bool
	userFlags        mail.Flags
	kept             string
	own              string // a keyword that only he gave it
	// left is where the copy was when its message died, or when nothing was
	// followed any more.
	left *placed
	// underway tells that the copy was being moved when its message died.
	underway bool
}

type placed struct {
	box   string
	flags mail.Flags
}

func (p placed) String() string { return p.box + " " + p.flags.String() }

// expected is where the copy should be; nil: nowhere.
func (f *fate) expected() *placed {
	flags := f.flags
	if f.flagged {
		flags = f.userFlags
	}
	switch {
	case f.removed:
		return nil
	case f.kept != "":
		return &placed{f.kept, f.userFlags}
	case f.left != nil:
		if f.flagged {
			return &placed{f.left.box, f.userFlags}
		}
		return f.left
	case !f.alive:
		return nil
	}
	return &placed{f.box, flags}
}

// life is a world whose messages are followed one by one.
type life struct {
	*world
	t     *testing.T
	rng   *rand.Rand
	fates []*fate
	trace []string
	names int
}

func (l *life) note(format string, args ...any) {
	l.trace = append(l.trace, fmt.Sprintf(format, args...))
}

func at(s *Server, text string) (box string, i int) {
	for name, b := range s.Boxes {
		if i := slices.IndexFunc(b.Messages, func(m Message) bool { return strings.TrimSuffix(m.Data, "\r\n") == text }); i >= 0 {
			return name, i
		}
	}
	return "", -1
}

func (l *life) sourceFlags() mail.Flags {
	return mail.Flags{System: mail.System(l.rng.IntN(4)), Keywords: []string{"", "Work", "NonJunk"}[l.rng.IntN(3)]}
}

func (l *life) boxes() (names []string) {
	for name := range l.old.Boxes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (l *life) deliver() {
	l.names++ // no name comes twice: what vanishes together with its UIDs is kept
	boxes := append(l.boxes(), fmt.Sprintf("m%d", l.names))
	for range 1 + l.rng.IntN(4) {
		f := &fate{text: fmt.Sprintf("n%04d", len(l.fates)), alive: true, box: boxes[l.rng.IntN(len(boxes))], flags: l.sourceFlags()}
		l.old.Deliver(f.box, f.text, day, f.flags)
		l.fates = append(l.fates, f)
		l.note("  %s delivered to %s %v", f.text, f.box, f.flags)
	}
}

// some returns a random message for which want is true, or nil.
func (l *life) some(want func(*fate) bool) *fate {
	var list []*fate
	for _, f := range l.fates {
		if want(f) {
			list = append(list, f)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[l.rng.IntN(len(list))]
}

// die notes where a copy is whose message goes: should its user have changed
// it, it stays there.
func (l *life) die(f *fate) {
	f.alive = false
	if f.flagged || l.policy.KeepDeleted || l.policy.Draining {
		l.remain(f)
	}
	for _, i := range l.journal.intents {
		f.underway = f.underway || i.Kind == mail.IntentMove && i.Fingerprint == f.print()
	}
}

func (f *fate) print() mail.Fingerprint {
	return mail.NewFingerprint(int64(len(f.text)), day, []byte(f.text))
}

func (l *life) remain(f *fate) {
	if box, i := at(l.new, f.text); i >= 0 && f.left == nil && f.kept == "" {
		f.left = &placed{box, l.new.Boxes[box].Messages[i].Flags}
	}
}

// onSource is somebody at work on the old server.
func (l *life) onSource() {
	f := l.some(func(f *fate) bool { return f.alive })
	if f == nil {
		return
	}
	box, i := at(l.old, f.text)
	deed := l.rng.IntN(6)
	if l.new.NoUIDPlus && !l.policy.Draining && (deed == 2 || deed == 3 || deed == 5) {
		return // copies cannot follow
	}
	if l.new.Alters && deed > 1 && slices.ContainsFunc(slices.Collect(maps.Values(l.journal.intents)), func(i mail.Intent) bool { return i.Kind == mail.IntentAppend || i.Kind == mail.IntentMove }) {
		return // an altered copy is recognised by its source message
	}
	switch deed {
	case 0, 1:
		f.flags = l.sourceFlags()
		l.old.Flag(box, i, f.flags)
		l.note("  source: %s gets %v", f.text, f.flags)
	case 2, 3:
		to := l.boxes()[l.rng.IntN(len(l.old.Boxes))]
		if to == box {
			return
		}
		l.old.Move(box, i, to)
		f.box = to
		l.note("  source: %s moved from %s to %s", f.text, box, to)
	case 4:
		l.old.Expunge(box, i)
		l.die(f)
		l.note("  source: %s expunged from %s", f.text, box)
	case 5:
		if box == "INBOX" {
			return
		}
		l.names++
		to := fmt.Sprintf("r%d", l.names)
		l.old.Rename(box, to)
		for _, g := range l.fates {
			if g.alive && g.box == box {
				g.box = to
			}
		}
		l.note("  source: %s renamed %s", box, to)
	}
}

// onDestination is somebody at work on the new server.
func (l *life) onDestination() {
	f := l.some(func(f *fate) bool { _, i := at(l.new, f.text); return i >= 0 })
	if f == nil {
		return
	}
	box, i := at(l.new, f.text)
	if !f.alive && !f.flagged && f.kept == "" && f.left == nil {
		return // about to be removed
	}
	for _, i := range l.journal.intents {
		if i.Fingerprint == f.print() && (i.Kind == mail.IntentAppend || i.Kind == mail.IntentMove && l.new.NoMove) {
			return // not resolved yet: the promise has that limit
		}
	}
	switch l.rng.IntN(4) {
	case 0, 1:
		flags := mail.Flags{System: mail.Flagged | mail.System(l.rng.IntN(4))&^mail.Deleted | mail.Deleted*mail.System(l.rng.IntN(2)), Keywords: []string{"", "Work"}[l.rng.IntN(2)]}
		l.new.Flag(box, i, flags)
		f.flagged, f.userFlags = true, flags
		l.note("  destination: %s gets %v in %s", f.text, flags, box)
	case 2:
		f.userFlags = l.new.Boxes[box].Messages[i].Flags
		l.new.Move(box, i, "kept")
		f.kept = "kept"
		l.note("  destination: %s moved from %s to kept", f.text, box)
	case 3:
		l.new.Expunge(box, i)
		f.removed = true
		l.note("  destination: %s expunged from %s", f.text, box)
	}
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
	errs := l.errs
	have := make(map[string][]placed)
	for name, b := range l.new.Boxes {
		for _, m := range b.Messages {
			text := strings.TrimSuffix(m.Data, "\r\n")
			have[text] = append(have[text], placed{name, m.Flags})
		}
	}
	for _, f := range l.fates {
		want := f.expected()
		switch got := have[f.text]; {
		case want == nil && len(got) == 0:
		case want != nil && len(got) == 1 && got[0].box == want.box && got[0].flags.Equal(want.flags):
		case want != nil && len(got) == 1 && f.underway && (!f.flagged || got[0].flags.Equal(want.flags)):
		case want != nil && len(got) == 1 && want == f.left && got[0].box == want.box && got[0].flags.Equal(f.flags):
			// They were on their way when the message died.
		default:
			errs = append(errs, fmt.Errorf("%s should be in %v and is in %v", f.text, want, got))
		}
		delete(have, f.text)
	}
	for text, n := range l.foreign {
		if len(have[text]) != n {
			errs = append(errs, fmt.Errorf("%s is there %d times, not %d", text, len(have[text]), n))
		}
		delete(have, text)
	}
	for text, got := range have {
		errs = append(errs, fmt.Errorf("%s should not be there: %v", text, got))
	}
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
	return errors.Join(append(errs, l.checkReceipts()...)...)
}

// TestLives has people at work on both sides while passes run, fail and end in
// every way, and compares each message with what should have become of it.
func TestLives(t *testing.T) {
	everySeed(t, func(t *testing.T, seed int64) error { return live(t, seed, nil) })
}

// live simulates one life.
func live(t *testing.T, seed int64, mutate func(*world, *pass.Options)) error {
	l := &life{world: newWorld(), t: t, rng: rand.New(rand.NewPCG(uint64(seed), 2))}
	l.mutated(mutate)
	if err := l.run(); err != nil {
		return fmt.Errorf("%s\n%w", strings.Join(l.trace, "\n"), err)
	}
	return nil
}

func (l *life) run() error {
	l.new.NoUIDPlus = l.rng.IntN(8) == 0
	l.new.NoCondstore, l.new.NoMove = l.rng.IntN(4) == 0, l.rng.IntN(4) == 0
	l.new.Alters = l.rng.IntN(5) == 0
	l.policy.KeepDeleted = l.new.NoUIDPlus || l.rng.IntN(6) == 0
	l.note("uidplus %v, condstore %v, move %v, alters %v, %+v", !l.new.NoUIDPlus, !l.new.NoCondstore, !l.new.NoMove, l.new.Alters, l.policy)
	l.deliver()
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
			l.onSource()
		}
		for range l.rng.IntN(3) {
			l.onDestination()
		}
		if l.rng.IntN(2) == 0 {
			l.deliver()
		}
		f := &Faults{}
		if l.rng.IntN(3) > 0 {
			f.At, f.Crash = 1+l.rng.IntN(120), l.rng.IntN(2) == 0
		}
		delay := time.Duration(l.rng.IntN(4)) * time.Second
		if l.rng.IntN(3) > 0 {
			f.Late = func() (time.Duration, bool) { return delay, true }
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
