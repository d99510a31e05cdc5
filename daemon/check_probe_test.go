package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
)

// TestProbe: check says what a first copy can reckon with.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logins := 0
		refuse := false
		w := newWire(t, shm(t), rand.New(rand.NewPCG(1, 1)), func(old, new *imapsim.Options) {
			new.Capabilities = append(slices.Clone(new.Capabilities), "APPENDLIMIT=100")
			old.Before = func(c imapsim.Command) imapsim.Reaction {
				if c.Verb == "AUTHENTICATE" || c.Verb == "LOGIN" {
					if logins++; refuse && logins > 1 {
						return imapsim.Reaction{Say: "NO [LIMIT] too many connections"}
					}
				}
				return imapsim.Reaction{}
			}
		})
		defer w.close()
		octets := int64(0)
		for n := range 3 {
			text := gmailText(n) + strings.Repeat("x", 100*n)
			w.people.Old.Deliver([]string{"INBOX", "A"}[n/2], text, time.Date(2020, 1, 2, 3, 4, n, 0, time.UTC), mail.Flags{})
			octets += int64(len(text))
		}
		largest := int64(len(gmailText(2)) + 200)
		w.config.SourceLimits.MessagesPerSecond = 0.5
		check := func() Preflight {
			logins = 0
			d, err := Open(Options{Config: w.config, Dial: w.network.Dial, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			found, err := d.Operator().Check(context.Background(), nil)
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			if err != nil || len(found.Accounts) != 1 || found.Accounts[0].Probe == nil {
				t.Fatalf("%+v, %v", found, err)
			}
			return found
		}
		found := check()
		r := found.Accounts[0]
		p := *r.Probe
		if p.FetchSeconds < 0 || p.Fetched != 2 || p.FetchedOctets == 0 {
			t.Errorf("%+v", p)
		}
		p.FetchSeconds, p.Fetched, p.FetchedOctets = 0, 0, 0
		if want := (Probe{Messages: 3, Octets: octets, Largest: largest, AppendLimit: 100, Connections: 4}); p != want {
			t.Errorf("%+v, not %+v", p, want)
		}
		if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "APPENDLIMIT") {
			t.Errorf("%q", r.Warnings)
		}
		if want := (Forecast{fmt.Sprintf("127.0.0.1:%d", oldPort), 1, 3, octets, 6, "messages_per_second in [source.limits]"}); len(found.Forecasts) != 1 || found.Forecasts[0] != want {
			t.Errorf("%+v, not %+v", found.Forecasts, want)
		}

		refuse = true
		r = check().Accounts[0]
		if r.Error != "" || r.Probe.Connections != 1 || !strings.Contains(r.Probe.Refused, "too many connections") || len(r.Warnings) != 2 {
			t.Errorf("%+v %+v", r, r.Probe)
		}
		if n := w.new.Count(imapsim.Changing...); n != 0 {
			t.Errorf("it has changed something %d times", n)
		}
		for _, v := range slices.Concat(w.old.Violations(), w.new.Violations()) {
			t.Error(v)
		}
	})
}

// TestProbeQuota: more than there is room for is warned of.
func TestProbeQuota(t *testing.T) {
	p := &Probe{Octets: 5 << 20, Quota: remote.Quota{Known: true, Used: 1 << 20, Limit: 10 << 20}, Room: 4 << 20}
	if list := probeWarnings(p); len(list) != 1 || !strings.Contains(list[0], "5120 kB are to be carried, and the quota on the new server leaves room for 4096 kB") {
		t.Errorf("%q", list)
	}
	if p.Octets = p.Room; len(probeWarnings(p)) != 0 {
		t.Errorf("%q", probeWarnings(p))
	}
}
