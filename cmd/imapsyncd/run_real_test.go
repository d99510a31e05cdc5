package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// program is a run of the daemon as a process of its own.
type program struct {
	*site
	cmd   *exec.Cmd
	log   logged
	ended chan error
}

// logged is what a program says, which may be read while it runs.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (s *site) daemon() *program {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.daemonOf(self)
}

// daemonOf is daemon for a binary that is not the one of the test.
func (s *site) daemonOf(binary string) *program {
	s.t.Helper()
	p := &program{site: s, ended: make(chan error, 1)}
	p.cmd = exec.Command(binary, "run", "--config", filepath.Join(s.dir, "c.toml"))
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	s.t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

// end sends a signal and waits for the end.
func (p *program) end(signal syscall.Signal) error {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		p.ended <- err
		return err
	case <-time.After(patience):
		p.t.Fatalf("the daemon does not end\n%s", p.log.String())
		return nil
	}
}

// until waits until the only account is as it should be.
func (p *program) until(what string, is func(web.AccountStatus) bool) {
	p.t.Helper()
	text := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var stdout, stderr bytes.Buffer
		code := run(&common{stopping: p.t.Context()}, []string{"status", "--json", "--config", filepath.Join(p.dir, "c.toml")}, &stdout, &stderr)
		text = stdout.String() + stderr.String()
		var s web.Status
		if code == exitDone && stderr.Len() == 0 && json.Unmarshal(stdout.Bytes(), &s) == nil && len(s.Accounts) == 1 && is(s.Accounts[0]) {
			return
		}
	}
	p.t.Fatalf("not reached: %s\n%s", what, text)
}

// TestRunOnDovecot follows a real server through everything that happens to
// servers and daemons.
func TestRunOnDovecot(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	boxes := corpus.Make(11, 120, 20_000)
	s.client(s.old, "u").Fill(boxes)
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	text, err := os.ReadFile(filepath.Join(s.dir, "c.toml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("poll_interval = \"1s\"\n" + string(text) + "[web]\nlisten = \"127.0.0.1:0\"\n")
	there := 120
	following := func(a web.AccountStatus) bool {
		return a.Phase == mail.PhaseFollowing && a.Health == mail.HealthOK && a.Messages.Source == there && a.Messages.Pending == 0
	}
	arrive := func(mailbox string) {
		t.Helper()
		there++
		data := fmt.Sprintf("Message-ID: <n%d@test.example>\r\nSubject: n\r\n\r\nnumber %d\r\n", there, there)
		s.client(s.old, "u").Append(mailbox, corpus.Message{Data: []byte(data), Date: time.Now().Truncate(time.Second)})
	}

	same := func() { // without a look at the state, which is the daemon's
		t.Helper()
		for _, d := range corpus.Compare(t, s.old.Address(), s.new.Address(), "u", dovecot.Password) {
			t.Error(d)
		}
	}

	p := s.daemon()
	p.until("all is copied", following)
	same()

	begin := time.Now()
	arrive("INBOX")
	p.until("new mail in INBOX is carried", following)
	t.Logf("INBOX: on the new server after %s", time.Since(begin).Round(time.Millisecond))
	arrive("Kunden/Müller & Söhne")
	p.until("new mail elsewhere is carried", following)
	if out := s.must("find", "u", fmt.Sprintf("<n%d@test.example>", there)); !strings.Contains(out, `new server: "Kunden/Müller & Söhne"`) || !strings.Contains(out, "verdict:    copied") {
		t.Errorf("find: %s", out)
	}
	same()

	for _, server := range []*dovecot.Server{s.old, s.new} {
		server.Stop()
		if server == s.new {
			arrive("INBOX")
		}
		p.until("a server is away", func(a web.AccountStatus) bool { return a.Health == mail.HealthBackoff && a.Error != "" })
		server.Restart()
		if server == s.old {
			arrive("INBOX")
		}
		p.until("mail that arrived meanwhile is carried", following)
	}
	same()

	if p.end(syscall.SIGKILL) == nil {
		t.Error("killed, and ended well")
	}
	arrive("INBOX")
	p = s.daemon()
	p.until("mail that arrived meanwhile is carried", following)
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, p.log.String())
	}
	s.same("u")
	if out := s.must("sync"); !strings.Contains(out, " 0 messages copied") {
		t.Errorf("a further sync: %s", out)
	}
}
