package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proxy"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// byHand adds a domain to a configuration whose switch and handover are the
// operator's word, and what makes tests fast.
func (s *site) byHand() {
	s.t.Helper()
	s.write("poll_interval = \"1s\"\n" + readFile(s.t, filepath.Join(s.dir, "c.toml")) +
		"[web]\nlisten = \"127.0.0.1:0\"\n[[domain]]\nname = \"example.org\"\nswitch = \"manual\"\nhandover = \"manual\"\n")
}

// uidValidity is that of a mailbox of a server.
func uidValidity(t *testing.T, c *corpus.Client, mailbox string) (n uint32) {
	t.Helper()
	status := strings.Join(c.Do(`STATUS "`+mailbox+`" (UIDVALIDITY)`), " ")
	if _, err := fmt.Sscanf(status[strings.LastIndexByte(status, '('):], "(UIDVALIDITY %d)", &n); err != nil {
		t.Fatal(status)
	}
	return n
}

// TestAfterHandover: once the users work on the new server nothing there is
// changed by what happens on the old one, whatever either side does, and nothing
// is doubled; what is delivered to the old server is still carried.
func TestAfterHandover(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	old, new := s.client(s.old, "u"), s.client(s.new, "u")
	old.Fill([]corpus.Mailbox{numbered("INBOX", 60), numbered("Work", 300), numbered("Archive", 40), numbered("Trash", 5), numbered("Lists", 10)})
	new.Do("CREATE Mine")
	source, destination := proxy.Start(t, s.old.Address()), proxy.Start(t, s.new.Address())
	s.configure(near(source.Port()), near(destination.Port()), "u")
	s.byHand()
	p := s.daemon()
	p.until("all is copied", func(a web.AccountStatus) bool {
		return a.Phase == mail.PhaseFollowing && a.Messages.Source == 415 && a.Messages.Pending == 0
	})
	if out := s.must("cutover", "start", "example.org"); !strings.Contains(out, "example.org: handed over (the operator said so)") {
		t.Errorf("start: %s", out)
	}
	destination.Forget()

	// Its user on the new server.
	new.Do("SELECT INBOX")
	new.Do(`UID STORE 1:5 +FLAGS.SILENT (\Seen Mine)`)
	new.Do("UID MOVE 10:12 Archive")
	expunge(new, "INBOX", "7:9")
	new.Append("INBOX", numbered("born", 2).Messages...)
	new.Do("RENAME Work Projects")
	new.Do("DELETE Lists")
	new.Append("Mine", numbered("mine", 1).Messages...)
	before := s.mailOf(s.new, "u")

	// The same on the old one.
	old.Do("SELECT INBOX")
	old.Do(`UID STORE 1:20 +FLAGS.SILENT (\Flagged)`)
	old.Do(`UID STORE 21:25 +FLAGS.SILENT (\Deleted)`)
	old.Do("UID EXPUNGE 21:25")
	old.Do("SELECT Work")
	old.Do("UID MOVE 1:200 Trash")
	old.Do("UNSELECT")
	s.must("sync", "--account", "u", "--now")

	// Its indexes are rebuilt: every mailbox has another UIDVALIDITY, and what was
	// UID 26 is UID 1. Then mail arrives.
	was := make(map[string]uint32)
	for _, name := range []string{"INBOX", "Work", "Archive", "Trash"} {
		was[name] = uidValidity(t, old, name)
	}
	s.old.Stop()
	rebuild(t, s.old.Maildir("u"))
	s.old.Restart()
	old = s.client(s.old, "u")
	for name, before := range was {
		if is := uidValidity(t, old, name); is == before {
			t.Errorf("%s has UIDVALIDITY %d still", name, is)
		}
	}
	old.Append("INBOX", numbered("late", 2).Messages...)
	old.Append("Work", numbered("late work", 1).Messages...)
	want := map[string]int{"INBOX": 2, "Work": 1}
	look := func(what string) {
		t.Helper()
		await(t, what, func() bool {
			after := s.mailOf(s.new, "u")
			return len(after["INBOX"]) == len(before["INBOX"])+2 && len(after["Work"]) >= 1
		})
		s.must("sync", "--account", "u", "--now")
		if more := added(t, before, s.mailOf(s.new, "u")); fmt.Sprint(more) != fmt.Sprint(want) {
			t.Errorf("%s: %v have come, want %v", what, more, want)
		}
	}
	look("what arrived is carried")
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}

	// The next start compares everything.
	p = s.daemon()
	p.until("it drains again", func(a web.AccountStatus) bool {
		return a.Phase == mail.PhaseDraining && a.Health == mail.HealthOK && !a.LastSuccess.IsZero()
	})
	look("after another start")
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	s.checkState("u")
	readOnly(t, source.Commands())
	for _, c := range destination.Commands() {
		if alters.MatchString(c) {
			t.Errorf("after the handover the new server has seen %s", c)
		}
	}
}

// rebuild removes the indexes of a Maildir, as somebody does whose server
// complains of them.
func rebuild(t *testing.T, maildir string) {
	t.Helper()
	removed := 0
	for _, pattern := range []string{"dovecot-uid*", "dovecot.index*", ".*/dovecot-uid*", ".*/dovecot.index*"} {
		files, err := filepath.Glob(filepath.Join(maildir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			removed++
		}
	}
	if removed == 0 {
		t.Fatalf("there are no indexes in %s", maildir)
	}
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // Dovecot takes the second for UIDVALIDITY
}
