package cutover

import (
	"context"
	"net/netip"
	"time"
)

// Answer is what one DNS server says about where mail for a domain goes: a
// closed list.
type Answer string

// The answers.
const (
	AnswerOld   Answer = "old"   // every host is one of the old server, or none of the new
	AnswerNew   Answer = "new"   // every host is one of the new server
	AnswerMixed Answer = "mixed" // hosts of the new server, and others beside them
	AnswerNull  Answer = "null"  // the domain takes no mail (RFC 7505)
	AnswerNone  Answer = "none"  // the domain exists, but has neither MX nor address
	// AnswerUnknown is NXDOMAIN, SERVFAIL, REFUSED, silence, lameness, an answer
	// that must not be believed, and hosts of neither server. It is never taken
	// for old or new.
	AnswerUnknown Answer = "unknown"
)

// Answers lists every [Answer].
func Answers() []Answer {
	return []Answer{AnswerOld, AnswerNew, AnswerMixed, AnswerNull, AnswerNone, AnswerUnknown}
}

// Role says what the word of a DNS server is worth.
type Role string

// The roles.
const (
	RoleAuthority Role = "authority" // the zone is delegated to it now, by its parent or by itself
	RoleFormer    Role = "former"    // it was delegated to, and may still be asked by who remembers
	RoleResolver  Role = "resolver"  // the system's, or one of [dns] resolvers
)

// Server is one DNS server.
type Server struct {
	Role Role `json:"role"`
	// Name is that of its NS record, in lower case without a final dot; empty for
	// a resolver.
	Name string `json:"name,omitempty"`
	// Address is not valid where none is found for the name.
	Address netip.AddrPort `json:"address"`
}

// Host is a host that mail for the domain goes to.
type Host struct {
	// Name is in lower case, without a final dot. It is the domain's own where
	// there is no MX and its addresses count (RFC 5321 §5.1).
	Name       string `json:"name"`
	Preference uint16 `json:"preference,omitempty"`
	// Addresses are sorted. Without any Problem says why.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Problem   string       `json:"problem,omitempty"`
}

// Observation is what one server answered. Without an answer Answer is
// [AnswerUnknown] and Problem says why.
type Observation struct {
	Server Server    `json:"server"`
	At     time.Time `json:"at"`
	Answer Answer    `json:"answer"`
	Hosts  []Host    `json:"hosts,omitempty"` // by preference, then name
	// MXTTL is the TTL of the MX records, or of the negative answer (RFC 2308 §5:
	// the lesser of the SOA's TTL and its MINIMUM) where there are none;
	// AddressTTL is the largest of the hosts' addresses. A resolver's are what is
	// left of them in its cache.
	MXTTL      time.Duration `json:"mx_ttl,omitempty"`
	AddressTTL time.Duration `json:"address_ttl,omitempty"`
	Problem    string        `json:"problem,omitempty"` // for people, in one line
}

// Delegation is what the servers of the parent zone, and those that they name,
// say about who serves a zone.
type Delegation struct {
	// Zone is the one that the domain lies in, in lower case without a final dot.
	Zone string `json:"zone"`
	// Servers are the names of its NS records, at the parent and in the zone,
	// sorted; empty with a Problem where the parent's could not be found out.
	Servers []string      `json:"servers,omitempty"`
	TTL     time.Duration `json:"ttl,omitempty"` // the largest of these records
	Problem string        `json:"problem,omitempty"`
}

// Round is what all servers answered about one domain, asked side by side.
type Round struct {
	Domain       string        `json:"domain"`
	At           time.Time     `json:"at"` // when the last answer was in
	Delegation   Delegation    `json:"delegation"`
	Observations []Observation `json:"observations"` // authorities, former ones, resolvers
}

// Question is what a round is to find out.
type Question struct {
	Domain string
	// Former are authorities of earlier rounds. Those that are not delegated to
	// any more are asked too, as RoleFormer.
	Former []Server
	// Exchanges tell whose the hosts are.
	Exchanges Exchanges
}

// Asker asks DNS servers. What goes wrong is part of the round: a server that
// fails is an observation with its problem.
type Asker interface {
	Ask(ctx context.Context, q Question) Round
}

// Exchanges say whose a host is. The entries are names, globs (an asterisk stands
// for any octets, dots too) and addresses, without regard to case.
type Exchanges struct {
	New []string // new_mx
	// Old is old_mx, or what the first authoritative answer was taken for. Where
	// it is empty every host that is not new is old.
	Old []string
	// ByAddress, for switch = "address": names tell nothing, and only addresses
	// are compared.
	ByAddress bool
}
