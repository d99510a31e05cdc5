package daemon_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// forward listens at an address and passes on to a port of 127.0.0.1.
func forward(t *testing.T, address, port string) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("no second loopback address here: %v", err)
	}
	var done sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
			if err != nil {
				c.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, c, server)
			mu.Unlock()
			done.Go(func() { io.Copy(server, c); server.Close() })
			done.Go(func() { io.Copy(c, server); c.Close() })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		done.Wait()
	})
	return l.Addr()
}

// TestRepointedSource: the name of the old server is repointed to the new one in
// mid-run, where the same log-in works. The account stops and asks, and nothing is
// copied onto itself. When the old server has really moved, the operator's word
// lets it go on.
func TestRepointedSource(t *testing.T) {
	w := newWorld(t, 1, 12)
	name := w.Accounts()[0]
	ports := regexp.MustCompile(`port = (\d+)`).FindAllStringSubmatch(w.Config(), 2)
	toNew, toOld := forward(t, "127.0.0.2", ports[1][1]), forward(t, "127.0.0.3", ports[0][1])
	var repointed atomic.Pointer[net.Addr]
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if to := repointed.Load(); to != nil && strings.HasSuffix(address, ":"+ports[0][1]) {
			address = (*to).String()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	r := w.run(func(o *daemon.Options) { o.Dial = dial })
	r.untilFollowing()
	copied := r.account(name).Messages.Copied

	// The passwords are the same on both, as they are after most migrations.
	repointed.Store(&toNew)
	secrets := filepath.Join(filepath.Dir(w.path), "secrets")
	password := map[string][]byte{}
	for _, side := range []string{".old", ".new"} {
		text, err := os.ReadFile(filepath.Join(secrets, name+side))
		if err != nil {
			t.Fatal(err)
		}
		password[side] = text
	}
	use := func(side string) {
		if err := os.WriteFile(filepath.Join(secrets, name+".old"), password[side], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.client.Reload(context.Background(), false); err != nil {
			t.Fatal(err)
		}
	}
	use(".new")
	r.until("the account stops", func() bool { return r.account(name).Health == mail.HealthStopped })
	if s := r.account(name); !strings.Contains(s.Error, "127.0.0.2 now") || !strings.Contains(s.Error, "account accept "+name) {
		t.Errorf("%s", s.Error)
	}
	if s := r.status().Domains[0].SafeToSwitch; s.OK || s.Reasons[0].Reason != string(cutover.ReasonStopped) {
		t.Errorf("%+v", s)
	}

	repointed.Store(nil)
	use(".old")
	r.until("the account goes on", func() bool { return r.account(name).Health == mail.HealthOK && !r.account(name).LastSuccess.IsZero() })

	repointed.Store(&toOld)
	w.write(w.Config() + "\n") // which changes nothing
	use(".new")
	use(".old") // so that it logs in anew
	r.until("the account stops", func() bool { return r.account(name).Health == mail.HealthStopped })
	if err := r.operator.AcceptSource(context.Background(), []string{name}); err != nil {
		t.Fatal(err)
	}
	r.until("the account goes on", func() bool { return r.account(name).Health == mail.HealthOK && !r.account(name).LastSuccess.IsZero() })
	if err := w.Deliver(name, "INBOX", letter("after all that")); err != nil {
		t.Fatal(err)
	}
	r.until("it is carried", func() bool { return r.metric("messages_copied_total", name) == float64(copied)+1 })
	w.same()
}

// TestLostRecord: where the record of the phases is gone, or damaged, nothing on
// the new server is changed until the operator has told.
func TestLostRecord(t *testing.T) {
	for what, lose := range map[string]func(path string) error{
		"gone": os.Remove,
		"damaged": func(path string) error {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text[len(text)/2] ^= 1
			return os.WriteFile(path, text, 0o600)
		},
		"empty": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, 12)
			name := w.Accounts()[0]
			r := w.run()
			r.untilFollowing()
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			if err := lose(filepath.Join(filepath.Dir(w.path), "state", "phases")); err != nil {
				t.Fatal(err)
			}
			r = w.run()
			r.until("it has looked", func() bool { return !r.account(name).LastSuccess.IsZero() })
			domain := r.status().Domains[0]
			if r.account(name).Phase != mail.PhaseDraining || domain.Phase != mail.PhaseDraining || domain.SafeToSwitch.Reasons[0].Reason != string(cutover.ReasonRecordLost) {
				t.Errorf("%+v %+v", r.account(name), domain)
			}
			if _, err := r.operator.Abort(context.Background(), "example.org", nil); err != nil {
				t.Fatal(err)
			}
			if s := r.account(name); s.Phase == mail.PhaseDraining {
				t.Errorf("after the operator's word: %+v", s)
			}
			r.until("it follows", func() bool { return r.account(name).Phase == mail.PhaseFollowing })
		})
	}
}

// TestNotifyCommand: a program is told, without a shell, as JSON, of what the
// operator should know; one that hangs or fails holds nothing up.
func TestNotifyCommand(t *testing.T) {
	w := newWorld(t, 1, 6)
	dir := filepath.Dir(w.path)
	told, program := filepath.Join(dir, "told"), filepath.Join(dir, "tell $(touch oops)")
	if err := os.WriteFile(program, []byte("#!/bin/sh\ncat >>\"$1\"\necho no >&2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.write(w.Config() + fmt.Sprintf("\n[cutover]\nnotify_command = [%q, %q]\n", program, told))
	r := w.run(func(o *daemon.Options) { o.Unverified = false })
	type event struct {
		Event, Domain, Verdict, What string
		OK                           *bool
		YouMustCheck                 []string `json:"you_must_check"`
	}
	var events []event
	hears := func(n int) bool {
		events = nil
		text, _ := os.ReadFile(told)
		for line := range strings.Lines(string(text)) {
			var e event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			events = append(events, e)
		}
		return len(events) >= n
	}
	r.until("the program was told that it is safe to switch", func() bool { return hears(1) })
	if _, err := r.operator.Switched(context.Background(), "example.org"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.operator.Start(context.Background(), "example.org", nil); err != nil {
		t.Fatal(err)
	}
	r.until("the program was told of the switch", func() bool { return hears(4) })
	verdict := slices.ContainsFunc(events, func(e event) bool {
		return e.Event == "verdict" && e.Domain == "example.org" && e.Verdict == "safe_to_switch" && e.OK != nil && *e.OK && len(e.YouMustCheck) > 0
	})
	not := slices.ContainsFunc(events, func(e event) bool { return e.Verdict == "safe_to_switch" && e.OK != nil && !*e.OK })
	phase := slices.ContainsFunc(events, func(e event) bool { return e.Event == "phase" && e.Domain == "example.org" && e.What == "handed over" })
	if !verdict || !not || !phase {
		t.Errorf("%+v", events)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if lines, _ := r.log.told(0); !strings.Contains(strings.Join(lines, ""), "notify_command failed") {
		t.Error("its failure was not told")
	}
	if _, err := os.Stat(filepath.Join(dir, "oops")); err == nil {
		t.Error("a shell has read its name")
	}
}

// TestRemovedUnfinished: an account that the configuration lacks before it was
// finished blocks both verdicts until it is back or left out.
func TestRemovedUnfinished(t *testing.T) {
	w := newWorld(t, 2, 6)
	gone := w.Accounts()[1]
	r := w.run(func(o *daemon.Options) { o.Unverified = false })
	safe := func() bool { return r.status().Domains[0].SafeToSwitch.OK }
	r.until("safe to switch", safe)
	w.write(without(w.Config(), gone))
	if err := r.client.Reload(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	if v := r.status().Domains[0].SafeToSwitch; v.OK || v.Reasons[0].Reason != string(cutover.ReasonRemoved) || !strings.Contains(v.Reasons[0].Text, gone) {
		t.Errorf("%+v", v)
	}
	w.write(w.Config())
	if err := r.client.Reload(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	r.until("safe to switch again", safe)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	// Also where nobody looks.
	w.write(without(w.Config(), gone))
	r = w.run(func(o *daemon.Options) { o.Unverified = false })
	r.until("not safe", func() bool { return !safe() })
	if err := r.operator.SkipAccount(context.Background(), gone, "it was a test"); err != nil {
		t.Fatal(err)
	}
	r.until("safe to switch without it", safe)
	if err := r.operator.SkipAccount(context.Background(), "nobody", "x"); err == nil {
		t.Error("an account that never was is skipped")
	}
}
