package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// numbered are so many small messages of one mailbox.
func numbered(name string, messages int) corpus.Mailbox {
	box := corpus.Mailbox{Name: name}
	for i := range messages {
		data := fmt.Appendf(nil, "Message-ID: <%s.%d@test.example>\r\n\r\n%d\r\n", name, i, i)
		box.Messages = append(box.Messages, corpus.Message{Data: data, Date: time.Now().Truncate(time.Second)})
	}
	return box
}

// expunge deletes messages of a mailbox, as its user would.
func expunge(c *corpus.Client, mailbox, uids string) {
	c.Do("SELECT " + mailbox)
	c.Do("UID STORE " + uids + ` +FLAGS.SILENT (\Deleted)`)
	c.Do("UID EXPUNGE " + uids)
	c.Do("UNSELECT")
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
	}
}

// TestDeletions: what is deleted in great number is removed, or kept, on the
// operator's word only, with the daemon running and without it.
func TestDeletions(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	old, new := s.client(s.old, "u"), s.client(s.new, "u")
	old.Fill([]corpus.Mailbox{numbered("a", 60), numbered("b", 60)})
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	s.write("poll_interval = \"1s\"\n" + readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n")
	// there is how many messages a mailbox of the new server holds.
	there := func(mailbox string) (n int) {
		status := strings.Join(new.Do("STATUS "+mailbox+" (MESSAGES)"), " ")
		if _, err := fmt.Sscanf(status[strings.LastIndexByte(status, '('):], "(MESSAGES %d)", &n); err != nil {
			t.Fatal(status)
		}
		return n
	}
	// waiting is the ID under which a mailbox waits for the operator's word.
	waiting := func(mailbox string) string {
		for line := range strings.Lines(s.must("deletions", "list")) {
			if fields := strings.Fields(line); len(fields) > 2 && fields[2] == mailbox {
				return fields[0]
			}
		}
		return ""
	}
	s.must("sync")
	if out := s.must("deletions", "list"); !strings.Contains(out, "nothing waits") {
		t.Errorf("list: %s", out)
	}
	expunge(old, "a", "1:30")
	expunge(old, "b", "1:30")
	new.Do("SELECT a")
	new.Do(`UID STORE 7 +FLAGS.SILENT (\Flagged)`) // his from now on
	new.Do("UNSELECT")

	p := s.daemon()
	await(t, "both wait", func() bool { return waiting("a") != "" && waiting("b") != "" })
	list := s.must("deletions", "list")
	if there("a") != 60 || there("b") != 60 {
		t.Errorf("%d and %d copies are left before a word was said", there("a"), there("b"))
	}
	if strings.Count(list, "waits for your word") != 2 || strings.Count(list, "  30  ") != 2 {
		t.Errorf("list: %s", list)
	}
	if code, out := s.run("deletions", "apply", "u/99"); code != exitFailed || !strings.Contains(out, "nothing waits as u/99") {
		t.Errorf("exit %d: %s", code, out)
	}
	if code, out := s.run("deletions", "apply", "--account", "nobody"); code != exitUsage || !strings.Contains(out, `"nobody" is not in`) {
		t.Errorf("exit %d: %s", code, out)
	}
	if out := s.must("deletions", "apply", waiting("a")); !strings.Contains(out, "30 messages will be removed") {
		t.Errorf("apply: %s", out)
	}
	await(t, "the copies of a are removed", func() bool { return there("a") == 31 })
	if out := s.must("deletions", "keep", "--account", "u"); !strings.Contains(out, "30 messages will stay") {
		t.Errorf("keep: %s", out)
	}
	old.Append("b", numbered("c", 1).Messages...)
	await(t, "new mail follows", func() bool { return there("b") == 61 })
	p.until("all is done", func(a web.AccountStatus) bool { return a.Phase == mail.PhaseFollowing && a.Messages.Pending == 0 })
	if out := s.must("deletions", "list"); !strings.Contains(out, "nothing waits") {
		t.Errorf("list: %s", out)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}

	// The same without a daemon.
	expunge(old, "b", "31:61")
	await(t, "b waits", func() bool {
		s.must("sync")
		return waiting("b") != ""
	})
	if out := s.must("deletions", "apply"); !strings.Contains(out, "31 messages will be removed") {
		t.Errorf("apply: %s", out)
	}
	if out := s.must("deletions", "list"); !strings.Contains(out, "to be removed") {
		t.Errorf("list: %s", out)
	}
	if out := s.must("deletions", "apply"); !strings.Contains(out, "0 messages") {
		t.Errorf("a second word: %s", out)
	}
	await(t, "the copies of b are removed", func() bool {
		s.must("sync")
		return there("b") == 30
	})
	s.checkState("u")
	if out := s.must("sync"); !strings.Contains(out, " 0 messages copied") || there("a") != 31 || there("b") != 30 {
		t.Errorf("what was kept is not as it was: %d, %d\n%s", there("a"), there("b"), out)
	}
}
