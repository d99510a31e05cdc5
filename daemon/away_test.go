package daemon_test

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proxy"
)

// TestServerGone: while a server is away the account says so, and when it is
// back what has arrived meanwhile is carried.
func TestServerGone(t *testing.T) {
	w := newWorld(t, 1, 12)
	name := w.Accounts()[0]
	gate := newGate(t, w.Config())
	w.write(gate.config)
	r := w.run()
	r.untilFollowing()
	before := r.account(name).Messages.Copied
	_, from := r.log.told(0)
	gate.shut()
	r.until("the account backs off", func() bool { return r.account(name).Health == mail.HealthBackoff })
	if r.account(name).Error == "" {
		t.Error("backs off without saying why")
	}
	if r.metric("connection_errors_total", "source", "lost") < 1 {
		t.Error("no failed connection was counted")
	}
	if err := w.Deliver(name, "INBOX", letter("away")); err != nil {
		t.Fatal(err)
	}
	r.until("it has been tried again", func() bool { return r.metric("connection_errors_total", "source", "limit") >= 2 })
	gate.open()
	r.untilFollowing()
	r.until("the mail is carried", func() bool { return r.account(name).Messages.Copied == before+1 })
	w.same()
	var states []string
	said, _ := r.log.told(from)
	for _, line := range said {
		if _, state, ok := strings.Cut(line, `msg="account is `); ok {
			states = append(states, strings.Fields(state)[0])
		} else if !strings.Contains(line, `msg="pass done"`) {
			t.Errorf("said besides: %s", line)
		}
	}
	if !slices.Equal(states, []string{`backoff"`, `ok"`}) {
		t.Errorf("said of the account: %q", states)
	}
}

// through puts a proxy before the n-th server of a configuration.
func through(t *testing.T, config string, n int) (*proxy.Proxy, string) {
	t.Helper()
	port := regexp.MustCompile(`port = (\d+)`).FindAllStringSubmatch(config, -1)[n]
	p := proxy.Start(t, net.JoinHostPort("127.0.0.1", port[1]))
	return p, strings.Replace(config, port[0], fmt.Sprintf("port = %d", p.Port()), 1)
}

// TestBlackHole: a network that swallows everything, new connections too, is
// noticed within the bound that daemon.Options.Timeout documents, said once,
// and what has arrived meanwhile is carried by the pass that finds the server
// back.
func TestBlackHole(t *testing.T) {
	const timeout = 400 * time.Millisecond
	for n, side := range []string{"source", "destination"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, 12)
			name := w.Accounts()[0]
			hole, config := through(t, w.Config(), n)
			w.write(config)
			r := w.run(func(o *daemon.Options) { o.Timeout = timeout })
			r.untilFollowing()
			r.until("no pass is running", func() bool { return r.metric("connections", "destination", "busy") == 0 })
			before := r.account(name).Messages.Copied

			_, from := r.log.told(0)
			hole.BlackHole(true)
			begin := time.Now()
			if err := w.Deliver(name, "INBOX", letter("swallowed")); err != nil {
				t.Fatal(err)
			}
			r.until("it is noticed", func() bool { return r.account(name).Health == mail.HealthBackoff })
			poll := 2 * time.Second // as demo's configuration has it
			if took := time.Since(begin); took > poll+2*timeout+30*time.Second {
				t.Errorf("noticed after %s", took)
			}
			r.until("it has been tried again", func() bool { return r.metric("connection_errors_total", side, "timeout") >= 3 })
			if n := r.account(name).Messages.Copied; n != before {
				t.Fatalf("%d messages have come through the hole", n-before)
			}
			said, from := r.log.told(from)
			if len(said) != 1 || !strings.Contains(said[0], `msg="account is backoff"`) || !strings.Contains(said[0], "stopped answering") {
				t.Errorf("said while the network was away: %q", said)
			}

			hole.BlackHole(false)
			r.until("the account is well", func() bool { return r.account(name).Health == mail.HealthOK })
			if n := r.account(name).Messages.Copied; n != before+1 {
				t.Errorf("%d messages carried by the time the account is well, want 1", n-before)
			}
			said, _ = r.log.told(from)
			if n := strings.Count(strings.Join(said, ""), `msg="account is `); n != 1 {
				t.Errorf("said after the network was back: %q", said)
			}
			w.same()
		})
	}
}
