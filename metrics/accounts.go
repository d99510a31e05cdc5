package metrics

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/prometheus/client_golang/prometheus"
)

// figure is a number that every account has.
type figure int

const (
	sourceMessages figure = iota
	pendingMessages
	pendingBytes
	oldestPending
	messagesCopied
	copiedBytes
	flagUpdates
	moves
	expunges
	touched
	alreadyThere
	lastSuccess
	quotaUsed
	figureCount
)

// description is how a figure appears.
type description struct {
	name, help string
	kind       prometheus.ValueType
	// merge makes one number of those of two accounts; nil: their sum.
	merge func(a, b float64) float64
}

var descriptions = [figureCount]description{
	sourceMessages:  {"source_messages", "Messages on the old server that are to be copied.", prometheus.GaugeValue, nil},
	pendingMessages: {"pending_messages", "Messages that are not on the new server yet.", prometheus.GaugeValue, nil},
	pendingBytes:    {"pending_bytes", "Size of the messages that are not on the new server yet, as the old server announces it (RFC822.SIZE); a message of which it does not counts as 0.", prometheus.GaugeValue, nil},
	oldestPending:   {"oldest_pending_timestamp_seconds", "When the oldest message that is not on the new server yet was first seen; 0: none is pending.", prometheus.GaugeValue, earliestSet},
	messagesCopied:  {"messages_copied_total", "Messages copied to the new server.", prometheus.CounterValue, nil},
	copiedBytes:     {"copied_bytes_total", "Size of the messages copied to the new server.", prometheus.CounterValue, nil},
	flagUpdates:     {"flag_updates_total", "Copies whose flags were brought up to date.", prometheus.CounterValue, nil},
	moves:           {"moves_total", "Copies that were moved after their source.", prometheus.CounterValue, nil},
	expunges:        {"expunges_total", "Copies that were removed after their source.", prometheus.CounterValue, nil},
	touched:         {"copies_touched", "Copies that their user has changed on the new server.", prometheus.GaugeValue, nil},
	alreadyThere:    {"already_there_total", "Messages that were on the new server without having been copied.", prometheus.CounterValue, nil},
	lastSuccess:     {"last_success_timestamp_seconds", "When a pass last ended without an error; 0: never.", prometheus.GaugeValue, func(a, b float64) float64 { return min(a, b) }},
	quotaUsed:       {"quota_used_ratio", "Part of the quota on the new server that is used; 0: there is none, or it is not known.", prometheus.GaugeValue, func(a, b float64) float64 { return max(a, b) }},
}

// earliestSet is the earlier of two timestamps of which 0 means "none".
func earliestSet(a, b float64) float64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// Account counts what belongs to one account. Its methods may be called from
// any goroutine, also after the account has been removed.
type Account struct {
	mutex      sync.Mutex
	figures    [figureCount]float64
	held       map[mail.Reason]int
	mended     map[mail.Fixups]int // by a single one
	phase      mail.Phase
	health     mail.Health
	stateBytes int64
}

func (a *Account) set(f figure, value float64) {
	a.mutex.Lock()
	a.figures[f] = value
	a.mutex.Unlock()
}

func (a *Account) add(f figure, n int) {
	a.mutex.Lock()
	a.figures[f] += float64(n)
	a.mutex.Unlock()
}

// SetState sets the phase and the health of the account.
func (a *Account) SetState(phase mail.Phase, health mail.Health) {
	a.mutex.Lock()
	a.phase, a.health = phase, health
	a.mutex.Unlock()
}

// SetSource sets the number of messages to be copied.
func (a *Account) SetSource(messages int) { a.set(sourceMessages, float64(messages)) }

// SetPending sets what is not on the new server yet: how many messages, their
// octets, and when the oldest was first seen (zero: none is pending).
func (a *Account) SetPending(messages int, bytes int64, oldest time.Time) {
	a.mutex.Lock()
	a.figures[pendingMessages] = float64(messages)
	a.figures[pendingBytes] = float64(bytes)
	a.figures[oldestPending] = timestamp(oldest)
	a.mutex.Unlock()
}

// SetQuotaUsed sets which part of the quota on the new server is used.
func (a *Account) SetQuotaUsed(ratio float64) { a.set(quotaUsed, ratio) }

// SetHeld sets how many messages are held for each reason; a reason that is
// left out has none.
func (a *Account) SetHeld(held map[mail.Reason]int) {
	a.mutex.Lock()
	a.held = maps.Clone(held)
	a.mutex.Unlock()
}

// SetTouched sets the number of copies that their user has changed.
func (a *Account) SetTouched(copies int) { a.set(touched, float64(copies)) }

// SetStateBytes sets the size of the account's state file.
func (a *Account) SetStateBytes(n int64) {
	a.mutex.Lock()
	a.stateBytes = n
	a.mutex.Unlock()
}

// Succeeded notes that a pass ended without an error.
func (a *Account) Succeeded(at time.Time) { a.set(lastSuccess, timestamp(at)) }

// Copied counts copied messages and their octets.
func (a *Account) Copied(messages int, bytes int64) {
	a.mutex.Lock()
	a.figures[messagesCopied] += float64(messages)
	a.figures[copiedBytes] += float64(bytes)
	a.mutex.Unlock()
}

// Mended counts a message that was copied in another form, for each of the
// fixups.
func (a *Account) Mended(fixups mail.Fixups) {
	a.mutex.Lock()
	for one := mail.Fixups(1); one <= mail.AllFixups; one <<= 1 {
		if fixups&one != 0 {
			a.mended[one]++
		}
	}
	a.mutex.Unlock()
}

// FlagsUpdated counts copies whose flags were brought up to date.
func (a *Account) FlagsUpdated(copies int) { a.add(flagUpdates, copies) }

// Moved counts copies that were moved after their source.
func (a *Account) Moved(copies int) { a.add(moves, copies) }

// Expunged counts copies that were removed after their source.
func (a *Account) Expunged(copies int) { a.add(expunges, copies) }

// AlreadyThere counts messages that were on the new server without us.
func (a *Account) AlreadyThere(messages int) { a.add(alreadyThere, messages) }

// Account returns the account of that name, made when it is first asked for.
func (m *Metrics) Account(name string) *Account {
	c := m.accounts
	c.mutex.Lock()
	defer c.mutex.Unlock()
	a := c.byName[name]
	if a == nil {
		a = &Account{phase: mail.PhaseSeeding, health: mail.HealthOK, mended: make(map[mail.Fixups]int)}
		c.byName[name] = a
	}
	return a
}

// RemoveAccount ends the series of an account. What it had counted stays in
// the sums of [LabelNone].
func (m *Metrics) RemoveAccount(name string) {
	c := m.accounts
	c.mutex.Lock()
	defer c.mutex.Unlock()
	a := c.byName[name]
	if a == nil {
		return
	}
	delete(c.byName, name)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for f, d := range descriptions {
		if d.kind == prometheus.CounterValue {
			c.removed[f] += a.figures[f]
		}
	}
	for one, n := range a.mended {
		c.removedMended[one] += n
	}
}

// accounts is the collector of what belongs to accounts.
type accounts struct {
	label  AccountLabel
	mutex  sync.Mutex
	byName map[string]*Account
	// The counters of removed accounts.
	removed       [figureCount]float64
	removedMended map[mail.Fixups]int

	figures                                   [figureCount]*prometheus.Desc
	held, mended, byState, health, stateBytes *prometheus.Desc
}

func newAccounts(label AccountLabel) *accounts {
	own := []string{"account"}
	if label == LabelNone {
		own = nil
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, labels, nil)
	}
	c := &accounts{
		label:         label,
		byName:        map[string]*Account{},
		removedMended: make(map[mail.Fixups]int),
		mended:        desc("messages_mended_total", "Messages on the new server in another form than their own because it refused that, by what was changed.", append(own, "fixup")...),
		held:          desc("messages_held", "Messages that cannot be copied now, by reason.", append(own, "reason")...),
		health:        desc("account_health", "1 for the state of health an account is in, 0 for the others.", append(own, "health")...),
		byState:       desc("accounts", "Accounts by phase and health.", "phase", "health"),
		stateBytes:    desc("state_bytes", "Size of the state files of all accounts."),
	}
	for f, d := range descriptions {
		c.figures[f] = desc(d.name, d.help, own...)
	}
	return c
}

// labelOf returns the label value that stands for an account.
func (c *accounts) labelOf(name string) string {
	switch c.label {
	case LabelNone:
		return ""
	case LabelHash:
		sum := sha256.Sum256([]byte(name))
		return hex.EncodeToString(sum[:6])
	}
	return name
}

// Describe implements [prometheus.Collector].
func (c *accounts) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.figures {
		out <- d
	}
	out <- c.held
	out <- c.mended
	out <- c.health
	out <- c.byState
	out <- c.stateBytes
}

// state is the pair of labels by which accounts are counted.
type state struct {
	phase  mail.Phase
	health mail.Health
}

// group is the numbers of all accounts with the same label.
type group struct {
	figures [figureCount]float64
	held    map[mail.Reason]int
	mended  map[mail.Fixups]int
	health  map[mail.Health]int
}

// Collect implements [prometheus.Collector].
func (c *accounts) Collect(out chan<- prometheus.Metric) {
	groups, states, bytes := c.gather()
	for _, phase := range mail.Phases() {
		for _, health := range mail.Healths() {
			out <- value(c.byState, prometheus.GaugeValue, float64(states[state{phase, health}]), string(phase), string(health))
		}
	}
	out <- value(c.stateBytes, prometheus.GaugeValue, float64(bytes))
	for label, g := range groups {
		var own []string
		if c.label != LabelNone {
			own = []string{label}
		}
		for f, d := range descriptions {
			out <- value(c.figures[f], d.kind, g.figures[f], own...)
		}
		for _, reason := range mail.Reasons() {
			out <- value(c.held, prometheus.GaugeValue, float64(g.held[reason]), append(own, string(reason))...)
		}
		for one := mail.Fixups(1); one <= mail.AllFixups; one <<= 1 {
			out <- value(c.mended, prometheus.CounterValue, float64(g.mended[one]), append(own, one.String())...)
		}
		for _, health := range mail.Healths() {
			out <- value(c.health, prometheus.GaugeValue, float64(g.health[health]), append(own, string(health))...)
		}
	}
}

// gather adds up the accounts by label, by state, and the size of their state.
func (c *accounts) gather() (map[string]*group, map[state]int, int64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	groups, states, bytes := map[string]*group{}, map[state]int{}, int64(0)
	empty := func() *group {
		return &group{held: map[mail.Reason]int{}, mended: map[mail.Fixups]int{}, health: map[mail.Health]int{}}
	}
	for name, a := range c.byName {
		label := c.labelOf(name)
		a.mutex.Lock()
		g := groups[label]
		if g == nil {
			g = empty()
			g.figures = a.figures
			groups[label] = g
		} else {
			for f, d := range descriptions {
				if d.merge != nil {
					g.figures[f] = d.merge(g.figures[f], a.figures[f])
				} else {
					g.figures[f] += a.figures[f]
				}
			}
		}
		for reason, n := range a.held {
			g.held[reason] += n
		}
		for one, n := range a.mended {
			g.mended[one] += n
		}
		g.health[a.health]++
		states[state{a.phase, a.health}]++
		bytes += a.stateBytes
		a.mutex.Unlock()
	}
	if c.label == LabelNone {
		if groups[""] == nil {
			groups[""] = empty()
		}
		for f, n := range c.removed {
			groups[""].figures[f] += n
		}
		for one, n := range c.removedMended {
			groups[""].mended[one] += n
		}
	}
	return groups, states, bytes
}

func value(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, kind, v, labels...)
}
