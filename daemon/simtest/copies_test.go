package simtest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// changes are what has happened to a message on the source before passes follow.
var changes = []struct {
	name string
	do   func(l *life, f *fate)
}{
	{"flagged", func(l *life, f *fate) { f.flags = mail.Flags{System: mail.Answered}; l.old.Flag("INBOX", 0, f.flags) }},
	{"moved", func(l *life, f *fate) { f.box = "other"; l.old.Move("INBOX", 0, f.box) }},
	{"flagged and moved", func(l *life, f *fate) {
		f.flags, f.box = mail.Flags{System: mail.Answered}, "other"
		l.old.Flag("INBOX", 0, f.flags)
		l.old.Move("INBOX", 0, f.box)
	}},
	{"expunged", func(l *life, f *fate) { f.alive = false; l.old.Expunge("INBOX", 0) }},
}

// deeds are what its user does to the copy meanwhile.
var deeds = []struct {
	name string
	do   func(l *life, f *fate, box string, i int)
}{
	{"flagged", func(l *life, f *fate, box string, i int) {
		f.flagged, f.userFlags = true, mail.Flags{System: mail.Flagged}
		l.new.Boxes[box].Flag(i, f.userFlags)
		if !f.alive {
			f.left = &placed{box, f.userFlags}
		}
	}},
	{"moved", func(l *life, f *fate, box string, i int) {
		m := l.new.Boxes[box].Take(i)
		f.kept, f.userFlags = "kept", m.Flags
		l.new.Box("kept").Add(m.Data, m.Date, m.Flags)
	}},
	{"removed", func(l *life, f *fate, box string, i int) {
		f.removed = true
		l.new.Boxes[box].Take(i)
	}},
}

// TestCopyInTheMiddle has the user of a copy do something to it at every step of
// the passes that follow a change of its original: whatever he has done while the
// copy was there is not undone.
func TestCopyInTheMiddle(t *testing.T) {
	begun, worlds := time.Now(), 0
	for _, change := range changes {
		for _, deed := range deeds {
			for when := 1 + worlds%oneIn(); !t.Failed(); when += oneIn() {
				asked := 0
				synctest.Test(t, func(t *testing.T) {
					l := newLife(t, rand.New(rand.NewPCG(1, 1)))
					for i, box := range []string{"INBOX", "other"} {
						l.fates = append(l.fates, &fate{text: fmt.Sprintf("n%d", i), alive: true, box: box, flags: mail.Flags{System: mail.Seen}})
						l.old.Deliver(box, l.fates[i].text, day, l.fates[i].flags)
					}
					l.settle(t)
					f := l.fates[0]
					change.do(l, f)
					faults := &Faults{When: when, Meanwhile: func() {
						l.new.on(f, func(box string, i int) { deed.do(l, f, box, i) })
					}}
					for range 3 {
						if err := l.live(t, faults); err != nil {
							t.Error(err)
						}
						time.Sleep(16 * time.Minute)
					}
					asked = faults.Asked()
					l.quiet()
					if err := l.checkFates(); err != nil {
						t.Errorf("original %s, copy %s at step %d: %v", change.name, deed.name, when, err)
					}
				})
				if worlds++; when > asked {
					break
				}
			}
		}
	}
	proof.Count(t, begun, "%d worlds", worlds)
}
