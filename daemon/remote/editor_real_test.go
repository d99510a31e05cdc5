package remote

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	server "github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

// TestEditorOfDovecot changes mail in a real mailbox while its user does.
func TestEditorOfDovecot(t *testing.T) {
	s := server.Start(t, server.Options{})
	for user, hidden := range map[string]string{
		"all":       "",
		"condstore": "MOVE", "move": "CONDSTORE", "old": "MOVE CONDSTORE UNSELECT",
	} {
		t.Run(strings.TrimSpace("without "+hidden), func(t *testing.T) { editDovecot(t, s, user, hidden) })
	}
}

// editDovecot works as if the server did not offer what is hidden.
func editDovecot(t *testing.T, s *server.Server, name, hidden string) {
	ctx := t.Context()
	user := corpus.Dial(t, s.Address(), name, server.Password)
	open := func(ctx context.Context) (*Conn, error) {
		conn, err := Dial(ctx, Server{
			Side: SideDestination, Host: "127.0.0.1", Port: s.Port, TLS: TLSNone, User: name,
			Password: func(context.Context) (string, error) { return server.Password, nil },
		}, Options{Timeout: 20 * time.Second})
		if err == nil {
			for _, capability := range strings.Fields(hidden) {
				if !conn.Has(capability) {
					t.Errorf("Dovecot has no %s", capability)
				}
				delete(conn.caps, capability)
			}
		}
		return conn, err
	}
	d := NewDestination(DestinationOptions{Open: open, Logger: quiet()})
	closing(t, d)

	user.Do("CREATE other")
	for range 9 {
		user.Append("INBOX", corpus.Message{Data: []byte("Subject: x\r\n\r\nx\r\n"), Flags: []string{`\Seen`}, Date: noon})
	}
	user.Do("SELECT INBOX")
	status, err := d.Status(ctx, mail.Ref{Name: "INBOX"})
	if err != nil {
		t.Fatal(err)
	}
	ref := mail.Ref{Name: "INBOX", UIDValidity: status.UIDValidity}
	flags := func(since mail.ModSeq) map[mail.UID]string {
		t.Helper()
		found := make(map[mail.UID]string)
		last := mail.UID(0)
		for m, err := range d.Flags(ctx, ref, 100, since) {
			if err != nil {
				t.Fatal(err)
			}
			if m.UID <= last || since > 0 && d.Has("CONDSTORE") && m.ModSeq <= since {
				t.Errorf("UID %d after %d, MODSEQ %d", m.UID, last, m.ModSeq)
			}
			last, found[m.UID] = m.UID, m.Flags.String()
		}
		return found
	}
	same := func(what string, got, want map[mail.UID]string) {
		t.Helper()
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	editor := func() mail.Editor {
		t.Helper()
		e, err := d.Editor(ctx, ref)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	edits := func(e mail.Editor, to mail.Flags, uids ...mail.UID) (list []mail.Edit) {
		t.Helper()
		rows, err := e.Flags(ctx, uids)
		if err != nil || len(rows) != len(uids) {
			t.Fatal(rows, err)
		}
		for _, m := range rows {
			list = append(list, mail.Edit{UID: m.UID, From: m.Flags, To: to})
		}
		return list
	}
	changes := func(what string, got []mail.UID, err error, want ...mail.UID) {
		t.Helper()
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: changed %v (%v), want %v", what, got, err, want)
		}
	}

	before := status.HighestModSeq
	flags(0) // from here on modification sequences are kept
	// A change between SELECT and STORE is not overwritten.
	e := editor()
	plan := append(edits(e, mail.ParseFlags([]string{`\Answered`, "$Label1"}), 1, 2, 3), edits(e, mail.Flags{}, 4)...)
	user.Do(`UID STORE 2 +FLAGS (\Flagged)`)
	changed, err := e.Store(ctx, plan)
	changes("store", changed, err, 2)
	changed, err = e.Store(ctx, plan[:1])
	changes("store again", changed, err)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	all := map[mail.UID]string{1: `(\Answered $Label1)`, 2: `(\Seen \Flagged)`, 3: `(\Answered $Label1)`, 4: "()"}
	since := maps.Clone(all)
	for uid := mail.UID(5); uid <= 9; uid++ {
		all[uid] = `(\Seen)`
	}
	same("all", flags(0), all)
	if !d.Has("CONDSTORE") {
		since = all
	}
	same("changed", flags(before), since)

	// What has moved is where it is said to be, flags and all.
	e = editor()
	moved, validity, err := e.Move(ctx, []mail.UID{1, 2, 77}, "other")
	if err != nil || len(moved) != 2 {
		t.Fatal(moved, err)
	}
	other := ref
	ref = mail.Ref{Name: "other", UIDValidity: validity}
	same("moved", flags(0), map[mail.UID]string{moved[1]: all[1], moved[2]: all[2]})
	if _, err := e.Flags(ctx, []mail.UID{1}); err == nil {
		t.Error("an editor is of use after its mailbox was left")
	}
	ref = other
	delete(all, 1)
	delete(all, 2)

	// A copy has the flags and the INTERNALDATE of what is copied.
	if !d.CanCopy() {
		t.Error("Dovecot is not known for keeping dates")
	}
	e = editor()
	copied, validity, err := e.Copy(ctx, []mail.UID{3, 4, 77}, "other")
	if err != nil || len(copied) != 2 || copied[3] == 0 || copied[4] <= copied[3] {
		t.Fatal(copied, err)
	}
	for m, err := range d.Messages(ctx, mail.Ref{Name: "other", UIDValidity: validity}, []mail.UID{copied[3], copied[4]}, false) {
		of := map[mail.UID]mail.UID{copied[3]: 3, copied[4]: 4}[m.UID]
		if err != nil || !m.InternalDate.Equal(noon) || m.Flags.String() != all[of] {
			t.Errorf("copied: %v %v, %v", m.InternalDate, m.Flags, err)
		}
	}

	// What its user has marked \Deleted stays, and so does what he has touched.
	e = editor()
	user.Do(`UID STORE 5 +FLAGS (\Deleted)`)
	plan = edits(e, mail.Flags{}, 3, 4, 6)
	user.Do(`UID STORE 6 +FLAGS (mine)`)
	changed, err = e.Remove(ctx, plan)
	changes("remove", changed, err, 6)
	delete(all, 3)
	delete(all, 4)
	all[5], all[6] = `(\Seen \Deleted)`, `(\Seen mine)`
	same("left", flags(0), all)
	if _, err := d.Editor(ctx, mail.Ref{Name: "INBOX", UIDValidity: ref.UIDValidity + 1}); outcomeOf(err) != "uidvalidity" {
		t.Error(err)
	}
}
