package main

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/cutover"
)

// demoDomain is what the demo adds to the configuration of its world: a domain
// that moves, with everything that takes days in seconds.
const demoDomain = `
[dns]
interval = "1s"

[cutover]
quiet_period = "%s"
workdays = []
old_hosts = ["mx.old.example.org"]

[[domain]]
name = "example.org"
new_mx = ["mx.new.example.org"]
`

// demoDNS is a small DNS: two authorities, of which the second lags, and a
// resolver that keeps what it has heard for the TTL.
type demoDNS struct {
	ttl, lag time.Duration

	mu       sync.Mutex
	switched time.Time // zero: it has not been
	cached   cutover.Answer
	until    time.Time // of what is cached
}

// Switch changes the MX.
func (d *demoDNS) Switch() {
	d.mu.Lock()
	d.switched = time.Now()
	d.mu.Unlock()
}

// Ask implements [cutover.Asker].
func (d *demoDNS) Ask(_ context.Context, q cutover.Question) cutover.Round {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	answer := func(lag time.Duration) cutover.Answer {
		if !d.switched.IsZero() && now.Sub(d.switched) >= lag {
			return cutover.AnswerNew
		}
		return cutover.AnswerOld
	}
	if !now.Before(d.until) {
		d.cached, d.until = answer(0), now.Add(d.ttl)
	}
	round := cutover.Round{
		Domain: q.Domain, At: now,
		Delegation: cutover.Delegation{Zone: q.Domain, Servers: []string{"ns1.example.net", "ns2.example.net"}, TTL: time.Hour},
	}
	for i, server := range []struct {
		role   cutover.Role
		name   string
		answer cutover.Answer
		ttl    time.Duration
	}{
		{cutover.RoleAuthority, "ns1.example.net", answer(0), d.ttl},
		{cutover.RoleAuthority, "ns2.example.net", answer(d.lag), d.ttl},
		{cutover.RoleResolver, "", d.cached, d.until.Sub(now)},
	} {
		host := "mx.old.example.org"
		if server.answer == cutover.AnswerNew {
			host = "mx.new.example.org"
		}
		address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(53 + i)}), 53)
		o := cutover.Observation{
			Server: cutover.Server{Role: server.role, Name: server.name, Address: address},
			At:     now, MXTTL: server.ttl, AddressTTL: server.ttl, Hosts: []cutover.Host{{Name: host, Preference: 10}},
		}
		o.Answer, o.Problem = q.Exchanges.Classify(o.Hosts)
		round.Observations = append(round.Observations, o)
	}
	return round
}
