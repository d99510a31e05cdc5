// Package metrics holds everything that imapsyncd counts, as one struct that
// is handed to whoever counts something.
//
// Invariants:
//   - Names and labels are those of the interface; no label value comes from
//     mail, only from the configuration and from closed lists in the code.
//   - What belongs to an account is kept in its [Account] and turned into
//     series when somebody scrapes. With [LabelNone] the same numbers appear
//     as sums, and counters do not fall when an account is removed.
//   - Every label value that can be known is there from the start, as 0.
package metrics

import (
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// AccountLabel says how accounts appear in labels.
type AccountLabel string

// The ways in which accounts appear in labels.
const (
	LabelName AccountLabel = "name" // the name of the account
	LabelHash AccountLabel = "hash" // 12 hexadecimal digits of its SHA-256
	LabelNone AccountLabel = "none" // no label, sums over all accounts
)

// Options says how [New] makes the metrics.
type Options struct {
	// AccountLabel is how accounts appear; empty means LabelName.
	AccountLabel AccountLabel
}

// Side is one of the two servers.
type Side string

// The two sides.
const (
	Source      Side = "source"
	Destination Side = "destination"
)

// ConnectionState is what a connection is doing.
type ConnectionState string

// The states of a connection. Absent is a connection that does not exist: the
// state before the first and after the last, without a series of its own.
const (
	Absent     ConnectionState = ""
	Connecting ConnectionState = "connecting" // until logged in
	Idle       ConnectionState = "idle"       // logged in, kept for later
	Busy       ConnectionState = "busy"       // a command is running
	Watching   ConnectionState = "watching"   // waiting for news (IDLE, NOTIFY)
)

// ErrorClass is why a connection failed.
type ErrorClass string

// The classes of connection errors.
const (
	ErrorConnect  ErrorClass = "connect"  // no address, refused, unreachable
	ErrorTLS      ErrorClass = "tls"      // handshake or certificate
	ErrorAuth     ErrorClass = "auth"     // log-in refused
	ErrorLimit    ErrorClass = "limit"    // too many connections, throttled
	ErrorTimeout  ErrorClass = "timeout"  // no progress
	ErrorLost     ErrorClass = "lost"     // cut without a word
	ErrorBye      ErrorClass = "bye"      // ended by the server
	ErrorProtocol ErrorClass = "protocol" // an answer that cannot be understood
)

// Outcome is what became of an APPEND whose answer was lost.
type Outcome string

// The outcomes of a lost answer.
const (
	OutcomeFound  Outcome = "found"  // it had been stored
	OutcomeMoved  Outcome = "moved"  // stored, and moved by its user since
	OutcomeResent Outcome = "resent" // not stored, sent again
)

// Metrics is everything that is counted. Its methods may be called from any
// goroutine.
type Metrics struct {
	accounts *accounts
	domains  *domains

	configSuccessful prometheus.Gauge
	configSuccess    prometheus.Gauge
	pass             prometheus.Histogram
	append           prometheus.Histogram
	delay            prometheus.Histogram
	carry            prometheus.Histogram
	commit           prometheus.Histogram
	connections      *prometheus.GaugeVec
	connectionErrors *prometheus.CounterVec
	throttled        *prometheus.CounterVec
	serversAway      *prometheus.GaugeVec
	withheld         *prometheus.GaugeVec
	pollDelay        prometheus.Gauge
	inDoubt          *prometheus.CounterVec
	quarantined      prometheus.Counter
}

// New makes the metrics and registers them with reg; it panics when they are
// registered there already. A nil reg counts without showing.
func New(reg prometheus.Registerer, o Options) *Metrics {
	m := &Metrics{
		accounts: newAccounts(o.AccountLabel),
		domains:  newDomains(),
		configSuccessful: gauge("config_last_reload_successful",
			"Whether the configuration was last read without an error."),
		configSuccess: gauge("config_last_reload_success_timestamp_seconds",
			"When the configuration was last read without an error."),
		pass: histogram("pass_duration_seconds",
			"How long a pass over one account took.",
			.01, .05, .1, .5, 1, 5, 30, 60, 300, 1800, 3600, 21600, 86400),
		append: histogram("append_duration_seconds",
			"How long the new server took to answer a batch of APPENDs.",
			.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30),
		delay: histogram("replication_delay_seconds",
			"Time from the arrival of a message on the old server to its receipt, for mail that arrived while following or draining.",
			.1, .25, .5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600, 21600),
		carry: histogram("carry_duration_seconds",
			"Time from the hint or poll that showed a message to its receipt.",
			.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300),
		commit: histogram("state_commit_duration_seconds",
			"How long a commit of the state took.",
			.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1, 5),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "connections",
			Help: "Connections by side and by what they are doing."}, []string{"side", "state"}),
		connectionErrors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "connection_errors_total",
			Help: "Failed connections by side and cause."}, []string{"side", "class"}),
		throttled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "throttled_seconds_total",
			Help: "Time spent waiting for the limits of [limits], added up over all that waited, by side."}, []string{"side"}),
		serversAway: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "servers_away",
			Help: "Servers that take no connections: their accounts wait, and one tries."}, []string{"side"}),
		withheld: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "connections_withheld",
			Help: "How many of max_connections are not used because a server has refused as many, by side."}, []string{"side"}),
		pollDelay: gauge("poll_delay_seconds",
			"How much longer than poll_interval an account that is not listened to waits for a look; 0: poll_interval is met."),
		inDoubt: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "in_doubt_total",
			Help: "Messages whose APPEND was not answered, by what became of them."}, []string{"outcome"}),
		quarantined: prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "state_quarantined_total",
			Help: "State files that were damaged and set aside."}),
	}
	for _, side := range []Side{Source, Destination} {
		m.throttled.WithLabelValues(string(side))
		m.SetServers(side, 0, 0)
		for _, state := range []ConnectionState{Connecting, Idle, Busy, Watching} {
			m.connections.WithLabelValues(string(side), string(state))
		}
		for _, class := range []ErrorClass{ErrorConnect, ErrorTLS, ErrorAuth, ErrorLimit, ErrorTimeout, ErrorLost, ErrorBye, ErrorProtocol} {
			m.connectionErrors.WithLabelValues(string(side), string(class))
		}
	}
	for _, outcome := range []Outcome{OutcomeFound, OutcomeMoved, OutcomeResent} {
		m.inDoubt.WithLabelValues(string(outcome))
	}
	if reg != nil {
		reg.MustRegister(m.accounts, m.domains, buildInfo(), m.configSuccessful, m.configSuccess, m.pass, m.append,
			m.delay, m.carry, m.commit, m.connections, m.connectionErrors, m.throttled, m.serversAway, m.withheld, m.pollDelay, m.inDoubt, m.quarantined)
	}
	return m
}

// ConfigReloaded notes that the configuration was read at a time, and whether
// without an error.
func (m *Metrics) ConfigReloaded(ok bool, at time.Time) {
	if !ok {
		m.configSuccessful.Set(0)
		return
	}
	m.configSuccessful.Set(1)
	m.configSuccess.Set(timestamp(at))
}

// ObservePass notes how long a pass over one account took.
func (m *Metrics) ObservePass(d time.Duration) { m.pass.Observe(d.Seconds()) }

// ObserveAppend notes how long the new server took to answer a batch.
func (m *Metrics) ObserveAppend(d time.Duration) { m.append.Observe(d.Seconds()) }

// ObserveDelay notes the time from the arrival of a message on the old server
// to its receipt. Where the old server's clock is ahead, that is 0.
func (m *Metrics) ObserveDelay(d time.Duration) { m.delay.Observe(max(0, d.Seconds())) }

// ObserveCarry notes the time from what showed a message to its receipt.
func (m *Metrics) ObserveCarry(d time.Duration) { m.carry.Observe(d.Seconds()) }

// ObserveCommit notes how long a commit of the state took.
func (m *Metrics) ObserveCommit(d time.Duration) { m.commit.Observe(d.Seconds()) }

// MoveConnection notes that a connection went from one state to another;
// [Absent] before its first and after its last.
func (m *Metrics) MoveConnection(side Side, from, to ConnectionState) {
	if from != Absent {
		m.connections.WithLabelValues(string(side), string(from)).Dec()
	}
	if to != Absent {
		m.connections.WithLabelValues(string(side), string(to)).Inc()
	}
}

// ConnectionFailed counts a connection that failed.
func (m *Metrics) ConnectionFailed(side Side, class ErrorClass) {
	m.connectionErrors.WithLabelValues(string(side), string(class)).Inc()
}

// Throttled counts time that was spent waiting for a limit of ours.
func (m *Metrics) Throttled(side Side, d time.Duration) {
	m.throttled.WithLabelValues(string(side)).Add(d.Seconds())
}

// SetServers notes how many servers of a side take no connections, and how many
// of max_connections are not used because servers have refused as many.
func (m *Metrics) SetServers(side Side, away, withheld int) {
	m.serversAway.WithLabelValues(string(side)).Set(float64(away))
	m.withheld.WithLabelValues(string(side)).Set(float64(withheld))
}

// SetPollDelay notes how much longer than poll_interval an account waits.
func (m *Metrics) SetPollDelay(d time.Duration) { m.pollDelay.Set(d.Seconds()) }

// InDoubt counts messages whose APPEND was not answered.
func (m *Metrics) InDoubt(outcome Outcome, messages int) {
	m.inDoubt.WithLabelValues(string(outcome)).Add(float64(messages))
}

// StateQuarantined counts a state file that was set aside.
func (m *Metrics) StateQuarantined() { m.quarantined.Inc() }

const prefix = "imapsyncd_"

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + name, Help: help})
}

// histogram has classic buckets, for every Prometheus, and native ones, for
// those that take them.
func histogram(name, help string, buckets ...float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: prefix + name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	})
}

// timestamp is t in seconds since 1970, 0 for the zero time.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func buildInfo() prometheus.Collector {
	labels := prometheus.Labels{"version": "(devel)", "revision": "", "goversion": runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			labels["version"] = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				labels["revision"] = s.Value
			}
		}
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "build_info",
		Help: "1, with the version, the revision and the Go release this program was built from.", ConstLabels: labels})
	g.Set(1)
	return g
}
