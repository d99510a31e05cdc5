package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/demo"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
	"github.com/imapsyncd/imapsyncd/metrics"
)

// TestScheduledComparison: one that is broken off, by the end of the process
// too, goes on where it was, and its outcome is remembered.
func TestScheduledComparison(t *testing.T) {
	w, err := demo.Start(context.Background(), demo.Options{Dir: t.TempDir(), Seed: 3, Accounts: 1, Messages: 200})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	path := filepath.Join(t.TempDir(), "imapsyncd.toml")
	if err := os.WriteFile(path, []byte(w.Config()), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() *Daemon {
		cfg, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(Options{Config: cfg, Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(nil, metrics.Options{})})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open()
	for _, out := range d.Sync(context.Background(), func(string) {}, func(Outcome) {}) {
		if out.Err != nil {
			t.Fatal(out.Err)
		}
	}
	name := d.Config.Accounts[0].Name

	var octets int64 // that the pace was asked for
	enough := errors.New("enough")
	for attempt := 0; ; attempt++ {
		parts := 0
		report, err := d.Operator().(*desk).compareScheduled(context.Background(), name, func(_ context.Context, n int64) error {
			if parts++; parts > 2 {
				return enough
			}
			octets += n
			return nil
		})
		known, _ := d.record.knownAccount(name)
		if err != nil {
			if report.Error == "" || len(known.Comparing) == 0 || !known.Quick.Began.IsZero() {
				t.Fatalf("broken off: %v, progress %s, remembered as of %s", err, known.Comparing, known.Quick.Began)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = open()
			continue
		}
		if attempt < 2 {
			t.Errorf("broken off %d times only", attempt)
		}
		if report.Compared != 100 || report.Mode != verify.Sample || !report.Clean() {
			t.Errorf("%+v", report)
		}
		if len(known.Comparing) != 0 || known.Quick.Began.IsZero() || known.Contents.Differences != 0 {
			t.Errorf("%+v", known)
		}
		break
	}
	var all int64
	report := d.Operator().(*desk).compare(context.Background(), d.Config.Accounts[0], verify.Options{Mode: verify.Deep, Pace: func(_ context.Context, n int64) error {
		all += n
		return nil
	}})
	if report.Error != "" || report.Compared != report.Messages() || octets >= all {
		t.Errorf("%s: %d octets of %d messages, the sample %d", report.Error, all, report.Compared, octets)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
