package simtest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// longKeyword is one that the new server refuses.
var longKeyword = strings.Repeat("k", 65)

// strict is a world whose new server refuses most of what the old one has.
func strict(allowed mail.Fixups) *world {
	w := newWorld()
	w.policy.Fixups = allowed
	w.new.Refuse = func(data string) bool {
		mended, _ := mendedForm(data, mail.Mendings)
		return mended != data || strings.Contains(data, "refuse")
	}
	w.new.RefuseKeyword = func(keyword string) bool { return len(keyword) > 64 }
	for i, text := range []string{
		"A: 0\r\n\r\nas it should be\r\n", "A: 1\n\nbare\n", "A: twin\r\n\r\n", "A: 2\n\nbare", "A: twin\r\n\r\n", "A: 3\r\nno field\r\n\r\n\x00\r\n",
		"A: 4\r\n\r\nrefuse",
	} {
		w.old.Deliver([]string{"INBOX", "a"}[i/6], text, day, mail.Flags{System: mail.System(i % 4), Keywords: []string{"", longKeyword + " Work"}[i%2]})
	}
	w.old.Deliver("a", "A: twin\n\n", day, mail.Flags{})
	return w
}

func mendedForm(text string, which mail.Fixups) (string, mail.Fixups) {
	var out bytes.Buffer
	applied, _ := mail.Mend(&out, strings.NewReader(text), which)
	return out.String(), applied
}

// checkMended compares the servers: of each message there is its own form where
// the new server takes that, else the mended one, else none and a hold; and the
// receipts are those of the originals.
func (w *world) checkMended(t *testing.T, adopted bool) error {
	changes := w.new.Changes
	w.settle(t)
	errs := w.errs
	if w.new.Changes != changes {
		errs = append(errs, fmt.Errorf("a further run changed something %d times", w.new.Changes-changes))
	}
	held := 0
	want, have := make(map[string]int), make(map[string]int)
	prints := make(map[mail.Fingerprint]int)
	for box, b := range w.old.Boxes {
		for _, m := range b.Messages {
			text := m.Data
			if w.new.Refuse(text) {
				text, _ = mendedForm(text, w.policy.Fixups)
			}
			if w.new.Refuse(text) {
				held++
				continue
			}
			flags := m.Flags.Keep(func(k string) bool { return !w.new.RefuseKeyword(k) })
			want[fmt.Sprintf("%s %q %v", box, text, flags)]++
			prints[mail.NewFingerprint(int64(len(m.Data)), m.Date, []byte(m.Data))]++
		}
	}
	for box, b := range w.new.Boxes {
		for _, m := range b.Messages {
			have[fmt.Sprintf("%s %q %v", box, m.Data, m.Flags)]++
		}
	}
	if !maps.Equal(want, have) {
		errs = append(errs, fmt.Errorf("there is %v\n, not %v", have, want))
	}
	if len(w.journal.holds) != held {
		errs = append(errs, fmt.Errorf("%d are held, not %d: %v", len(w.journal.holds), held, w.journal.holds))
	}
	for _, h := range w.journal.holds {
		if h.Reason != mail.ReasonRefused || !strings.Contains(h.Text, "not this one") {
			errs = append(errs, fmt.Errorf("held as %+v", h))
		}
	}
	for _, r := range slices.Concat(slices.Collect(maps.Values(w.journal.receipts))...) {
		prints[r.Fingerprint]--
		// What an adopted copy lacks its user may have taken away.
		if r.Touched && !adopted {
			errs = append(errs, fmt.Errorf("the receipt of %d is touched", r.Source))
		}
	}
	for print, n := range prints {
		if n != 0 {
			errs = append(errs, fmt.Errorf("of the original %d there are %d receipts too few", print, n))
		}
	}
	return errors.Join(errs...)
}

// TestEveryFaultMended breaks a world at every step in which most messages are
// refused in their own form: each gets there once, mended as far as that is
// allowed. At last its state is lost: what is there is recognised.
func TestEveryFaultMended(t *testing.T) {
	begun, runs := time.Now(), 0
	for _, late := range slices.Sorted(maps.Keys(lateness)) {
		asked := 1
		for at := 1; at <= asked+3 && !t.Failed(); at += 3 { // each way meets every kind of step
			allowed, uidplus, crash := mail.Mendings, at%2 == 0, at/2%2 == 0
			if at%5 == 0 {
				allowed = 0
			}
			synctest.Test(t, func(t *testing.T) {
				w := strict(allowed)
				w.new.NoUIDPlus = !uidplus
				f := &Faults{At: at, Crash: crash, Late: lateness[late]}
				if err := w.live(t, f); err != nil && !f.Dead() {
					t.Errorf("step %d: %v", at, err)
				}
				asked = max(asked, f.Asked())
				w.settle(t)
				time.Sleep(time.Minute) // what is late has come
				err := w.checkMended(t, false)
				w.journal = NewJournal()
				if err = errors.Join(err, w.checkMended(t, true)); err != nil {
					t.Errorf("allowed %v, %s, uidplus %v, step %d: %v", allowed, late, uidplus, at, err)
				}
			})
			runs++
		}
	}
	proof.Count(t, begun, "%d worlds", runs)
	if runs < 300 {
		t.Errorf("only %d worlds: the faults do not reach all steps", runs)
	}
}

// TestMendedWithoutOriginal: were the intent to forget the original, the receipt of
// a lost answer would be of no message of the source.
func TestMendedWithoutOriginal(t *testing.T) {
	found := false
	for at := 1; at < 200 && !found; at++ {
		synctest.Test(t, func(t *testing.T) {
			w := strict(mail.Mendings)
			w.mutated(func(_ *world, o *pass.Options) {
				o.Journal = forgetful{Journal: o.Journal, commit: func(c *mail.Change) {
					for i := range c.Intents {
						c.Intents[i].Original = 0
					}
				}}
			})
			w.live(t, &Faults{At: at, Crash: true, Late: func() (time.Duration, bool) { return 0, true }})
			w.settle(t)
			found = w.checkMended(t, false) != nil
		})
	}
	if !found {
		t.Error("it was not noticed")
	}
}

// TestMendedIsCounted: what was mended, and how, is told.
func TestMendedIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counts := &mendings{by: make(map[mail.Fixups]int)}
		w := strict(mail.Mendings)
		w.mutated(func(_ *world, o *pass.Options) { o.Observer = counts })
		w.settle(t)
		want := map[mail.Fixups]int{
			mail.BareLF | mail.OddKeywords: 1, mail.BareLF | mail.FinalCRLF | mail.OddKeywords: 1, mail.BareLF: 1,
			mail.HeaderLine | mail.NUL | mail.OddKeywords: 1,
		}
		if !maps.Equal(counts.by, want) {
			t.Errorf("%v, not %v", counts.by, want)
		}
	})
}

type mendings struct {
	pass.Nobody
	by map[mail.Fixups]int
}

func (m *mendings) Mended(fixups mail.Fixups) { m.by[fixups]++ }

// TestKeywordsOfCopies: a keyword that a message gets later and the new server
// refuses keeps the rest of its flags from nothing, and its copy untouched.
func TestKeywordsOfCopies(t *testing.T) {
	for _, condstore := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.new.NoCondstore = !condstore
			w.new.RefuseKeyword = func(keyword string) bool { return len(keyword) > 64 }
			for i := range 3 {
				w.old.Deliver("INBOX", fmt.Sprint("n", i), day, mail.Flags{})
			}
			w.settle(t)
			w.old.Flag("INBOX", 0, mail.Flags{System: mail.Seen, Keywords: longKeyword})
			w.old.Flag("INBOX", 1, mail.Flags{Keywords: longKeyword + " Work"})
			w.old.Flag("INBOX", 2, mail.Flags{System: mail.Flagged})
			w.settle(t)
			want := []mail.Flags{{System: mail.Seen}, {Keywords: "Work"}, {System: mail.Flagged}}
			check := func(when string) {
				t.Helper()
				for i, m := range w.new.Boxes["INBOX"].Messages {
					if !m.Flags.Equal(want[i]) {
						t.Errorf("%s: %v, not %v", when, m.Flags, want[i])
					}
					if r := w.journal.receipts[1][i]; r.Touched || !r.Flags.Equal(want[i]) {
						t.Errorf("%s: receipt %+v", when, r)
					}
				}
			}
			check("flagged")
			for i := range want {
				want[i] = mail.Flags{System: mail.Answered}
				w.old.Flag("INBOX", i, mail.Flags{System: mail.Answered, Keywords: longKeyword})
			}
			w.settle(t)
			check("flagged again")
		})
	}
}

// TestManyOddKeywords: a source on which every message has a keyword of its own,
// of which the new server takes none, has all of them copied; the operator is told
// once, also by the passes to come.
func TestManyOddKeywords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		complaints := new(pass.Complaints)
		w := newWorld()
		w.mutated(func(_ *world, o *pass.Options) {
			o.Complaints, o.Logger = complaints, slog.New(slog.NewTextHandler(&log, nil))
		})
		w.new.RefuseKeyword = func(keyword string) bool { return len(keyword) > 64 }
		deliver := func(from, to int) {
			for i := from; i < to; i++ {
				w.old.Deliver("INBOX", fmt.Sprint("n", i), day, mail.Flags{System: mail.Seen, Keywords: longKeyword + fmt.Sprint(i)})
			}
			w.settle(t)
		}
		deliver(0, 250)
		deliver(250, 260)
		for i, m := range w.new.Boxes["INBOX"].Messages {
			if !m.Flags.Equal(mail.Flags{System: mail.Seen}) {
				t.Errorf("message %d has %v", i, m.Flags)
			}
		}
		if n := len(w.new.Boxes["INBOX"].Messages); n != 260 || len(w.journal.holds) > 0 {
			t.Errorf("%d messages, held: %v", n, w.journal.holds)
		}
		if n := strings.Count(log.String(), "refuses a keyword"); n != 1 {
			t.Errorf("told %d times:\n%s", n, &log)
		}
	})
}
