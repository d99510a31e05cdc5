package simtest

import (
	"testing"
	"testing/synctest"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestFlaggedByStore: where \Flagged is dropped when it comes with APPEND, a copy
// has it all the same, whatever breaks on the way and however the source tells of
// changed flags; and what its user makes of it stays.
func TestFlaggedByStore(t *testing.T) {
	flagged := mail.Flags{System: mail.Seen | mail.Flagged}
	runs := 0
	for variant := range 8 {
		crash, condstore, kept := variant&1 != 0, variant&2 != 0, variant&4 != 0
		for at := 1; ; at++ {
			var asked int
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.new.Unflags, w.old.NoCondstore, w.new.NoCondstore, w.policy.KeepFlags = true, !condstore, !condstore, kept
				w.old.Deliver("INBOX", "n1", day, flagged)
				w.old.Deliver("INBOX", "n2", day, mail.Flags{})
				f := &Faults{At: at, Crash: crash, Late: lateness["stored"]}
				if err := w.live(t, f); err != nil && !f.Dead() {
					t.Errorf("%d, step %d: %v", variant, at, err)
				}
				asked = f.Asked()
				w.settle(t)
				at0 := func() mail.Flags { return w.new.Boxes["INBOX"].Messages[0].Flags }
				if at0() != flagged {
					t.Errorf("%d, step %d: %v", variant, at, at0())
				}
				w.new.Flag("INBOX", 0, mail.Flags{})
				w.settle(t)
				if err := w.check(t, true); err != nil || at0() != (mail.Flags{}) {
					t.Errorf("%d, step %d: its user has unflagged it: %v, %v", variant, at, at0(), err)
				}
			})
			if runs++; at > asked || t.Failed() {
				break
			}
		}
	}
	if runs < 200 {
		t.Errorf("only %d worlds", runs)
	}
}
