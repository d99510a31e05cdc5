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

// TestOperator: the commands say the same whether they open the state
// directory themselves or ask the daemon that has it.
func TestOperator(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	s.client(s.old, "u").Fill(corpus.Make(15, 60, 5000))
	s.old.Drop("u", "", nil) // an empty message, which Dovecot serves and refuses
	s.old.Drop("u", "", nil)
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	s.write("poll_interval = \"1s\"\n" + readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n")
	if code, out := s.run("sync"); code != exitHeld || !strings.Contains(out, "2 held") {
		t.Fatalf("sync: exit %d\n%s", code, out)
	}
	_, list := s.run("hold", "list")
	var ids []string
	for line := range strings.Lines(list) {
		if id := strings.Fields(line)[0]; strings.HasPrefix(id, "u/") {
			ids = append(ids, id)
		}
	}
	if len(ids) != 2 {
		t.Fatalf("held: %s", list)
	}
	commands := [][]string{
		{"hold", "list"}, {"hold", "show", ids[0]}, {"hold", "show", "u/7.7"}, {"hold", "retry", "u/7.7"},
		{"plan"}, {"plan", "--account", "u"}, {"plan", "--account", "nobody"}, {"check"},
		{"verify"}, {"verify", "--deep"}, {"find", "u", "<0@example.org>"}, {"find", "u", "<none@example.org>"}, {"find", "nobody", "x"},
	}
	type answer struct {
		code int
		text string
	}
	before := make([]answer, len(commands))
	for i, command := range commands {
		before[i].code, before[i].text = s.run(command...)
	}
	p := s.daemon()
	p.until("it follows", func(a web.AccountStatus) bool {
		return a.Phase == mail.PhaseFollowing && a.Health == mail.HealthHeld && a.Messages.Pending == 0
	})
	for i, command := range commands {
		code, text := s.run(command...)
		if now := (answer{code, text}); now != before[i] {
			t.Errorf("%v: without a daemon\n%+v\nwith one\n%+v", command, before[i], now)
		}
	}
	if entries, _ := filepath.Glob(filepath.Join(s.dir, "state", "look-*")); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}

	if out := s.must("hold", "skip", ids[0], "--because", "empty anyway"); !strings.Contains(out, "1 skipped") {
		t.Errorf("skip: %s", out)
	}
	p.until("one is skipped", func(a web.AccountStatus) bool { return a.Messages.Held == 1 })
	if out := s.must("hold", "show", ids[0]); !strings.Contains(out, "because:  empty anyway") {
		t.Errorf("show: %s", out)
	}
	since := s.must("hold", "show", ids[1])
	for deadline := time.Now().Add(1100 * time.Millisecond); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		// "since" has seconds
	}
	if out := s.must("hold", "retry", ids[1]); !strings.Contains(out, "1 will be tried again") {
		t.Errorf("retry: %s", out)
	}
	p.until("it has been tried again", func(a web.AccountStatus) bool {
		now := s.must("hold", "show", ids[1])
		return now != since && strings.Contains(now, "state:    held")
	})
	if code, out := s.run("sync"); code != exitFailed || !strings.Contains(out, fmt.Sprintf("pid %d", p.cmd.Process.Pid)) {
		t.Errorf("sync: exit %d\n%s", code, out)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if code, out := s.run("hold", "list"); code != 0 || !strings.Contains(out, "skipped") {
		t.Errorf("after the end: exit %d\n%s", code, out)
	}
}

// TestHoldInTheMiddleOfACopy: the operator's word is taken while a long pass is
// running, which goes on afterwards where it was.
func TestHoldInTheMiddleOfACopy(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	const messages = 1500
	box := corpus.Mailbox{Name: "many"}
	for i := range messages {
		box.Messages = append(box.Messages, corpus.Message{Data: fmt.Appendf(nil, "Message-ID: <%d@test.example>\r\n\r\n%d\r\n", i, i), Date: time.Now().Truncate(time.Second)})
	}
	old := s.client(s.old, "u")
	old.Do("CREATE few")
	s.old.Drop("u", "", nil) // INBOX is first
	old.Fill([]corpus.Mailbox{box})
	w := newWire(t, s, false)
	w.destination.Delay(2 * time.Millisecond)
	s.configure(near(w.source.Port()), near(w.destination.Port()), "u")
	s.write(readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n")
	p := s.daemon()
	for range 300 {
		w.next(t)
	}
	out := s.must("hold", "skip", "--reason", "refused", "--because", "empty")
	if !strings.Contains(out, "1 skipped") {
		t.Errorf("skip: %s", out)
	}
	p.until("it is still copying", func(a web.AccountStatus) bool { return a.Phase == mail.PhaseSeeding })
	p.until("everything is carried", func(a web.AccountStatus) bool {
		return a.Phase == mail.PhaseFollowing && a.Health == mail.HealthOK && a.Messages.Copied == messages
	})
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	bodies, _ := fetched(t, w.source.Commands())
	for letter, n := range bodies {
		if n > 1 {
			t.Errorf("%v was fetched %d times", letter, n)
		}
	}
}
