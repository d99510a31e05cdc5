package prometheus_test

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/demo"
)

// stage is a migration with a Prometheus that watches it.
type stage struct {
	*server
	program, config string

	panels map[string]string // title → first expression
	unseen map[string]string // each expression that has shown nothing yet → title
}

// expression is what a panel asks, for all that there is.
func expression(asked string) string {
	return strings.NewReplacer("$instance", ".*", "$domain", ".*", "$__rate_interval", "15s").Replace(asked)
}

// look asks each expression of the dashboard that has not shown anything yet.
func (s *stage) look() {
	s.t.Helper()
	for _, e := range slices.Collect(maps.Keys(s.unseen)) {
		if slices.ContainsFunc(s.values(e), func(v float64) bool { return !math.IsNaN(v) }) {
			delete(s.unseen, e)
		}
	}
}

// shows waits for a panel to show just these lines, see [server.lines].
func (s *stage) shows(title string, want ...string) {
	s.t.Helper()
	slices.Sort(want)
	await(s.t, fmt.Sprintf("%s, want %q", title, want), func() []string { return s.lines(s.asked(title)) }, func(got []string) bool { return slices.Equal(got, want) })
}

// includes waits for a panel to show this line, whatever else.
func (s *stage) includes(title, want string) {
	s.t.Helper()
	await(s.t, title+", want "+want, func() []string { return s.lines(s.asked(title)) }, func(got []string) bool { return slices.Contains(got, want) })
}

func (s *stage) asked(title string) string {
	s.t.Helper()
	asked, ok := s.panels[title]
	if !ok {
		s.t.Fatalf("the dashboard has no panel %q", title)
	}
	return asked
}

// command runs a command of the program that has to succeed.
func (s *stage) command(args ...string) {
	s.t.Helper()
	if out, err := exec.Command(s.program, append(args, "--config", s.config)...).CombinedOutput(); err != nil {
		s.t.Fatalf("imapsyncd %v: %v\n%s", args, err, out)
	}
}

func (s *stage) write(config string) {
	s.t.Helper()
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// what the story adds to the configuration of its world. What takes days takes
// seconds.
const (
	domains = `
[cutover]
quiet_period = "2s"
workdays = []
finish = "ask"
old_hosts = ["mx.old.example.org"]
[[domain]]
name = "example.org"
switch = "manual"
`
	lockedOut = `
[[account]]
name = "locked-out"
domains = ["other.example"]
[account.source]
user = "nobody"
password = "wrong"
[account.destination]
user = "nobody"
password = "wrong"
[[domain]]
name = "other.example"
switch = "manual"
`
)

// TestEndToEnd has a real Prometheus watch a whole migration: an account that
// cannot log in, one that is paused, a copy, a kill in the middle of it, mail that arrives, a
// configuration that goes wrong, the switch, late mail, the end. What panels
// show, and which alerts hold, is what happens; and each expression of the
// dashboard shows something at some moment.
func TestEndToEnd(t *testing.T) {
	binary := tool(t, "prometheus")
	dir, err := os.MkdirTemp("", "imapsyncd-test-") // short: a unix socket is below it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &stage{
		server: &server{t: t}, program: filepath.Join(dir, "imapsyncd"), config: filepath.Join(dir, "imapsyncd.toml"),
		panels: make(map[string]string), unseen: make(map[string]string),
	}
	if out, err := exec.Command("go", "build", "-o", s.program, "../../cmd/imapsyncd").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, p := range panels(t) {
		for i, target := range p.Targets {
			e := expression(target.Expr)
			s.unseen[e] = p.Title
			if _, there := s.panels[p.Title]; !there && i == 0 {
				s.panels[p.Title] = e
			}
		}
	}
	expressions := len(s.unseen)
	world, err := demo.Start(t.Context(), demo.Options{Dir: dir, Seed: 4, Accounts: 3, Messages: 120, AppendDelay: 60 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	config := strings.Replace(world.Config(), `linger = "0s"`, `linger = "4s"`, 1) + domains
	s.write(config + lockedOut)
	last := world.Accounts()[2]
	s.command("pause", "--account", last)

	daemon := start(t, s.program, "run", "--config", s.config)
	page := daemon.told(`page=http://(\S+)/`)
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	// As scrape.yml has it, but for where and how often.
	scrape := strings.NewReplacer("/etc/prometheus/imapsyncd.rules.yml", rules, "15s", "1s", "127.0.0.1:9143", page).Replace(read(t, "scrape.yml"))
	configFile := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(configFile, []byte("global:\n  evaluation_interval: 1s\n"+scrape), 0o600); err != nil {
		t.Fatal(err)
	}
	prometheus := start(t, binary, "--config.file="+configFile, "--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--web.listen-address=127.0.0.1:0")
	prometheus.told("(Server is ready)")
	s.address = prometheus.told(`msg="Listening on" address=(\S+)`)

	// One account is locked out, and one is not to be copied yet.
	s.shows("Up", "1")
	s.shows("By phase", "draining 0", "finished 0", "following 2", "seeding 2")
	s.shows("Not well", "locked-out auth 1", last+" paused 1")
	s.shows("Phase", "example.org seeding 1", "other.example seeding 1")
	s.shows("Safe to switch", "example.org 0", "other.example 0")
	s.includes("Why, and what else to know", "example.org paused safe_to_switch 1")
	s.includes("Why, and what else to know", "other.example cannot_log_in safe_to_switch 1")
	s.alertingUntil("ImapsyncdAccountNeedsOperator")
	s.command("resume", "--account", last)
	s.until(s.asked("Pending"), func(v float64) bool { return v > 0 })
	s.until(s.asked("Time left"), func(v float64) bool { return v > 0 })
	s.until(s.asked("On the new server"), func(v float64) bool { return v > 60 && v < 100 })
	s.look()

	// A kill in the middle of it.
	if err := daemon.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.alertingUntil("ImapsyncdDown")
	daemon = start(t, s.program, "run", "--config", s.config, "--web.listen-address", page)
	s.shows("Up", "1")
	s.shows("On the new server", "100")
	s.shows("Pending", "0")
	s.until(s.asked("Held"), func(v float64) bool { return v == 0 })
	s.shows("By phase", "draining 0", "finished 0", "following 3", "seeding 1")
	s.shows("Phase", "example.org following 1", "other.example seeding 1")
	s.shows("Safe to switch", "example.org 1", "other.example 0")
	s.until(s.asked("Found by the last verification"), func(v float64) bool { return v == 0 })
	s.until(s.asked("Last verification"), func(v float64) bool { return v < 60 })
	s.alertingUntil("ImapsyncdAccountNeedsOperator", "ImapsyncdReadyToSwitch")

	// What it tells is well formed; then new mail, until all has been seen.
	answer, err := http.Get("http://" + page + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	check := exec.Command(tool(t, "promtool"), "check", "metrics")
	check.Stdin = answer.Body
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	for deadline := time.Now().Add(patience); len(s.unseen) > 0 && time.Now().Before(deadline); time.Sleep(time.Second) {
		if _, err := world.DeliverNext(); err != nil {
			t.Fatal(err)
		}
		s.look()
	}
	for e, panel := range s.unseen {
		t.Errorf("the panel %q has never shown anything: %s", panel, e)
	}
	t.Logf("%d expressions of the dashboard have shown something", expressions-len(s.unseen))
	s.until(s.asked("From what showed it to receipt"), func(v float64) bool { return v > 0 && v < 10 })

	// A configuration that goes wrong, and one without the account.
	s.write("wrong = true\n" + config)
	s.alertingUntil("ImapsyncdAccountNeedsOperator", "ImapsyncdReadyToSwitch", "ImapsyncdReloadFailed")
	s.shows("Configuration in force", "0")
	s.write(config)
	s.command("reload", "--allow-removals")
	s.alertingUntil("ImapsyncdReadyToSwitch")
	s.shows("Configuration in force", "1")
	s.shows("Not well")

	// The switch, and late mail.
	s.command("cutover", "switched", "example.org")
	s.shows("Phase", "example.org draining 1")
	if _, err := world.DeliverNext(); err != nil {
		t.Fatal(err)
	}
	s.until(`imapsyncd_late_messages_total`, func(v float64) bool { return v == 1 })
	s.until(s.asked("Late mail, per hour")+" > 0", func(v float64) bool { return v > 0 })
	s.shows("Pending", "0")
	s.shows("Safe to stop", "example.org 1")
	s.shows("Safe to switch", "example.org 0")
	s.includes("Why, and what else to know", "example.org waits_for_finish safe_to_stop 1")
	s.alertingUntil("ImapsyncdSafeToStop")

	// The end. That it is down is no alert any more.
	s.command("cutover", "finish", "example.org")
	s.shows("Phase", "example.org finished 1")
	if err := daemon.ended(); err != nil {
		t.Fatalf("the daemon has ended with %v", err)
	}
	s.shows("Up", "0")
	s.alertingUntil()
}
