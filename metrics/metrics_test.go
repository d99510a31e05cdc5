package metrics_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// series returns every series but those of histograms as "name{label=value}",
// the labels in order, with its value.
func series(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			name := strings.TrimPrefix(f.GetName(), "imapsyncd_")
			if labels != nil {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			switch {
			case m.GetCounter() != nil:
				all[name] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				all[name] = m.GetGauge().GetValue()
			}
		}
	}
	return all
}

// fill counts something of every kind for an account.
func fill(a *metrics.Account) {
	a.SetState(mail.PhaseFollowing, mail.HealthHeld)
	a.SetSource(100)
	a.SetPending(3, 9000, time.Unix(1000, 0))
	a.SetHeld(map[mail.Reason]int{mail.ReasonTooBig: 2})
	a.SetTouched(4)
	a.SetStateBytes(1 << 17)
	a.Succeeded(time.Unix(2000, 500e6))
	a.Copied(7, 7000)
	a.Copied(1, 1)
	a.Mended(mail.NUL | mail.OddKeywords)
	a.FlagsUpdated(5)
	a.Moved(6)
	a.Expunged(8)
	a.AlreadyThere(9)
}

func TestNumbersOfAnAccount(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := metrics.New(reg, metrics.Options{})
	fill(m.Account("foo"))
	got := series(t, reg)
	for name, want := range map[string]float64{
		"source_messages{account=foo}":                  100,
		"pending_messages{account=foo}":                 3,
		"pending_bytes{account=foo}":                    9000,
		"oldest_pending_timestamp_seconds{account=foo}": 1000,
		"messages_held{account=foo,reason=too_big}":     2,
		"messages_held{account=foo,reason=refused}":     0,
		"copies_touched{account=foo}":                   4,
		"last_success_timestamp_seconds{account=foo}":   2000.5,
		"messages_copied_total{account=foo}":            8,
		"copied_bytes_total{account=foo}":               7001,
		"flag_updates_total{account=foo}":               5,
		"moves_total{account=foo}":                      6,
		"expunges_total{account=foo}":                   8,
		"already_there_total{account=foo}":              9,
		"account_health{account=foo,health=held}":       1,
		"account_health{account=foo,health=ok}":         0,
		"accounts{health=held,phase=following}":         1,
		"accounts{health=ok,phase=seeding}":             0,
		"state_bytes":                                   1 << 17,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v (there: %t), want %v", name, v, ok, want)
		}
	}

	m.RemoveAccount("foo")
	m.RemoveAccount("never there")
	for name := range series(t, reg) {
		if strings.Contains(name, "account=") {
			t.Errorf("%s outlives its account", name)
		}
	}
}

func TestNumbersOfTheWhole(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := metrics.New(reg, metrics.Options{})
	m.ConfigReloaded(true, time.Unix(1234, 0))
	m.ConfigReloaded(false, time.Unix(9999, 0))
	m.MoveConnection(metrics.Source, metrics.Absent, metrics.Connecting)
	m.MoveConnection(metrics.Source, metrics.Connecting, metrics.Busy)
	m.MoveConnection(metrics.Destination, metrics.Absent, metrics.Idle)
	m.MoveConnection(metrics.Destination, metrics.Idle, metrics.Absent)
	m.ConnectionFailed(metrics.Destination, metrics.ErrorTLS)
	m.InDoubt(metrics.OutcomeResent, 2)
	m.StateQuarantined()
	got := series(t, reg)
	for name, want := range map[string]float64{
		"config_last_reload_successful":                       0,
		"config_last_reload_success_timestamp_seconds":        1234,
		"connections{side=source,state=connecting}":           0,
		"connections{side=source,state=busy}":                 1,
		"connections{side=destination,state=idle}":            0,
		"connections{side=destination,state=watching}":        0,
		"connection_errors_total{class=tls,side=destination}": 1,
		"connection_errors_total{class=bye,side=source}":      0,
		"in_doubt_total{outcome=resent}":                      2,
		"in_doubt_total{outcome=found}":                       0,
		"in_doubt_total{outcome=moved}":                       0,
		"state_quarantined_total":                             1,
		"state_bytes":                                         0,
		"accounts{health=auth,phase=draining}":                0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v (there: %t), want %v", name, v, ok, want)
		}
	}
	if !slices.ContainsFunc(keys(got), func(name string) bool {
		return strings.HasPrefix(name, "build_info{goversion=go") && got[name] == 1
	}) {
		t.Error("no build_info")
	}
}

func keys(m map[string]float64) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	return names
}

func TestHistogramsHaveBothKindsOfBuckets(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := metrics.New(reg, metrics.Options{})
	observe := map[string]func(time.Duration){
		"imapsyncd_pass_duration_seconds":         m.ObservePass,
		"imapsyncd_append_duration_seconds":       m.ObserveAppend,
		"imapsyncd_replication_delay_seconds":     m.ObserveDelay,
		"imapsyncd_carry_duration_seconds":        m.ObserveCarry,
		"imapsyncd_state_commit_duration_seconds": m.ObserveCommit,
	}
	for _, f := range observe {
		f(1500 * time.Millisecond)
	}
	m.ObserveDelay(-time.Hour) // the old server's clock is ahead
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if observe[f.GetName()] == nil {
			continue
		}
		delete(observe, f.GetName())
		h := f.GetMetric()[0].GetHistogram()
		if len(h.GetBucket()) == 0 || len(h.GetPositiveSpan()) == 0 {
			t.Errorf("%s: %d classic buckets, %d native spans", f.GetName(), len(h.GetBucket()), len(h.GetPositiveSpan()))
		}
		if h.GetSampleSum() != 1.5 {
			t.Errorf("%s: sum %v, want 1.5", f.GetName(), h.GetSampleSum())
		}
	}
	if len(observe) != 0 {
		t.Errorf("missing: %v", observe)
	}
}

func TestAccountLabel(t *testing.T) {
	setUp := func(label metrics.AccountLabel) (*metrics.Metrics, func() map[string]float64) {
		reg := prometheus.NewPedanticRegistry()
		m := metrics.New(reg, metrics.Options{AccountLabel: label})
		fill(m.Account("foo"))
		fill(m.Account("bar"))
		m.Account("bar").SetPending(1, 200, time.Unix(500, 0))
		m.Account("bar").Succeeded(time.Unix(1000, 0))
		m.Account("idle").SetPending(0, 0, time.Time{})
		m.Account("idle").Succeeded(time.Unix(3000, 0))
		return m, func() map[string]float64 { return series(t, reg) }
	}

	t.Run("hash", func(t *testing.T) {
		_, gather := setUp(metrics.LabelHash)
		got := gather()
		// The first 12 digits of sha256("foo"): stable over restarts and versions.
		if v := got["messages_copied_total{account=2c26b46b68ff}"]; v != 8 {
			t.Errorf("messages_copied_total of foo = %v, want 8", v)
		}
		for name := range got {
			if strings.Contains(name, "=foo") || strings.Contains(name, "=bar,") || strings.Contains(name, "=bar}") {
				t.Errorf("%s shows the name of an account", name)
			}
		}
	})

	t.Run("none", func(t *testing.T) {
		m, gather := setUp(metrics.LabelNone)
		check := func(want map[string]float64) {
			t.Helper()
			got := gather()
			for name, w := range want {
				if v, ok := got[name]; !ok || v != w {
					t.Errorf("%s = %v (there: %t), want %v", name, v, ok, w)
				}
			}
		}
		check(map[string]float64{
			"messages_copied_total":            16,
			"pending_messages":                 4,
			"pending_bytes":                    9200,
			"oldest_pending_timestamp_seconds": 500, // idle has none, which is not 1970
			"last_success_timestamp_seconds":   1000,
			"messages_held{reason=too_big}":    4,
			"messages_mended_total{fixup=nul}": 2,
			"account_health{health=held}":      2,
			"account_health{health=ok}":        1,
		})
		m.RemoveAccount("bar")
		check(map[string]float64{
			"messages_copied_total": 16, // a counter never falls
			"pending_messages":      3,
		})
		m.Account("bar").Copied(1, 1)
		m.RemoveAccount("foo")
		m.RemoveAccount("idle")
		m.RemoveAccount("bar")
		check(map[string]float64{
			"messages_copied_total":                 17,
			"messages_mended_total{fixup=keywords}": 2,
			"messages_mended_total{fixup=bare-lf}":  0,
			"pending_messages":                      0,
		})
	})

	t.Run("name with strange characters", func(t *testing.T) {
		reg := prometheus.NewPedanticRegistry()
		m := metrics.New(reg, metrics.Options{AccountLabel: metrics.LabelName})
		m.Account("a\"b\n{é}").SetSource(1)
		if v := series(t, reg)["source_messages{account=a\"b\n{é}}"]; v != 1 {
			t.Errorf("got %v, want 1", v)
		}
	})
}

func TestLint(t *testing.T) {
	for _, label := range []metrics.AccountLabel{metrics.LabelName, metrics.LabelHash, metrics.LabelNone} {
		reg := prometheus.NewPedanticRegistry()
		fill(metrics.New(reg, metrics.Options{AccountLabel: label}).Account("foo"))
		problems, err := testutil.GatherAndLint(reg)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", label, p.Metric, p.Text)
		}
	}
}

func TestWithoutRegistry(t *testing.T) {
	fill(metrics.New(nil, metrics.Options{}).Account("foo"))
}
