package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// TestTrace: between on and off the log has what is said to both servers, and
// neither a password nor anything of the mail.
func TestTrace(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	s.write(readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n")
	if code, out := s.run("trace", "on"); code != exitUsage || !strings.Contains(out, "name the accounts with --account") {
		t.Errorf("without an account: exit %d: %s", code, out)
	}
	if code, out := s.run("trace", "on", "--account", "u"); code != exitFailed || !strings.Contains(out, "no daemon") {
		t.Errorf("without a daemon: exit %d: %s", code, out)
	}
	s.client(s.old, "u").Do("CREATE box") // makes the Maildir
	s.old.Drop("u", "", []byte("Subject: first\r\n\r\nbefore\r\n"))
	p := s.daemon()
	copied := func(n int64) {
		t.Helper()
		p.until("it is carried", func(a web.AccountStatus) bool { return a.Phase == mail.PhaseFollowing && a.Messages.Copied == n })
	}
	copied(1)
	if strings.Contains(p.log.String(), "msg=trace") {
		t.Errorf("traced before it was asked for\n%s", p.log.String())
	}
	s.must("trace", "on", "--account", "u")
	s.old.Drop("u", "", []byte("Subject: s3cret-subject\r\n\r\ns3cret-body\r\n"))
	copied(2)
	s.must("sync", "--account", "u", "--now")
	s.must("trace", "off", "--account", "u")
	said := p.log.String()
	for _, want := range []string{"> ", "UID FETCH", "BODY[", `APPEND \"INBOX\"`, "[APPENDUID", "side=source", "side=destination", "INTERNALDATE"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in the trace\n%s", want, said)
		}
	}
	for _, secret := range []string{"s3cret", dovecot.Password} {
		if strings.Contains(said, secret) {
			t.Errorf("%q is in the trace\n%s", secret, said)
		}
	}
	lines := strings.Count(said, "line=")
	s.old.Drop("u", "", []byte("Subject: third\r\n\r\nafter\r\n"))
	copied(3)
	if now := strings.Count(p.log.String(), "line="); now != lines {
		t.Errorf("%d lines were traced after the end", now-lines)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
