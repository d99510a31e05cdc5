// Package web shows the daemon to people and programs: over HTTP the page,
// /api/status, /metrics and the health checks; over a unix socket the control
// that the commands use.
//
// Invariants:
//   - Nothing that is asked over TCP changes anything: GET and HEAD only.
//   - What comes from servers and mail is text, never markup and never a
//     terminal's control sequence.
//   - The keys of [Status] as JSON are an interface: they may be added to, not
//     renamed. deploy/docs/status.md explains each, and a test holds it to that.
package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Status is what /api/status and `imapsyncd status --json` show.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Now is when this was true.
	Now     time.Time      `json:"now"`
	Domains []DomainStatus `json:"domains"`
	// YouMustCheck is what no program can see.
	YouMustCheck []string `json:"you_must_check"`
	// Totals are counted by this package from Accounts.
	Totals   Totals          `json:"totals"`
	Accounts []AccountStatus `json:"accounts"`
	// Limits are those of servers, and of accounts on them.
	Limits []Limit `json:"limits"`
	// Outlooks are how long new mail may wait, by old server.
	Outlooks []Outlook `json:"outlooks"`
}

// Outlook is how long new mail may wait on an old server until it is seen.
type Outlook struct {
	Server   string `json:"server"`
	Accounts int    `json:"accounts"`
	// Listened is how many of them can be listened to at a time: their mail is
	// seen at once.
	Listened int `json:"listened"`
	// DelaySeconds is how often each of the others is asked about, at best:
	// PollSeconds, which is poll_interval, or more where that cannot be met.
	DelaySeconds float64 `json:"delay_seconds"`
	PollSeconds  float64 `json:"poll_seconds"`
	// Raise is what in the configuration would have to be more for poll_interval
	// to be met, and Listen for all to be listened to.
	Raise  []string `json:"raise,omitempty"`
	Listen []string `json:"listen,omitempty"`
}

// Met tells whether poll_interval can be met.
func (o Outlook) Met() bool { return o.DelaySeconds <= o.PollSeconds }

// String says it in a sentence.
func (o Outlook) String() string {
	poll, delay := span(seconds(o.PollSeconds)), span(seconds(o.DelaySeconds))
	if o.Listened == o.Accounts {
		return fmt.Sprintf("new mail: %s can be listened to; what the old server %s does not tell of is seen within %s", all(o.Accounts), o.Server, poll)
	}
	text := fmt.Sprintf("new mail: of %s accounts on the old server %s, %s can be listened to at a time; the others are asked about in turn, each every %s",
		count(o.Accounts), o.Server, count(o.Listened), delay)
	if !o.Met() {
		text += fmt.Sprintf(" at best, not every %s: raise %s", poll, strings.Join(o.Raise, " and "))
	}
	if len(o.Listen) > 0 {
		if o.Met() {
			text += "; all could be with " + strings.Join(o.Listen, " and ")
		} else {
			text += ", or, to listen to all, " + strings.Join(o.Listen, " and ")
		}
	}
	return text
}

func all(accounts int) string {
	if accounts == 1 {
		return "the account"
	}
	return "all " + count(accounts) + " accounts"
}

// Limit is what may be asked of a server now, or by one account of it; 0: there
// is no limit.
type Limit struct {
	Side              string  `json:"side"` // source or destination
	Server            string  `json:"server"`
	Account           string  `json:"account,omitempty"` // left out: all together
	LoginsPerSecond   float64 `json:"logins_per_second"`
	BytesPerSecond    float64 `json:"bytes_per_second"`
	MessagesPerSecond float64 `json:"messages_per_second"`
	DailyBytes        int64   `json:"daily_bytes"`
	// UsedBytes are those of the last 24 hours, counted where there is a limit.
	UsedBytes int64 `json:"used_bytes"`
	// Resumes is when first copies go on that wait for daily_bytes; left out: they
	// do not wait.
	Resumes time.Time `json:"resumes,omitzero"`
	// Of servers: MaxConnections is max_connections, Connections how many of them
	// are used at most now: fewer where the server has refused more.
	// AccountsBounded are the accounts of which it has refused
	// max_connections_per_account.
	MaxConnections  int `json:"max_connections,omitempty"`
	Connections     int `json:"connections,omitempty"`
	AccountsBounded int `json:"accounts_bounded,omitempty"`
	// AwaySince is since when the server takes no connections, AwayBecause why;
	// left out: it does.
	AwaySince   time.Time `json:"away_since,omitzero"`
	AwayBecause string    `json:"away_because,omitempty"`
}

// Bearing says what the server has shown that it bears, where that is less than
// was configured; empty: it is not.
func (l Limit) Bearing() string {
	switch {
	case !l.AwaySince.IsZero():
		return fmt.Sprintf("%s takes nobody since %s: %s", l.Who(), date(l.AwaySince), l.AwayBecause)
	case l.AccountsBounded > 0:
		return fmt.Sprintf("%s bears %s of %s connections, and fewer of %s accounts", l.Who(), count(l.Connections), count(l.MaxConnections), count(l.AccountsBounded))
	case l.MaxConnections > l.Connections:
		return fmt.Sprintf("%s bears %s of %s connections", l.Who(), count(l.Connections), count(l.MaxConnections))
	}
	return ""
}

// Scarce tells whether first copies wait for daily_bytes.
func (l Limit) Scarce() bool { return !l.Resumes.IsZero() }

// Who names whose limit it is.
func (l Limit) Who() string {
	who := "old server"
	if l.Side == "destination" {
		who = "new server"
	}
	if l.Account != "" {
		return who + ", " + l.Account
	}
	return who + " " + l.Server
}

// Messages are numbers of messages and octets.
type Messages struct {
	// Source is how many messages of the old server are to be on the new one.
	Source int `json:"source"`
	// Copied is how many were copied since the daemon started, CopiedBytes
	// their octets.
	Copied      int64 `json:"copied"`
	CopiedBytes int64 `json:"copied_bytes"`
	// Pending is how many are known and not on the new server yet.
	Pending int `json:"pending"`
	// PendingBytes are their octets, as the old server announces them; one of
	// which it does not counts as 0.
	PendingBytes int64 `json:"pending_bytes"`
	// Held is how many cannot be copied now.
	Held int `json:"held"`
}

// There is how many messages are on the new server.
func (m Messages) There() int { return max(0, m.Source-m.Pending-m.Held) }

// done is how much of the messages is on the new server, such as "42%". It is
// "-" while nothing is known, and "100%" only when all are and no account is
// still in its first pass since the start, which goes on finding more.
func (m Messages) done(looking bool) string {
	percent := 100
	if m.There() < m.Source {
		percent = int(int64(m.There()) * 100 / int64(m.Source))
	}
	if looking {
		if m.Source == 0 {
			return "-"
		}
		percent = min(percent, 99)
	}
	return strconv.Itoa(percent) + "%"
}

// Connections are open connections.
type Connections struct {
	Source      int `json:"source"`
	Destination int `json:"destination"`
}

// AccountStatus is one account.
type AccountStatus struct {
	Name     string      `json:"name"`
	Domains  []string    `json:"domains"`
	Phase    mail.Phase  `json:"phase"`
	Health   mail.Health `json:"health"`
	Messages Messages    `json:"messages"`
	// LagSeconds is how long the oldest pending message has been waiting; 0
	// when none is.
	LagSeconds  float64     `json:"lag_seconds"`
	Connections Connections `json:"connections"`
	// LastSuccess is when a pass last ended without an error; left out: never.
	LastSuccess time.Time `json:"last_success,omitzero"`
	// Error is why the account is not well, in one line.
	Error string `json:"error,omitempty"`
	// Skipped is the operator's reason why no verdict waits for the account.
	Skipped string `json:"skipped,omitempty"`
}

// Done is how much of the account is on the new server, for people.
func (a AccountStatus) Done() string { return a.Messages.done(a.looking()) }

// looking tells whether not all of the account's messages need be known.
func (a AccountStatus) looking() bool {
	return a.Phase == mail.PhaseSeeding || a.Phase != mail.PhaseFinished && a.LastSuccess.IsZero()
}

// Totals are sums over all accounts.
type Totals struct {
	Accounts int                 `json:"accounts"`
	Phases   map[mail.Phase]int  `json:"phases"`  // every phase is there
	Healths  map[mail.Health]int `json:"healths"` // every health is there
	Messages Messages            `json:"messages"`
	// LagSeconds is that of the account that is furthest behind.
	LagSeconds  float64     `json:"lag_seconds"`
	Connections Connections `json:"connections"`
	looking     bool        // of an account, not all messages need be known
}

// Done is how much of everything is on the new server, for people.
func (t Totals) Done() string { return t.Messages.done(t.looking) }

// Counted returns s with its Totals, and with empty lists rather than none.
func (s Status) Counted() Status {
	t := Totals{Accounts: len(s.Accounts), Phases: map[mail.Phase]int{}, Healths: map[mail.Health]int{}}
	for _, p := range mail.Phases() {
		t.Phases[p] = 0
	}
	for _, h := range mail.Healths() {
		t.Healths[h] = 0
	}
	for _, a := range s.Accounts {
		t.Phases[a.Phase]++
		t.Healths[a.Health]++
		t.Messages.Source += a.Messages.Source
		t.Messages.Copied += a.Messages.Copied
		t.Messages.CopiedBytes += a.Messages.CopiedBytes
		t.Messages.Pending += a.Messages.Pending
		t.Messages.PendingBytes += a.Messages.PendingBytes
		t.Messages.Held += a.Messages.Held
		t.looking = t.looking || a.looking()
		t.LagSeconds = max(t.LagSeconds, a.LagSeconds)
		t.Connections.Source += a.Connections.Source
		t.Connections.Destination += a.Connections.Destination
	}
	s.Totals = t
	s.Domains, s.YouMustCheck = listed(s.Domains), listed(s.YouMustCheck)
	s.Accounts, s.Limits, s.Outlooks = listed(s.Accounts), listed(s.Limits), listed(s.Outlooks)
	for i := range s.Accounts {
		s.Accounts[i].Domains = listed(s.Accounts[i].Domains)
	}
	for i := range s.Domains {
		d := &s.Domains[i]
		d.StillWorking, d.DNS, d.Changes = listed(d.StillWorking), listed(d.DNS), listed(d.Changes)
		d.LateMail.Hosts, d.LateMail.Hours = listed(d.LateMail.Hosts), listed(d.LateMail.Hours)
		d.SafeToSwitch.Reasons, d.SafeToStop.Reasons = listed(d.SafeToSwitch.Reasons), listed(d.SafeToStop.Reasons)
	}
	return s
}

// listed is a list of its own, empty rather than none.
func listed[T any](list []T) []T { return append(make([]T, 0, len(list)), list...) }
