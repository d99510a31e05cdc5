package simtest

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestSameMailbox: the name of the source is repointed to the new server in
// mid-run. The account stops; at most one message has been copied onto itself.
func TestSameMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := sameMailbox(t, 0, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestLateTwin: an APPEND that was taken for lost appears after it has been
// sent again. Both copies stay, and the operator is told.
func TestLateTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.old.Deliver("INBOX", "n1", day, mail.Flags{})
		at := 0
		for late := false; !late; { // the step at which the message is in flight
			at++
			if at > 100 {
				t.Fatal("there is no such step")
			}
			w = newWorld()
			w.old.Deliver("INBOX", "n1", day, mail.Flags{})
			f := &Faults{At: at, Late: func() (time.Duration, bool) { late = true; return 20 * time.Second, true }}
			if err := w.live(t, f); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if n := len(w.new.Boxes["INBOX"].Messages); n != 2 {
			t.Fatalf("%d copies", n)
		}
		w.settle(t)
		var held []mail.Hold
		for _, h := range w.journal.holds {
			held = append(held, h)
		}
		if len(held) != 1 || held[0].Reason != mail.ReasonLateTwin || !strings.Contains(held[0].Text, "UID") {
			t.Errorf("%+v", held)
		}
		if n := len(w.new.Boxes["INBOX"].Messages); n != 2 {
			t.Errorf("%d copies: nothing may be removed without the operator's word", n)
		}
		if len(w.journal.intents) != 0 {
			t.Errorf("%d intents are left", len(w.journal.intents))
		}
	})
}

// TestAdoptedFlags: a copy whose flags differ stays as its user left it, but
// for what was read, answered or flagged on the source; that is added once.
func TestAdoptedFlags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.old.Deliver("INBOX", "n1", day, mail.Flags{System: mail.Seen | mail.Draft, Keywords: "Work"})
		w.new.Deliver("INBOX", "n1", day, mail.Flags{System: mail.Flagged})
		w.settle(t)
		b := w.new.Boxes["INBOX"]
		if len(b.Messages) != 1 || b.Messages[0].Flags != (mail.Flags{System: mail.Seen | mail.Flagged}) {
			t.Fatalf("%+v", b.Messages)
		}
		b.Messages[0].Flags = mail.Flags{} // its user has other ideas
		w.settle(t)
		if b.Messages[0].Flags != (mail.Flags{}) {
			t.Errorf("%v", b.Messages[0].Flags)
		}
		if r := w.journal.receipts[1]; len(r) != 1 || !r[0].Touched {
			t.Errorf("%+v", r)
		}
	})
}

// TestDeletedThereStaysDeleted: with its state intact, a copy that its user has
// deleted does not come back, not even when the source is rebuilt.
func TestDeletedThereStaysDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small()
		w.settle(t)
		b := w.new.Boxes["a/b"]
		b.Messages = b.Messages[1:]
		w.gone["n4 of "+day.Format(time.DateOnly)]++
		w.old.Deliver("a/b", "n7", day, mail.Flags{})
		w.settle(t)
		w.old.Rebuild("a/b")
		w.old.Deliver("a/b", "n8", day, mail.Flags{})
		w.settle(t)
		if err := w.check(t, true); err != nil {
			t.Error(err)
		}
	})
}

// TestRetryAboveTheAnchor: a held message is tried again while the anchor has
// not passed it yet. What is carried already does not come again.
func TestRetryAboveTheAnchor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small()
		w.new.Refuse = func(data string) bool { return data == "n4" }
		w.settle(t)
		for id, pair := range w.journal.pairs {
			pair.SourceAnchor.UIDNext = 1
			w.journal.pairs[id] = pair
		}
		for key, h := range w.journal.holds {
			h.Retry = true
			w.journal.holds[key] = h
		}
		w.new.Refuse = nil
		w.settle(t)
		if err := w.check(t, false); err != nil {
			t.Error(err)
		}
		if len(w.journal.holds) != 0 {
			t.Errorf("%v", w.journal.holds)
		}
	})
}

// TestResentInVain: an APPEND was taken for lost, but it was never sent again,
// and appears late. It is the copy, not a twin of one.
func TestResentInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.old.Deliver("INBOX", "n1", day, mail.Flags{})
		w.old.Deliver("INBOX", "n2", day, mail.Flags{})
		w.settle(t)
		// As if the pass had ended right after it had decided to send n2 again.
		w.journal.receipts[1] = w.journal.receipts[1][:1]
		pair := w.journal.pairs[1]
		pair.SourceAnchor.UIDNext = 2
		w.journal.pairs[1] = pair
		m := w.new.Boxes["INBOX"].Messages[1]
		w.journal.intents[7] = mail.Intent{
			ID: 7, Kind: mail.IntentAppend, Pair: 1, Source: 2, Size: 2, InternalDate: day, Mailbox: "INBOX", Floor: 2,
			UIDValidity: w.new.Boxes["INBOX"].Validity, Fingerprint: mail.NewFingerprint(2, day, []byte(m.Data)), Resent: time.Now(),
		}
		time.Sleep(3 * time.Minute)
		w.settle(t)
		if err := w.check(t, true); err != nil {
			t.Error(err)
		}
		if len(w.journal.holds) != 0 || len(w.journal.receipts[1]) != 2 {
			t.Errorf("%v %v", w.journal.holds, w.journal.receipts[1])
		}
	})
}

// TestOwnKeywordIsNoTouch: a keyword that only its user gave a copy makes it not
// his, not even when the copy is bound again after its mailbox was rebuilt.
func TestOwnKeywordIsNoTouch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.old.Deliver("INBOX", "n1", day, mail.Flags{System: mail.Seen})
		w.settle(t)
		w.new.Flag("INBOX", 0, mail.Flags{System: mail.Seen, Keywords: "Mine"})
		w.new.Rebuild("INBOX")
		w.settle(t)
		w.old.Flag("INBOX", 0, mail.Flags{System: mail.Answered})
		w.settle(t)
		if flags := w.new.Boxes["INBOX"].Messages[0].Flags; flags != (mail.Flags{System: mail.Answered, Keywords: "Mine"}) {
			t.Errorf("%v", flags)
		}
	})
}
