package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

// words are those of a command as the shell reads them.
func words(t *testing.T, line string) []string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `printf '%s\0' `+line).Output()
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// TestImapsyncCommand: the command of imapsync's tutorial, with the addresses of
// two servers whose certificates nobody has signed, is told what it lacks, does
// its job when that is pasted, and has nothing more to do afterwards.
func TestImapsyncCommand(t *testing.T) {
	s := newSite(t, dovecot.Options{CertificateName: "mail.example.org"}, dovecot.Options{})
	old := s.client(s.old, "a")
	old.Fill(corpus.Make(5, 20, 300))
	t.Setenv("XDG_STATE_HOME", s.dir)
	imapsync := func(args ...string) (int, string, string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := run(&common{stopping: t.Context(), quiet: quiet, lookAgain: lookAgain}, append([]string{"imapsync"}, args...), &stdout, &stderr)
		if strings.Contains(stdout.String()+stderr.String(), dovecot.Password) {
			t.Errorf("%v prints the password", args)
		}
		return code, stdout.String(), stderr.String()
	}
	tutorial := []string{
		"--host1", "127.0.0.1", "--port1", fmt.Sprint(s.old.TLSPort), "--user1", "a", "--password1", dovecot.Password,
		"--host2", "127.0.0.1", "--port2", fmt.Sprint(s.new.Port), "--tls2", "--user2", "a", "--passfile2", filepath.Join(s.dir, "password"),
		"--automap",
	}
	pasted := tutorial
	for _, missing := range []string{"--tlsfingerprint1 ", "--tlsfingerprint2 "} {
		code, _, stderr := imapsync(pasted...)
		_, again, found := strings.Cut(stderr, "\n    imapsyncd imapsync ")
		if code != exitFailed || !found || !strings.Contains(again, missing) || !strings.Contains(stderr, "cannot be trusted") {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		if !strings.Contains(stderr, "others may have seen --password1") {
			t.Errorf("no warning: %s", stderr)
		}
		// The password is left out, to be asked for on a terminal.
		pasted = append(words(t, again), "--password1", dovecot.Password)
	}
	code, dry, stderr := imapsync(append(pasted, "--dry")...)
	if code != exitDone || !strings.Contains(dry, "INBOX") || !strings.Contains(dry, "to carry") {
		t.Errorf("--dry: exit %d: %s%s", code, dry, stderr)
	}
	if boxes, _ := corpus.Read(t, s.new.Address(), "a", dovecot.Password); len(boxes) > 1 {
		t.Errorf("--dry has made %d mailboxes", len(boxes))
	}
	if code, out, stderr := imapsync(pasted...); code != exitDone || strings.Contains(out, " 0 messages copied") {
		t.Errorf("exit %d: %s%s", code, out, stderr)
	}
	if differences := corpus.Compare(t, s.old.Address(), s.new.Address(), "a", dovecot.Password); len(differences) > 0 {
		t.Errorf("%d differences, first: %q", len(differences), differences[:min(len(differences), 5)])
	}
	old.Append("INBOX", corpus.Message{Data: []byte("Subject: late\r\n\r\nx\r\n"), Date: boxDate})
	if code, out, stderr := imapsync(pasted...); code != exitDone || !strings.Contains(out, ": 1 message copied") {
		t.Errorf("again: exit %d: %s%s", code, out, stderr)
	}
}

// TestImapsyncMailboxes: what is chosen by --folder and --exclude goes where
// --subfolder2 says, and what is held is told of.
func TestImapsyncMailboxes(t *testing.T) {
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	letter := []corpus.Message{{Data: []byte("Subject: x\r\n\r\nx\r\n"), Date: boxDate}}
	s.client(s.old, "a").Fill([]corpus.Mailbox{{Name: "INBOX", Messages: letter}, {Name: "Work/2019", Messages: letter}, {Name: "Work/Junk mail", Messages: letter}, {Name: "Notes", Messages: letter}})
	var stdout, stderr bytes.Buffer
	args := []string{"imapsync", "--state-dir", filepath.Join(s.dir, "state"),
		"--host1", "127.0.0.1", "--port1", fmt.Sprint(s.old.Port), "--nossl1", "--notls1", "--user1", "a", "--passfile1", filepath.Join(s.dir, "password"),
		"--host2", "127.0.0.1", "--port2", fmt.Sprint(s.new.Port), "--nossl2", "--notls2", "--user2", "a", "--passfile2", filepath.Join(s.dir, "password"),
		"--folder", "inbox", "--folder", "INBOX.Work.2019", "--exclude", `(?i)\bjunk\b`, "--subfolder2", "Old"}
	imapsync := func(args ...string) int {
		stdout.Reset()
		stderr.Reset()
		return run(&common{stopping: t.Context(), quiet: quiet, lookAgain: lookAgain}, args, &stdout, &stderr)
	}
	if code := imapsync(args...); code != exitDone || stderr.Len() > 0 {
		t.Fatalf("exit %d: %s%s", code, stdout.String(), stderr.String())
	}
	// A name that is spelled wrong, or left out again, does not pass for one that is carried.
	for _, dry := range []string{"--dry", "--dry=false"} {
		if code := imapsync(append(args, "--folder", "Notse", "--folder", "Work/Junk mail", dry)...); code != exitFailed || !strings.Contains(stderr.String(), `--folder "Notse", "Work/Junk mail": the old server lists no such mailbox`) {
			t.Errorf("exit %d: %s%s", code, stdout.String(), stderr.String())
		}
	}
	boxes, _ := corpus.Read(t, s.new.Address(), "a", dovecot.Password)
	var got []string
	for name, messages := range boxes {
		if len(messages) > 0 {
			got = append(got, name)
		}
	}
	if len(got) != 2 || boxes["Old/INBOX"] == nil || boxes["Old/Work/2019"] == nil {
		t.Errorf("mail in %q", got)
	}
}

// TestPasswordsAreWiped: the list of processes does not show them while the
// program is at work.
func TestPasswordsAreWiped(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "imapsync", "--state-dir", t.TempDir(), "--host1", "127.0.0.1", "--port1", port, "--user1", "a", "--password1", "first-secret",
		"--host2", "127.0.0.1", "--port2", port, "--user2", "b", "--password2=second-secret")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	conn, err := l.Accept() // it is at work, and waits for an answer
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("%v: %s", err, said.String())
	}
	defer conn.Close()
	shown, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
	if err != nil {
		t.Skipf("no list of processes: %v", err)
	}
	if text := strings.ReplaceAll(string(shown), "\x00", " "); strings.Contains(text, "secret") || !strings.Contains(text, "--password1 xxxx") || !strings.Contains(text, "--user1 a ") {
		t.Errorf("%s", text)
	}
}
