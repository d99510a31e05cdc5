package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// thousand is a status of a thousand accounts, in the order of a configuration.
func thousand() web.Status {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	s := web.Status{Version: "v1.2.3", Started: now.Add(-time.Hour), Now: now}
	for i := range 1000 {
		a := web.AccountStatus{
			Name: fmt.Sprintf("user%04d@d%d.example", i, i%5), Phase: mail.PhaseFollowing, Health: mail.HealthOK,
			Messages: web.Messages{Source: 1000}, LastSuccess: now,
		}
		switch i {
		case 400:
			a.Health, a.Messages.Held = mail.HealthHeld, 2
		case 700:
			a.Health, a.Error = mail.HealthStopped, "the old server is another one"
		case 900:
			a.Phase, a.Messages.Pending, a.LagSeconds = mail.PhaseSeeding, 17, 90
		}
		s.Accounts = append(s.Accounts, a)
	}
	return s
}

// TestStatusFilter: names, patterns, phases and states of health choose among the
// accounts, all that are named at once.
func TestStatusFilter(t *testing.T) {
	for _, test := range []struct {
		filter statusFilter
		want   int
		first  string
		wrong  string
	}{
		{statusFilter{}, 1000, "user0000@d0.example", ""},
		{statusFilter{accounts: []string{"user0007@d2.example"}}, 1, "user0007@d2.example", ""},
		{statusFilter{accounts: []string{"*@d3.example"}}, 200, "user0003@d3.example", ""},
		{statusFilter{accounts: []string{"user001[0-4]*", "user0500@d0.example"}}, 6, "user0010@d0.example", ""},
		{statusFilter{accounts: []string{"*@d0.example"}, healths: []string{"held", "stopped"}}, 2, "user0400@d0.example", ""},
		{statusFilter{phases: []string{"seeding"}}, 1, "user0900@d0.example", ""},
		{statusFilter{accounts: []string{"*@d0.example", "nobody*"}}, 0, "", `--account "nobody*" fits no account`},
		{statusFilter{accounts: []string{"user[0"}}, 0, "", "write a name, or a pattern"},
		{statusFilter{phases: []string{"done"}}, 0, "", `there is no phase "done"`},
		{statusFilter{healths: []string{"good"}}, 0, "", `there is no health "good"`},
	} {
		err := test.filter.check()
		var s web.Status
		if err == nil {
			s, err = test.filter.of(thousand())
		}
		switch {
		case test.wrong != "":
			if err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%+v: %v, want %s", test.filter, err, test.wrong)
			}
		case err != nil || len(s.Accounts) != test.want || s.Accounts[0].Name != test.first:
			t.Errorf("%+v: %v, %d accounts", test.filter, err, len(s.Accounts))
		}
	}
	if names := (statusFilter{accounts: []string{"a*", "b"}}).names(); fmt.Sprint(names) != "[b]" {
		t.Errorf("names %v", names)
	}
}

// terminal opens a terminal of that size and returns what is written to it, and
// where its program writes.
func terminal(t *testing.T, columns, rows uint16) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	control := func(request uintptr, value unsafe.Pointer) {
		t.Helper()
		if _, _, err := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(value)); err != 0 {
			t.Fatal(err)
		}
	}
	var locked, number int32
	control(syscall.TIOCSPTLCK, unsafe.Pointer(&locked))
	control(syscall.TIOCGPTN, unsafe.Pointer(&number))
	size := [4]uint16{rows, columns}
	control(syscall.TIOCSWINSZ, unsafe.Pointer(&size))
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// shownBy is what a terminal gets to show.
func shownBy(t *testing.T, master, slave *os.File, write func() error) string {
	t.Helper()
	written := make(chan error, 1)
	go func() {
		err := write()
		_, end := slave.WriteString("\x00")
		written <- errors.Join(err, end)
	}()
	var text bytes.Buffer
	part := make([]byte, 4096)
	for !bytes.Contains(text.Bytes(), []byte{0}) {
		n, err := master.Read(part)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(part[:n])
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.ReplaceAll(text.String(), "\r\n", "\n"), "\x00")
}

// TestStatusFitsTheScreen: on a terminal a thousand accounts fill the screen and no
// more, where it is watched in one place; a pipe and --all have them all, and a dumb
// terminal gets no control sequences.
func TestStatusFitsTheScreen(t *testing.T) {
	master, slave := terminal(t, 80, 24)
	write := func(all, watched bool) string {
		t.Helper()
		return shownBy(t, master, slave, func() error { return printStatus(slave, thousand(), false, all, watched) })
	}

	t.Setenv("TERM", "xterm")
	shown := write(false, false)
	if n := strings.Count(shown, "\n"); n > 23 || n < 20 {
		t.Errorf("%d lines on a screen of 24:\n%s", n, shown)
	}
	if !strings.HasPrefix(strings.SplitN(shown, "\n", 3)[1], "user0700@") || !strings.Contains(shown, "999,981 of 1,000,000 messages") {
		t.Errorf("who needs the operator is not first, or the totals are not there:\n%s", shown)
	}
	if watched := write(false, true); watched != "\x1b[H\x1b[2J"+shown {
		t.Errorf("watched:\n%q", watched)
	}
	if n := strings.Count(write(true, false), "@d"); n != 1000 {
		t.Errorf("--all shows %d accounts", n)
	}
	t.Setenv("TERM", "dumb")
	if watched := write(false, true); watched != shown+"\n" {
		t.Errorf("watched on a dumb terminal:\n%q", watched)
	}

	var pipe bytes.Buffer
	if err := printStatus(&pipe, thousand(), false, false, false); err != nil || strings.Count(pipe.String(), "@d") != 1000 {
		t.Errorf("a pipe has %d accounts, %v", strings.Count(pipe.String(), "@d"), err)
	}
}

// TestLinesFitTheScreen: what check says is wrapped on a terminal, and whole in a
// pipe.
func TestLinesFitTheScreen(t *testing.T) {
	words := strings.Repeat("words of a server ", 12)
	write := func(out io.Writer) { say(out, "    ", "warning: %s", words) }
	master, slave := terminal(t, 80, 24)
	shown := shownBy(t, master, slave, func() error { write(slave); return nil })
	for line := range strings.Lines(shown) {
		if len(line) > 81 || !strings.HasPrefix(line, "    ") {
			t.Errorf("%q", line)
		}
	}
	if strings.Join(strings.Fields(shown), " ") != "warning: "+strings.TrimSpace(words) || strings.Count(shown, "\n") != 4 {
		t.Errorf("%q", shown)
	}
	var pipe bytes.Buffer
	write(&pipe)
	if pipe.String() != "    warning: "+strings.TrimSpace(words)+"\n" {
		t.Errorf("a pipe has %q", pipe.String())
	}
}

// TestProgressFitsTheScreen: there are bars where the cursor can be moved, and plain
// lines on a dumb terminal and in a pipe.
func TestProgressFitsTheScreen(t *testing.T) {
	master, slave := terminal(t, 80, 24)
	write := func(out io.Writer) {
		p := newProgress(out, 1)
		p.started("foo")
		p.account("foo").Pending(2, 20)
		p.account("foo").Copied("INBOX", 10, time.Time{})
		p.finished(daemon.Outcome{Account: "foo"})
		p.close()
	}
	const plain = "foo: started\nfoo: done, 0 messages copied (0 B), 0 there already, 0 held, 0s\n"
	for kind, bars := range map[string]bool{"xterm": true, "dumb": false} {
		t.Setenv("TERM", kind)
		shown := shownBy(t, master, slave, func() error { write(slave); return nil })
		if bars != strings.Contains(shown, "\x1b[") || bars != (shown != plain) {
			t.Errorf("%s: %q", kind, shown)
		}
	}
	var pipe bytes.Buffer
	if write(&pipe); pipe.String() != plain {
		t.Errorf("a pipe has %q", pipe.String())
	}
}
