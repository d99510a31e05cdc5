package web

import (
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// DomainStatus is one domain.
type DomainStatus struct {
	Name      string `json:"name"`
	AliasesOf string `json:"aliases_of,omitempty"`
	Accounts  int    `json:"accounts"`
	// Phase is how far it has come, and Since and Why tell of the handover or the
	// end; left out before.
	Phase mail.Phase `json:"phase"`
	Since time.Time  `json:"since,omitzero"`
	Why   string     `json:"why,omitempty"`
	// Switch and Handover are those of the configuration.
	Switch   string `json:"switch"`
	Handover string `json:"handover"`
	// Delivery is where new mail goes: old, new, mixed, null, none or unknown;
	// DeliverySince and DeliveryWhy are left out while it is unknown.
	Delivery      string    `json:"delivery"`
	DeliverySince time.Time `json:"delivery_since,omitzero"`
	DeliveryWhy   string    `json:"delivery_why,omitempty"`
	// TTLSeconds is the largest TTL, now, of the records that the switch changes;
	// 0: not known. CachesUntil is until when caches may keep the old answer; left
	// out before the switch.
	TTLSeconds  int       `json:"ttl_seconds"`
	CachesUntil time.Time `json:"caches_until,omitzero"`

	SafeToSwitch Verdict `json:"safe_to_switch"`
	SafeToStop   Verdict `json:"safe_to_stop"`

	LateMail     LateMail    `json:"late_mail"`
	StillWorking []string    `json:"still_working"` // accounts, on the old server
	LastVerify   time.Time   `json:"last_verify,omitzero"`
	DNS          []DNSServer `json:"dns"`
	Changes      []Change    `json:"changes"` // the last ones, the newest last
}

// Verdict is one of the two verdicts.
type Verdict struct {
	OK      bool     `json:"ok"`
	Reasons []Reason `json:"reasons"` // the blocking ones first
}

// Reason is one reason of a verdict.
type Reason struct {
	Reason   string `json:"reason"`
	Blocking bool   `json:"blocking"`
	Text     string `json:"text"`
}

// LateMail is mail that was delivered to the old server after the switch.
type LateMail struct {
	Messages int        `json:"messages"`
	Hosts    []LateHost `json:"hosts"`
	Hours    []LateHour `json:"hours"` // the last fortnight, those with any
}

// LateHost is who delivered it.
type LateHost struct {
	Host         string    `json:"host"`
	Messages     int       `json:"messages"`
	Last         time.Time `json:"last"`
	Acknowledged string    `json:"acknowledged,omitempty"` // the operator's reason
}

// LateHour is one hour of it.
type LateHour struct {
	Hour     time.Time `json:"hour"`
	Messages int       `json:"messages"`
}

// DNSServer is what one DNS server has last said about a domain.
type DNSServer struct {
	Role     string    `json:"role"` // authority, former or resolver
	Name     string    `json:"name,omitempty"`
	Address  string    `json:"address"`
	Answer   string    `json:"answer"`
	Hosts    []string  `json:"hosts,omitempty"`
	Answered time.Time `json:"answered,omitzero"`
	Problem  string    `json:"problem,omitempty"` // why it does not answer now
}

// Change is something that has happened to a domain or an account of it.
type Change struct {
	At      time.Time `json:"at"`
	Account string    `json:"account,omitempty"`
	What    string    `json:"what"`
	Why     string    `json:"why"`
}

// Asks is the verdict that matters now: whether to switch before the delivery
// has moved or the users have, whether to stop afterwards.
func (d DomainStatus) Asks() (question string, verdict Verdict) {
	if d.Phase == mail.PhaseDraining || d.Phase == mail.PhaseFinished || !d.CachesUntil.IsZero() {
		return "safe to stop", d.SafeToStop
	}
	return "safe to switch", d.SafeToSwitch
}

// Question is the first result of Asks, Answer the second.
func (d DomainStatus) Question() string { q, _ := d.Asks(); return q }

// Answer is the second result of Asks.
func (d DomainStatus) Answer() Verdict { _, v := d.Asks(); return v }

// Word is the verdict in one word.
func (v Verdict) Word() string {
	if v.OK {
		return "yes"
	}
	return "no"
}
