package simtest

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// eachBreak runs a first copy of a small world that ends at each step in turn,
// has something happen, lets a pass come to its end, and checks.
func eachBreak(t *testing.T, crash bool, prepare, then func(w *world)) {
	t.Helper()
	steps := 0
	for step := 1; !t.Failed(); step++ {
		ended := false
		synctest.Test(t, func(t *testing.T) {
			w := small()
			prepare(w)
			f := &Faults{At: step, Crash: crash, Late: func() (time.Duration, bool) { return 0, true }}
			if err := w.live(t, f); err != nil && !f.Dead() {
				t.Error(err)
			}
			ended = f.Asked() < step
			then(w)
			w.settle(t)
			if err := w.check(t, true); err != nil {
				t.Errorf("step %d: %v", step, err)
			}
			for _, b := range w.old.Boxes {
				for _, m := range b.Messages {
					if box, i := at(w.new, m.Data); i >= 0 && !w.new.Boxes[box].Messages[i].Flags.Equal(m.Flags) && m.Data != "n2 twin" {
						t.Errorf("step %d: %q has %v, its original %v", step, m.Data, w.new.Boxes[box].Messages[i].Flags, m.Flags)
					}
				}
			}
		})
		if steps++; ended {
			break
		}
	}
	if steps < 10 {
		t.Errorf("only %d steps", steps)
	}
}

// TestFlagsDuringAFirstCopy: flags that change while a first copy is broken off
// follow, also those of messages that it had copied.
func TestFlagsDuringAFirstCopy(t *testing.T) {
	for _, crash := range []bool{true, false} {
		eachBreak(t, crash, func(*world) {}, func(w *world) {
			w.old.Flag("INBOX", 0, mail.Flags{System: mail.Answered, Keywords: "Work"})
			w.old.Flag("a/b", 1, mail.Flags{System: mail.Seen})
		})
	}
}

// TestRebuiltDuringAFirstCopy: a mailbox that gets new UIDs while its first copy
// is broken off hides nothing, and is not copied again.
func TestRebuiltDuringAFirstCopy(t *testing.T) {
	eachBreak(t, true, func(*world) {}, func(w *world) {
		w.old.Expunge("a/b", 0)
		w.old.Rebuild("a/b")
		w.old.Deliver("a/b", "n6", day, mail.Flags{})
		if b := w.new.Boxes["a/b"]; b != nil && len(b.Messages) > 0 {
			w.foreign["n4 of "+day.Format(time.DateOnly)]++ // what vanishes together with its UIDs is kept
		}
	})
}

// TestAlteredOnce: a message that the new server stores in another form comes
// once, whatever is lost: the answer to it, or the state.
func TestAlteredOnce(t *testing.T) {
	altering := func(w *world) {
		w.new.Alters = true
		for i := range 3 {
			w.old.Deliver("INBOX", fmt.Sprintf("n%d future", 7+i), future, mail.Flags{})
		}
	}
	eachBreak(t, false, altering, func(*world) {})
	eachBreak(t, true, altering, func(*world) {})
	synctest.Test(t, func(t *testing.T) {
		w := small()
		altering(w)
		w.settle(t)
		w.journal = NewJournal()
		w.settle(t)
		if err := w.check(t, false); err != nil {
			t.Error(err)
		}
	})
}

// TestAlteredTwins: of messages that are alike and are stored in another form each
// has a copy of its own, though both servers give new UIDs before a pass has seen it,
// and one more arrives.
func TestAlteredTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small()
		w.new.Alters = true
		twin := func() { w.old.Deliver("INBOX", "ntwin", future, mail.Flags{}) }
		twin()
		twin()
		w.settle(t)
		w.new.Rebuild("INBOX")
		w.old.Rebuild("INBOX")
		twin()
		w.settle(t)
		if err := w.check(t, false); err != nil {
			t.Error(err)
		}
	})
}
