package cutover

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

const (
	// ttlMost bounds what a TTL is believed to be: caches keep nothing longer
	// than a week (RFC 8767 §4).
	ttlMost = 7 * 24 * time.Hour
	// ttlLow is the TTL that a switch needs.
	ttlLow = 5 * time.Minute
	// formerMost bounds how many former authorities are remembered.
	formerMost = 32
)

// Seen is what DNS has shown of a domain.
type Seen struct {
	First time.Time `json:"first,omitzero"` // the first round with an answer
	Last  time.Time `json:"last,omitzero"`  // the last round
	// OldMX is what the first authoritative answer was taken for, where the
	// configuration does not tell.
	OldMX   []string     `json:"old_mx,omitempty"`
	Servers []ServerSeen `json:"servers,omitempty"`
	// Zone and ZoneProblem are of the delegation; Left is when a server was last
	// seen to have left it.
	Zone        string    `json:"zone,omitempty"`
	ZoneProblem string    `json:"zone_problem,omitempty"`
	Left        time.Time `json:"left,omitzero"`
	// MXTTL, AddressTTL and NSTTL are the largest ever seen.
	MXTTL      time.Duration `json:"mx_ttl,omitempty"`
	AddressTTL time.Duration `json:"address_ttl,omitempty"`
	NSTTL      time.Duration `json:"ns_ttl,omitempty"`
	// TTL is that of the records to be changed, as the authorities give it now
	// (the largest); Lowered is when a larger one than [ttlLow] was last taken
	// down, Before what it was.
	TTL     time.Duration `json:"ttl,omitempty"`
	Before  time.Duration `json:"ttl_before,omitempty"`
	Lowered time.Time     `json:"ttl_lowered,omitzero"`
}

// ServerSeen is what one DNS server has shown.
type ServerSeen struct {
	Server
	// Answer is its last one that was not unknown, given in so many Rounds in a
	// row; Hosts are those of that answer.
	Answer   Answer    `json:"answer,omitempty"`
	Rounds   int       `json:"rounds,omitempty"`
	Hosts    []string  `json:"hosts,omitempty"`
	Answered time.Time `json:"answered,omitzero"`
	// Problem is why the last round got no answer; empty: it got one.
	Problem string `json:"problem,omitempty"`
	// OldUntil is the last moment at which it may have given an answer with hosts
	// of the old server: where it stopped to, the first answer without.
	OldUntil time.Time `json:"old_until,omitzero"`
	// Left is when it was first seen to be delegated to no more.
	Left time.Time `json:"left,omitzero"`
	// Trusted is set again once it has shown the old answer after an abort.
	Trusted bool `json:"trusted,omitempty"`
}

// answers tells whether its last answer is still what it says.
func (s ServerSeen) answers() bool { return s.Answer != "" && s.Problem == "" }

// name is how people call the server.
func (s ServerSeen) name() string {
	switch {
	case s.Name != "" && !s.Address.IsValid():
		return s.Name
	case s.Name != "":
		return s.Name + " (" + s.Address.Addr().String() + ")"
	}
	return s.Address.Addr().String()
}

// servesOld tells whether an answer still sends mail to the old server.
func (a Answer) servesOld() bool { return a == AnswerOld || a == AnswerMixed }

// Exchanges say whose the hosts of a domain are.
func (m Memory) Exchanges(d Domain) Exchanges {
	e := Exchanges{New: d.NewMX, Old: d.OldMX, ByAddress: d.Switch == SwitchAddress}
	if len(e.Old) == 0 {
		e.Old = m.DNS.OldMX
	}
	return e
}

// Question is what the next round is to find out about a domain.
func (m Memory) Question(d Domain) Question {
	q := Question{Domain: d.Name, Exchanges: m.Exchanges(d)}
	for _, s := range m.DNS.Servers {
		if s.Role != RoleResolver {
			q.Former = append(q.Former, s.Server)
		}
	}
	return q
}

// note takes a round in.
func (s *Seen) note(d Domain, r Round) {
	s.Last = r.At
	s.Servers = slices.Clone(s.Servers)
	s.noteDelegation(r)
	ttl := time.Duration(0)
	for _, o := range r.Observations {
		i := slices.IndexFunc(s.Servers, func(known ServerSeen) bool { return known.Address == o.Server.Address && known.Name == o.Server.Name })
		if i < 0 {
			i = len(s.Servers)
			s.Servers = append(s.Servers, ServerSeen{})
		}
		s.Servers[i].note(o, r.At)
		if o.Answer == AnswerUnknown {
			continue
		}
		s.MXTTL = max(s.MXTTL, min(o.MXTTL, ttlMost))
		s.AddressTTL = max(s.AddressTTL, min(o.AddressTTL, ttlMost))
		if o.Server.Role == RoleAuthority {
			ttl = max(ttl, min(decisiveTTL(d, o), ttlMost))
		}
	}
	if ttl > 0 {
		if s.TTL > ttlLow && ttl <= ttlLow {
			s.Before, s.Lowered = s.TTL, r.At
		}
		s.TTL = ttl
	}
	s.forget()
}

// decisiveTTL is how long a cache keeps what the switch is going to change.
func decisiveTTL(d Domain, o Observation) time.Duration {
	implicit := slices.ContainsFunc(o.Hosts, func(h Host) bool { return h.Name == strings.ToLower(d.Name) })
	switch {
	case d.Switch == SwitchAddress:
		return o.AddressTTL
	case implicit:
		return max(o.MXTTL, o.AddressTTL)
	}
	return o.MXTTL
}

// noteDelegation takes in what the parent says. Servers that are new to it get
// their place with their first answer.
func (s *Seen) noteDelegation(r Round) {
	if s.ZoneProblem = r.Delegation.Problem; s.ZoneProblem != "" {
		return
	}
	s.Zone = r.Delegation.Zone
	s.NSTTL = max(s.NSTTL, min(r.Delegation.TTL, ttlMost))
	for i := range s.Servers {
		known := &s.Servers[i]
		delegated := slices.Contains(r.Delegation.Servers, known.Name)
		switch {
		case known.Role == RoleAuthority && !delegated:
			known.Role, known.Left, s.Left = RoleFormer, r.At, r.At
		case known.Role == RoleFormer && delegated:
			known.Role, known.Left = RoleAuthority, time.Time{}
		}
	}
}

// note takes in what the server answered.
func (s *ServerSeen) note(o Observation, at time.Time) {
	if s.Left.IsZero() || o.Server.Role != RoleFormer {
		s.Server = o.Server
	}
	if o.Answer == AnswerUnknown {
		s.Problem, s.Rounds = cmp.Or(o.Problem, "no answer"), 0
		return
	}
	if o.Answer.servesOld() || s.Answer.servesOld() {
		s.OldUntil = at
	}
	if o.Answer == s.Answer {
		s.Rounds++
	} else {
		s.Rounds = 1
	}
	s.Trusted = s.Trusted || o.Answer == AnswerOld
	s.Answer, s.Answered, s.Problem, s.Hosts = o.Answer, at, "", nil
	for _, h := range o.Hosts {
		s.Hosts = append(s.Hosts, h.Name)
	}
}

// forget lets go of the former authorities that matter least, and of resolvers
// that are not asked any more.
func (s *Seen) forget() {
	former := 0
	slices.SortStableFunc(s.Servers, func(a, b ServerSeen) int { return b.OldUntil.Compare(a.OldUntil) })
	s.Servers = slices.DeleteFunc(s.Servers, func(known ServerSeen) bool {
		if known.Role == RoleFormer {
			former++
		}
		return former > formerMost && known.Role == RoleFormer
	})
	slices.SortStableFunc(s.Servers, func(a, b ServerSeen) int {
		return cmp.Or(cmp.Compare(rank(a.Role), rank(b.Role)), cmp.Compare(a.Name, b.Name), a.Address.Compare(b.Address))
	})
}

func rank(r Role) int { return slices.Index([]Role{RoleAuthority, RoleFormer, RoleResolver}, r) }

// with returns the servers for which want is true.
func (s Seen) with(want func(ServerSeen) bool) []ServerSeen {
	var list []ServerSeen
	for _, known := range s.Servers {
		if want(known) {
			list = append(list, known)
		}
	}
	return list
}

// Answers counts the servers by their last answers, those that give none under
// unknown. Every answer is there.
func (s Seen) Answers() map[Answer]int {
	counts := make(map[Answer]int)
	for _, a := range Answers() {
		counts[a] = 0
	}
	for _, known := range s.Servers {
		if known.answers() {
			counts[known.Answer]++
		} else {
			counts[AnswerUnknown]++
		}
	}
	return counts
}

// evidence is where mail goes, as far as that can be relied on: by one
// authority, else by two resolvers that say so in two rounds. Authorities that
// differ give mixed where any of them names the new server.
func (s Seen) evidence() (Answer, string) {
	witnesses := s.with(func(k ServerSeen) bool { return k.Role == RoleAuthority && k.answers() })
	if len(witnesses) == 0 {
		agreeing := make(map[Answer]int)
		resolvers := s.with(func(k ServerSeen) bool { return k.Role == RoleResolver && k.answers() && k.Rounds >= 2 })
		for _, k := range resolvers {
			agreeing[k.Answer]++
		}
		for _, k := range resolvers {
			if agreeing[k.Answer] >= 2 {
				witnesses = append(witnesses, k)
			}
		}
	}
	if len(witnesses) == 0 {
		return AnswerUnknown, "neither an authority nor two resolvers in two rounds have answered"
	}
	answer, why := witnesses[0].Answer, says(witnesses[0])
	for _, k := range witnesses[1:] {
		if k.Answer == answer {
			continue
		}
		why += "; " + says(k)
		switch both := []Answer{answer, k.Answer}; {
		case slices.Contains(both, AnswerNew) || slices.Contains(both, AnswerMixed):
			answer = AnswerMixed
		case slices.Contains(both, AnswerOld):
			answer = AnswerOld
		default:
			answer = AnswerNull // null and none
		}
	}
	return answer, why
}

// says tells what a server answers.
func says(k ServerSeen) string {
	switch {
	case k.Answer == AnswerNull:
		return k.name() + " says that the domain takes no mail"
	case k.Answer == AnswerNone:
		return k.name() + " knows neither MX nor address"
	case len(k.Hosts) > 3:
		return k.name() + " says " + strings.Join(k.Hosts[:3], ", ") + ", …"
	}
	return k.name() + " says " + strings.Join(k.Hosts, ", ")
}

// Timeless is a memory without the times that pass with every round in which
// nothing changes.
func (m Memory) Timeless() Memory {
	m.DNS.Last = time.Time{}
	m.DNS.Servers = slices.Clone(m.DNS.Servers)
	for i := range m.DNS.Servers {
		s := &m.DNS.Servers[i]
		s.Answered, s.Rounds = time.Time{}, min(s.Rounds, 2)
		if s.Answer.servesOld() {
			s.OldUntil = time.Time{}
		}
	}
	return m
}
