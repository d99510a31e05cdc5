package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// TestState: what is known is shown, what is wrong with it is found and left
// alone, and a state can be made anew without a copy too many.
func TestState(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	old, new := s.client(s.old, "u"), s.client(s.new, "u")
	old.Fill([]corpus.Mailbox{numbered("a", 40), numbered("b", 3)})
	s.old.Drop("u", "", nil) // an empty message, which is held
	s.configure(near(s.old.Port), near(s.new.Port), "u", "other")
	s.write("poll_interval = \"1s\"\n" + readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n")
	path := daemon.StatePath(filepath.Join(s.dir, "state"), "u")
	if out := s.must("state", "check"); out != "u: nothing yet\nother: nothing yet\n" {
		t.Errorf("check: %s", out)
	}
	if out := s.must("state", "show"); out != "u: nothing yet\nother: nothing yet\n" {
		t.Errorf("show: %s", out)
	}
	if code, out := s.run("sync", "--account", "u"); code != exitHeld {
		t.Fatalf("sync: exit %d\n%s", code, out)
	}
	new.Do("SELECT a")
	new.Do(`UID STORE 7 +FLAGS.SILENT (\Flagged)`)
	new.Do("UNSELECT")
	old.Do("SELECT a")
	old.Do(`UID STORE 1:7 +FLAGS.SILENT (\Answered)`)
	old.Do("UNSELECT")
	expunge(old, "a", "10:39")
	await(t, "what is gone waits for a word", func() bool {
		s.run("sync", "--account", "u")
		return strings.Contains(s.must("deletions", "list"), " 30 ")
	})

	show := func() daemon.AccountState {
		t.Helper()
		var states []daemon.AccountState
		if err := json.Unmarshal([]byte(s.must("state", "show", "--json", "--account", "u")), &states); err != nil || len(states) != 1 {
			t.Fatalf("%v, %+v", err, states)
		}
		return states[0]
	}
	state := show()
	if state.Held != 1 || state.OpenIntents != 0 || len(state.Pairs) != 3 || state.Identity.SourceUser != "u" || state.Path != path || state.Octets == 0 {
		t.Errorf("%+v", state)
	}
	for _, p := range state.Pairs {
		if p.Mailbox == "a" && (p.Receipts != 40 || p.Touched != 1 || p.Gone != 30 || p.Waiting != 30 || p.Missing != 0 ||
			p.SourceAnchor.UIDNext != 41 || p.SourceAnchor.UIDValidity == 0 || p.DestinationAnchor.UIDNext == 0) {
			t.Errorf("%+v", p)
		}
	}
	text := s.must("state", "show")
	if !strings.Contains(text, "1 held, 0 skipped") || !strings.Contains(text, "/41/") || !strings.Contains(text, "other: nothing yet") {
		t.Errorf("show: %s", text)
	}
	if out := s.must("state", "check"); out != "u: sound\nother: nothing yet\n" {
		t.Errorf("check: %s", out)
	}

	// The same through the daemon, but for what would take the state from it.
	s.write(strings.Replace(readFile(t, filepath.Join(s.dir, "c.toml")), "[[account]]\nname = \"other\"\n[account.source]\nuser = \"other\"\n[account.destination]\nuser = \"other\"\n", "", 1))
	p := s.daemon()
	p.until("it follows", func(a web.AccountStatus) bool { return a.Phase == mail.PhaseFollowing && a.Messages.Pending == 0 })
	if out := s.must("state", "check"); out != "u: sound\n" {
		t.Errorf("check: %s", out)
	}
	if now := show(); fmt.Sprint(now) != fmt.Sprint(state) {
		t.Errorf("without a daemon\n%+v\nwith one\n%+v", state, now)
	}
	if code, out := s.run("state", "rebuild", "--account", "u", "--yes"); code != exitFailed || !strings.Contains(out, fmt.Sprintf("pid %d", p.cmd.Process.Pid)) {
		t.Errorf("rebuild: exit %d\n%s", code, out)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}

	for _, args := range [][]string{{}, {"--account", "u", "--all"}} {
		if code, out := s.run(append([]string{"state", "rebuild", "--yes"}, args...)...); code != exitUsage || !strings.Contains(out, "name either") {
			t.Errorf("rebuild %v: exit %d\n%s", args, code, out)
		}
	}
	code, out := s.run("state", "rebuild", "--account", "u")
	if code != exitUsage || !strings.Contains(out, "43 receipts, of which 1 changed") || !strings.Contains(out, "comes back once") || !strings.Contains(out, "nothing has been done") {
		t.Errorf("rebuild: exit %d\n%s", code, out)
	}
	if out := s.must("state", "check"); out != "u: sound\n" {
		t.Errorf("check: %s", out)
	}
	if out := s.must("state", "rebuild", "--all", "--yes"); !strings.Contains(out, "u: set aside as "+path+".damaged-") {
		t.Errorf("rebuild: %s", out)
	}
	if code, out := s.run("state", "check"); code != exitHeld || !strings.Contains(out, "u: nothing yet\n  set aside: "+path) || !strings.Contains(out, "operator's word") {
		t.Errorf("check: exit %d\n%s", code, out)
	}
	if code, out := s.run("sync"); code != exitHeld || !strings.Contains(out, " 0 messages copied") || !strings.Contains(out, "13 there already") {
		t.Errorf("sync: exit %d\n%s", code, out)
	}

	// Damage is found, and left to the next pass.
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[2*os.Getpagesize():]) // which of the pages behind the meta pages are in use is bbolt's choice
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := s.run("state", "check"); code != exitHeld || !strings.Contains(out, "u: 1 problem in "+path) || !strings.Contains(out, "damaged") {
		t.Errorf("check: exit %d\n%s", code, out)
	}
	if code, out := s.run("state", "show"); code != exitFailed || !strings.Contains(out, "imapsyncd: account u: ") || !strings.Contains(out, "damaged") {
		t.Errorf("show: exit %d\n%s", code, out)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, data) {
		t.Errorf("a look has changed the file: %v", err)
	}
	if code, out := s.run("sync"); code != exitHeld || !strings.Contains(out, " 0 messages copied") {
		t.Errorf("sync: exit %d\n%s", code, out)
	}
	if now := show(); len(now.SetAside) != 2 {
		t.Errorf("set aside: %+v", now.SetAside)
	}
}
