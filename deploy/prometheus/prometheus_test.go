package prometheus_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
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

	// ended waits for the end of the program.
	ended func() error
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
	p.ended = sync.OnceValue(func() error {
		<-read
		return p.cmd.Wait()
	})
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.ended()
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

// sample is one series of an instant vector.
type sample struct {
	Metric map[string]string
	Value  [2]any // a time, and a number as text
}

// vector evaluates an expression.
func (s *server) vector(expression string) []sample {
	s.t.Helper()
	var data struct{ Result []sample }
	s.get("/api/v1/query", url.Values{"query": {expression}}, &data)
	return data.Result
}

// values evaluates an expression: the numbers of its series.
func (s *server) values(expression string) []float64 {
	s.t.Helper()
	var values []float64
	for _, r := range s.vector(expression) {
		n, err := strconv.ParseFloat(r.Value[1].(string), 64)
		if err != nil {
			s.t.Fatal(err)
		}
		values = append(values, n)
	}
	return values
}

// lines evaluates an expression; each series is a line of the values of its
// labels, in the order of their names, and its own.
func (s *server) lines(expression string) []string {
	s.t.Helper()
	var lines []string
	for _, r := range s.vector(expression) {
		var words []string
		for _, label := range slices.Sorted(maps.Keys(r.Metric)) {
			if !slices.Contains([]string{"__name__", "instance", "job"}, label) {
				words = append(words, r.Metric[label])
			}
		}
		lines = append(lines, strings.Join(append(words, r.Value[1].(string)), " "))
	}
	slices.Sort(lines)
	return lines
}

// await waits for what is asked to be as it should be.
func await[T any](t *testing.T, what string, ask func() T, ok func(T) bool) {
	t.Helper()
	var got T
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if got = ask(); ok(got) {
			return
		}
	}
	t.Fatalf("%s: %v", what, got)
}

// until waits for an expression to have only values that are as wanted, and one
// at least.
func (s *server) until(expression string, ok func(float64) bool) {
	s.t.Helper()
	await(s.t, expression, func() []float64 { return s.values(expression) }, func(values []float64) bool {
		return len(values) > 0 && !slices.ContainsFunc(values, func(v float64) bool { return !ok(v) })
	})
}

// alerting are the alerts whose expressions, as Prometheus has read them, hold
// now.
func (s *server) alerting() []string {
	s.t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Type, Name, Query, Health, LastError string }
		}
	}
	s.get("/api/v1/rules", nil, &data)
	var names []string
	rules := 0
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			if r.Health == "err" {
				s.t.Fatalf("%s: %s", r.Name, r.LastError)
			}
			if r.Type != "alerting" {
				continue
			}
			rules++
			if len(s.vector(r.Query)) > 0 {
				names = append(names, r.Name)
			}
		}
	}
	if want := len(alerts(s.t)); rules != want {
		s.t.Fatalf("Prometheus knows %d alerts of %d", rules, want)
	}
	slices.Sort(names)
	return names
}

// alertingUntil waits for just these alerts.
func (s *server) alertingUntil(want ...string) {
	s.t.Helper()
	slices.Sort(want)
	await(s.t, fmt.Sprintf("alerts, want %v", want), s.alerting, func(got []string) bool { return slices.Equal(got, want) })
}
