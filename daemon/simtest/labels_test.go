package simtest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// labelled is a world whose old server has labels: messages are in up to three
// mailboxes, among others that are in one.
func labelled() *world {
	w := newWorld()
	w.old.Labels = SameContents
	for n, boxes := range [][]string{{"INBOX", "a"}, {"a"}, {"INBOX", "a", "b"}, {"b"}, {"INBOX", "b"}, {"a", "b"}, {"a"}} {
		w.label(n+1, boxes...)
	}
	return w
}

// label has the n-th message be in mailboxes of the old server.
func (w *world) label(n int, boxes ...string) {
	for _, box := range boxes {
		w.old.Deliver(box, labelledText(n), day, mail.Flags{System: mail.System(n % 4)})
	}
}

func labelledText(n int) string { return fmt.Sprintf("n%d %s", n, strings.Repeat("octets ", 100)) }

// alike compares each mailbox of the new server with that of the old one, in order or
// not, but for those that are given.
func (w *world) alike(inOrder bool, but ...string) (errs []error) {
	for name, b := range w.old.Boxes {
		show := func(list []Message) (texts []string) {
			for _, m := range list {
				texts = append(texts, fmt.Sprintf("%.3s of %s %v", m.Data, m.Date.Format(time.DateOnly), m.Flags))
			}
			if !inOrder {
				slices.Sort(texts)
			}
			return texts
		}
		var has []string
		if copies := w.new.Boxes[name]; copies != nil {
			has = show(copies.Messages)
		}
		if want := show(b.Messages); !slices.Contains(but, name) && !slices.Equal(has, want) {
			errs = append(errs, fmt.Errorf("%s: %q, not %q", name, has, want))
		}
	}
	return errs
}

// TestLabelsAreCopied: each message is sent once, and copied by the new server into
// its other mailboxes, in order.
func TestLabelsAreCopied(t *testing.T) {
	for _, uidplus := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := labelled()
			w.new.NoUIDPlus = !uidplus
			w.settle(t)
			sent, copies := 7, 5
			if !uidplus {
				sent, copies = 12, 0
			}
			if err := errors.Join(append(w.alike(true), w.check(t, true))...); err != nil || w.new.Appends != sent || w.new.Copies != copies {
				t.Errorf("uidplus %v: %d sent, %d copied, %v", uidplus, w.new.Appends, w.new.Copies, err)
			}

			// Another label for what was carried before, and a new message with two.
			w.label(1, "b")
			w.label(8, "INBOX", "b")
			w.settle(t)
			if uidplus {
				sent, copies = sent+1, copies+2
			} else {
				sent += 3
			}
			if err := errors.Join(append(w.alike(true), w.check(t, false))...); err != nil || w.new.Appends != sent || w.new.Copies != copies {
				t.Errorf("uidplus %v: later %d sent, %d copied, %v", uidplus, w.new.Appends, w.new.Copies, err)
			}
		})
	}
}

// TestLabelsEveryFault breaks the carrying of labels at every step, in every way: it
// ends with each message once in each of its mailboxes.
func TestLabelsEveryFault(t *testing.T) {
	begun, runs, copies := time.Now(), 0, 0
	for _, crash := range []bool{true, false} {
		for late, after := range lateness {
			for pace := range uint64(2) {
				for at := 1 + runs%oneIn(); ; at += oneIn() {
					var asked int
					synctest.Test(t, func(t *testing.T) {
						w := labelled()
						w.pace, w.beside, w.parcel = pace+1, 1, 1+int(pace)
						f := &Faults{At: at, Crash: crash, Late: after}
						if err := w.live(t, f); err != nil && !f.Dead() {
							t.Errorf("crash %v, %s, step %d: %v", crash, late, at, err)
						}
						asked = f.Asked()
						w.settle(t)
						time.Sleep(time.Minute) // what is late has come
						if err := errors.Join(append(w.alike(true), w.check(t, true))...); err != nil {
							t.Errorf("crash %v, %s, step %d:\n%v", crash, late, at, err)
						}
						copies += w.new.Copies
					})
					runs++
					if at > asked || t.Failed() {
						break
					}
				}
			}
		}
	}
	proof.Count(t, begun, "%d worlds", runs)
	if runs < 1500/oneIn() || copies < 4*runs {
		t.Errorf("only %d worlds, with %d messages copied", runs, copies)
	}
}

// TestNoCopyOfWhatChanged: a message that its user has made something else of, or
// moved, or removed, is no original: the message is sent, as the source has it.
func TestNoCopyOfWhatChanged(t *testing.T) {
	for what, change := range map[string]func(w *world){
		"flagged":        func(w *world) { w.new.Flag("INBOX", 0, mail.Flags{System: mail.Flagged}) },
		"with a keyword": func(w *world) { w.new.Flag("INBOX", 0, mail.Flags{System: mail.Seen, Keywords: "Mine"}) },
		"deleted":        func(w *world) { w.new.Flag("INBOX", 0, mail.Flags{System: mail.Seen | mail.Deleted}) },
		"expunged":       func(w *world) { w.new.Expunge("INBOX", 0) },
		"moved":          func(w *world) { w.new.Move("INBOX", 0, "kept") },
		"rebuilt":        func(w *world) { w.new.Rebuild("INBOX") },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.old.Labels = SameContents
			w.label(1, "INBOX")
			w.settle(t)
			change(w)
			w.label(1, "a")
			w.settle(t)
			want := 0
			if what == "rebuilt" {
				want = 1 // which is no change of its user's
			}
			if errs := w.alike(true, "INBOX"); errs != nil || w.new.Copies != want || w.new.Appends != 2-want {
				t.Errorf("%s: %d sent, %d copied, %v", what, w.new.Appends, w.new.Copies, errors.Join(errs...))
			}
		})
	}
}

// TestNoCopyOfAnother: neither numbers that are alike make messages one, nor a UID of
// another mailbox.
func TestNoCopyOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.old.Labels = func(Message) uint64 { return 7 }
		w.label(1, "INBOX")
		w.label(5, "a")
		w.settle(t)
		if err := errors.Join(append(w.alike(true), w.check(t, true))...); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.old.Labels = SameContents
		w.label(1, "INBOX")
		w.label(5, "INBOX")
		w.settle(t)
		w.new.Deliver("kept", "born here", day, mail.Flags{})
		w.new.Move("INBOX", 0, "kept")
		r := &w.journal.receipts[1][0]
		r.Destination, r.Mailbox, r.UIDValidity = 2, "kept", w.new.Boxes["kept"].Validity
		w.label(1, "a")
		w.settle(t)
		if errs := w.alike(true, "INBOX"); errs != nil {
			t.Error(errors.Join(errs...))
		}
	})
}

// TestCopiesInOrder: the order of a mailbox is kept where another has it otherwise.
func TestCopiesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.old.Labels = SameContents
		for _, n := range []int{3, 1, 2} {
			w.label(n, "INBOX")
		}
		for n := range 3 {
			w.label(n+1, "a")
		}
		w.settle(t)
		if err := errors.Join(append(w.alike(true), w.check(t, false))...); err != nil || w.new.Copies != 3 {
			t.Errorf("%d copied, %v", w.new.Copies, err)
		}
	})
}

// TestCopyInVain: what the server says OK to, and does not do, is sent.
func TestCopyInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.old.Labels = SameContents
		w.label(1, "INBOX", "a")
		w.new.CopyAnswer = func(copied map[mail.UID]mail.UID) error {
			clear(copied)
			w.new.Do(func() { w.new.Box("a").Messages = nil })
			return nil
		}
		w.settle(t)
		if err := errors.Join(append(w.alike(true), w.check(t, true))...); err != nil || w.new.Copies != 1 || w.new.Appends != 2 {
			t.Errorf("%d copied, %d sent, %v", w.new.Copies, w.new.Appends, err)
		}
	})
}

// TestOddAnswersToCopy: COPYUID is missing, names some, or others, or the server
// refuses what it has done. Nothing is copied or sent twice for that.
func TestOddAnswersToCopy(t *testing.T) {
	refused := &mail.Refused{Command: "UID COPY", Type: "NO", Text: "no"}
	for what, answer := range map[string]func(map[mail.UID]mail.UID) error{
		"missing": func(m map[mail.UID]mail.UID) error { clear(m); return nil },
		"in part": func(m map[mail.UID]mail.UID) error { delete(m, slices.Max(slices.Collect(maps.Keys(m)))); return nil },
		"too low": func(m map[mail.UID]mail.UID) error {
			for uid := range m {
				m[uid] = 1
			}
			return nil
		},
		"refused":           func(m map[mail.UID]mail.UID) error { return refused },
		"NO and no COPYUID": func(m map[mail.UID]mail.UID) error { clear(m); return refused },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := labelled()
			w.label(8, "a", "b")
			w.label(9, "a", "b")
			w.new.CopyAnswer = answer
			w.settle(t)
			if err := errors.Join(append(w.alike(true), w.check(t, true))...); err != nil || w.new.Copies == 0 {
				t.Errorf("%s: %d copied, %v", what, w.new.Copies, err)
			}
		})
	}
}

// amidLabels is what may be done to a message of labelled in the middle of a pass, on
// either server.
var amidLabels = map[string]func(w *world){
	"the first label taken away": func(w *world) { w.old.Expunge("INBOX", 1) },
	"another label taken away":   func(w *world) { w.old.Expunge("a", 2) },
	"one label for another":      func(w *world) { w.old.Move("a", 1, "b") },
	"one of two for another":     func(w *world) { w.old.Move("a", 0, "b") },
	"moved to the first":         func(w *world) { w.old.Move("b", 0, "INBOX") },
	"one label more":             func(w *world) { w.label(2, "INBOX") },
	"flagged": func(w *world) {
		for box, i := range map[string]int{"INBOX": 1, "a": 2, "b": 0} {
			w.old.Flag(box, i, mail.Flags{System: mail.Answered})
		}
	},
	"expunged": func(w *world) {
		for box, i := range map[string]int{"INBOX": 1, "a": 2, "b": 0} {
			w.old.Expunge(box, i)
		}
	},
	"the copy flagged": func(w *world) {
		if i := w.firstCopy(); i >= 0 {
			w.new.Flag("INBOX", i, mail.Flags{System: mail.Flagged})
		}
	},
	"the copy moved": func(w *world) {
		if i := w.firstCopy(); i >= 0 {
			w.new.Move("INBOX", i, "kept")
		}
	},
	"the copy expunged": func(w *world) {
		if i := w.firstCopy(); i >= 0 {
			w.gone[key(w.new.Boxes["INBOX"].Messages[i])]++
			w.new.Expunge("INBOX", i)
		}
	},
}

// firstCopy is where the copy of the third message is in INBOX, -1 when it is not.
func (w *world) firstCopy() int {
	b := w.new.Boxes["INBOX"]
	return slices.IndexFunc(b.Messages, func(m Message) bool { return strings.HasPrefix(m.Data, "n3") })
}

// TestLabelsInTheMiddle has somebody at work on either server at every third step of a
// pass that carries labels, from another one on each time.
func TestLabelsInTheMiddle(t *testing.T) {
	begun, worlds := time.Now(), 0
	for name, do := range amidLabels {
		for established := range 2 {
			for when := 1 + worlds%(3*oneIn()); !t.Failed(); when += 3 * oneIn() {
				asked := 0
				synctest.Test(t, func(t *testing.T) {
					w := labelled()
					w.beside = 1 - established
					if established == 1 {
						w.policy.KeepDeleted = strings.Contains(name, "move") || strings.Contains(name, "for another")
						w.settle(t)
						for n, boxes := range [][]string{{"INBOX", "b"}, {"a", "b"}, {"INBOX", "a", "b"}} {
							w.label(8+n, boxes...)
						}
					}
					f := &Faults{When: when, Meanwhile: func() { do(w) }}
					if err := w.live(t, f); err != nil {
						t.Errorf("%s, step %d: %v", name, when, err)
					}
					for range 3 { // what is missing is looked for again
						w.settle(t)
						time.Sleep(20 * time.Minute)
					}
					w.settle(t)
					asked = f.Asked()
					errs := []error{w.check(t, false)}
					if !strings.Contains(name, "copy") {
						errs = append(errs, w.alike(false)...)
					}
					if err := errors.Join(errs...); err != nil {
						t.Errorf("%s, step %d:\n%v", name, when, err)
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
