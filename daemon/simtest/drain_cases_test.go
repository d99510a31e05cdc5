package simtest

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// contents are the messages of a server as "mailbox: text flags", sorted, but
// for those of which the text is new.
func contents(s *Server, without ...string) []string {
	var list []string
	s.Look(func() {
		for name, b := range s.Boxes {
			for _, m := range b.Messages {
				if !slices.Contains(without, m.Data) {
					list = append(list, fmt.Sprintf("%s: %s %v", name, m.Data, m.Flags))
				}
			}
		}
	})
	slices.Sort(list)
	return list
}

// handedOver is a world after the handover, with what people have done on the
// new server.
func handedOver(t *testing.T) *world {
	w := newWorld()
	w.old.Make("Trash")
	w.old.Boxes["Trash"].Role = `\Trash`
	for i := range 230 {
		w.old.Deliver("INBOX", fmt.Sprintf("n%03d", i), day, mail.Flags{})
	}
	for i := range 20 {
		w.old.Deliver("Work", fmt.Sprintf("w%02d", i), day, mail.Flags{System: mail.Seen})
	}
	w.settle(t)
	w.policy.Draining = true

	w.new.Flag("INBOX", 0, mail.Flags{System: mail.Flagged})
	w.new.Flag("INBOX", 1, mail.Flags{System: mail.Seen, Keywords: "Work"})
	w.new.Expunge("INBOX", 2)
	w.new.Move("INBOX", 2, "Kept")
	w.new.Deliver("INBOX", "born here", time.Now(), mail.Flags{})
	w.new.Rename("Work", "Renamed")
	return w
}

// TestNothingChangesAfterTheHandover: whatever people do on the old server, what
// is on the new one stays, nothing comes twice, and late mail comes.
func TestNothingChangesAfterTheHandover(t *testing.T) {
	for name, deed := range map[string]func(w *world){
		"flags": func(w *world) {
			for i := range 10 {
				w.old.Flag("INBOX", i, mail.Flags{System: mail.Seen | mail.Answered})
			}
		},
		"deleted": func(w *world) {
			for range 10 {
				w.old.Expunge("INBOX", 0)
			}
		},
		"200 moved to Trash": func(w *world) {
			for range 200 {
				w.old.Move("INBOX", 3, "Trash")
			}
		},
		"an index rebuilt": func(w *world) { w.old.Rebuild("INBOX") },
		"moved, then rebuilt": func(w *world) {
			for range 50 {
				w.old.Move("INBOX", 0, "Trash")
			}
			w.old.Rebuild("INBOX")
			w.old.Rebuild("Trash")
		},
		"a mailbox deleted": func(w *world) { w.old.Delete("Work") },
		"a mailbox renamed": func(w *world) { w.old.Rename("Work", "Elsewhere") },
		"nothing":           func(*world) {},
	} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted %t", name, restarted), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := handedOver(t)
					before, appends, changes := contents(w.new), w.new.Appends, w.new.Changes
					deed(w)
					if !restarted {
						w.settle(t)
					}
					w.old.Deliver("INBOX", "late", time.Now(), mail.Flags{})
					for range 3 {
						w.settle(t)
						time.Sleep(16 * time.Minute)
					}
					if after := contents(w.new, "late"); !slices.Equal(after, before) {
						t.Errorf("the new server is not as its users left it: %d messages before, %d after", len(before), len(after))
					}
					if n := len(contents(w.new)) - len(before); n != 1 {
						t.Errorf("late mail is there %d times", n)
					}
					if n := w.new.Appends - appends; n != 1 {
						t.Errorf("%d APPENDs", n)
					}
					// The mailbox that its user has renamed may be made again for
					// what is new in the old one, and nothing else.
					if n := w.new.Changes - changes; n > 2 {
						t.Errorf("%d changes", n)
					}
					for _, err := range w.errs {
						t.Error(err)
					}
				})
			})
		}
	}
}

// TestStateLostAfterTheHandover: what is not recognised is copied if it came
// after the handover, and held if it came before, until the operator's word.
func TestStateLostAfterTheHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := handedOver(t)
		handover := time.Now()
		time.Sleep(time.Hour)
		w.old.Deliver("INBOX", "late", time.Now(), mail.Flags{})
		w.old.Flag("INBOX", 5, mail.Flags{System: mail.Seen | mail.Flagged})
		w.journal = NewJournal()
		w.mutate = func(o *pass.Options) { o.Policy.HoldBefore = handover }
		before := contents(w.new)
		w.settle(t)
		w.settle(t)
		if after := contents(w.new, "late"); !slices.Equal(after, before) {
			t.Errorf("the new server is not as its users left it: %d messages before, %d after", len(before), len(after))
		}
		if n := len(contents(w.new)) - len(before); n != 1 {
			t.Errorf("late mail is there %d times", n)
		}
		var held []mail.Hold
		for _, h := range w.journal.holds {
			held = append(held, h)
		}
		if len(held) != 1 || held[0].Reason != mail.ReasonStateLost || held[0].UID != 3 {
			t.Fatalf("held: %+v", held)
		}
		// The one that its user had deleted comes again on the operator's word.
		held[0].Retry = true
		w.journal.holds[held[0].HoldKey] = held[0]
		w.settle(t)
		if n := len(contents(w.new)) - len(before); n != 2 || len(w.journal.holds) != 0 {
			t.Errorf("%d more than before, held %v", n, w.journal.holds)
		}
		for _, err := range w.errs {
			t.Error(err)
		}
	})
}
