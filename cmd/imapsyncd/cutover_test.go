package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/demo"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// leader runs commands on the configuration of a small world.
type leader struct {
	t     *testing.T
	world *demo.World
	file  string
}

// newLeader starts a world with more tables in its configuration.
func newLeader(t *testing.T, accounts int, keys string) *leader {
	t.Helper()
	// The name of a unix socket is short, t.TempDir's may be long.
	dir, err := os.MkdirTemp("", "imapsyncd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	world, err := demo.Start(t.Context(), demo.Options{Dir: dir, Seed: 3, Accounts: accounts, Messages: 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	l := &leader{t, world, filepath.Join(dir, "c.toml")}
	if err := os.WriteFile(l.file, []byte(world.Config()+keys), 0o600); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *leader) command(args ...string) (int, string) {
	var stdout, stderr bytes.Buffer
	code := run(&common{stopping: l.t.Context()}, append(args, "--config", l.file), &stdout, &stderr)
	return code, stdout.String() + stderr.String()
}

func (l *leader) expect(code int, text string, args ...string) {
	l.t.Helper()
	got, out := l.command(args...)
	if got != code || !strings.Contains(out, text) {
		l.t.Errorf("%v: exit %d without %q:\n%s", args, got, text, out)
	}
}

// start runs the daemon. end waits for its end, and asks for it if told to.
func (l *leader) start() (end func(ask bool) (code int, log string)) {
	l.t.Helper()
	stopping, stop := context.WithCancel(l.t.Context())
	ended := make(chan int, 1)
	var log bytes.Buffer
	go func() {
		ended <- run(&common{stopping: stopping, quiet: 100 * time.Millisecond}, []string{"run", "--config", l.file}, &log, &log)
	}()
	return func(ask bool) (int, string) {
		l.t.Helper()
		defer stop()
		if ask {
			stop()
		}
		select {
		case code := <-ended:
			return code, log.String()
		case <-time.After(patience):
			_, out := l.command("status")
			stop()
			<-ended
			l.t.Fatalf("run did not end\n%s\n%s", out, log.String())
		}
		return 0, ""
	}
}

func (l *leader) status() (s web.Status) {
	if code, out := l.command("status", "--json"); code == exitDone {
		json.NewDecoder(strings.NewReader(out)).Decode(&s)
	}
	return s
}

// until waits until the status is as it should be.
func (l *leader) until(what string, is func(web.Status) bool) web.Status {
	l.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if s := l.status(); is(s) {
			return s
		}
		if time.Now().After(deadline) {
			_, out := l.command("status")
			l.t.Fatalf("%s: not yet\n%s", what, out)
		}
	}
}

func phases(s web.Status, want mail.Phase) bool {
	for _, a := range s.Accounts {
		if a.Phase != want {
			return false
		}
	}
	return len(s.Accounts) > 0
}

// TestCutoverCommands leads a domain by hand through its whole life, by
// commands.
func TestCutoverCommands(t *testing.T) {
	t.Parallel()
	l := newLeader(t, 2, "\n[cutover]\nquiet_period = \"0s\"\nworkdays = []\nfinish = \"ask\"\n")
	first, second := l.world.Accounts()[0], l.world.Accounts()[1]
	l.expect(exitFailed, "no daemon is running", "status", "--check", "safe-to-switch", "example.org")
	l.expect(exitUsage, "there is no verdict", "status", "--check", "safe", "example.org")
	l.expect(exitUsage, "accepts 1 arg", "status", "--check", "safe-to-stop")
	l.expect(exitUsage, "say why", "account", "skip", first)
	l.expect(exitUsage, "name the host", "cutover", "ack", "example.org")
	l.expect(exitFailed, `there is no domain "nowhere.example"; the domains are example.org`, "cutover", "start", "nowhere.example")
	l.expect(exitFailed, "there is nothing to take back", "cutover", "abort", "example.org")
	l.expect(exitDone, "no_daemon", "status", "--json")

	end := l.start()
	l.until("safe to switch", func(s web.Status) bool { return len(s.Domains) == 1 && s.Domains[0].SafeToSwitch.OK })
	l.expect(exitDone, "safe-to-switch: yes", "status", "--check", "safe-to-switch", "Example.org")
	l.expect(exitNo, "not_switched: ", "status", "--check", "safe-to-stop", "example.org")
	l.expect(exitNo, `"reason": "not_switched"`, "status", "--check", "safe-to-stop", "example.org", "--json")
	l.expect(exitFailed, "is not safe to stop", "cutover", "finish", "example.org")
	l.expect(exitDone, "paused", "pause", "--account", second)
	l.expect(exitNo, "paused: paused: "+second, "status", "--check", "safe-to-switch", "example.org")
	l.expect(exitDone, "skipped (left the company)", "account", "skip", second, "--because", "left the company")
	l.expect(exitDone, "yes", "status", "--check", "safe-to-switch", "example.org")
	l.expect(exitDone, "resumed", "resume", "--all")

	// One account alone, and back.
	l.expect(exitUsage, "is not in", "cutover", "start", "example.org", "--account", "nobody")
	l.expect(exitDone, "account "+first+": handed over", "cutover", "start", "example.org", "--account", first)
	l.expect(exitFailed, "has been handed over already", "cutover", "start", "example.org", "--account", first)
	if s := l.status(); s.Accounts[0].Phase != mail.PhaseDraining || s.Accounts[1].Phase == mail.PhaseDraining {
		t.Errorf("%+v", s.Accounts)
	}
	l.expect(exitDone, "draining", "status", "--phase", "draining")
	l.expect(exitDone, "aborted", "cutover", "abort", "example.org", "--account", first)
	l.until("nobody drains", func(s web.Status) bool { return phases(s, mail.PhaseFollowing) })

	l.expect(exitDone, "example.org: delivery is new (the operator said so)", "cutover", "switched", "example.org")
	l.expect(exitNo, "not_handed_over: ", "status", "--check", "safe-to-stop", "example.org")
	l.expect(exitDone, "example.org: handed over (the operator said so)", "cutover", "start", "example.org")
	if s := l.status(); !phases(s, mail.PhaseDraining) || s.Domains[0].Phase != mail.PhaseDraining {
		t.Errorf("%+v", s.Accounts)
	}

	// The record outlives a restart.
	if code, log := end(true); code != exitDone {
		t.Fatalf("exit %d\n%s", code, log)
	}
	end = l.start()
	l.until("draining again", func(s web.Status) bool { return s.Version != "" && phases(s, mail.PhaseDraining) })

	// Late mail is carried and counted.
	letter := "Delivered-To: x@example.org\r\nReceived: from mx.slow.example ([203.0.113.9]) by mail.old.example; Tue, 1 Jan 2030 00:00:00 +0000\r\nMessage-ID: <late@x.example>\r\n\r\nlate\r\n"
	if err := l.world.Deliver(first, "INBOX", letter); err != nil {
		t.Fatal(err)
	}
	s := l.until("late mail is counted", func(s web.Status) bool { return s.Domains[0].LateMail.Messages == 1 })
	host := s.Domains[0].LateMail.Hosts[0].Host
	l.expect(exitFailed, "its hosts are: "+host, "cutover", "ack", "example.org", "--host", "other.example", "--because", "x")
	l.expect(exitDone, "acknowledged", "cutover", "ack", "example.org", "--host", host, "--because", "a newsletter")

	l.until("safe to stop", func(s web.Status) bool { return s.Domains[0].SafeToStop.OK })
	l.expect(exitDone, "(waits_for_finish)", "status", "--check", "safe-to-stop", "example.org")
	l.expect(exitDone, "You must check yourself", "status", "--check", "safe-to-stop", "example.org")
	l.expect(exitDone, "may finish", "cutover", "finish", "example.org")
	code, log := end(false)
	if code != exitDone || !strings.Contains(log, "every domain is finished") {
		t.Fatalf("exit %d\n%s", code, log)
	}
	differences, err := l.world.Compare(t.Context())
	if err != nil || len(differences) > 0 {
		t.Errorf("%v, %v", differences, err)
	}
	var report struct {
		Domain  string
		History []struct{ What string }
		Skipped map[string]string `json:"skipped_accounts"`
	}
	text, err := os.ReadFile(daemon.ReportPath(filepath.Join(filepath.Dir(l.file), "state"), "example.org"))
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil || report.Domain != "example.org" || report.Skipped[second] != "left the company" || len(report.History) < 5 {
		t.Errorf("the report: %v\n%s", err, text)
	}
	page := readFile(t, strings.TrimSuffix(daemon.ReportPath(filepath.Join(filepath.Dir(l.file), "state"), "example.org"), ".json")+".html")
	if !strings.Contains(page, "The mail of example.org has moved") || !strings.Contains(page, "left the company") {
		t.Errorf("the page of the report: %s", page)
	}

	// Started again, it says so and ends.
	if code, log = l.start()(false); code != exitDone || !strings.Contains(log, "there is nothing to do any more") {
		t.Errorf("exit %d\n%s", code, log)
	}
	l.expect(exitDone, "example.org: finished on", "status")
	l.expect(exitFailed, "is finished", "cutover", "start", "example.org")
	l.expect(exitDone, "", "sync")
	if s := l.status(); !phases(s, mail.PhaseFinished) {
		t.Errorf("%+v", s.Accounts)
	}
}
