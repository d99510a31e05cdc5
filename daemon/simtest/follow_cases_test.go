package simtest

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// deletedMany is a world in which so many messages of so many are deleted on
// the source, after both looks.
func deletedMany(t *testing.T, role string, deleted, of int) *world {
	w := newWorld()
	w.old.Make("a")
	w.old.Boxes["a"].Role = role
	for i := range of {
		w.old.Deliver("a", fmt.Sprintf("n%03d", i), day, mail.Flags{})
	}
	w.settle(t)
	for range deleted {
		w.old.Expunge("a", 0)
	}
	for range 3 {
		w.settle(t)
		time.Sleep(16 * time.Minute)
	}
	return w
}

func TestGuard(t *testing.T) {
	for _, c := range []struct {
		role              string
		deleted, of, left int
	}{
		{"", 20, 30, 10},         // few
		{"", 21, 30, 30},         // too many of it
		{"", 21, 300, 279},       // too many, but a small part
		{"", 40, 300, 300},       // a large part
		{`\Trash`, 40, 50, 10},   // people empty it
		{`\Junk`, 300, 300, 0},   // likewise
		{`\Sent`, 300, 300, 300}, // a mailbox that suddenly looks empty
	} {
		synctest.Test(t, func(t *testing.T) {
			w := deletedMany(t, c.role, c.deleted, c.of)
			if n := len(w.new.Boxes["a"].Messages); n != c.left {
				t.Errorf("%+v: %d are left", c, n)
			}
		})
	}
}

// TestGuardAddsUp: the guard counts what has gone within 24 hours.
func TestGuardAddsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := deletedMany(t, "", 15, 40)
		left := func() int { return len(w.new.Boxes["a"].Messages) }
		deleteMore := func() {
			for range 15 {
				w.old.Expunge("a", 0)
			}
			for range 3 {
				w.settle(t)
				time.Sleep(16 * time.Minute)
			}
		}
		if deleteMore(); left() != 25 {
			t.Fatalf("%d are left: the second 15 of one day should stay", left())
		}
		// The operator says that they may go.
		for id, a := range w.journal.absences {
			for i := range a.Missing {
				if !a.Missing[i].Guarded || len(a.Missing[i].UIDs) != 15 {
					t.Errorf("%+v", a.Missing[i])
				}
				a.Missing[i].Apply = true
			}
			w.journal.absences[id] = a
		}
		time.Sleep(16 * time.Minute)
		if w.settle(t); left() != 10 {
			t.Errorf("%d are left after the operator's word", left())
		}
		time.Sleep(25 * time.Hour)
		for range 5 {
			w.old.Expunge("a", 0)
		}
		for range 3 {
			w.settle(t)
			time.Sleep(16 * time.Minute)
		}
		if left() != 5 {
			t.Errorf("%d are left a day later", left())
		}
	})
}

// TestDeletedMailbox: a small mailbox that is deleted is emptied on the
// destination too; one that is made anew under its name is another.
func TestDeletedMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small()
		w.settle(t)
		w.old.Delete("a/b")
		w.settle(t)
		if n := len(w.new.Boxes["a/b"].Messages); n != 2 {
			t.Fatalf("%d copies after the first look", n)
		}
		time.Sleep(16 * time.Minute)
		w.settle(t)
		if n := len(w.new.Boxes["a/b"].Messages); n != 0 {
			t.Errorf("%d copies after the second look", n)
		}
		w.old.Deliver("a/b", "n9", day, mail.Flags{})
		w.settle(t)
		if n := len(w.new.Boxes["a/b"].Messages); n != 1 {
			t.Errorf("%d copies of what came later", n)
		}
	})
}

// hindered is a destination whose first move is lost with its connection, and
// which then refuses for a while to say what is in INBOX.
type hindered struct {
	pass.Destination
	*hindrance
}

type hindrance struct {
	cut      bool
	refusals int
}

func (h hindered) Editor(ctx context.Context, box mail.Ref) (mail.Editor, error) {
	e, err := h.Destination.Editor(ctx, box)
	return hinderedEditor{e, h.hindrance}, err
}

func (h hindered) UIDs(ctx context.Context, box mail.Ref, from mail.UID) ([]mail.UID, error) {
	if h.cut && h.refusals > 0 && box.Name == "INBOX" {
		h.refusals--
		return nil, &mail.Refused{Command: "UID SEARCH", Type: "NO", Code: "UNAVAILABLE", Text: "later"}
	}
	return h.Destination.UIDs(ctx, box, from)
}

type hinderedEditor struct {
	mail.Editor
	*hindrance
}

func (e hinderedEditor) Move(ctx context.Context, uids []mail.UID, to string) (map[mail.UID]mail.UID, mail.UIDValidity, error) {
	if !e.cut {
		e.cut = true
		return nil, 0, errCut
	}
	return e.Editor.Move(ctx, uids, to)
}

// TestMoveOutOfARefusedMailbox: a copy whose move was lost, and whose mailbox is
// refused when that is looked into, is not taken for one that its user has
// moved: it follows its original.
func TestMoveOutOfARefusedMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small()
		w.settle(t)
		inbox, other := len(w.new.Boxes["INBOX"].Messages), len(w.new.Boxes["a/b"].Messages)
		h := &hindrance{refusals: 2}
		w.mutate = func(o *pass.Options) { o.Destination = hindered{o.Destination, h} }
		w.old.Move("INBOX", 0, "a/b")
		for range 6 {
			_, err := w.incarnation(t, &Faults{Pace: 1}).Run(t.Context())
			t.Log(err)
		}
		if !h.cut || h.refusals > 0 {
			t.Fatalf("%+v: not what was to be tried", *h)
		}
		w.settle(t)
		if i, o := len(w.new.Boxes["INBOX"].Messages), len(w.new.Boxes["a/b"].Messages); i != inbox-1 || o != other+1 {
			t.Errorf("%d and %d copies, not %d and %d", i, o, inbox-1, other+1)
		}
	})
}

// TestExcludedMailbox: a message that was moved into a mailbox which is left
// out is still on the source; its copy is kept.
func TestExcludedMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small()
		w.mutate = func(o *pass.Options) { o.Rules.Want = func(m mail.Mailbox) bool { return m.Name != "Trash" } }
		w.old.Make("Trash")
		w.settle(t)
		w.old.Move("a/b", 0, "Trash")
		w.old.Expunge("a/b", 0)
		for range 3 {
			w.settle(t)
			time.Sleep(16 * time.Minute)
		}
		if b := w.new.Boxes["a/b"].Messages; len(b) != 1 || b[0].Data != "n4" {
			t.Errorf("%+v: only what was expunged should go", b)
		}
	})
}

// TestSameChange: what was changed on both sides alike is nobody's own: the
// copy goes on to follow.
func TestSameChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small()
		w.settle(t)
		read := mail.Flags{System: mail.Seen | mail.Answered}
		w.old.Flag("INBOX", 0, read)
		w.new.Flag("INBOX", 0, read)
		w.settle(t)
		w.old.Flag("INBOX", 0, mail.Flags{System: mail.Flagged})
		w.settle(t)
		if f := w.new.Boxes["INBOX"].Messages[0].Flags; f != (mail.Flags{System: mail.Flagged}) {
			t.Errorf("%v", f)
		}
	})
}

// TestForeignKeywords: what a server adds by itself makes no copy its user's,
// and is kept.
func TestForeignKeywords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small()
		w.settle(t)
		w.new.Flag("INBOX", 0, mail.Flags{System: mail.Seen, Keywords: "$HasAttachment"})
		w.old.Flag("INBOX", 0, mail.Flags{System: mail.Answered, Keywords: "Work"})
		w.settle(t)
		if f := w.new.Boxes["INBOX"].Messages[0].Flags; f != (mail.Flags{System: mail.Answered, Keywords: "$HasAttachment Work"}) {
			t.Errorf("%v", f)
		}
	})
}

// TestSourceWithoutCondstore: flags follow when they are compared.
func TestSourceWithoutCondstore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small()
		w.old.NoCondstore = true
		w.settle(t)
		w.old.Flag("INBOX", 0, mail.Flags{System: mail.Flagged})
		w.settle(t)
		flags := func() mail.Flags { return w.new.Boxes["INBOX"].Messages[0].Flags }
		if flags() != (mail.Flags{System: mail.Seen}) {
			t.Fatalf("%v before they are compared", flags())
		}
		if _, err := w.incarnation(t, &Faults{}).RunFlags(context.Background()); err != nil {
			t.Fatal(err)
		}
		if flags() != (mail.Flags{System: mail.Flagged}) {
			t.Errorf("%v", flags())
		}
	})
}

// TestKeptFlags: [policy] flags = "copy".
func TestKeptFlags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small()
		w.policy.KeepFlags = true
		w.settle(t)
		w.old.Flag("INBOX", 0, mail.Flags{System: mail.Flagged})
		w.settle(t)
		if f := w.new.Boxes["INBOX"].Messages[0].Flags; f != (mail.Flags{System: mail.Seen}) {
			t.Errorf("%v", f)
		}
	})
}

// TestDrafts: a draft is carried once its user has let it be for ten minutes,
// and the pass says when that is.
func TestDrafts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.old.Make("Drafts")
		w.old.Boxes["Drafts"].Role = `\Drafts`
		w.old.Deliver("Drafts", "n1", day, mail.Flags{})
		w.settle(t)
		for i := range 5 {
			time.Sleep(time.Minute)
			if i > 0 {
				w.old.Expunge("Drafts", 1)
			}
			w.old.Deliver("Drafts", fmt.Sprintf("n2 version %d", i), time.Now(), mail.Flags{})
			w.settle(t)
		}
		if n := len(w.new.Boxes["Drafts"].Messages); n != 1 {
			t.Fatalf("%d drafts while one is being written", n)
		}
		result, err := w.incarnation(t, &Faults{}).Run(context.Background())
		if wait := time.Until(result.Due); err != nil || wait < 9*time.Minute || wait > 10*time.Minute {
			t.Errorf("due in %v, %v", wait, err)
		}
		time.Sleep(10 * time.Minute)
		w.settle(t)
		if b := w.new.Boxes["Drafts"].Messages; len(b) != 2 || b[1].Data != "n2 version 4" {
			t.Errorf("%+v", b)
		}
	})
}

// TestFewerAfterRebuild: a new UIDVALIDITY numbers anew, from below the old
// UIDNEXT; what arrives then must not be taken for old.
func TestFewerAfterRebuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small()
		w.settle(t)
		w.old.Expunge("INBOX", 0)
		w.old.Expunge("INBOX", 0)
		w.old.Rebuild("INBOX")
		w.settle(t)
		w.old.Deliver("INBOX", "n9", day, mail.Flags{})
		w.settle(t)
		if b := w.new.Boxes["INBOX"].Messages; b[len(b)-1].Data != "n9" {
			t.Errorf("%+v", b)
		}
	})
}

// TestDualDelivery: mail that reaches the new server by itself is not doubled,
// whichever way it came first, as long as it came before it was copied.
func TestDualDelivery(t *testing.T) {
	letter := func(n int, received string) string {
		return fmt.Sprintf("Received: by %s\r\nMessage-ID: <%d@example.org>\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\ntext", received, n)
	}
	for _, again := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := small()
			w.policy.CopyAgain = again
			arrivals := new(pass.Arrivals)
			w.mutate = func(o *pass.Options) { o.Arrivals = arrivals }
			w.settle(t)
			appends := w.new.Appends
			want := 0
			for n := range 12 {
				now := time.Now()
				if n%3 > 0 {
					w.new.Deliver([]string{"INBOX", "Junk"}[n%2], letter(n, "new"), now, mail.Flags{System: mail.Seen})
				}
				if n%4 == 3 {
					w.settle(t) // which may look before the other way has come to its end
				}
				time.Sleep(time.Minute)
				w.old.Deliver("INBOX", letter(n, "old"), now, mail.Flags{})
				w.old.Deliver("a/b", fmt.Sprintf("n%d", 100+n), day, mail.Flags{}) // of ours, in between
				w.settle(t)
				if want++; n%3 == 0 || again {
					want++
				}
			}
			if got := w.new.Appends - appends; got != want {
				t.Errorf("copied again %v: %d APPENDs, not %d", again, got, want)
			}
			changes := w.new.Changes
			if w.settle(t); w.new.Changes != changes || len(w.errs) > 0 {
				t.Error(w.errs)
			}
		})
	}
}

// TestLaterTwin: mail that reaches the new server by itself a little later than
// the old one is there twice once; from then on it is waited for. What a user
// makes of a copy is no such mail.
func TestLaterTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small()
		arrivals := new(pass.Arrivals)
		w.mutate = func(o *pass.Options) { o.Arrivals = arrivals }
		w.settle(t)
		letter := func(n int, by string) string {
			return fmt.Sprintf("Received: by %s; a date and whatever else\r\nMessage-ID: <%d@example.org>\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\ntext", by, n)
		}
		pass := func(wait time.Duration) {
			t.Helper()
			time.Sleep(wait)
			w.settle(t)
		}
		appends := w.new.Appends
		carried := func() int { return w.new.Appends - appends }
		// Alone on the old server, and copied by its user on the new one: nothing waits.
		for n := range 3 {
			w.old.Deliver("INBOX", letter(n, "old"), time.Now(), mail.Flags{})
			pass(time.Second)
			last := w.new.Boxes["INBOX"].Messages
			w.new.Deliver("a/b", last[len(last)-1].Data, last[len(last)-1].Date, mail.Flags{})
			pass(time.Second)
		}
		if carried() != 3 {
			t.Fatalf("%d messages were copied, not 3", carried())
		}
		for n := range 6 {
			w.old.Deliver("INBOX", letter(100+n, "old"), time.Now(), mail.Flags{})
			pass(time.Second)
			w.new.Deliver("INBOX", letter(100+n, "new"), time.Now(), mail.Flags{})
			pass(time.Minute)
		}
		if carried() != 4 {
			t.Errorf("%d messages were copied, of which the first three and one may be", carried())
		}
		w.old.Deliver("INBOX", letter(200, "old"), time.Now(), mail.Flags{})
		pass(time.Second)
		if carried() != 4 {
			t.Error("what may have a twin was copied at once")
		}
		pass(time.Minute)
		if carried() != 5 {
			t.Error("what has none was not copied")
		}
		if changes := w.new.Changes; len(w.errs) > 0 {
			t.Error(w.errs)
		} else if w.settle(t); w.new.Changes != changes {
			t.Error("and again")
		}
	})
}
