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
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// TestListOfAccounts: a daemon whose accounts stand in a list takes a new line
// up by itself, goes on with all that it has when a line is spoilt, and says
// which.
func TestListOfAccounts(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	list := filepath.Join(s.dir, "accounts.csv")
	line := func(user string) string {
		quoted := `"` + strings.ReplaceAll(dovecot.Password, `"`, `""`) + `"`
		return fmt.Sprintf("%s,%s,%s,%s,%s\n", user, user, quoted, user, quoted)
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(list+".new", []byte("name,source_user,source_password,destination_user,destination_password\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(list+".new", list); err != nil {
			t.Fatal(err)
		}
	}
	boxes := corpus.Make(31, 25, 2000)
	for _, user := range []string{"a", "b", "c"} {
		s.client(s.old, user).Fill(boxes)
	}
	s.write(fmt.Sprintf("state_dir = \"state\"\n[web]\nlisten = \"127.0.0.1:0\"\n[source]\n%s[destination]\n%s[accounts]\nfile = \"accounts.csv\"\n", near(s.old.Port), near(s.new.Port)))
	put(line("a") + line("b"))
	p := s.daemon()
	var warned bytes.Buffer
	following := func() (names []string) {
		var stdout bytes.Buffer
		warned.Reset()
		run(&common{stopping: t.Context()}, []string{"status", "--json", "--config", filepath.Join(s.dir, "c.toml")}, &stdout, &warned)
		var status web.Status
		if json.Unmarshal(stdout.Bytes(), &status) == nil {
			for _, a := range status.Accounts {
				if a.Phase == mail.PhaseFollowing && a.Health == mail.HealthOK {
					names = append(names, a.Name)
				}
			}
		}
		return names
	}
	until := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !is(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not reached: %s\n%s", what, p.log.String())
			}
		}
	}
	follow := func(want string) {
		t.Helper()
		until("following "+want, func() bool { return strings.Join(following(), " ") == want })
	}
	follow("a b")
	put(line("a") + line("b") + line("c"))
	follow("a b c")

	put(line("a") + "b,b,\"spoilt,b,x\n" + line("c"))
	until("the bad line is told of", func() bool { return strings.Contains(p.log.String(), "accounts.csv:3:1: a quote is not closed") })
	code, out := s.run("reload")
	if code != exitUsage || !strings.Contains(out, "accounts.csv:3:1: a quote is not closed") {
		t.Errorf("reload: exit %d: %s", code, out)
	}
	follow("a b c")
	if !strings.Contains(warned.String(), "accounts.csv:3:1: a quote is not closed") || !strings.Contains(warned.String(), "the daemon goes on with the one before") {
		t.Errorf("status: %s", warned.String())
	}
	if out := s.must("pause", "--account", "c") + s.must("resume", "--account", "c") + s.must("hold", "list"); !strings.Contains(out, "paused: c") {
		t.Error(out)
	}

	// What was in force is still at work.
	s.client(s.old, "b").Append("INBOX", corpus.Message{Data: []byte("Subject: late\r\n\r\nx\r\n"), Date: boxDate})
	until("b goes on", func() bool {
		boxes, _ := corpus.Read(t, s.new.Address(), "b", dovecot.Password)
		old, _ := corpus.Read(t, s.old.Address(), "b", dovecot.Password)
		return len(boxes["INBOX"]) == len(old["INBOX"])
	})
	put(line("a") + line("b") + line("c"))
	if out := s.must("reload"); strings.Contains(out, "accounts.csv") {
		t.Errorf("reload: %s", out)
	}
	follow("a b c")
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	for _, user := range []string{"a", "b", "c"} {
		s.same(user)
	}
	if strings.Contains(p.log.String(), "spoilt") || strings.Contains(p.log.String(), dovecot.Password) {
		t.Errorf("a password shows:\n%s", p.log.String())
	}
	put("b,b,\"spoilt\n")
	if code, out := s.run("status"); code != exitUsage || strings.Contains(out, "goes on") {
		t.Errorf("without a daemon: exit %d: %s", code, out)
	}
	os.Chmod(list, 0o644)
	if code, out := s.run("check"); code != exitUsage || !strings.Contains(out, "can be read by everybody; mend it with: chmod 600 "+list) {
		t.Errorf("exit %d: %s", code, out)
	}
}
