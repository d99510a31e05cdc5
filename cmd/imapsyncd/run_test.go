package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/demo"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// TestDemo runs the demo, which fails unless both servers are the same in the
// end.
func TestDemo(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	code := run(&common{stopping: t.Context()}, []string{"demo", "--fast"}, &stdout, &stderr)
	if code != exitDone || stderr.Len() > 0 {
		t.Fatalf("exit %d\n%s%s", code, stdout.String(), stderr.String())
	}
	for _, want := range []string{"http://127.0.0.1:", "killed", "on the new server after", "safe to switch: yes", "is draining", "Late mail: ", "safe to stop: yes", "Still working", "ended by itself", "nothing missing, nothing twice, nothing different"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("lacks %q:\n%s", want, stdout.String())
		}
	}
}

// TestRunAndItsCommands runs the daemon and asks it what the commands can ask.
func TestRunAndItsCommands(t *testing.T) {
	t.Parallel()
	// The name of a unix socket is short, t.TempDir's may be long.
	dir, err := os.MkdirTemp("", "imapsyncd-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	world, err := demo.Start(t.Context(), demo.Options{Dir: dir, Seed: 3, Accounts: 2, Messages: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer world.Close()
	file := filepath.Join(dir, "c.toml")
	if err := os.WriteFile(file, []byte(world.Config()), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) (int, string, string) {
		var stdout, stderr bytes.Buffer
		code := run(&common{stopping: t.Context()}, append(args, "--config", file), &stdout, &stderr)
		return code, stdout.String(), stderr.String()
	}
	expect := func(code int, text string, args ...string) {
		t.Helper()
		got, stdout, stderr := command(args...)
		if got != code || !strings.Contains(stdout+stderr, text) {
			t.Errorf("%v: exit %d without %q:\n%s%s", args, got, text, stdout, stderr)
		}
	}
	expect(exitFailed, "no daemon is running", "reload")
	expect(exitUsage, "run: --web.config.file: stat nowhere: no such file", "run", "--web.config.file", "nowhere")
	expect(exitDone, "paused: all accounts", "pause", "--all")
	expect(exitDone, "2 paused", "status")
	expect(exitDone, "resumed: all accounts", "resume", "--all")
	expect(exitDone, "no daemon is running; this is what the state directory says", "status")

	address := fmt.Sprintf("127.0.0.1:%d", corpus.Port(t, "127.0.0.1"))
	stopping, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	var log bytes.Buffer
	go func() {
		ended <- run(&common{stopping: stopping}, []string{"run", "--config", file, "--web.listen-address", address}, &log, &log)
	}()
	defer func() {
		stop()
		select {
		case code := <-ended:
			if code != exitDone {
				t.Errorf("run ended with %d\n%s", code, log.String())
			}
		case <-time.After(patience):
			t.Error("run did not end")
		}
		for _, secret := range world.Accounts() {
			password, err := os.ReadFile(filepath.Join(dir, "secrets", secret+".old"))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(log.String(), strings.TrimSpace(string(password))) {
				t.Error("the log holds a password")
			}
		}
	}()
	name := world.Accounts()[0]
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		code, text, _ := command("status", "--json", "--phase", "following", "--health", "ok")
		var s web.Status
		if code == exitDone && json.Unmarshal([]byte(text), &s) == nil && s.Totals.Accounts == 2 && s.Totals.Messages.Copied > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the accounts do not follow: %d\n%s", code, text)
		}
	}
	answer, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("/metrics: %s", answer.Status)
	}

	_, table, _ := command("status")
	for line := range strings.Lines(table) {
		if len([]rune(line)) > 81 {
			t.Errorf("wider than 80 columns: %s", line)
		}
	}
	if !strings.Contains(table, "ACCOUNT") || !strings.Contains(table, name) || !strings.Contains(table, "100%") {
		t.Errorf("status:\n%s", table)
	}
	if _, one, _ := command("status", "--account", name); strings.Contains(one, world.Accounts()[1]) {
		t.Errorf("status of one account shows the other:\n%s", one)
	}
	expect(exitUsage, "there is no health", "status", "--health", "fine")
	expect(exitUsage, "name either", "pause")
	expect(exitDone, "paused: "+name, "pause", "--account", name)
	expect(exitDone, string(mail.HealthPaused), "status", "--account", name)
	expect(exitDone, "resumed: all accounts", "resume", "--all")
	expect(exitDone, "in force", "reload")
	expect(exitDone, "done", "sync", "--now", "--account", name)
	expect(exitFailed, fmt.Sprintf("pid %d", os.Getpid()), "sync")
	expect(exitFailed, "imapsyncd sync --now", "sync")
	if err := world.Deliver(name, "INBOX", "Message-ID: <look@for.example>\r\n\r\nme\r\n"); err != nil {
		t.Fatal(err)
	}
	expect(exitDone, `"INBOX", UID`, "find", name, "<look@for.example>")
	expect(exitHeld, "not found on either server", "find", name, "<nothing@for.example>")
}
