package prometheus_test

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/demo"
)

// patience is how long anything may take.
const patience = time.Minute

// tool finds a program of Debian's package prometheus, or skips the test where
// there is none.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("IMAPSYNCD_REQUIRE_SERVERS") != "" {
		t.Fatalf("%v: install prometheus", err)
	}
	t.Skipf("%v: install prometheus", err)
	return ""
}

// TestRules: promtool finds nothing wrong with the rules, and each alert fires
// when it should and else does not.
func TestRules(t *testing.T) {
	promtool := tool(t, "promtool")
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", testsFile, longTestsFile}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// process is a running program.
type process struct {
	t   *testing.T
	cmd *exec.Cmd

	mu  sync.Mutex
	log strings.Builder
}

// start runs a program until the end of the test.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			p.mu.Lock()
			p.log.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-read
		p.cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.logged())
		}
	})
	return p
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// told waits for a line of the log and returns the first group of it.
func (p *process) told(pattern string) string {
	p.t.Helper()
	line := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if m := line.FindStringSubmatch(p.logged()); m != nil {
			return m[1]
		}
	}
	p.t.Fatalf("nothing was logged like %s:\n%s", pattern, p.logged())
	return ""
}

// server is a running Prometheus.
type server struct {
	t       *testing.T
	address string
}

// get asks the API and decodes its data.
func (s *server) get(path string, query url.Values, data any) {
	s.t.Helper()
	answer, err := http.Get("http://" + s.address + path + "?" + query.Encode())
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	envelope := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(body, &envelope); err != nil || envelope.Status != "success" {
		s.t.Fatalf("%s %v: %v %s", path, query, err, body)
	}
}

// values evaluates an expression: the numbers of its series.
func (s *server) values(expression string) []float64 {
	s.t.Helper()
	var data struct {
		Result []struct{ Value [2]any }
	}
	s.get("/api/v1/query", url.Values{"query": {expression}}, &data)
	var values []float64
	for _, r := range data.Result {
		n, err := strconv.ParseFloat(r.Value[1].(string), 64)
		if err != nil {
			s.t.Fatal(err)
		}
		values = append(values, n)
	}
	return values
}

// until waits for an expression to have only values that are as wanted, and one
// at least.
func (s *server) until(expression string, ok func(float64) bool) {
	s.t.Helper()
	var values []float64
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		values = s.values(expression)
		if len(values) > 0 && !slices.ContainsFunc(values, func(v float64) bool { return !ok(v) }) {
			return
		}
	}
	s.t.Fatalf("%s: %v", expression, values)
}

// alerting are the alerts that fire or are about to.
func (s *server) alerting() []string {
	s.t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, State, Health, LastError string }
		}
	}
	s.get("/api/v1/rules", nil, &data)
	var names []string
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			if r.Health == "err" {
				s.t.Fatalf("%s: %s", r.Name, r.LastError)
			}
			if r.State != "inactive" {
				names = append(names, r.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// alertingUntil waits for just these alerts.
func (s *server) alertingUntil(want ...string) {
	s.t.Helper()
	slices.Sort(want)
	var got []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if got = s.alerting(); slices.Equal(got, want) {
			return
		}
	}
	s.t.Fatalf("alerts %v, want %v", got, want)
}

// TestEndToEnd has a real Prometheus watch a migration: an account that cannot
// log in, a copy, mail that arrives, a configuration that goes wrong, an end.
// Each panel of the dashboard shows something at some moment, and the alerts are
// those of the story.
func TestEndToEnd(t *testing.T) {
	binary := tool(t, "prometheus")
	dir, err := os.MkdirTemp("", "imapsyncd-test-") // short: a unix socket is below it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "imapsyncd")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/imapsyncd").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	world, err := demo.Start(t.Context(), demo.Options{Dir: dir, Seed: 4, Accounts: 3, Messages: 120, AppendDelay: 60 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	file := filepath.Join(dir, "imapsyncd.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first := world.Accounts()[0]
	config := world.Config() + `
[[account]]
name = "locked-out"
domains = ["other.example"]
[account.source]
user = "` + first + `@old"
password = "wrong"
[account.destination]
user = "nobody"
password = "wrong"
[[domain]]
name = "example.org"
switch = "manual"
[[domain]]
name = "other.example"
switch = "manual"
`
	write(config)

	daemon := start(t, program, "run", "--config", file)
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
	s := &server{t: t, address: prometheus.told(`msg="Listening on" address=(\S+)`)}

	// Each expression of the dashboard is asked until it has shown something.
	unseen := make(map[string]string) // expression → panel
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			unseen[strings.NewReplacer("$instance", ".*", "$domain", ".*", "$__rate_interval", "15s").Replace(target.Expr)] = p.Title
		}
	}
	expressions := len(unseen)
	look := func() {
		t.Helper()
		for _, e := range slices.Collect(maps.Keys(unseen)) {
			if slices.ContainsFunc(s.values(e), func(v float64) bool { return !math.IsNaN(v) }) {
				delete(unseen, e)
			}
		}
	}
	look()
	s.until(`imapsyncd_pending_messages{account="`+first+`"}`, func(v float64) bool { return v > 0 })
	look()
	s.alertingUntil("ImapsyncdAccountNeedsOperator")
	s.until(`imapsyncd_accounts{phase="following", health="ok"}`, func(v float64) bool { return v == 3 })
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
	for deadline := time.Now().Add(patience); len(unseen) > 0 && time.Now().Before(deadline); time.Sleep(time.Second) {
		if _, err := world.DeliverNext(); err != nil {
			t.Fatal(err)
		}
		look()
	}
	for e, panel := range unseen {
		t.Errorf("the panel %q has never shown anything: %s", panel, e)
	}
	t.Logf("%d expressions of the dashboard have shown something", expressions-len(unseen))

	write("wrong = true\n" + config)
	s.alertingUntil("ImapsyncdAccountNeedsOperator", "ImapsyncdReadyToSwitch", "ImapsyncdReloadFailed")
	write(config)
	s.alertingUntil("ImapsyncdAccountNeedsOperator", "ImapsyncdReadyToSwitch")
	if err := daemon.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.alertingUntil("ImapsyncdDown")
}
