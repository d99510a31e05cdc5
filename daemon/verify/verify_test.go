package verify_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
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
	w := &world{simtest.NewServer(10), simtest.NewServer(5000), simtest.NewJournal()}
	for i := range 300 {
		w.old.Deliver([]string{"INBOX", "a", "a/b"}[i%3], fmt.Sprintf("Subject: %d\r\n\r\nbody %d\r\n", i, i), day.Add(time.Duration(i)*time.Hour), mail.Flags{System: mail.System(i % 4)})
	}
	w.new.Refuse = func(data string) bool { return strings.Contains(data, "Subject: 17\r\n") }
	w.sync(t)
	return w
}

func (w *world) sync(t *testing.T) {
	t.Helper()
	f := &simtest.Faults{}
	p := pass.New(pass.Options{
		Source: simtest.View{Server: w.old, Faults: f}, Journal: w.journal.View(f), SpoolDir: t.TempDir(),
		Destination: simtest.Writable{View: simtest.View{Server: w.new, Faults: f}, Intended: func(string, int64, mail.Fingerprint) error { return nil }},
	})
	if _, err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (w *world) verify(t *testing.T, mode verify.Mode) verify.Report {
	t.Helper()
	f := &simtest.Faults{}
	r, err := verify.Account(context.Background(), verify.Options{
		Account: "foo", Mode: mode, Sample: 0.01, Journal: w.journal.View(f),
		Source: simtest.View{Server: w.old, Faults: f}, Destination: simtest.View{Server: w.new, Faults: f},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// expect fails unless the report counts these classes, and no others but equal.
func expect(t *testing.T, r verify.Report, want map[verify.Class]int64) {
	t.Helper()
	for _, class := range verify.Classes() {
		if n := r.Counts[class]; class != verify.Equal && n != want[class] {
			t.Errorf("%s: %d, want %d; %v", class, n, want[class], r.Differences)
		}
	}
}

func TestUntouched(t *testing.T) {
	w := copied(t)
	for _, mode := range []verify.Mode{verify.Quick, verify.Sample, verify.Deep} {
		r := w.verify(t, mode)
		expect(t, r, map[verify.Class]int64{verify.Held: 1})
		if r.Counts[verify.Equal] != 299 {
			t.Errorf("%s: %d equal", mode, r.Counts[verify.Equal])
		}
	}
	if n := w.verify(t, verify.Sample).Compared; n < 60 || n > 150 {
		t.Errorf("a sample of at least 100 compares %d", n)
	}
	if n := w.verify(t, verify.Deep).Compared; n != 299 {
		t.Errorf("deep compares %d", n)
	}
}

func TestClasses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		quick  map[verify.Class]int64 // held 1 is always there
		deep   map[verify.Class]int64 // nil: as quick
	}{
		"missing":                    {func(w *world) { w.new.Boxes["a"].Messages = w.new.Boxes["a"].Messages[1:] }, map[verify.Class]int64{verify.Missing: 1}, nil},
		"a mailbox gone":             {func(w *world) { delete(w.new.Boxes, "a/b") }, map[verify.Class]int64{verify.Missing: 99}, nil},
		"an octet":                   {func(w *world) { flip(&w.new.Boxes["a"].Messages[3]) }, nil, map[verify.Class]int64{verify.Damaged: 1}},
		"date":                       {func(w *world) { w.new.Boxes["a"].Messages[3].Date = day }, map[verify.Class]int64{verify.Date: 1}, nil},
		"flag":                       {func(w *world) { w.new.Boxes["a"].Messages[3].Flags.System ^= mail.Flagged }, map[verify.Class]int64{verify.Changed: 1}, nil},
		"keyword":                    {func(w *world) { w.new.Boxes["a"].Messages[3].Flags.Keywords = "Work" }, map[verify.Class]int64{verify.Changed: 1}, nil},
		"a keyword that servers add": {func(w *world) { w.new.Boxes["a"].Messages[3].Flags.Keywords = "$HasAttachment" }, nil, nil},
		"moved":                      {func(w *world) { w.new.Move("a", 3, "elsewhere") }, map[verify.Class]int64{verify.Moved: 1}, nil},
		"born there":                 {func(w *world) { w.new.Deliver("a", "Subject: x\r\n\r\n", day, mail.Flags{}) }, map[verify.Class]int64{verify.Extra: 1}, nil},
		"not copied yet":             {func(w *world) { w.old.Deliver("a", "Subject: new\r\n\r\n", day, mail.Flags{}) }, map[verify.Class]int64{verify.Pending: 1}, nil},
		"final CRLF added":           {func(w *world) { alter(w, func(s string) string { return s + "\r\n" }) }, map[verify.Class]int64{verify.Altered: 1}, nil},
		"bare line ends":             {func(w *world) { alter(w, func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }) }, map[verify.Class]int64{verify.Altered: 1}, nil},
		"index rebuilt there":        {func(w *world) { w.new.Rebuild("a") }, map[verify.Class]int64{}, nil},
		"index rebuilt here":         {func(w *world) { w.old.Rebuild("a") }, map[verify.Class]int64{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := copied(t)
			c.change(w)
			if c.deep == nil {
				c.deep = c.quick
			}
			for mode, want := range map[verify.Mode]map[verify.Class]int64{verify.Quick: c.quick, verify.Deep: c.deep} {
				all := map[verify.Class]int64{verify.Held: 1}
				for class, n := range want {
					all[class] = n
				}
				expect(t, w.verify(t, mode), all)
			}
		})
	}
}

func flip(m *simtest.Message) { m.Data = m.Data[:len(m.Data)-4] + "?" + m.Data[len(m.Data)-3:] }

func alter(w *world, f func(string) string) {
	m := &w.new.Boxes["a"].Messages[3]
	m.Data = f(m.Data)
}

// TestWithoutState: a lost state does not blind the comparison.
func TestWithoutState(t *testing.T) {
	w := copied(t)
	w.journal = simtest.NewJournal()
	expect(t, w.verify(t, verify.Deep), map[verify.Class]int64{verify.Missing: 1}) // the one that was refused
	w.new.Boxes["a"].Messages = w.new.Boxes["a"].Messages[1:]
	w.new.Deliver("a", "Subject: x\r\n\r\n", day, mail.Flags{})
	expect(t, w.verify(t, verify.Quick), map[verify.Class]int64{verify.Missing: 2, verify.Extra: 1})
}

func TestOutput(t *testing.T) {
	w := copied(t)
	w.old.Deliver("=cmd()", "Subject: evil\x1b[2J\r\n\r\n", day, mail.Flags{})
	w.new.Boxes["a"].Messages = w.new.Boxes["a"].Messages[1:]
	reports := []verify.Report{w.verify(t, verify.Deep)}
	if reports[0].Clean() {
		t.Error("a missing message is called clean")
	}
	var text, data, table bytes.Buffer
	for _, err := range []error{verify.Text(&text, reports), verify.JSON(&data, reports), verify.CSV(&table, reports)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(text.String(), "foo: DIFFERENCES (deep") || !strings.Contains(text.String(), "missing  a UID 1") || strings.Contains(text.String(), "\x1b") {
		t.Errorf("%s", text.String())
	}
	var back []verify.Report
	if err := json.Unmarshal(data.Bytes(), &back); err != nil || len(back) != 1 || back[0].Counts[verify.Missing] != 1 {
		t.Errorf("%v: %s", err, data.String())
	}
	rows, err := csv.NewReader(&table).ReadAll()
	if err != nil || len(rows) != 1+len(reports[0].Differences) {
		t.Errorf("%v: %d rows", err, len(rows))
	}
	for _, row := range rows {
		for _, cell := range row {
			if strings.HasPrefix(cell, "=") {
				t.Errorf("%q would be a formula", cell)
			}
		}
	}
}
