// Package prometheus_test holds the alert rules and the dashboard against the
// metrics that there are, and against a real Prometheus.
package prometheus_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v2"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/imapsyncd/imapsyncd/daemon/verify"
	"github.com/imapsyncd/imapsyncd/metrics"
)

const (
	rulesFile     = "imapsyncd.rules.yml"
	testsFile     = "imapsyncd.rules.test.yml"
	longTestsFile = "imapsyncd.rules.days.test.yml"
	dashboardFile = "../grafana/imapsyncd.json"
	runbookFile   = "../docs/runbook.md"
)

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// panel is what of a dashboard's panel is asked for here.
type panel struct {
	Title   string
	Targets []struct{ Expr string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var dashboard struct{ Panels []panel }
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &dashboard); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(dashboard.Panels, func(p panel) bool { return p.Targets == nil }) // rows
}

// alerts are the names of all alerts.
func alerts(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(read(t, rulesFile), -1) {
		names = append(names, m[1])
	}
	if len(names) < 15 {
		t.Fatalf("only %d alerts", len(names))
	}
	return names
}

// TestDrift: rules and dashboard ask for metrics that there are, and for all of
// them.
func TestDrift(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m := metrics.New(registry, metrics.Options{})
	m.Account("a")
	one := []string{"x"}
	m.Domain("d", metrics.DomainLabels{Reasons: map[string][]string{"v": one}, Answers: one, Classes: one})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{"up": true}
	for _, f := range families {
		there[f.GetName()] = true
		if f.GetType() == dto.MetricType_HISTOGRAM {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				there[f.GetName()+part] = true
			}
		}
	}

	used := make(map[string]string) // where
	name := regexp.MustCompile(`\b(?:imapsyncd|process|go)_[a-z_]+|\bup\b`)
	for _, found := range name.FindAllString(regexp.MustCompile(`(?m)^ +#.*$|^ +(?:summary|description|runbook_url):.*$`).ReplaceAllString(read(t, rulesFile), ""), -1) {
		used[found] = rulesFile
	}
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			for _, found := range name.FindAllString(target.Expr, -1) {
				used[found] = dashboardFile
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(used)) {
		if !there[n] {
			t.Errorf("%s asks for %s, which there is not", used[n], n)
		}
	}
	for _, f := range families {
		n := f.GetName()
		if strings.HasPrefix(n, "imapsyncd_") && used[n] == "" && used[n+"_bucket"] == "" {
			t.Errorf("neither %s nor %s shows %s", rulesFile, dashboardFile, n)
		}
	}
}

// TestAlertsAreExplained: each alert has a section in the runbook, to which it
// links.
func TestAlertsAreExplained(t *testing.T) {
	rules, runbook := read(t, rulesFile), read(t, runbookFile)
	for _, alert := range alerts(t) {
		if !strings.Contains(rules, "/deploy/docs/runbook.md#"+strings.ToLower(alert)+"\n") {
			t.Errorf("%s does not link to its section of the runbook", alert)
		}
		_, section, found := strings.Cut(runbook, "\n### "+alert+"\n")
		section, _, _ = strings.Cut(section, "\n### ")
		if !found {
			t.Errorf("the runbook has no section %s", alert)
		} else {
			for _, part := range []string{"**Means**", "**Look at**", "**Do**"} {
				if !strings.Contains(section, part) {
					t.Errorf("the runbook's section %s lacks %s", alert, part)
				}
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^### (Imapsyncd\w+)$`).FindAllStringSubmatch(runbook, -1) {
		if !slices.Contains(alerts(t), m[1]) {
			t.Errorf("the runbook explains %s, which is no alert", m[1])
		}
	}
}

// TestWrongDifferences: the alert counts what stands against switching, and no more.
func TestWrongDifferences(t *testing.T) {
	var wrong []string
	for _, class := range verify.Classes() {
		if class.Wrong() {
			wrong = append(wrong, string(class))
		}
	}
	if want := `imapsyncd_verify_differences{class=~"` + strings.Join(wrong, "|") + `"}`; !strings.Contains(read(t, rulesFile), want) {
		t.Errorf("no rule asks for %s", want)
	}
}

// unitTests is what of promtool's files is looked at here.
type unitTests struct {
	Tests []struct {
		Name        string
		Expressions []struct {
			Expr    string
			Samples []struct{ Labels string } `yaml:"exp_samples"`
		} `yaml:"promql_expr_test"`
		Alerts []struct {
			Name   string     `yaml:"alertname"`
			Alerts []struct{} `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	}
}

// TestAlertsAreTested: each alert has a unit test that it fires in, and does not
// fire in at another moment.
func TestAlertsAreTested(t *testing.T) {
	fires, quiet := make(map[string]bool), make(map[string]bool)
	for _, file := range []string{testsFile, longTestsFile} {
		var all unitTests
		if err := yaml.Unmarshal([]byte(read(t, file)), &all); err != nil {
			t.Fatal(err)
		}
		for _, test := range all.Tests {
			for _, e := range test.Expressions {
				for _, s := range e.Samples {
					fires[value(s.Labels, "alertname")] = true
				}
				asked := value(e.Expr, "alertname")
				if asked == "" && strings.HasPrefix(e.Expr, "ALERTS{") {
					asked = test.Name // of all that it has series for
				}
				if len(e.Samples) == 0 {
					for _, name := range regexp.MustCompile(`\w+`).FindAllString(asked, -1) {
						quiet[name] = true
					}
				}
			}
			for _, a := range test.Alerts {
				fires[a.Name] = fires[a.Name] || len(a.Alerts) > 0
			}
		}
	}
	for _, alert := range alerts(t) {
		if !fires[alert] || !quiet[alert] {
			t.Errorf("unit tests have %s fire: %t, and not fire: %t", alert, fires[alert], quiet[alert])
		}
	}
}

// value is what a selector says of a label.
func value(selector, label string) string {
	found := regexp.MustCompile(label + `=~?"([^"]*)"`).FindStringSubmatch(selector)
	if found == nil {
		return ""
	}
	return found[1]
}
