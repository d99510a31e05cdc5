package simtest

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// inTheMiddle is what somebody may do on the source in the middle of a pass, with
// one message that was copied and one that was not yet.
var inTheMiddle = map[string]func(l *life, f *fate){
	"moved on":   func(l *life, f *fate) { l.amidMove(f, "later") },
	"moved back": func(l *life, f *fate) { l.amidMove(f, "earlier") },
	"expunged":   func(l *life, f *fate) { box, i := at(l.old, f.text); l.old.Expunge(box, i); f.alive = false },
	"flagged": func(l *life, f *fate) {
		box, i := at(l.old, f.text)
		f.flags = mail.Flags{System: mail.Answered}
		l.old.Flag(box, i, f.flags)
	},
	"box renamed on": func(l *life, f *fate) { l.amidRename("zz") },
	"renamed back":   func(l *life, f *fate) { l.amidRename("aa") },
}

func (l *life) amidMove(f *fate, to string) {
	box, i := at(l.old, f.text)
	l.old.Move(box, i, to)
	f.box = to
}

func (l *life) amidRename(to string) {
	l.old.Rename("middle", to)
	for _, f := range l.fates {
		if f.box == "middle" {
			f.box = to
		}
	}
}

// TestWorkInTheMiddle has somebody at work on the source at every step of a
// pass: a pass that looks at one mailbox after the other must not take what was
// moved meanwhile for a message of its own. Whatever the user of the copy has
// done to it stays so.
func TestWorkInTheMiddle(t *testing.T) {
	begun, worlds := time.Now(), 0
	for name, do := range inTheMiddle {
		for copyDeed := range copyDeeds {
			for fresh := range 2 {
				for when := 1 + worlds%oneIn(); !t.Failed(); when += oneIn() {
					asked := 0
					synctest.Test(t, func(t *testing.T) {
						l := newLife(t, rand.New(rand.NewPCG(1, 1)))
						l.note("%s at step %d, of the message that is %s", name, when, []string{"copied", "new"}[fresh])
						if err := l.disturbed(copyDeed, fresh, func(f *fate) { do(l, f) }, when, &asked); err != nil {
							t.Errorf("%s\n%v", l.Trace(), err)
						}
					})
					if worlds++; when > asked {
						break
					}
				}
			}
		}
	}
	proof.Count(t, begun, "%d worlds", worlds)
}

// amid is somebody at work on the old server while a pass is at work. He reads
// neither the journal nor the new server, which are the pass's.
func (l *life) amid() {
	f := l.some(func(f *fate) bool { return f.alive })
	if f == nil || l.policy.Draining { // what is carried then is left where it came to
		return
	}
	to := l.boxes()[l.rng.IntN(len(l.old.Boxes))]
	switch box, i := at(l.old, f.text); {
	case l.rng.IntN(3) == 0:
		f.flags = l.sourceFlags()
		l.old.Flag(box, i, f.flags)
		l.note("  in the middle: %s gets %v", f.text, f.flags)
	case box != to && !l.new.Alters && !l.new.NoUIDPlus:
		l.old.Move(box, i, to)
		f.box = to
		l.note("  in the middle: %s moved from %s to %s", f.text, box, to)
	}
}

// disturbed is a pass over three mailboxes with news in each, with a deed at a
// step.
func (l *life) disturbed(copyDeed, fresh int, deed func(*fate), when int, asked *int) error {
	deliver := func(box string) *fate {
		f := &fate{text: fmt.Sprintf("n%d", len(l.fates)), alive: true, box: box, flags: mail.Flags{System: mail.Seen}}
		l.fates = append(l.fates, f)
		l.old.Deliver(f.box, f.text, day, f.flags)
		return f
	}
	boxes := []string{"earlier", "middle", "later"}
	for _, box := range boxes {
		deliver(box)
	}
	l.settle(l.t)
	about := l.fates[1]
	l.deedOnCopy(about, copyDeed)
	for _, box := range boxes {
		if f := deliver(box); fresh == 1 && box == "middle" {
			about = f
		}
	}
	f := &Faults{When: when, Meanwhile: func() { deed(about) }}
	if err := l.live(l.t, f); err != nil {
		return err
	}
	if *asked = f.Asked(); when > *asked {
		return nil // it has not happened
	}
	if !about.alive && about.flagged {
		about.left = &placed{"middle", about.userFlags}
	}
	if f := l.fates[1]; f.own != "" {
		f.flags = f.flags.With(mail.Flags{Keywords: f.own})
	}
	l.quiet()
	return l.checkFates()
}

// TestCountedByChance: one message is expunged before a pass and another is
// moved in the middle of it, so that a count that contradicts itself is as high
// as the one before. What is missing is found all the same.
func TestCountedByChance(t *testing.T) {
	for when := 1; !t.Failed(); when++ {
		asked := 0
		synctest.Test(t, func(t *testing.T) {
			l := newLife(t, rand.New(rand.NewPCG(1, 1)))
			l.old.Make("other")
			for i := range 3 {
				l.fates = append(l.fates, &fate{text: fmt.Sprintf("n%d", i), alive: i > 0, box: "INBOX"})
			}
			l.old.Deliver("INBOX", "n0", day, mail.Flags{})
			l.settle(t)
			l.old.Expunge("INBOX", 0)
			l.old.Deliver("INBOX", "n1", day, mail.Flags{})
			l.old.Deliver("INBOX", "n2", day, mail.Flags{})
			f := &Faults{When: when, Meanwhile: func() { l.amidMove(l.fates[2], "other") }}
			if err := l.live(t, f); err != nil {
				t.Error(err)
			}
			asked = f.Asked()
			if l.quiet(); when <= asked {
				if err := l.checkFates(); err != nil {
					t.Errorf("step %d: %v", when, err)
				}
			}
		})
		if when > asked {
			break
		}
	}
}

// hollow is a source that serves one message without its content.
type hollow struct {
	View
	text string
	then func() // is called when it does so
}

func (h hollow) Bodies(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Body, error] {
	return func(yield func(mail.Body, error) bool) {
		for body, err := range h.View.Bodies(ctx, box, uids) {
			if err == nil && body.Size == int64(len(h.text)) {
				h.then()
				body.Size, body.Content = 0, strings.NewReader("")
			}
			if !yield(body, err) {
				return
			}
		}
	}
}

// TestServedHollow: what is expunged while it is fetched some servers serve
// without content; it is not held. What is still there is, until it has gone.
func TestServedHollow(t *testing.T) {
	for _, gone := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := small()
			w.mutate = func(o *pass.Options) {
				o.Source = hollow{o.Source.(View), "n2 twin", func() {
					for gone && len(w.old.Boxes["INBOX"].Messages) > 1 {
						w.old.Expunge("INBOX", 1)
					}
				}}
			}
			w.settle(t)
			want := 2
			if gone {
				want = 0
			}
			if len(w.journal.holds) != want {
				t.Errorf("gone %v: %v", gone, w.journal.holds)
			}
			for len(w.old.Boxes["INBOX"].Messages) > 1 {
				w.old.Expunge("INBOX", 1)
			}
			if err := w.check(t, true); err != nil || len(w.journal.holds) > 0 {
				t.Errorf("gone %v: %v %v", gone, w.journal.holds, err)
			}
		})
	}
}
