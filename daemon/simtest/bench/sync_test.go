package bench

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

// BenchmarkSync copies sites between two real servers within this process, so
// that -cpuprofile and -memprofile show where the time of imapsyncd goes.
func BenchmarkSync(b *testing.B) {
	for _, s := range []site{large, small, accounts} {
		b.Run(s.name, func(b *testing.B) {
			bench := newBench(b)
			bench.fill(b, s)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				j := bench.job(b, s)
				b.StartTimer()
				syncWithin(b, j, s.accounts*s.messages)
			}
			b.ReportMetric(float64(b.N*s.accounts*s.messages)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkVast copies from and to servers that are no burden themselves, but
// for the processor: so much imapsyncd could do, were it not for the servers.
func BenchmarkVast(b *testing.B) {
	const messages = 50_000
	run := func(b *testing.B, filled int) {
		for b.Loop() {
			b.StopTimer()
			j := job{dir: b.TempDir(), oldPort: newVast(b, 1, messages).port(), newPort: newVast(b, 2, filled).port(), accounts: []pairing{{"u", "u"}}}
			j.passwordFile = j.write(b, "password", dovecot.Password)
			b.StartTimer()
			syncWithin(b, j, messages-filled)
		}
		b.ReportMetric(float64(b.N*messages)/b.Elapsed().Seconds(), "messages/s")
	}
	b.Run("copy", func(b *testing.B) { run(b, 0) })
	b.Run("adopt", func(b *testing.B) { run(b, messages) })
}

// syncWithin runs one sync, which has to copy so many messages.
func syncWithin(b *testing.B, j job, messages int) {
	b.Helper()
	cfg, err := config.Load(imapsyncdConfig(b, j, "", ""))
	if err != nil {
		b.Fatal(err)
	}
	d, err := daemon.Open(daemon.Options{Config: cfg})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	copied := 0
	for _, o := range d.Sync(b.Context(), func(string) {}, func(daemon.Outcome) {}) {
		if o.Err != nil {
			b.Fatal(o.Err)
		}
		copied += o.Copied
	}
	if copied != messages {
		b.Fatalf("%d messages copied, not %d", copied, messages)
	}
}

// newBench starts two servers.
func newBench(t testing.TB) *bench {
	b := &bench{root: t, old: server(t), new: server(t), limitedTo: make(map[string]*dovecot.Server), foreigners: make(map[string]*foreigner), dir: t.TempDir(), contents: make(map[string]content)}
	b.passwordFile = filepath.Join(b.dir, "password")
	if err := os.WriteFile(b.passwordFile, []byte(dovecot.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}
