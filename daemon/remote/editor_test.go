package remote

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// editShown is what a mailbox shows that can be changed under a condition.
var editShown = strings.Replace(selectShown, "* 0 EXISTS", "* 9 EXISTS\r\n* OK [HIGHESTMODSEQ 44]", 1)

const (
	editCaps = "CONDSTORE MOVE UIDPLUS UNSELECT"
	condOpen = `SELECT "box" (CONDSTORE)`
	open     = `SELECT "box"`
	seen     = `FLAGS.SILENT (\Seen)`
	since    = "(UNCHANGEDSINCE 44) "
	deleted  = `+FLAGS.SILENT (\Deleted)`
)

// newTestEditor opens a mailbox of a server that answers by rules.
func newTestEditor(t *testing.T, caps string, log *transcript, rules ...[2]string) (*Destination, mail.Editor) {
	t.Helper()
	s := listServer(t, SideDestination, caps, log, append(rules,
		[2]string{"SELECT", editShown}, [2]string{"UNSELECT", "TAG OK\r\n"}, [2]string{"EXAMINE", examined}, [2]string{"NOOP", "TAG OK\r\n"})...)
	d := newTestDestination(t, s)
	e, err := d.Editor(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	return d, e
}

func edit(uid mail.UID, from, to string) mail.Edit {
	return mail.Edit{UID: uid, From: mail.ParseFlags(strings.Fields(from)), To: mail.ParseFlags(strings.Fields(to))}
}

func TestEditorOpens(t *testing.T) {
	plain := strings.Replace(editShown, "[HIGHESTMODSEQ 44]", "[NOMODSEQ]", 1)
	for _, c := range []struct {
		name, caps string
		rules      [][2]string
		box        mail.Ref
		modSeq     mail.ModSeq
		sent       []string
		want       string
	}{
		{"conditional", "CONDSTORE", [][2]string{{"SELECT", editShown}}, box, 44, []string{condOpen}, "ok"},
		{"no CONDSTORE", "", [][2]string{{"SELECT", editShown}}, box, 0, []string{open}, "ok"},
		{"not for this mailbox", "CONDSTORE", [][2]string{{"SELECT", plain}}, box, 0, []string{condOpen}, "ok"},
		{"announced, but not done", "CONDSTORE", [][2]string{{condOpen, "TAG BAD\r\n"}, {"SELECT", editShown}}, box, 0, []string{condOpen, open}, "ok"},
		{"refused", "CONDSTORE", [][2]string{{"SELECT", "TAG NO [NONEXISTENT] gone\r\n"}}, box, 0, []string{condOpen}, "NO NONEXISTENT"},
		{"another by now", "CONDSTORE", [][2]string{{"SELECT", editShown}}, mail.Ref{Name: "box", UIDValidity: 8}, 0, []string{condOpen}, "uidvalidity"},
		{"read-only", "", [][2]string{{"SELECT", strings.Replace(editShown, "READ-WRITE", "READ-ONLY", 1)}}, box, 0, []string{open}, "read-only"},
		{"a name that cannot be sent", "", nil, mail.Ref{Name: "a\r\nZ1 DELETE INBOX"}, 0, nil, "BAD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log transcript
			e, err := newTestDestination(t, listServer(t, SideDestination, c.caps, &log, c.rules...)).Editor(t.Context(), c.box)
			if got := outcomeOf(err); got != c.want || (err == nil) != (e != nil) {
				t.Errorf("%s, want %s", got, c.want)
			}
			if got := log.all(); !slices.Equal(got, c.sent) {
				t.Errorf("sent %q, want %q", got, c.sent)
			}
			if want := (mail.Status{UIDValidity: 7, UIDNext: 1, HighestModSeq: c.modSeq, Messages: 9, MessagesKnown: true}); err == nil && e.Status() != want {
				t.Errorf("%+v, want %+v", e.Status(), want)
			}
		})
	}
}

func TestEditorCan(t *testing.T) {
	for caps, want := range map[string]bool{"MOVE UIDPLUS": true, "UIDPLUS": true, "MOVE": false, "": false} {
		var log transcript
		_, e := newTestEditor(t, caps, &log)
		if e.CanMove() != want || e.CanRemove() != want {
			t.Errorf("%q: %v %v", caps, e.CanMove(), e.CanRemove())
		}
		if want {
			continue
		}
		if _, _, err := e.Move(t.Context(), []mail.UID{1}, "other"); err == nil {
			t.Errorf("%q: moved", caps)
		}
		if _, err := e.Remove(t.Context(), []mail.Edit{edit(1, "", "")}); err == nil {
			t.Errorf("%q: removed", caps)
		}
		if got := log.all(); len(got) != 1 {
			t.Errorf("%q: sent %q", caps, got)
		}
	}
}

func TestEditorFlags(t *testing.T) {
	var log transcript
	_, e := newTestEditor(t, editCaps, &log, [2]string{"UID FETCH", "* 3 FETCH (UID 9 FLAGS (\\Seen) MODSEQ (5))\r\n* 4 FETCH (FLAGS (\\Deleted))\r\n" +
		"* 1 FETCH (UID 2 FLAGS (a))\r\n* 7 FETCH (UID 5 FLAGS (b))\r\nTAG OK\r\n"})
	rows, err := e.Flags(t.Context(), []mail.UID{1, 2, 9})
	if got := showFlags(rows); err != nil || got != `2(a) 9(\Seen)@5` {
		t.Errorf("%s %v", got, err)
	}
	if got := e.Storable(mail.ParseFlags([]string{`\Seen`, "new"})).String(); got != `(\Seen new)` {
		t.Error(got)
	}
}

// TestStore also covers Remove, the STORE of which is the same.
func TestStore(t *testing.T) {
	two := []mail.Edit{edit(2, "", `\Seen`), edit(1, "", `\Seen`)}
	for _, c := range []struct {
		name, caps string
		edits      []mail.Edit
		remove     bool
		rules      [][2]string
		sent       []string // after SELECT
		changed    []mail.UID
		want       string
	}{
		{name: "stored", edits: append(two, edit(5, `\Seen`, ""), edit(7, "a b", `b \Flagged`)), rules: [][2]string{{"UID STORE", "* 1 FETCH (UID 1 MODSEQ (50))\r\nTAG OK\r\n"}},
			sent: []string{"UID STORE 5 " + since + "FLAGS.SILENT ()", "UID STORE 7 " + since + `FLAGS.SILENT (\Flagged b)`, "UID STORE 1:2 " + since + seen}},
		{name: "changed meanwhile", edits: two, rules: [][2]string{{"UID STORE", "* 2 FETCH (UID 2 FLAGS (x))\r\n* 9 FETCH (FLAGS (y))\r\nTAG OK [MODIFIED 2] some\r\n"}},
			sent: []string{"UID STORE 1:2 " + since + seen}, changed: []mail.UID{2}},
		{name: "changed and gone", edits: two, rules: [][2]string{{"UID STORE", "TAG NO [MODIFIED 1] some have gone\r\n"}},
			sent: []string{"UID STORE 1:2 " + since + seen}, changed: []mail.UID{1}},
		{name: "changed, also what nobody asked for", edits: two, rules: [][2]string{{"UID STORE", "TAG OK [MODIFIED 9,4294967295:2,77:80]\r\n"}},
			sent: []string{"UID STORE 1:2 " + since + seen}, changed: []mail.UID{2}},
		{name: "changed, but what", edits: two, rules: [][2]string{{"UID STORE", "TAG OK [MODIFIED 1:*]\r\n"}}, sent: []string{"UID STORE 1:2 " + since + seen}, want: "protocol error"},
		{name: "changed, but nothing", edits: two, rules: [][2]string{{"UID STORE", "TAG OK [MODIFIED]\r\n"}}, sent: []string{"UID STORE 1:2 " + since + seen}, want: "protocol error"},
		{name: "one kind refused", edits: append(two, edit(5, "", "odd]"), edit(6, "", "odd]")), rules: [][2]string{{"UID STORE 5", "TAG NO [CANNOT] no\r\n"}, {"UID STORE", "TAG OK [MODIFIED 2]\r\n"}},
			sent: []string{"UID STORE 1:2 " + since + seen, "UID STORE 5:6 " + since + "FLAGS.SILENT (odd])"}, changed: []mail.UID{2}, want: "NO CANNOT"},
		{name: "not understood", edits: two, rules: [][2]string{{"UID STORE", "TAG BAD [MODIFIED 1]\r\n"}}, sent: []string{"UID STORE 1:2 " + since + seen}, want: "BAD MODIFIED"},
		{name: "cut", edits: two, rules: [][2]string{{"UID STORE", ""}}, sent: []string{"UID STORE 1:2 " + since + seen}, want: "broke"},
		{name: "a keyword that cannot be sent", edits: append(two, edit(5, "", "gr\xfcn")), want: "BAD FLAGS"},
		{name: "a command for a keyword", edits: []mail.Edit{{UID: 1, To: mail.Flags{Keywords: "a)\r\nZ1"}}}, want: "BAD FLAGS"},
		{name: "nothing"},

		{name: "read again", caps: "UIDPLUS", edits: []mail.Edit{edit(1, "a", `A \Seen`), edit(2, `\Flagged work`, `\Seen`), edit(3, "", `\Seen`), edit(4, "", `\Seen`)},
			rules: [][2]string{{"UID FETCH", "* 1 FETCH (UID 1 FLAGS (a))\r\n* 2 FETCH (UID 2 FLAGS (WORK \\Flagged))\r\n* 3 FETCH (UID 3 FLAGS (mine))\r\nTAG OK\r\n"}, {"UID STORE", "TAG OK\r\n"}},
			sent:  []string{"NOOP", "UID FETCH 1:4 (FLAGS)", "UID STORE 1:2 +" + seen, `UID STORE 2 -FLAGS.SILENT (\Flagged work)`}, changed: []mail.UID{3}},
		{name: "read again, and none is as it was", caps: "UIDPLUS", edits: two,
			rules: [][2]string{{"UID FETCH", "* 1 FETCH (UID 1 FLAGS (a))\r\n* 2 FETCH (UID 2 FLAGS (a))\r\nTAG OK\r\n"}},
			sent:  []string{"NOOP", "UID FETCH 1:2 (FLAGS)"}, changed: []mail.UID{1, 2}},
		{name: "reading refused", caps: "UIDPLUS", edits: two, rules: [][2]string{{"UID FETCH", "TAG NO\r\n"}}, sent: []string{"NOOP", "UID FETCH 1:2 (FLAGS)"}, want: "NO"},
		{name: "read again, refused", caps: "UIDPLUS", edits: append(two, edit(3, "", "")),
			rules: [][2]string{{"UID FETCH", "* 1 FETCH (UID 1 FLAGS ())\r\n* 3 FETCH (UID 3 FLAGS (a))\r\nTAG OK\r\n"}, {"UID STORE", "TAG NO [NOPERM]\r\n"}},
			sent:  []string{"NOOP", "UID FETCH 1:3 (FLAGS)", "UID STORE 1 +" + seen}, changed: []mail.UID{3}, want: "NO NOPERM"},
		{name: "a keyword that could not be taken off", caps: "UIDPLUS", edits: []mail.Edit{edit(1, "gr\xfcn", "")}, want: "BAD FLAGS"},

		{name: "removed", remove: true, edits: two, rules: [][2]string{{"UID", "* 1 EXPUNGE\r\nTAG OK\r\n"}}, sent: []string{"UID STORE 1:2 " + since + deleted, "UID EXPUNGE 1:2"}},
		{name: "removed but what changed", remove: true, edits: two, rules: [][2]string{{"UID STORE", "TAG OK [MODIFIED 2,4:9]\r\n"}, {"UID EXPUNGE", "TAG OK\r\n"}},
			sent: []string{"UID STORE 1:2 " + since + deleted, "UID EXPUNGE 1"}, changed: []mail.UID{2}},
		{name: "all have changed", remove: true, edits: two, rules: [][2]string{{"UID STORE", "TAG OK [MODIFIED 1:2]\r\n"}}, sent: []string{"UID STORE 1:2 " + since + deleted}, changed: []mail.UID{1, 2}},
		{name: "marking refused", remove: true, edits: two, rules: [][2]string{{"UID STORE", "TAG NO\r\n"}}, sent: []string{"UID STORE 1:2 " + since + deleted}, want: "NO"},
		{name: "which were marked is not known", remove: true, edits: two, rules: [][2]string{{"UID STORE", "TAG OK [MODIFIED x]\r\n"}}, sent: []string{"UID STORE 1:2 " + since + deleted}, want: "protocol error"},
		{name: "expunging refused", remove: true, edits: two, rules: [][2]string{{"UID STORE", "TAG OK [MODIFIED 1]\r\n"}, {"UID EXPUNGE", "TAG NO [NOPERM]\r\n"}},
			sent: []string{"UID STORE 1:2 " + since + deleted, "UID EXPUNGE 2"}, changed: []mail.UID{1}, want: "NO NOPERM"},
		{name: "cut before expunging", remove: true, edits: two, rules: [][2]string{{"UID STORE", "TAG OK\r\n"}, {"UID EXPUNGE", ""}},
			sent: []string{"UID STORE 1:2 " + since + deleted, "UID EXPUNGE 1:2"}, want: "broke"},
		{name: "removed, read again", remove: true, caps: "UIDPLUS", edits: two, rules: [][2]string{{"UID FETCH", "* 1 FETCH (UID 1 FLAGS ())\r\n* 2 FETCH (UID 2 FLAGS (\\Seen))\r\nTAG OK\r\n"}, {"UID", "TAG OK\r\n"}},
			sent: []string{"NOOP", "UID FETCH 1:2 (FLAGS)", "UID STORE 1 " + deleted, "UID EXPUNGE 1"}, changed: []mail.UID{2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log transcript
			if c.caps == "" {
				c.caps = editCaps
			}
			_, e := newTestEditor(t, c.caps, &log, c.rules...)
			do := e.Store
			if c.remove {
				do = e.Remove
			}
			changed, err := do(t.Context(), c.edits)
			if c.want == "" {
				c.want = "ok"
			}
			if got := outcomeOf(err); !strings.Contains(got, c.want) || !slices.Equal(changed, c.changed) {
				t.Errorf("%s, changed %v; want %s, %v", got, changed, c.want, c.changed)
			}
			if got := log.all()[1:]; !slices.Equal(got, c.sent) {
				t.Errorf("sent %q\nwant %q", got, c.sent)
			}
		})
	}
}

// TestStoreAgain: what this editor has stored itself is not taken for a change
// by others when, after a refusal, all is asked for again.
func TestStoreAgain(t *testing.T) {
	for _, caps := range []string{editCaps, "UIDPLUS"} {
		var log transcript
		flags := "* 1 FETCH (UID 1 FLAGS ())\r\n* 5 FETCH (UID 5 FLAGS ())\r\nTAG OK\r\n"
		_, e := newTestEditor(t, caps, &log, [2]string{"UID FETCH", flags}, [2]string{"UID STORE 5", "TAG NO\r\n"}, [2]string{"UID STORE", "TAG OK\r\n"})
		edits := []mail.Edit{edit(1, "", `\Seen`), edit(5, "", "odd]")}
		if _, err := e.Store(t.Context(), edits); outcomeOf(err) != "NO" {
			t.Fatal(err)
		}
		for i, want := range []string{"ok", "NO"} {
			if changed, err := e.Store(t.Context(), edits[i:i+1]); outcomeOf(err) != want || changed != nil {
				t.Errorf("%v %v, want %s", changed, err, want)
			}
		}
		if n := strings.Count(log.String(), "UID STORE 1 "); n != 1 {
			t.Errorf("sent %s", log.String())
		}
		if _, err := e.Store(t.Context(), []mail.Edit{edit(1, `\Seen`, "")}); err != nil {
			t.Error(err)
		}
	}
}

// TestEditLines: however many messages, each line stays below 7 KB, and no UID
// is named that was not given.
func TestEditLines(t *testing.T) {
	var edits []mail.Edit
	var uids []mail.UID
	for i := range mail.UID(2*editedAtOnce + 3) {
		uid := 4_000_000_000 + 3*i
		uids = append(uids, uid)
		edits = append(edits, edit(uid, "", `\Seen`))
	}
	var log transcript
	_, e := newTestEditor(t, editCaps, &log, [2]string{"UID", "TAG OK\r\n"})
	if _, err := e.Flags(t.Context(), uids); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Store(t.Context(), edits); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.Move(t.Context(), uids, "other"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Remove(t.Context(), edits); err != nil {
		t.Fatal(err)
	}
	named := make(map[string][]mail.UID)
	for _, line := range log.all()[1:] {
		word := strings.Fields(line)
		if len(line) > 7<<10 {
			t.Fatalf("%s: a line of %d octets", word[1], len(line))
		}
		key := word[1] + word[len(word)-1]
		if word[1] == "EXPUNGE" {
			key = word[1]
		}
		var err error
		if named[key], err = appendSet(named[key], word[2], 1); err != nil {
			t.Fatal(err)
		}
	}
	if keys := slices.Sorted(maps.Keys(named)); fmt.Sprint(keys) != `[EXPUNGE FETCH(FLAGS) MOVE"other" STORE(\Deleted) STORE(\Seen)]` {
		t.Error(keys)
	}
	for key, list := range named {
		if !slices.Equal(list, uids) {
			t.Errorf("%s names %d UIDs", key, len(list))
		}
	}
}

// TestEditorEnds: after any other call the mailbox may be another; nothing
// goes out for the editor then, and what is read next is EXAMINEd.
func TestEditorEnds(t *testing.T) {
	for name, call := range map[string]func(context.Context, *Destination, mail.Editor) error{
		"Close": func(_ context.Context, _ *Destination, e mail.Editor) error { return e.Close() },
		"Status": func(ctx context.Context, d *Destination, _ mail.Editor) error {
			_, err := d.Status(ctx, box)
			return err
		},
		"UIDs": func(ctx context.Context, d *Destination, _ mail.Editor) error {
			_, err := d.UIDs(ctx, box, 1)
			return err
		},
		"Messages": func(ctx context.Context, d *Destination, _ mail.Editor) error {
			for _, err := range d.Messages(ctx, box, []mail.UID{1}, false) {
				return err
			}
			return nil
		},
		"Subscribe": func(_ context.Context, d *Destination, _ mail.Editor) error { return subscribe(d, "box") },
		"Editor": func(ctx context.Context, d *Destination, _ mail.Editor) error {
			_, err := d.Editor(ctx, box)
			return err
		},
		"connection lost": func(_ context.Context, d *Destination, _ mail.Editor) error {
			d.conn.Close()
			return nil
		},
		"connected anew": func(ctx context.Context, d *Destination, _ mail.Editor) error {
			d.drop()
			_, err := d.Status(ctx, box)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log transcript
			d, e := newTestEditor(t, editCaps, &log, [2]string{"UID SEARCH", "* SEARCH 1\r\nTAG OK\r\n"}, [2]string{"UID FETCH", "TAG OK\r\n"}, [2]string{"SUBSCRIBE", "TAG OK\r\n"})
			ctx := t.Context()
			if err := call(ctx, d, e); err != nil {
				t.Fatal(err)
			}
			before := len(log.all())
			edits := []mail.Edit{edit(1, "", `\Seen`)}
			_, err1 := e.Flags(ctx, []mail.UID{1})
			_, err2 := e.Store(ctx, edits)
			_, _, err3 := e.Move(ctx, []mail.UID{1}, "other")
			_, err4 := e.Remove(ctx, edits)
			for i, err := range []error{err1, err2, err3, err4} {
				if err == nil {
					t.Errorf("call %d succeeds", i)
				}
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			if got := log.all(); len(got) != before {
				t.Errorf("sent %q", got[before:])
			}
			if _, err := d.UIDs(ctx, box, 1); err != nil {
				t.Error(err)
			}
			lines := log.all()
			read := slices.Index(lines, "UID SEARCH UID 1:*")
			if last := slices.Index(lines, `EXAMINE "box"`); last < 0 || read < last {
				t.Errorf("sent %q", lines)
			}
		})
	}
}

// TestReadingAfterEditor: a mailbox that was SELECTed is read only after it has
// been EXAMINEd, though it was so before.
func TestReadingAfterEditor(t *testing.T) {
	var log transcript
	d, _ := newTestEditor(t, "", &log, [2]string{"UID SEARCH", "* SEARCH 1\r\nTAG OK\r\n"})
	for range 2 {
		if _, err := d.UIDs(t.Context(), box, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Editor(t.Context(), box); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{open, `EXAMINE "box"`, "UID SEARCH UID 1:*", open, `EXAMINE "box"`, "UID SEARCH UID 1:*", open}
	if got := log.all(); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}

// TestEditorLeaves: by UNSELECT, or without a word.
func TestEditorLeaves(t *testing.T) {
	for caps, want := range map[string]string{editCaps: condOpen + "\nUNSELECT", "UIDPLUS": open} {
		var log transcript
		_, e := newTestEditor(t, caps, &log)
		for range 2 {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
		if got := log.String(); got != want {
			t.Errorf("%s: sent %s", caps, got)
		}
	}
}
