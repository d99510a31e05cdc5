package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/demo"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/metrics"
)

// patience is how long anything may take before a test fails.
const patience = time.Minute

// world is a demo world with its configuration file.
type world struct {
	*demo.World
	t    *testing.T
	path string
}

func newWorld(t *testing.T, accounts, messages int) *world {
	t.Helper()
	// The name of a unix socket is short, t.TempDir's may be long.
	dir, err := os.MkdirTemp("", "imapsyncd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w, err := demo.Start(context.Background(), demo.Options{Dir: dir, Seed: 7, Accounts: accounts, Messages: messages})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	one := &world{World: w, t: t, path: filepath.Join(dir, "imapsyncd.toml")}
	one.write(w.Config())
	return one
}

// write puts a new configuration in the place of the old one, as editors do.
func (w *world) write(text string) {
	w.t.Helper()
	next := w.path + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(next, w.path); err != nil {
		w.t.Fatal(err)
	}
}

// without returns a configuration without some accounts.
func without(config string, names ...string) string {
	parts := strings.Split(config, "\n[[account]]\n")
	text := parts[0]
	for _, part := range parts[1:] {
		keep := true
		for _, name := range names {
			keep = keep && !strings.HasPrefix(part, fmt.Sprintf("name = %q\n", name))
		}
		if keep {
			text += "\n[[account]]\n" + part
		}
	}
	return text
}

func (w *world) same() {
	w.t.Helper()
	differences, err := w.Compare(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, d := range differences {
		w.t.Error(d)
	}
}

// running is a daemon under test.
type running struct {
	t        *testing.T
	client   *web.Client
	operator daemon.Operator // over the socket
	log      *logged
	registry *prometheus.Registry
	address  string
	stopping chan struct{}
	kill     context.CancelFunc
	ended    chan error
}

// logged keeps the lines of a log.
type logged struct {
	mu    sync.Mutex
	lines []string
	t     *testing.T
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return l.t.Output().Write(p)
}

// told returns the lines from the n-th on that an operator sees by default,
// and how many lines there are.
func (l *logged) told(from int) (lines []string, next int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines[from:] {
		if !strings.Contains(line, "level=DEBUG") {
			lines = append(lines, line)
		}
	}
	return lines, len(l.lines)
}

// run starts a daemon that ends with the test.
func (w *world) run(change ...func(*daemon.Options)) *running {
	w.t.Helper()
	load := func() (*config.Config, error) { return config.Load(w.path) }
	cfg, err := load()
	if err != nil {
		w.t.Fatal(err)
	}
	r := &running{
		t: w.t, client: web.Dial(cfg.Socket), operator: daemon.Ask(cfg.Socket), log: &logged{t: w.t}, registry: prometheus.NewRegistry(),
		stopping: make(chan struct{}), ended: make(chan error, 1),
	}
	listening := make(chan net.Addr, 1)
	options := daemon.Options{
		Config: cfg, Load: load, Stopping: r.stopping, Quiet: 100 * time.Millisecond, Unverified: true, Logger: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics: metrics.New(r.registry, metrics.Options{}), Gatherer: r.registry, Version: "test",
		Listening: func(a net.Addr) { listening <- a },
	}
	for _, c := range change {
		c(&options)
	}
	d, err := daemon.Open(options)
	if err != nil {
		w.t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.kill = context.WithCancel(context.Background())
	go func() { r.ended <- errors.Join(d.Run(ctx), d.Close()) }()
	w.t.Cleanup(func() {
		r.kill()
		r.end()
	})
	select {
	case a := <-listening:
		r.address = a.String()
	case err := <-r.ended:
		w.t.Fatal(err)
	}
	return r
}

// end waits until the daemon has ended.
func (r *running) end() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		return err
	case <-time.After(patience):
		r.t.Fatal("the daemon does not end")
		return nil
	}
}

func (r *running) stop() error {
	close(r.stopping)
	return r.end()
}

func (r *running) status() web.Status {
	r.t.Helper()
	s, err := r.client.Status(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *running) account(name string) web.AccountStatus {
	r.t.Helper()
	for _, a := range r.status().Accounts {
		if a.Name == name {
			return a
		}
	}
	return web.AccountStatus{}
}

// until waits for a condition.
func (r *running) until(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within %s: %s\n%+v", patience, what, r.status())
		}
	}
}

// untilFollowing waits until every account follows and listens.
func (r *running) untilFollowing() {
	r.t.Helper()
	r.until("all accounts follow", func() bool {
		s := r.status()
		for _, a := range s.Accounts {
			if a.Phase != mail.PhaseFollowing || a.Health != mail.HealthOK || a.LastSuccess.IsZero() {
				return false
			}
		}
		return r.metric("connections", "source", "watching") == float64(len(s.Accounts))
	})
}

// metric returns a value, or of a histogram how often it was observed, by the
// values of its labels.
func (r *running) metric(name string, labels ...string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "imapsyncd_"+name {
			continue
		}
		for _, m := range family.GetMetric() {
			if hasLabels(m, labels) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return -1
}

func hasLabels(m *dto.Metric, values []string) bool {
	if len(m.GetLabel()) != len(values) {
		return false
	}
	for _, label := range m.GetLabel() {
		found := false
		for _, v := range values {
			found = found || label.GetValue() == v
		}
		if !found {
			return false
		}
	}
	return true
}

// get returns what the page's server answers.
func (r *running) get(path string) (int, string) {
	r.t.Helper()
	answer, err := http.Get("http://" + r.address + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func letter(id string) string {
	return "Message-ID: <" + id + "@test.example>\r\nSubject: " + id + "\r\n\r\nHello " + id + "\r\n"
}

// TestRun: everything is copied, what arrives is carried, and the metrics tell
// the truth about it.
func TestRun(t *testing.T) {
	w := newWorld(t, 2, 40)
	r := w.run()
	r.untilFollowing()
	w.same()
	name := w.Accounts()[0]
	before := r.account(name)
	if before.Messages.Copied == 0 || before.Messages.Copied != int64(before.Messages.Source) || before.Messages.Pending != 0 {
		t.Errorf("after the first copy: %+v", before.Messages)
	}
	if n := r.metric("replication_delay_seconds"); n != 0 {
		t.Errorf("%v replication delays before any mail arrived", n)
	}

	for i, mailbox := range []string{"INBOX", "INBOX", "Rechnungen/2025"} {
		if err := w.Deliver(name, mailbox, letter(fmt.Sprint("new-", i))); err != nil {
			t.Fatal(err)
		}
	}
	r.until("new mail is carried", func() bool { return r.account(name).Messages.Copied == before.Messages.Copied+3 })
	r.untilFollowing()
	w.same()

	r.until("no pass is running", func() bool { return r.metric("connections", "destination", "busy") == 0 })
	status := r.account(name)
	for _, m := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"messages_copied_total", []string{name}, float64(status.Messages.Copied)},
		{"source_messages", []string{name}, float64(status.Messages.Source)},
		{"pending_messages", []string{name}, 0},
		{"oldest_pending_timestamp_seconds", []string{name}, 0},
		{"messages_held", []string{name, "refused"}, 0},
		{"already_there_total", []string{name}, 0},
		{"account_health", []string{name, "ok"}, 1},
		{"account_health", []string{name, "backoff"}, 0},
		{"accounts", []string{"following", "ok"}, 2},
		{"replication_delay_seconds", nil, 3},
		{"carry_duration_seconds", nil, 3},
		{"connections", []string{"source", "watching"}, 2},
		{"connections", []string{"source", "connecting"}, 0},
		{"connections", []string{"destination", "connecting"}, 0},
		{"connection_errors_total", []string{"source", "lost"}, 0},
		{"connection_errors_total", []string{"destination", "lost"}, 0},
		{"in_doubt_total", []string{"resent"}, 0},
		{"config_last_reload_successful", nil, 1},
	} {
		if got := r.metric(m.name, m.labels...); got != m.want {
			t.Errorf("%s%v is %v, want %v", m.name, m.labels, got, m.want)
		}
	}
	if r.metric("append_duration_seconds") < 1 || r.metric("state_commit_duration_seconds") < 1 || r.metric("pass_duration_seconds") < 2 || r.metric("state_bytes") < 1 {
		t.Error("passes, appends or the state were not counted")
	}
	if at := r.metric("last_success_timestamp_seconds", name); at < float64(time.Now().Add(-patience).Unix()) {
		t.Errorf("last success at %v", at)
	}

	for path, want := range map[string]string{"/": name, "/api/status": name, "/metrics": "imapsyncd_messages_copied_total", "/-/ready": "ready", "/-/healthy": "healthy"} {
		if code, body := r.get(path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d without %q", path, code, want)
		}
	}

	begin := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
	for _, side := range []string{"source", "destination"} {
		for _, state := range []string{"connecting", "idle", "busy", "watching"} {
			if n := r.metric("connections", side, state); n != 0 {
				t.Errorf("%v connections of %s are still counted as %s", n, side, state)
			}
		}
	}
	if _, err := r.client.Status(context.Background()); !errors.Is(err, web.ErrNoDaemon) {
		t.Errorf("after the end: %v", err)
	}
}

func TestPause(t *testing.T) {
	w := newWorld(t, 2, 12)
	names := w.Accounts()
	r := w.run()
	r.untilFollowing()
	if err := r.client.Pause(context.Background(), []string{"nobody"}, false); err == nil {
		t.Error("an unknown account was paused")
	}
	if err := r.client.Pause(context.Background(), names[:1], false); err != nil {
		t.Fatal(err)
	}
	r.until("the account is paused", func() bool { return r.account(names[0]).Health == mail.HealthPaused })
	before := [2]int64{r.account(names[0]).Messages.Copied, r.account(names[1]).Messages.Copied}
	for _, name := range names {
		if err := w.Deliver(name, "INBOX", letter("paused")); err != nil {
			t.Fatal(err)
		}
	}
	r.until("the other account goes on", func() bool { return r.account(names[1]).Messages.Copied == before[1]+1 })
	if err := r.client.Sync(context.Background(), names[:1], false); err == nil || !strings.Contains(err.Error(), "paused") {
		t.Errorf("sync of a paused account: %v", err)
	}
	if n := r.account(names[0]).Messages.Copied; n != before[0] {
		t.Errorf("a paused account has carried %d messages", n-before[0])
	}

	// A kill does not resume it.
	r.kill()
	r.end()
	cfg, err := config.Load(w.path)
	if err != nil {
		t.Fatal(err)
	}
	if known, err := daemon.Known(cfg); err != nil || known.Accounts[0].Health != mail.HealthPaused || known.Accounts[1].Health != mail.HealthOK {
		t.Errorf("without the daemon: %+v, %v", known.Accounts, err)
	}
	r = w.run()
	if s := r.account(names[0]); s.Health != mail.HealthPaused {
		t.Errorf("after a restart the account is %s", s.Health)
	}
	r.until("the other account follows", func() bool { return r.account(names[1]).Phase == mail.PhaseFollowing })
	if err := r.client.Resume(context.Background(), nil, true); err != nil {
		t.Fatal(err)
	}
	if err := r.client.Sync(context.Background(), names, false); err != nil {
		t.Fatal(err)
	}
	if n := r.account(names[0]).Messages.Copied; n != 1 {
		t.Errorf("%d messages carried after it was resumed, want 1", n)
	}
	if text, err := os.ReadFile(filepath.Join(cfg.StateDir, "paused")); err != nil || len(text) > 0 {
		t.Errorf("paused still: %q, %v", text, err)
	}
	w.same()
}

func TestFind(t *testing.T) {
	w := newWorld(t, 1, 12)
	name := w.Accounts()[0]
	r := w.run()
	r.untilFollowing()
	if err := w.Deliver(name, "INBOX", letter("needle")); err != nil {
		t.Fatal(err)
	}
	if err := r.client.Sync(context.Background(), nil, true); err != nil {
		t.Fatal(err)
	}
	found, err := r.operator.Find(context.Background(), name, "<needle@test.example>")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].Source == nil || found[0].Destination == nil || !found[0].Receipt ||
		found[0].Source.Mailbox != "INBOX" || found[0].Destination.Mailbox != "INBOX" || found[0].Touched || found[0].Held != "" {
		t.Errorf("found %+v", found)
	}
	found, err = r.operator.Find(context.Background(), name, "<nothing@test.example>")
	if err != nil || len(found) != 0 {
		t.Errorf("found %+v, %v", found, err)
	}
	if _, err := r.operator.Find(context.Background(), "nobody", "x"); err == nil {
		t.Error("found something in no account")
	}
}

// TestKilled: a daemon that is killed in the middle of the copy loses and
// doubles nothing.
func TestKilled(t *testing.T) {
	w := newWorld(t, 2, 120)
	for range 3 {
		r := w.run()
		r.until("something is copied", func() bool { return r.status().Totals.Messages.Copied > 0 })
		r.kill()
		if err := r.end(); !errors.Is(err, context.Canceled) {
			t.Errorf("killed: %v", err)
		}
	}
	r := w.run()
	r.untilFollowing()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	w.same()

	cfg, err := config.Load(w.path)
	if err != nil {
		t.Fatal(err)
	}
	known, err := daemon.Known(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range known.Accounts {
		if a.Messages.Source < 100 || a.Messages.Held != 0 {
			t.Errorf("the state of %s knows %+v", w.Accounts()[i], a.Messages)
		}
	}
}
