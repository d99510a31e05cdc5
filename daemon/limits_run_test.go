package daemon_test

import (
	"context"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// limited returns the configuration of a world with limits.
func limited(w *world, limits string) string {
	text := regexp.MustCompile(`(?m)^\[limits\]\n`).ReplaceAllString(w.Config(), "")
	return strings.Replace(text, "\n[source]\n", "\n[limits]\n"+limits+"\n[source]\n", 1)
}

// TestDailyBytesPause: the first copy pauses when the day is used up, says until
// when, still does after a restart, goes on when there is more, and listens all
// the while.
func TestDailyBytesPause(t *testing.T) {
	w := newWorld(t, 1, 400)
	name := w.Accounts()[0]
	w.write(limited(w, "daily_bytes = \"60kB\"\n"))
	r := w.run()
	paused := func() bool {
		a := r.account(name)
		return a.Health == mail.HealthBackoff && strings.Contains(a.Error, "daily_bytes of all accounts on the ") && strings.Contains(a.Error, "it goes on at ")
	}
	r.until("the day is used up", paused)
	if a := r.account(name); a.Messages.Copied >= 400 || a.Connections.Source != 1 {
		t.Errorf("%+v", a)
	}
	scarce := func() (used int64) {
		for _, l := range r.status().Limits {
			if l.Scarce() {
				if l.UsedBytes < 54e3 || l.DailyBytes != 60e3 || time.Until(l.Resumes) < 24*time.Hour || time.Until(l.Resumes) > 25*time.Hour {
					t.Errorf("%+v", l)
				}
				used = max(used, l.UsedBytes)
			}
		}
		return used
	}
	used := scarce()
	if used == 0 {
		t.Errorf("no limit is shown as used up: %+v", r.status().Limits)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	r = w.run()
	r.until("it is still used up after a restart", paused)
	if again := scarce(); again < used {
		t.Errorf("%d octets were used, %d after the restart", used, again)
	}
	if a := r.account(name); a.Messages.Copied != 0 {
		t.Errorf("%d messages were copied after the restart", a.Messages.Copied)
	}
	w.write(limited(w, ""))
	if err := r.client.Reload(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	r.untilFollowing()
	w.same()
}

// TestRates: log-ins and octets keep to their rates, the time is counted, and
// everything arrives.
func TestRates(t *testing.T) {
	w := newWorld(t, 2, 60)
	w.write(limited(w, "logins_per_second = 2\nbytes_per_second = \"600kB\"\n"))
	began := time.Now()
	var mu sync.Mutex
	dialed := make(map[string]int)
	r := w.run(func(o *daemon.Options) {
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			dialed[address]++
			if n, most := dialed[address], 2+2*time.Since(began).Seconds(); float64(n) > most {
				t.Errorf("%d log-ins after %s to %s", n, time.Since(began), address)
			}
			mu.Unlock()
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	})
	r.untilFollowing()
	took := time.Since(began)
	w.same()
	// Each connection may have been in the middle of a read of 64 KiB.
	if copied := r.status().Totals.Messages.CopiedBytes; float64(copied-4*64<<10) > 600e3*(1+took.Seconds()) {
		t.Errorf("%d octets were copied within %s", copied, took)
	} else if copied < 800e3 {
		t.Fatalf("only %d octets were copied: that shows nothing", copied)
	}
	if r.metric("throttled_seconds_total", "source") < 0.5 || r.metric("throttled_seconds_total", "destination") < 0.5 {
		t.Errorf("throttled for %v and %v seconds", r.metric("throttled_seconds_total", "source"), r.metric("throttled_seconds_total", "destination"))
	}
}
