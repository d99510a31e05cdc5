package metrics_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/metrics"
)

func TestNumbersOfADomain(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := metrics.New(reg, metrics.Options{})
	labels := metrics.DomainLabels{
		Reasons: map[string][]string{"safe_to_switch": {"held", "ttl"}, "safe_to_stop": {"held"}},
		Answers: []string{"old", "new"}, Classes: []string{"equal", "missing"},
	}
	d := m.Domain("example.org", labels)
	before := series(t, reg)
	d.SetPhase(mail.PhaseDraining)
	d.SetVerdict("safe_to_switch", true, []string{"ttl"})
	d.SetVerdict("safe_to_stop", false, []string{"held"})
	d.SetDNS(map[string]int{"new": 3}, 5*time.Minute)
	d.SetLate(7)
	d.SetVerified(time.Unix(1000, 0), map[string]int64{"equal": 12})
	if m.Domain("example.org", labels) != d {
		t.Error("the domain is made anew")
	}
	after := series(t, reg)
	for name, want := range map[string]float64{
		"domain_phase{domain=example.org,phase=draining}":                       1,
		"domain_phase{domain=example.org,phase=seeding}":                        0,
		"safe_to_switch{domain=example.org}":                                    1,
		"safe_to_stop{domain=example.org}":                                      0,
		"verdict_reason{domain=example.org,reason=ttl,verdict=safe_to_switch}":  1,
		"verdict_reason{domain=example.org,reason=held,verdict=safe_to_switch}": 0,
		"verdict_reason{domain=example.org,reason=held,verdict=safe_to_stop}":   1,
		"mx_answers{answer=new,domain=example.org}":                             3,
		"mx_answers{answer=old,domain=example.org}":                             0,
		"mx_ttl_seconds{domain=example.org}":                                    300,
		"late_messages_total{domain=example.org}":                               7,
		"last_verify_timestamp_seconds{domain=example.org}":                     1000,
		"verify_differences{class=equal,domain=example.org}":                    12,
		"verify_differences{class=missing,domain=example.org}":                  0,
	} {
		if got, there := after[name]; !there || got != want {
			t.Errorf("%s = %v (there: %t), want %v", name, got, there, want)
		}
		if _, there := before[name]; !there {
			t.Errorf("%s is not there from the start", name)
		}
	}
	if len(before) != len(after) {
		t.Errorf("%d series became %d", len(before), len(after))
	}
	m.RemoveDomain("example.org")
	if n := len(series(t, reg)); n >= len(after) {
		t.Errorf("%d series are left", n)
	}
}
