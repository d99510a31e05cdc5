package cutover

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Switch is what shows that delivery has moved.
type Switch string

// The switches.
const (
	SwitchMX      Switch = "mx"      // the MX records
	SwitchAddress Switch = "address" // the addresses behind them
	SwitchManual  Switch = "manual"  // the operator's word
)

// Handover is what tells that the users have moved.
type Handover string

// The ways of the handover.
const (
	HandoverMX     Handover = "mx"     // together with the delivery, whatever shows that
	HandoverManual Handover = "manual" // the operator's word
)

// Domain is what the configuration says about a domain.
type Domain struct {
	Name         string
	NewMX, OldMX []string
	Switch       Switch
	Handover     Handover
	AliasesOf    string // the domain that has its accounts
}

// ByHand is a domain that has no table of its own in the configuration: both
// switches are the operator's.
func ByHand(name string) Domain {
	return Domain{Name: name, Switch: SwitchManual, Handover: HandoverManual}
}

// Watched tells whether DNS is asked about the domain.
func (d Domain) Watched() bool { return d.Switch != SwitchManual }

// Event is something that has happened, and why. The zero Event has not.
type Event struct {
	At  time.Time `json:"at,omitzero"`
	Why string    `json:"why,omitempty"`
}

// Happened tells whether it has.
func (e Event) Happened() bool { return !e.At.IsZero() }

// Change is an event of a domain, or of one account of it, for the record.
type Change struct {
	At      time.Time `json:"at"`
	Domain  string    `json:"domain,omitempty"`
	Account string    `json:"account,omitempty"`
	What    string    `json:"what"` // such as "handed over"
	Why     string    `json:"why"`
}

// Memory is what is remembered of a domain. It is a value: what changes it
// returns another.
type Memory struct {
	// Delivery is where new mail arrives, as far as it has been known: old, new,
	// mixed, null, none, or empty.
	Delivery Answer `json:"delivery,omitempty"`
	Since    Event  `json:"since,omitzero"` // when Delivery became that
	// Moved is when delivery was first known to be at the new server alone.
	Moved Event `json:"moved,omitzero"`
	// Handover is when the users began to work on the new server.
	Handover Event `json:"handover,omitzero"`
	// Finish is the operator's word that the old server may go, for
	// finish = "ask"; Finished is when it was done.
	Finish   Event `json:"finish,omitzero"`
	Finished Event `json:"finished,omitzero"`
	// Aborted is when the operator took the switch back. From then on DNS counts
	// only once every authority has shown the old answer; Aborted is zero again.
	// AbortedLast is when that was last said.
	Aborted     Event     `json:"aborted,omitzero"`
	AbortedLast time.Time `json:"aborted_last,omitzero"`
	// FirstSight is set while the first answer was that of the new server, and
	// nobody has told whether the switch is meant.
	FirstSight Event `json:"first_sight,omitzero"`
	// Lost is when it was found that the record of the phases had been lost:
	// until the operator has told, nothing on the new server is changed.
	Lost Event `json:"lost,omitzero"`

	DNS  Seen     `json:"dns,omitzero"`
	Late LateMail `json:"late,omitzero"`
}

// AccountMemory is what is remembered of an account.
type AccountMemory struct {
	Domains []string `json:"domains"`
	// Following is when the first complete pass was done.
	Following Event `json:"following,omitzero"`
	// Handover is when the account was handed over alone, TakenBack when that was
	// last taken back.
	Handover  Event     `json:"handover,omitzero"`
	TakenBack time.Time `json:"taken_back,omitzero"`
	// Lost is that of [Memory].
	Lost Event `json:"lost,omitzero"`
	// StateLost is when the account's state was found to be lost although its users
	// work on the new server: what arrived before the handover and is not there is
	// held, not copied.
	StateLost Event `json:"state_lost,omitzero"`
	// Skipped is the operator's word that the account is not waited for.
	Skipped Event `json:"skipped,omitzero"`
	// Removed is when the configuration began to lack the account, although it
	// was not finished.
	Removed Event `json:"removed,omitzero"`
	// Source is the old server as it was at the first log-in.
	Source SourceSeen `json:"source,omitzero"`
	// FirstCopy and LastCopy are times of copies; of those after LastCopy none
	// is known that a verification has not seen.
	FirstCopy time.Time `json:"first_copy,omitzero"`
	LastCopy  time.Time `json:"last_copy,omitzero"`
	// Quick and Contents are the last verifications: of everything but the
	// contents, and of the contents of all or of a sample.
	Quick    Verified `json:"quick,omitzero"`
	Contents Verified `json:"contents,omitzero"`
	// Comparing is how far a verification has come that was broken off, in the
	// words of who compares.
	Comparing json.RawMessage `json:"comparing,omitempty"`
	// Working is when its user was last seen at work on the old server since the
	// handover.
	Working Event `json:"working,omitzero"`
}

// SourceSeen is what a server is known by (I10).
type SourceSeen struct {
	Host        string       `json:"host"` // as configured
	Addresses   []netip.Addr `json:"addresses,omitempty"`
	Certificate string       `json:"certificate,omitempty"` // its SHA-256, hexadecimal
	ID          string       `json:"id,omitempty"`          // its answer to ID (RFC 2971)
}

// Verified is the outcome of a comparison of both sides.
type Verified struct {
	// Began is what it has seen everything until.
	Began       time.Time `json:"began"`
	Differences int       `json:"differences,omitempty"`
	// Found is how many messages are of which class.
	Found map[string]int64 `json:"found,omitempty"`
}

// Draining tells whether an account is to be carried as one whose users work
// on the new server. domains are those of the account.
func (a AccountMemory) Draining(domains []Memory) bool {
	if a.Handover.Happened() || a.Lost.Happened() {
		return true
	}
	for i := range domains {
		if d := &domains[i]; d.Handover.Happened() || d.Finished.Happened() || d.Lost.Happened() {
			return true
		}
	}
	return false
}

// Phase is how far an account has come. domains are those of the account,
// aliases are of domains without accounts, whose mail it gets too.
func (a AccountMemory) Phase(domains, aliases []Memory) mail.Phase {
	finished := len(domains) > 0
	for _, list := range [][]Memory{domains, aliases} {
		for i := range list {
			finished = finished && list[i].Finished.Happened()
		}
	}
	switch {
	case finished:
		return mail.PhaseFinished
	case a.Draining(domains):
		return mail.PhaseDraining
	case a.Following.Happened():
		return mail.PhaseFollowing
	}
	return mail.PhaseSeeding
}

// Phase is how far a domain has come: the least of its accounts, until it
// drains.
func (m Memory) Phase(accounts []mail.Phase) mail.Phase {
	switch {
	case m.Finished.Happened():
		return mail.PhaseFinished
	case m.Handover.Happened() || m.Lost.Happened():
		return mail.PhaseDraining
	}
	for _, p := range mail.Phases() {
		if slices.Contains(accounts, p) {
			return p
		}
	}
	return mail.PhaseSeeding
}
