// Package dovecot starts real Dovecot servers for tests. Each has its own
// directory, ports and certificate, and ends with its test.
package dovecot

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
)

// Require is the environment variable that makes a missing server a failure.
const Require = "IMAPSYNCD_REQUIRE_SERVERS"

// Password is every user's; a user is there when it first logs in.
const Password = `p4ss "w\ord`

// Options says what kind of server to start.
type Options struct {
	// Extra goes to the end of dovecot.conf. $DIR in it is the server's own
	// directory.
	Extra string
	// Files are written into that directory, by name, with the same $DIR;
	// "users" is the passwd-file of all users' password.
	Files map[string]string
	// CertificateName is what the certificate is for; empty: localhost and
	// 127.0.0.1.
	CertificateName string
	// Expired makes it a certificate of yesterday.
	Expired bool
	// Expires is how long it is good; 0: 60 days.
	Expires time.Duration
	// Listen is the address; empty: 127.0.0.1. Dovecot takes clients of its own
	// address for secured ones.
	Listen string
}

// Server is a running Dovecot.
type Server struct {
	Dir     string
	Port    int // clear text and STARTTLS
	TLSPort int
	CAFile  string
	conf    string
	listen  string
	ca      *x509.Certificate
	caKey   *ecdsa.PrivateKey
	cmd     *exec.Cmd
	dropped atomic.Int64 // messages written by Drop
	t       testing.TB
}

// Start starts a server, or skips the test where there is none to start.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	binary, err := exec.LookPath("dovecot")
	if err != nil {
		binary = "/usr/sbin/dovecot"
		_, err = os.Stat(binary)
	}
	if err == nil && os.Geteuid() != 0 {
		err = errors.New("its parts run as other users, which needs root")
	}
	if err != nil {
		if os.Getenv(Require) != "" {
			t.Fatalf("a real Dovecot is required (%s is set): %v", Require, err)
		}
		t.Skipf("no real Dovecot: install dovecot-imapd and run as root (%v)", err)
	}
	dir, err := os.MkdirTemp("", "dc") // short: unix sockets are below it
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Dir: dir, t: t, conf: filepath.Join(dir, "dovecot.conf"), listen: cmp.Or(o.Listen, "127.0.0.1")}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("dovecot log:\n%s", log[max(0, len(log)-2000):])
		}
		os.RemoveAll(dir)
	})
	s.certificate(o)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	mail := filepath.Join(dir, "mail")
	if err := os.Mkdir(mail, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("chown", nobody.Uid, mail).Run(); err != nil {
		t.Fatal(err)
	}
	s.Port, s.TLSPort = corpus.Port(t, s.listen), corpus.Port(t, s.listen)
	conf := fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols = imap
listen = %[7]s
ssl = yes
ssl_cert = <%[1]s/cert.pem
ssl_key = <%[1]s/key.pem
disable_plaintext_auth = no
auth_failure_delay = 0
service anvil {
  # no penalty for the address after a wrong password
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
mail_location = maildir:%[1]s/mail/%%u
mail_fsync = never
first_valid_uid = 1
mail_max_userip_connections = 100
postmaster_address = postmaster@test.example
passdb {
  driver = passwd-file
  args = scheme=plain username_format=all %[1]s/users
}
userdb {
  driver = static
  args = uid=%[4]s gid=%[5]s home=%[1]s/mail/%%u
}
namespace inbox {
  inbox = yes
  separator = /
}
service imap-login {
  inet_listener imap {
    port = %[2]d
  }
  inet_listener imaps {
    port = %[3]d
  }
}
%[6]s
`, dir, s.Port, s.TLSPort, nobody.Uid, nobody.Gid, strings.ReplaceAll(o.Extra, "$DIR", dir), s.listen)
	if err := os.WriteFile(s.conf, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "users"), []byte("all:{PLAIN}"+Password+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, text := range o.Files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "$DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.run(binary)
	return s
}

// Maildir is where a user's mail lies.
func (s *Server) Maildir(name string) string { return filepath.Join(s.Dir, "mail", name) }

func (s *Server) run(binary string) {
	s.t.Helper()
	s.cmd = exec.Command(binary, "-F", "-c", s.conf)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	var out bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &out, &out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	if err := corpus.Greeted(s.Address()); err != nil {
		s.t.Fatalf("Dovecot does not come up: %v\n%s", err, out.String())
	}
}

// Stop ends the server with everything it started.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM)
	s.Freeze(false)
	ended := make(chan struct{})
	go func() {
		s.cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	s.cmd = nil
}

// Kill ends the server as a crash does: all of its processes at once, with
// whatever they were at. A lock file that a process has left behind would block
// its mailbox for two minutes; it is removed.
func (s *Server) Kill() {
	s.t.Helper()
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	s.cmd.Wait()
	s.cmd = nil
	if err := filepath.WalkDir(filepath.Join(s.Dir, "mail"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".lock") {
			err = os.Remove(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // a process that was ending
		}
		return err
	}); err != nil {
		s.t.Error(err)
	}
}

// Freeze stops all processes of the server where they are, or lets them go on.
func (s *Server) Freeze(on bool) {
	signal := syscall.SIGCONT
	if on {
		signal = syscall.SIGSTOP
	}
	syscall.Kill(-s.cmd.Process.Pid, signal)
}

// Restart starts a server again that was stopped or killed, on its ports.
func (s *Server) Restart() { s.run("/usr/sbin/dovecot") }

// Address is where it listens in clear text and for STARTTLS.
func (s *Server) Address() string { return fmt.Sprintf("%s:%d", s.listen, s.Port) }

// Doveadm runs an administrative command.
func (s *Server) Doveadm(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("doveadm", append([]string{"-c", s.conf}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("doveadm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Configure replaces a part of the configuration of a stopped server.
func (s *Server) Configure(old, new string) {
	s.t.Helper()
	data, err := os.ReadFile(s.conf)
	if err != nil {
		s.t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		s.t.Fatalf("the configuration has no %q", old)
	}
	if err := os.WriteFile(s.conf, []byte(strings.Replace(string(data), old, new, 1)), 0o644); err != nil {
		s.t.Fatal(err)
	}
}
