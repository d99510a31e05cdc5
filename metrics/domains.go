package metrics

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// DomainLabels are the closed lists of label values that are not of this
// package: the reasons by verdict, the answers of DNS, the classes of a
// verification.
type DomainLabels struct {
	Reasons map[string][]string
	Answers []string
	Classes []string
}

// Domain holds what belongs to one domain. Its methods may be called from any
// goroutine, also after the domain has been removed.
type Domain struct {
	labels DomainLabels

	mutex       sync.Mutex
	phase       mail.Phase
	verdicts    map[string]bool
	reasons     map[string][]string // by verdict
	answers     map[string]int
	ttl         time.Duration
	late        int
	verified    time.Time
	differences map[string]int64
}

// SetPhase sets the phase of the domain.
func (d *Domain) SetPhase(p mail.Phase) {
	d.mutex.Lock()
	d.phase = p
	d.mutex.Unlock()
}

// SetVerdict sets a verdict with its reasons.
func (d *Domain) SetVerdict(verdict string, yes bool, reasons []string) {
	d.mutex.Lock()
	d.verdicts[verdict], d.reasons[verdict] = yes, slices.Clone(reasons)
	d.mutex.Unlock()
}

// SetDNS sets how many servers give which answer, and the largest TTL of the
// records that decide, 0 where it is not known.
func (d *Domain) SetDNS(answers map[string]int, ttl time.Duration) {
	d.mutex.Lock()
	d.answers, d.ttl = maps.Clone(answers), ttl
	d.mutex.Unlock()
}

// SetLate sets how many late messages there have been.
func (d *Domain) SetLate(messages int) {
	d.mutex.Lock()
	d.late = messages
	d.mutex.Unlock()
}

// SetVerified sets the oldest of the last verifications of the domain's
// accounts (zero: one has none), and what they found.
func (d *Domain) SetVerified(at time.Time, found map[string]int64) {
	d.mutex.Lock()
	d.verified, d.differences = at, maps.Clone(found)
	d.mutex.Unlock()
}

// Domain returns the domain of that name, made when it is first asked for.
func (m *Metrics) Domain(name string, labels DomainLabels) *Domain {
	c := m.domains
	c.mutex.Lock()
	defer c.mutex.Unlock()
	d := c.byName[name]
	if d == nil {
		d = &Domain{labels: labels, phase: mail.PhaseSeeding, verdicts: make(map[string]bool), reasons: make(map[string][]string)}
		c.byName[name] = d
	}
	return d
}

// RemoveDomain ends the series of a domain.
func (m *Metrics) RemoveDomain(name string) {
	m.domains.mutex.Lock()
	delete(m.domains.byName, name)
	m.domains.mutex.Unlock()
}

// domains is the collector of what belongs to domains.
type domains struct {
	mutex  sync.Mutex
	byName map[string]*Domain

	phase, safeToSwitch, safeToStop, reason, answers, ttl, late, verified, differences *prometheus.Desc
}

func newDomains() *domains {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, append([]string{"domain"}, labels...), nil)
	}
	return &domains{
		byName:       make(map[string]*Domain),
		phase:        desc("domain_phase", "1 for the phase a domain is in, 0 for the others.", "phase"),
		safeToSwitch: desc("safe_to_switch", "1 when the delivery of the domain may move to the new server."),
		safeToStop:   desc("safe_to_stop", "1 when the old server may go, as far as the domain is concerned."),
		reason:       desc("verdict_reason", "1 for each reason that a verdict has, blocking or not.", "verdict", "reason"),
		answers:      desc("mx_answers", "DNS servers by what they last said about where mail for the domain goes.", "answer"),
		ttl:          desc("mx_ttl_seconds", "Largest TTL, now, of the records that the switch is going to change; 0: not known."),
		late:         desc("late_messages_total", "Messages that were delivered to the old server after the switch."),
		verified:     desc("last_verify_timestamp_seconds", "When the account of the domain that has waited longest was last verified; 0: one never was."),
		differences:  desc("verify_differences", "Messages by what the last verifications of the domain's accounts found.", "class"),
	}
}

// Describe implements [prometheus.Collector].
func (c *domains) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.phase, c.safeToSwitch, c.safeToStop, c.reason, c.answers, c.ttl, c.late, c.verified, c.differences} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *domains) Collect(out chan<- prometheus.Metric) {
	c.mutex.Lock()
	byName := maps.Clone(c.byName)
	c.mutex.Unlock()
	for name, d := range byName {
		d.mutex.Lock()
		for _, p := range mail.Phases() {
			out <- value(c.phase, prometheus.GaugeValue, oneIf(d.phase == p), name, string(p))
		}
		out <- value(c.safeToSwitch, prometheus.GaugeValue, oneIf(d.verdicts["safe_to_switch"]), name)
		out <- value(c.safeToStop, prometheus.GaugeValue, oneIf(d.verdicts["safe_to_stop"]), name)
		for verdict, reasons := range d.labels.Reasons {
			for _, r := range reasons {
				out <- value(c.reason, prometheus.GaugeValue, oneIf(slices.Contains(d.reasons[verdict], r)), name, verdict, r)
			}
		}
		for _, a := range d.labels.Answers {
			out <- value(c.answers, prometheus.GaugeValue, float64(d.answers[a]), name, a)
		}
		for _, class := range d.labels.Classes {
			out <- value(c.differences, prometheus.GaugeValue, float64(d.differences[class]), name, class)
		}
		out <- value(c.ttl, prometheus.GaugeValue, d.ttl.Seconds(), name)
		out <- value(c.late, prometheus.CounterValue, float64(d.late), name)
		out <- value(c.verified, prometheus.GaugeValue, timestamp(d.verified), name)
		d.mutex.Unlock()
	}
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
