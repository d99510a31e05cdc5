package daemon

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/metrics"
)

// limitsFor makes limits whose clock stands at *now.
func limitsFor(t *testing.T, dir string, c *config.Config, now *time.Time) *limits {
	t.Helper()
	use, err := readUsage(dir, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return newLimits(c, func() time.Time { return *now }, metrics.New(nil, metrics.Options{}), use)
}

var anHost = config.Server{Host: "old.example", Port: 993, User: "foo"}

// TestDailyBytes: a day's octets, the last tenth of them for news, in any 24
// hours, whatever is started again meanwhile.
func TestDailyBytes(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 11, 24, 22, 30, 0, 0, time.UTC)
	c := &config.Config{SourceLimits: config.Limits{DailyBytes: 1000}}
	l := limitsFor(t, dir, c, &now)
	a := l.allowance(remote.SideSource, anHost, "foo")
	expect := func(news bool, until time.Time) {
		t.Helper()
		var spent *spentError
		switch err := a.spent(news); {
		case until.IsZero() && err != nil, !until.IsZero() && !errors.As(err, &spent):
			t.Errorf("%s, news %t: %v", now, news, err)
		case err != nil && !spent.until.Equal(until):
			t.Errorf("%s, news %t: until %s, want %s", now, news, spent.until, until)
		}
	}
	a.talked(899)
	expect(false, time.Time{})
	a.talked(1)
	first := time.Date(2026, 11, 25, 23, 0, 0, 0, time.UTC) // 24 hours after the end of that hour
	expect(false, first)
	expect(true, time.Time{})
	if other := l.allowance(remote.SideDestination, anHost, "foo"); other.spent(false) != nil {
		t.Error("one side is limited by the other")
	}

	now = now.Add(time.Hour)
	a.talked(100)
	expect(true, first)
	l.usage.save(true)
	l = limitsFor(t, dir, c, &now)
	a = l.allowance(remote.SideSource, anHost, "foo")
	expect(true, first)
	s := l.status()
	if len(s) != 1 || s[0].UsedBytes != 1000 || s[0].DailyBytes != 1000 || !s[0].Resumes.Equal(first) || s[0].Side != "source" || s[0].Account != "" {
		t.Errorf("%+v", s)
	}
	now = first.Add(-time.Second)
	expect(true, first)
	now = first
	expect(true, time.Time{})
	expect(false, time.Time{})
	if used := l.usage.used("source old.example:993", now); used != 100 {
		t.Errorf("used %d", used)
	}
}

// TestDailyBytesOfAccounts: each has its own, and one that is renamed keeps what
// it has used.
func TestDailyBytesOfAccounts(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 11, 24, 22, 30, 0, 0, time.UTC)
	accounts := []config.Account{{Name: "foo"}, {Name: "bar"}}
	l := limitsFor(t, dir, &config.Config{Accounts: accounts, SourceLimits: config.Limits{DailyBytesPerAccount: 100}}, &now)
	bar := anHost
	bar.User = "bar"
	bar.Limits = &config.Limits{DailyBytes: 200}
	a, b := l.allowance(remote.SideSource, anHost, "foo"), l.allowance(remote.SideSource, bar, "bar")
	a.talked(150)
	b.talked(150)
	if a.spent(true) == nil || b.spent(true) != nil {
		t.Errorf("foo: %v, bar: %v", a.spent(true), b.spent(true))
	}
	if l.use(&config.Config{Accounts: []config.Account{{Name: "foo2"}}, SourceLimits: config.Limits{DailyBytesPerAccount: 100}}); l.allowance(remote.SideSource, anHost, "foo2").spent(true) == nil {
		t.Error("a new name gives the day back")
	}
	if l.use(&config.Config{}); a.spent(true) != nil {
		t.Error("a limit that was taken back is in force")
	}
}

// TestWindows: the rate goes by the hour.
func TestWindows(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC) // a Tuesday
	c := &config.Config{DestinationLimits: config.Limits{BytesPerSecond: 5, Windows: []config.Window{
		{Days: [7]bool{time.Tuesday: true}, From: 8 * 60, To: 18 * 60, Rates: map[config.Rate]float64{config.RateBytes: 2}},
	}}}
	l := limitsFor(t, t.TempDir(), c, &now)
	server := l.allowance(remote.SideDestination, anHost, "foo")[0]
	for at, want := range map[time.Duration]float64{-time.Second: 5, 0: 2, 10*time.Hour - time.Second: 2, 10 * time.Hour: 5, 24 * time.Hour: 5} {
		now = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC).Add(at)
		if got := server.rate(config.RateBytes); got != want {
			t.Errorf("%s: %v, want %v", now, got, want)
		}
	}
}

// TestUsageDamaged: what cannot be read costs the count and nothing else.
func TestUsageDamaged(t *testing.T) {
	for _, text := range []string{"", "{", "null", `{"a":{"x":1}}`} {
		dir, now := t.TempDir(), time.Now()
		if err := os.WriteFile(filepath.Join(dir, "usage.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l := limitsFor(t, dir, &config.Config{SourceLimits: config.Limits{DailyBytes: 10}}, &now)
		a := l.allowance(remote.SideSource, anHost, "foo")
		if a.talked(10); a.spent(true) == nil {
			t.Errorf("%q: nothing is counted any more", text)
		}
		l.usage.save(true)
		if a = limitsFor(t, dir, &config.Config{SourceLimits: config.Limits{DailyBytes: 10}}, &now).allowance(remote.SideSource, anHost, "foo"); a.spent(true) == nil {
			t.Errorf("%q: nothing was written", text)
		}
	}
}
