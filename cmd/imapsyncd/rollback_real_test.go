package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// TestRollback goes back as the runbook tells it: a second configuration with the
// sides exchanged carries what was born on the new server, and nothing else; and
// then forward again.
func TestRollback(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	old, new := s.client(s.old, "u"), s.client(s.new, "u")
	old.Fill(append(corpus.Make(41, 60, 20_000), numbered("Work", 30), corpus.Mailbox{Name: "Plain", Messages: numbered("plain", 12).Messages}))
	new.Do("CREATE Born") // which may fail while somebody lists
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	s.byHand()
	p := s.daemon()
	p.until("all is copied", func(a web.AccountStatus) bool {
		return a.Phase == mail.PhaseFollowing && a.Messages.Source == 102 && a.Messages.Pending == 0
	})
	s.must("cutover", "switched", "example.org")
	s.must("cutover", "start", "example.org")

	// A day on the new server, with late mail on the old one.
	born := numbered("born", 6).Messages
	new.Append("INBOX", born[:3]...)
	new.Append("Sent", born[3])
	new.Append("Born", born[4:]...)
	new.Do("SELECT Plain")
	new.Do(`UID STORE 1:3 +FLAGS.SILENT (\Seen)`)
	new.Do("UID MOVE 4:6 Work")
	expunge(new, "Plain", "7:8")
	old.Append("INBOX", numbered("late", 2).Messages...)
	p.until("late mail is carried", func(a web.AccountStatus) bool {
		return a.Phase == mail.PhaseDraining && a.Messages.Source == 104 && a.Messages.Pending == 0
	})

	// Back: the switch is taken back, the daemon stopped, the other configuration
	// run.
	if out := s.must("cutover", "abort", "example.org"); !strings.Contains(out, "example.org: aborted") {
		t.Errorf("abort: %s", out)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	back := &site{t: t, old: s.new, new: s.old, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(back.dir, "password"), []byte(dovecot.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	back.configure(near(s.new.Port), near(s.old.Port), "u")
	back.write("poll_interval = \"1s\"\n" + readFile(t, filepath.Join(back.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n[policy]\nflags = \"copy\"\ndeletions = \"keep\"\n")
	onOld, onNew := s.mailOf(s.old, "u"), s.mailOf(s.new, "u")
	if out := back.must("sync"); !strings.Contains(out, "1 account: 6 messages copied") {
		t.Errorf("sync: %s", out)
	}
	for i := range 3 { // read on the new server
		onOld["Plain"][i].Flags = `\seen`
	}
	if more := added(t, onOld, s.mailOf(s.old, "u")); fmt.Sprint(more) != fmt.Sprint(map[string]int{"INBOX": 3, "Sent": 1, "Born": 2}) {
		t.Errorf("%v have gone back", more)
	}
	if code, out := back.run("verify", "--deep"); code != exitDone {
		t.Errorf("verify: exit %d\n%s", code, out)
	}

	// Mail that still comes to the new server follows.
	b := back.daemon()
	b.until("it follows", func(a web.AccountStatus) bool { return a.Phase == mail.PhaseFollowing && !a.LastSuccess.IsZero() })
	new.Append("INBOX", numbered("still", 1).Messages...)
	await(t, "late mail goes back", func() bool { return len(s.mailOf(s.old, "u")["INBOX"]) == len(onOld["INBOX"])+4 })
	if err := b.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if more := added(t, onNew, s.mailOf(s.new, "u")); fmt.Sprint(more) != fmt.Sprint(map[string]int{"INBOX": 1}) {
		t.Errorf("the new server has %v more", more)
	}

	// Forward again, with the first configuration: what has gone back is known.
	onNew = s.mailOf(s.new, "u")
	if out := s.must("sync"); !strings.Contains(out, " 0 messages copied") {
		t.Errorf("forward again: %s", out)
	}
	if more := added(t, onNew, s.mailOf(s.new, "u")); len(more) > 0 {
		t.Errorf("the new server has %v more", more)
	}
	s.checkState("u")
}
