package simtest

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// What may happen to one message on the source, and to its copy, before the
// next pass sees either.
const (
	sourceDeeds = 4 // nothing, other flags, expunged, moved
	copyDeeds   = 5 // nothing, other flags, a keyword of the user's own, moved, expunged
)

// everyDeed yields the deeds of up to three messages, in every combination;
// which message it is makes no difference.
func everyDeed(yield func(deeds []int)) {
	const each = sourceDeeds * copyDeeds
	yield(nil)
	for a := range each {
		yield([]int{a})
		for b := range a + 1 {
			yield([]int{a, b})
			for c := range b + 1 {
				yield([]int{a, b, c})
			}
		}
	}
}

// TestEverySmallWorld goes through all worlds of up to three messages: what
// happens to each on the source and to its copy on the destination, with the
// mailbox rebuilt under a new UIDVALIDITY on either side, on both or on none.
func TestEverySmallWorld(t *testing.T) {
	begun, all, n := time.Now(), 0, 0
	everyDeed(func(deeds []int) {
		for variant := range 8 {
			if all++; all%oneIn() != 0 || t.Failed() {
				continue
			}
			n++
			synctest.Test(t, func(t *testing.T) {
				l := newLife(t, rand.New(rand.NewPCG(1, 1)))
				oldRebuilt, newRebuilt := variant&1 != 0, variant&2 != 0
				l.new.NoCondstore = variant&4 != 0
				l.note("rebuilt: old %v, new %v; condstore %v", oldRebuilt, newRebuilt, !l.new.NoCondstore)
				if err := l.small(deeds, oldRebuilt, newRebuilt); err != nil {
					t.Errorf("%v:\n%s\n%v", deeds, l.Trace(), err)
				}
			})
		}
	})
	proof.Count(t, begun, "%d worlds", n)
}

// small lives through one small world.
func (l *life) small(deeds []int, oldRebuilt, newRebuilt bool) error {
	l.old.Make("other")
	for range deeds {
		l.deliver("INBOX", mail.Flags{System: mail.Seen, Keywords: "Work"})
	}
	l.settle(l.t)
	for i, deed := range deeds {
		l.deedOnCopy(l.fates[i], deed/sourceDeeds)
	}
	if newRebuilt {
		l.new.Rebuild("INBOX")
	}
	for i, deed := range deeds {
		l.deedOnSource(l.fates[i], deed%sourceDeeds, oldRebuilt)
	}
	if oldRebuilt {
		l.old.Rebuild("INBOX")
	}
	l.quiet()
	return l.checkFates()
}

func (l *life) deedOnCopy(f *fate, deed int) {
	box, i := at(l.new, f.text)
	flags := l.new.Boxes[box].Messages[i].Flags
	switch deed {
	case 1:
		f.flagged, f.userFlags = true, mail.Flags{System: mail.Flagged}
		l.new.Flag(box, i, f.userFlags)
	case 2: // not touched by that
		flags = flags.With(mail.Flags{Keywords: "Mine"})
		l.new.Flag(box, i, flags)
		f.own = "Mine"
	case 3:
		f.kept, f.userFlags = "kept", flags
		l.new.Move(box, i, f.kept)
	case 4:
		f.removed = true
		l.new.Expunge(box, i)
	}
	l.note("  destination: %s: %s", f.text, []string{"as it was", "other flags", "a keyword of its user's", "moved", "expunged"}[deed])
}

func (l *life) deedOnSource(f *fate, deed int, rebuilt bool) {
	box, i := at(l.old, f.text)
	switch deed {
	case 1:
		f.flags = mail.Flags{System: mail.Answered}
		l.old.Flag(box, i, f.flags)
	case 2:
		if l.old.Expunge(box, i); rebuilt {
			l.remain(f) // what vanishes together with its UIDs is kept
		}
		l.die(f, nil)
	case 3:
		f.box = "other"
		l.old.Move(box, i, f.box)
	}
	if f.own != "" {
		f.flags = f.flags.With(mail.Flags{Keywords: f.own})
	}
	l.note("  source: %s: %s", f.text, []string{"as it was", "other flags", "expunged", "moved"}[deed])
}
