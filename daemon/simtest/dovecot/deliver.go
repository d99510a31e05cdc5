package dovecot

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// lda is Dovecot's own delivery agent.
const lda = "/usr/lib/dovecot/dovecot-lda"

// Deliver has Dovecot's delivery agent put a message into a mailbox, which
// keeps the server's indexes on the way.
func (s *Server) Deliver(name, mailbox string, data []byte) {
	s.t.Helper()
	cmd := exec.Command(lda, "-c", s.conf, "-d", name, "-m", mailbox)
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("deliver to %s of %s: %v\n%s", mailbox, name, err, out)
	}
}

// Drop writes a message straight into the Maildir, as an agent does that knows
// nothing of the server: into tmp, then by rename into new. folder is the
// directory below the Maildir, "" for INBOX. It returns what the message has as
// INTERNALDATE.
func (s *Server) Drop(name, folder string, data []byte) time.Time {
	s.t.Helper()
	return s.drop(name, folder, data, time.Time{})
}

// DropAt is Drop of a message that arrives at a time of the test's own.
func (s *Server) DropAt(name, folder string, data []byte, at time.Time) {
	s.t.Helper()
	s.drop(name, folder, data, at)
}

// DropAs is Drop of a message that belongs to another user and group than those
// of all mail.
func (s *Server) DropAs(id int, name, folder string, data []byte) {
	s.t.Helper()
	s.dropAs(id, id, name, folder, data, time.Time{})
}

func (s *Server) drop(name, folder string, data []byte, at time.Time) time.Time {
	s.t.Helper()
	nobody, err := user.Lookup("nobody")
	if err != nil {
		s.t.Fatal(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	return s.dropAs(uid, gid, name, folder, data, at)
}

func (s *Server) dropAs(uid, gid int, name, folder string, data []byte, at time.Time) time.Time {
	s.t.Helper()
	dir := filepath.Join(s.Maildir(name), folder)
	file := fmt.Sprintf("%d.M%dP%d.agent", os.Getpid(), s.dropped.Add(1), os.Getpid())
	tmp := filepath.Join(dir, "tmp", file)
	// A Maildir keeps mail with the line ends of the system.
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chown(tmp, uid, gid); err != nil {
		s.t.Fatal(err)
	}
	if !at.IsZero() {
		if err := os.Chtimes(tmp, at, at); err != nil {
			s.t.Fatal(err)
		}
	}
	info, err := os.Stat(tmp)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, "new", file)); err != nil {
		s.t.Fatal(err)
	}
	return info.ModTime().Truncate(time.Second)
}
