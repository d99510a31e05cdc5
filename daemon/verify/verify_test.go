package verify_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

var day = time.Date(2020, 5, 6, 7, 8, 9, 0, time.UTC)

// world is a copied account of 300 messages.
type world struct {
	old, new *simtest.Server
	journal  *simtest.Journal
}

func copied(t *testing.T) *world {
	t.Helper()
	w, err := original()
	if err != nil {
		t.Fatal(err)
	}
	return &world{w.old.Clone(), w.new.Clone(), w.journal.Clone()}
}

// original is what every world begins as.
var original = sync.OnceValues(func() (*world, error) {
	w := &world{simtest.NewServer(10), simtest.NewServer(5000), simtest.NewJournal()}
	for i := range 300 {
		body := fmt.Sprintf("body %d\r\n", i)
		if i == 10 { // longer than a fingerprint looks
			body = strings.Repeat("a line\r\n", 500) + body
		}
		w.old.Deliver([]string{"INBOX", "a", "a/b"}[i%3], fmt.Sprintf("Message-ID: <%d@test.example>\r\nSubject: %d\r\n\r\n%s", i, i, body), day.Add(time.Duration(i)*time.Hour), mail.Flags{System: mail.System(i % 4)})
	}
	w.new.Refuse = func(data string) bool { return strings.Contains(data, "Subject: 17\r\n") }
	return w, w.pass()
})

func (w *world) pass() error {
	f := &simtest.Faults{}
	p := pass.New(pass.Options{
		Source: simtest.View{Server: w.old, Faults: f}, Journal: w.journal.View(f),
		Destination: simtest.Writable{View: simtest.View{Server: w.new, Faults: f}, Intended: func(string, int64, mail.Fingerprint) error { return nil }},
	})
	_, err := p.Run(context.Background())
	return err
}

func (w *world) sync(t *testing.T) {
	t.Helper()
	if err := w.pass(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) options(mode verify.Mode) verify.Options {
	f := &simtest.Faults{}
	return verify.Options{
		Account: "foo", Mode: mode, Sample: 0.01, Journal: w.journal.View(f),
		Source: simtest.View{Server: w.old, Faults: f}, Destination: simtest.View{Server: w.new, Faults: f},
	}
}

func (w *world) verify(t *testing.T, o verify.Options) verify.Report {
	t.Helper()
	r, err := verify.Account(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	w.adds(t, r)
	return r
}

// adds fails unless every message of both sides is counted once, in its mailbox
// and in all.
func (w *world) adds(t *testing.T, r verify.Report) {
	t.Helper()
	sums := make(map[verify.Class]int64)
	for _, m := range r.ByMailbox {
		for class, n := range m.Counts {
			sums[class] += n
			if n < 0 {
				t.Errorf("%s %s: %d", m.Name, class, n)
			}
		}
	}
	for class, n := range r.Counts {
		if sums[class] != n {
			t.Errorf("%s: %d, but %d by mailbox", class, n, sums[class])
		}
	}
	count := func(s *simtest.Server) (n int64) {
		for _, b := range s.Boxes {
			n += int64(len(b.Messages))
		}
		return n
	}
	if all := count(w.old); r.Messages() != all {
		t.Errorf("%d messages of the old server are counted, there are %d", r.Messages(), all)
	}
	there := r.Counts[verify.Kept] + r.Counts[verify.Extra] + r.Counts[verify.Doubled]
	for _, class := range []verify.Class{verify.Equal, verify.Altered, verify.Changed, verify.Moved, verify.Flags, verify.Date, verify.Damaged} {
		there += r.Counts[class]
	}
	if all := count(w.new); there != all {
		t.Errorf("%d messages of the new server are counted, there are %d", there, all)
	}
}

// counts are those of the classes that are not 0, but for equal ones and the
// one that is held from the beginning.
func counts(r verify.Report) string {
	var words []string
	for _, class := range verify.Classes() {
		n := r.Counts[class]
		if class == verify.Held {
			n--
		}
		if class != verify.Equal && n != 0 {
			words = append(words, fmt.Sprintf("%s %d", class, n))
		}
	}
	return strings.Join(words, ", ")
}

func TestUntouched(t *testing.T) {
	w := copied(t)
	for _, mode := range []verify.Mode{verify.Quick, verify.Sample, verify.Deep} {
		r := w.verify(t, w.options(mode))
		if got := counts(r); got != "" || r.Counts[verify.Equal] != 299 || r.Counts[verify.Held] != 1 {
			t.Errorf("%s: %v", mode, r.Counts)
		}
		if want := map[verify.Mode]int64{verify.Quick: 0, verify.Sample: 100, verify.Deep: 299}[mode]; r.Compared != want {
			t.Errorf("%s: contents of %d compared, want %d", mode, r.Compared, want)
		}
	}
	o := w.options(verify.Sample)
	o.Sample = 0.5
	if r := w.verify(t, o); r.Compared != 150 {
		t.Errorf("half of 299: %d", r.Compared)
	}
}

func TestClasses(t *testing.T) {
	moved := func(o *verify.Options) { o.UsersMoved = true }
	for _, test := range []struct {
		name   string
		change func(*world)
		quick  string
		deep   string // "": as quick
		clean  bool   // but for the one that is held
		with   func(*verify.Options)
	}{
		{name: "removed there", change: func(w *world) { w.new.Expunge("a", 0) }, quick: "removed 1"},
		{name: "removed there by who works there", change: func(w *world) { w.new.Expunge("a", 0) }, quick: "removed 1", clean: true, with: moved},
		{name: "removed in great number", change: func(w *world) { w.lose("a", 25) }, quick: "missing 25"},
		{name: "removed in great number by who works there", change: func(w *world) { w.lose("a", 25) }, quick: "removed 25", clean: true, with: moved},
		{name: "Trash emptied", change: func(w *world) { w.old.Boxes["a"].Role = `\Trash`; w.lose("a", 25) }, quick: "removed 25"},
		{name: "a mailbox gone", change: func(w *world) { delete(w.new.Boxes, "a/b") }, quick: "missing 99"},
		{name: "a mailbox removed by who works there", change: func(w *world) { delete(w.new.Boxes, "a/b") }, quick: "removed 99", clean: true, with: moved},
		{name: "never copied", change: func(w *world) { w.journal.Forget("a", 3); w.new.Expunge("a", 2) }, quick: "missing 1"},
		{name: "an octet", change: func(w *world) { w.edit(3, func(s string) string { return s[:len(s)-4] + "?" + s[len(s)-3:] }) }, quick: "", deep: "damaged 1", clean: true},
		{name: "cut short", change: func(w *world) { w.edit(3, func(s string) string { return s[:len(s)-6] }) }, quick: "damaged 1"},
		{name: "date", change: func(w *world) { w.new.Boxes["a"].Messages[3].Date = day }, quick: "date 1"},
		{name: "flag changed there", change: func(w *world) { w.new.Boxes["a"].Messages[3].Flags.System ^= mail.Flagged }, quick: "changed 1"},
		{name: "keyword added there", change: func(w *world) { w.new.Boxes["a"].Messages[3].Flags.Keywords = "Work" }, quick: "changed 1"},
		{name: "keyword that servers add", change: func(w *world) { w.new.Boxes["a"].Messages[3].Flags.Keywords = "$HasAttachment" }, clean: true},
		{name: "flag changed here", change: func(w *world) { w.old.Flag("a", 3, mail.Flags{System: mail.Flagged | mail.Draft}) }, quick: "flags 1"},
		{name: "flag changed here after the handover", change: func(w *world) { w.old.Flag("a", 3, mail.Flags{System: mail.Flagged | mail.Draft}) }, quick: "changed 1", clean: true, with: moved},
		{name: "flags that are not followed", change: func(w *world) { w.old.Flag("a", 3, mail.Flags{System: mail.Flagged | mail.Draft}) }, quick: "changed 1", with: func(o *verify.Options) { o.FlagsKept = true }},
		{name: "keyword that is not stored", change: func(w *world) { w.old.Boxes["a"].Messages[3].Flags.Keywords = "Work" }, quick: "altered 1", clean: true},
		{name: "moved there", change: func(w *world) { w.new.Move("a", 3, "elsewhere") }, quick: "moved 1", clean: true},
		{name: "moved there and damaged", change: func(w *world) {
			w.new.Move("a", 3, "elsewhere")
			m := &w.new.Boxes["elsewhere"].Messages[0]
			m.Data = strings.Replace(m.Data, "body", "b0dy", 1)
		}, quick: "moved 1", deep: "damaged 1", clean: true},
		{name: "born there", change: func(w *world) { w.new.Deliver("a", "Subject: x\r\n\r\n", day, mail.Flags{}) }, quick: "extra 1", clean: true},
		{name: "born there, in a new mailbox", change: func(w *world) { w.new.Deliver("new", "Subject: x\r\n\r\n", day, mail.Flags{}) }, quick: "extra 1", clean: true},
		{name: "the same once more", change: func(w *world) { m := w.new.Boxes["a"].Messages[3]; w.new.Deliver("a", m.Data, m.Date, m.Flags) }, quick: "doubled 1"},
		{name: "the same once more, elsewhere", change: func(w *world) { m := w.new.Boxes["a"].Messages[3]; w.new.Deliver("b", m.Data, m.Date, m.Flags) }, quick: "extra 1", clean: true},
		{name: "of one size and date, but another", change: func(w *world) {
			m := w.new.Boxes["a"].Messages[3]
			w.new.Deliver("a", strings.Replace(m.Data, "Message", "Massage", 1), m.Date, m.Flags)
		}, quick: "extra 1", clean: true},
		{name: "gone here", change: func(w *world) { w.old.Expunge("a", 3) }, quick: "kept 1", clean: true},
		{name: "a mailbox gone here", change: func(w *world) { delete(w.old.Boxes, "a") }, quick: "kept 100", clean: true},
		{name: "not copied yet", change: func(w *world) { w.old.Deliver("a", "Subject: new\r\n\r\n", day, mail.Flags{}) }, quick: "pending 1"},
		{name: "a mailbox not copied yet", change: func(w *world) { w.old.Deliver("c", "Subject: new\r\n\r\n", day, mail.Flags{}) }, quick: "pending 1"},
		{name: "copied since the state was", change: func(w *world) {
			w.old.Deliver("a", "Subject: new\r\n\r\n", day, mail.Flags{})
			w.new.Deliver("a", "Subject: new\r\n\r\n", day, mail.Flags{})
		}, clean: true},
		{name: "final CRLF added", change: func(w *world) { w.edit(3, func(s string) string { return s + "\r\n" }) }, quick: "altered 1", clean: true},
		{name: "bare line ends", change: func(w *world) { w.edit(3, func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }) }, quick: "altered 1", clean: true},
		{name: "altered and flagged", change: func(w *world) {
			w.edit(3, func(s string) string { return s + "\r\n" })
			w.new.Boxes["a"].Messages[3].Flags.System ^= mail.Flagged
		}, quick: "altered 1", clean: true},
		{name: "damaged and of another date", change: func(w *world) {
			w.edit(3, func(s string) string { return s[:len(s)-6] })
			w.new.Boxes["a"].Messages[3].Date = day
		}, quick: "damaged 1"},
		{name: "index rebuilt there", change: func(w *world) { w.new.Rebuild("a") }, clean: true},
		{name: "index rebuilt here", change: func(w *world) { w.old.Rebuild("a") }, clean: true},
		{name: "index rebuilt there, one altered", change: func(w *world) {
			w.edit(3, func(s string) string { return s + "\r\n" })
			w.new.Rebuild("a")
		}, quick: "altered 1", clean: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := copied(t)
			test.change(w)
			if test.deep == "" {
				test.deep = test.quick
			}
			for mode, want := range map[verify.Mode]string{verify.Quick: test.quick, verify.Deep: test.deep} {
				o := w.options(mode)
				if test.with != nil {
					test.with(&o)
				}
				r := w.verify(t, o)
				if got := counts(r); got != want {
					t.Errorf("%s: %s, want %s; %+v", mode, got, want, r.Differences)
				}
				r.Counts[verify.Held]--
				if r.Clean() != (test.clean && want == test.quick) {
					t.Errorf("%s: clean: %v", mode, r.Clean())
				}
			}
		})
	}
}

// edit changes the contents of the i-th copy in a.
func (w *world) edit(i int, f func(string) string) {
	m := &w.new.Boxes["a"].Messages[i]
	m.Data = f(m.Data)
}

// lose removes the first copies of a mailbox.
func (w *world) lose(name string, n int) {
	for range n {
		w.new.Expunge(name, 0)
	}
}

// TestAlterations: what servers are known to do to mail is named.
func TestAlterations(t *testing.T) {
	future := time.Date(2090, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct {
		name     string
		was, is  string
		of, with time.Time
		want     verify.Alteration // "": damaged
	}{
		{name: "NUL", was: "a\x00b\r\n", is: "a\x80b\r\n", want: verify.NUL},
		{name: "8-bit", was: "\xe4\xf6\r\n", is: "XX\r\n", want: verify.EightBit},
		{name: "8-bit by others", was: "\xe4\xf6\r\n", is: "\x80\x81\r\n", want: verify.EightBit},
		{name: "bare LF", was: "a\nb\r\n", is: "a\r\nb\r\n", want: verify.LineEnds},
		{name: "bare CR", was: "a\rb\r\n", is: "ab\r\n", want: verify.LineEnds},
		{name: "final CRLF", was: "a\r\nb", is: "a\r\nb\r\n", want: verify.FinalLineEnd},
		{name: "final LF", was: "a\r\nb\n", is: "a\r\nb\r\n", want: verify.LineEnds},
		{name: "an X for another letter", was: "abc\r\n", is: "aXc\r\n"},
		{name: "a line more", was: "a\r\n", is: "a\r\n\r\nb\r\n"},
		{name: "a date in the future", was: "a\r\n", is: "a\r\n", of: future, with: time.Now().Add(-time.Hour), want: verify.DateReplaced},
		{name: "a date that was in the future", was: "a\r\n", is: "a\r\n", of: time.Now().Add(-time.Hour), with: time.Now().Add(-3 * time.Hour), want: verify.DateReplaced},
		{name: "1970", was: "a\r\n", is: "a\r\n", of: time.Unix(0, 0), with: time.Now().Add(-time.Hour), want: verify.DateReplaced},
		{name: "before 1970", was: "a\r\n", is: "a\r\n", of: time.Unix(-1e6, 0), with: time.Unix(1e9, 0), want: verify.DateReplaced},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := copied(t)
			test.of, test.with = orDay(test.of), orDay(test.with)
			w.old.Deliver("z", "Subject: z\r\n\r\n"+test.was, test.of, mail.Flags{})
			w.sync(t)
			m := &w.new.Boxes["z"].Messages[0]
			m.Data, m.Date = "Subject: z\r\n\r\n"+test.is, test.with
			r := w.verify(t, w.options(verify.Deep))
			switch {
			case test.want == "" && (r.Counts[verify.Damaged] != 1 || len(r.Alterations) != 0):
				t.Errorf("%v %v", r.Counts, r.Alterations)
			case test.want != "" && (r.Counts[verify.Altered] != 1 || r.Alterations[test.want] != 1 || len(r.Alterations) != 1):
				t.Errorf("%v %v %v", r.Counts, r.Alterations, r.Differences)
			}
		})
	}
}

// TestMended: what fixups have made of a header is no damage.
func TestMended(t *testing.T) {
	for there, want := range map[string]verify.Class{
		"Subject: z\r\nX-Invalid-Header-Line: no field\r\n\r\nbody\r\n": verify.Altered,
		"Subject: z\r\nX-Invalid-Header-Line: no filed\r\n\r\nbody\r\n": verify.Damaged,
	} {
		w := copied(t)
		w.old.Deliver("z", "Subject: z\r\nno field\r\n\r\nbody", day, mail.Flags{})
		w.sync(t)
		w.new.Boxes["z"].Messages[0].Data = there
		if r := w.verify(t, w.options(verify.Quick)); r.Counts[want] != 1 || want == verify.Altered && r.Alterations[verify.HeaderLines] != 1 {
			t.Errorf("%q: %v %v", there, r.Counts, r.Alterations)
		}
	}
}

func orDay(t time.Time) time.Time {
	if t.IsZero() {
		return day
	}
	return t
}

// TestDifferences: a difference tells where, and which message by its
// Message-ID, date and size.
func TestDifferences(t *testing.T) {
	w := copied(t)
	w.edit(3, func(s string) string { return s[:len(s)-6] })
	m := w.new.Boxes["a"].Messages[5]
	w.new.Deliver("a", m.Data, m.Date, m.Flags)
	w.old.Expunge("INBOX", 7)
	var got []string
	for _, d := range w.verify(t, w.options(verify.Quick)).Differences {
		got = append(got, fmt.Sprintf("%s %s %d %s %d %s %d %s: %s", d.Class, d.Mailbox, d.UID, d.Destination, d.Copy, d.MessageID, d.Size, d.InternalDate.Format(time.DateTime), d.What))
	}
	want := []string{
		"damaged a 4 a 4 <10@test.example> 4055 2020-05-06 17:08:09: contents differ (4055 octets, there 4049): the new server serves its beginning only",
		"doubled a 0 a 101 <16@test.example> 55 2020-05-06 23:08:09: the same message as UID 6, once more",
		"held a/b 6  0 <17@test.example> 55 2020-05-07 00:08:09: refused: APPEND refused: NO not this one",
		"kept INBOX 0 INBOX 8 <21@test.example> 55 2020-05-07 04:08:09: its original is no longer in INBOX",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	w = copied(t)
	w.edit(3, func(s string) string { return strings.Replace(s, "body 10", "body 11", 1) })
	at := strings.Index(w.new.Boxes["a"].Messages[3].Data, "11") + 2
	if d := w.verify(t, w.options(verify.Deep)).Differences[0]; d.Class != verify.Damaged || !strings.HasSuffix(d.What, fmt.Sprintf("from octet %d on", at)) {
		t.Errorf("%+v, want octet %d", d, at)
	}
}

// TestWithoutState: a lost state does not blind the comparison, nor leaves
// anything running behind.
func TestWithoutState(t *testing.T) { synctest.Test(t, withoutState) }

func withoutState(t *testing.T) {
	w := copied(t)
	w.journal = simtest.NewJournal()
	check := func(want string) {
		t.Helper()
		r := w.verify(t, w.options(verify.Deep))
		r.Counts[verify.Held]++
		if got := counts(r); got != want {
			t.Errorf("%s, want %s: %+v", got, want, r.Differences)
		}
	}
	check("missing 1") // the one that was refused
	w.new.Expunge("a", 0)
	w.new.Deliver("a", "Subject: x\r\n\r\n", day, mail.Flags{})
	w.edit(7, func(s string) string { return s + "\r\n" })
	w.new.Move("a", 9, "elsewhere")
	w.new.Boxes["a"].Messages[12].Flags.System ^= mail.Flagged
	check("altered 1, moved 1, extra 1, flags 1, missing 2")
}

// TestOutOfReach: a mailbox that is listed and cannot be opened is named, and the
// others are compared.
func TestOutOfReach(t *testing.T) {
	for _, side := range []string{"old", "new"} {
		w := copied(t)
		o := w.options(verify.Deep)
		if side == "old" {
			o.Source = closed{o.Source, "a"}
		} else {
			o.Destination = closed{o.Destination, "a"}
		}
		r, err := verify.Account(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		if r.Counts[verify.Unread] != 100 || r.Counts[verify.Equal] != 199 || r.Clean() || r.Wrong() != 100 {
			t.Errorf("%s: %v", side, r.Counts)
		}
	}
}

// closed is a server that lists a mailbox and does not open it.
type closed struct {
	verify.Reader
	name string
}

func (c closed) UIDs(ctx context.Context, box mail.Ref, from mail.UID) ([]mail.UID, error) {
	if box.Name == c.name {
		return nil, &mail.Refused{Command: "EXAMINE", Type: "NO", Text: "broken"}
	}
	return c.Reader.UIDs(ctx, box, from)
}

// TestUnserved: a message that a server lists and does not serve.
func TestUnserved(t *testing.T) {
	w := copied(t)
	o := w.options(verify.Deep)
	o.Source = mute{Reader: o.Source, uid: 3}
	r, err := verify.Account(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Counts[verify.Unread] != 3 || r.Counts[verify.Equal] != 296 { // in three mailboxes
		t.Errorf("%v %+v", r.Counts, r.Differences)
	}
	o = w.options(verify.Deep)
	o.Destination = mute{Reader: o.Destination, uid: 3, bodies: true}
	if r, err = verify.Account(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	if r.Counts[verify.Damaged] != 3 || !strings.Contains(r.Differences[0].What, "the new server lists the message but does not serve it") {
		t.Errorf("%v %+v", r.Counts, r.Differences)
	}
}

// mute is a server that does not serve the messages with one UID, or only not
// their bodies.
type mute struct {
	verify.Reader
	uid    mail.UID
	bodies bool
}

func (m mute) Messages(ctx context.Context, box mail.Ref, uids []mail.UID, fingerprints bool) iter.Seq2[mail.Message, error] {
	if !m.bodies {
		uids = slices.DeleteFunc(slices.Clone(uids), func(uid mail.UID) bool { return uid == m.uid })
	}
	return m.Reader.Messages(ctx, box, uids, fingerprints)
}

func (m mute) Bodies(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Body, error] {
	return m.Reader.Bodies(ctx, box, slices.DeleteFunc(slices.Clone(uids), func(uid mail.UID) bool { return uid == m.uid }))
}

// TestHeldEndsTheConnection: a message that is held because the old server's
// answer about it makes no sense keeps no other from being compared.
func TestHeldEndsTheConnection(t *testing.T) {
	w := copied(t)
	for _, uid := range []mail.UID{6, 7} {
		o := w.options(verify.Deep)
		o.Source = poisoned{Reader: o.Source, box: "a/b", uid: uid} // of the two, 6 is held
		r, err := verify.Account(context.Background(), o)
		if uid == 7 {
			if !errors.Is(err, errEnough) {
				t.Errorf("of a message that is not held: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if w.adds(t, r); r.Counts[verify.Held] != 1 || r.Counts[verify.Equal] != 299 {
			t.Errorf("%v %+v", r.Counts, r.Differences)
		}
	}
}

// poisoned is a server whose answer about one message ends the connection.
type poisoned struct {
	verify.Reader
	box string
	uid mail.UID
}

func (p poisoned) Messages(ctx context.Context, box mail.Ref, uids []mail.UID, fingerprints bool) iter.Seq2[mail.Message, error] {
	if box.Name == p.box && slices.Contains(uids, p.uid) {
		return func(yield func(mail.Message, error) bool) { yield(mail.Message{}, errEnough) }
	}
	return p.Reader.Messages(ctx, box, uids, fingerprints)
}

var errEnough = errors.New("enough")

// TestGoesOn: a deep comparison that is broken off goes on where it was, with
// what it had found, and reads nothing twice.
func TestGoesOn(t *testing.T) {
	w := copied(t)
	w.edit(3, func(s string) string { return strings.Replace(s, "body", "b0dy", 1) })
	w.edit(90, func(s string) string { return s + "\r\n" })
	for i := range w.new.Boxes["INBOX"].Messages {
		m := &w.new.Boxes["INBOX"].Messages[i]
		m.Data += "\r\n"
	}
	whole := w.verify(t, w.options(verify.Deep))

	read := make(map[string]int)
	var progress verify.Progress
	var got verify.Report
	breaks := 0
	for done := false; !done; {
		o := w.options(verify.Deep)
		o.Source = counting{o.Source, read}
		kept := verify.Progress{Mode: progress.Mode, Sample: progress.Sample, Seed: progress.Seed, Compared: progress.Compared, Through: maps.Clone(progress.Through), Found: slices.Clone(progress.Found)}
		o.Progress = &kept
		parts := 0
		o.Pace = func(context.Context, int64) error {
			if parts++; parts > 1 {
				return errEnough
			}
			return nil
		}
		saved := 0
		o.Saved = func(p verify.Progress) { saved++ }
		var err error
		if got, err = verify.Account(context.Background(), o); err == nil {
			done = true
		} else if !errors.Is(err, errEnough) {
			t.Fatal(err)
		} else if breaks++; saved != 1 {
			t.Errorf("told of its progress %d times", saved)
		}
		progress = kept
	}
	if breaks != 2 { // one for each of the other mailboxes
		t.Errorf("broken off %d times", breaks)
	}
	for what, n := range read {
		if n != 1 && what != "a 4" { // which is read again to see where it is damaged
			t.Errorf("%s was read %d times", what, n)
		}
	}
	got.Started, got.Finished, whole.Started, whole.Finished = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", whole); a != b {
		t.Errorf("in parts: %s\nat once:  %s", a, b)
	}
	if progress.Seed != 0 {
		t.Errorf("progress after the end: %+v", progress)
	}
}

// counting counts the bodies that are read.
type counting struct {
	verify.Reader
	read map[string]int
}

func (c counting) Bodies(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Body, error] {
	for _, uid := range uids {
		c.read[fmt.Sprintf("%s %d", box.Name, uid)]++
	}
	return c.Reader.Bodies(ctx, box, uids)
}

// TestManySizes: where the servers never agree on sizes a quick comparison looks
// into some messages only, and says so.
func TestManySizes(t *testing.T) {
	w := copied(t)
	for i := range 700 {
		w.old.Deliver("many", fmt.Sprintf("Subject: many %d\r\n\r\nx", i), day.Add(time.Duration(i)*time.Minute), mail.Flags{})
	}
	w.sync(t)
	for i := range w.new.Boxes["many"].Messages {
		w.new.Boxes["many"].Messages[i].Data += "\r\n"
	}
	r := w.verify(t, w.options(verify.Quick))
	if r.Counts[verify.Altered] != 700 || r.Compared != 500 || r.Alterations[verify.Length] != 200 || r.Alterations[verify.FinalLineEnd] != 500 {
		t.Errorf("%v %v, %d compared", r.Counts, r.Alterations, r.Compared)
	}
	if n := len(r.Differences); n > 120 {
		t.Errorf("%d differences are listed", n)
	}
}

func TestPace(t *testing.T) {
	pace := verify.PerSecond(1000)
	start := time.Now()
	for range 3 {
		if err := pace(context.Background(), 50); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("150 octets at 1,000 a second took %s", took)
	}
	ctx, cancel := context.WithCancel(context.Background())
	pace(ctx, 1_000_000)
	cancel()
	if err := pace(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
