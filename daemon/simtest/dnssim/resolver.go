package dnssim

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// resolver is what is behind a caching resolver.
type resolver struct {
	*Internet
	root netip.AddrPort

	mu    sync.Mutex
	cache map[dns.Question]cached
	turn  int
}

type cached struct {
	reply  *dns.Msg
	stored time.Time
	ttl    time.Duration
}

// Resolver starts a caching resolver that knows one root server. It keeps what
// it has been told for as long as the TTL says, and asks the servers of a zone
// in turn.
func (n *Internet) Resolver(address string, root *Server) *Server {
	n.t.Helper()
	r := &resolver{Internet: n, root: root.Address, cache: make(map[dns.Question]cached)}
	return n.start(address, func(_ *Server, q dns.Question) *dns.Msg {
		m := r.resolve(q, 0)
		m.RecursionAvailable, m.Authoritative = true, false
		return m
	})
}

const depthMost = 12

func failed() *dns.Msg { return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}} }

// resolve answers from the cache, or from the root downwards, along CNAMEs.
func (r *resolver) resolve(q dns.Question, depth int) *dns.Msg {
	if depth > depthMost {
		return failed()
	}
	m := r.lookup(q, depth)
	if m.Rcode != dns.RcodeSuccess || q.Qtype == dns.TypeCNAME {
		return m
	}
	last := q.Name
	for range m.Answer {
		for _, rr := range m.Answer {
			if alias, is := rr.(*dns.CNAME); is && dns.CanonicalName(alias.Hdr.Name) == last {
				last = dns.CanonicalName(alias.Target)
			}
		}
	}
	if last != q.Name && len(set(m.Answer, last, q.Qtype)) == 0 {
		rest := r.resolve(dns.Question{Name: last, Qtype: q.Qtype, Qclass: q.Qclass}, depth+1)
		m.Answer = append(m.Answer, rest.Answer...)
		m.Rcode, m.Ns = rest.Rcode, rest.Ns
	}
	return m
}

// lookup is resolve without CNAMEs.
func (r *resolver) lookup(q dns.Question, depth int) *dns.Msg {
	if m := r.remembered(q); m != nil {
		return m
	}
	// The deepest zone whose servers are known begins.
	servers, zone := []netip.AddrPort{r.root}, "."
	offsets := dns.Split(q.Name)
	for i := range offsets {
		cut := q.Name[offsets[i]:]
		if m := r.remembered(dns.Question{Name: cut, Qtype: dns.TypeNS, Qclass: dns.ClassINET}); m != nil {
			if known := r.addresses(m.Answer, nil, depth); len(known) > 0 {
				servers, zone = known, cut
				break
			}
		}
	}
	for range depthMost {
		m := r.ask(servers, q)
		switch {
		case m == nil:
			return failed()
		case m.Authoritative:
			r.remember(q, m)
			return m
		case m.Rcode != dns.RcodeSuccess || len(m.Ns) == 0:
			return failed()
		}
		cut := dns.CanonicalName(m.Ns[0].Header().Name)
		if !dns.IsSubDomain(zone, cut) || cut == zone {
			return failed()
		}
		r.remember(dns.Question{Name: cut, Qtype: dns.TypeNS, Qclass: dns.ClassINET}, &dns.Msg{Answer: m.Ns})
		glue := slices.DeleteFunc(m.Extra, func(rr dns.RR) bool { return !dns.IsSubDomain(cut, dns.CanonicalName(rr.Header().Name)) })
		servers, zone = r.addresses(m.Ns, glue, depth), cut
	}
	return failed()
}

// addresses are those of name servers, from the glue or looked up.
func (r *resolver) addresses(ns, glue []dns.RR, depth int) []netip.AddrPort {
	var list []netip.AddrPort
	for _, rr := range ns {
		server, is := rr.(*dns.NS)
		if !is {
			continue
		}
		name := dns.CanonicalName(server.Ns)
		found := set(glue, name, dns.TypeA)
		if len(found) == 0 {
			found = r.resolve(dns.Question{Name: name, Qtype: dns.TypeA, Qclass: dns.ClassINET}, depth+1).Answer
		} else {
			r.remember(dns.Question{Name: name, Qtype: dns.TypeA, Qclass: dns.ClassINET}, &dns.Msg{Answer: found})
		}
		for _, rr := range found {
			if a, is := rr.(*dns.A); is {
				address, _ := netip.AddrFromSlice(a.A)
				list = append(list, netip.AddrPortFrom(address.Unmap(), 53))
			}
		}
	}
	return list
}

// ask asks servers, another one first each time, until one answers.
func (r *resolver) ask(servers []netip.AddrPort, q dns.Question) *dns.Msg {
	if len(servers) == 0 {
		return nil
	}
	r.mu.Lock()
	first := r.turn % len(servers)
	r.turn++
	r.mu.Unlock()
	for _, server := range slices.Concat(servers[first:], servers[:first]) {
		for _, network := range []string{"udp", "tcp"} {
			client := &dns.Client{Net: network, Timeout: 500 * time.Millisecond}
			m := new(dns.Msg).SetQuestion(q.Name, q.Qtype)
			m.RecursionDesired = false
			reply, _, err := client.Exchange(m, r.Reach(server).String())
			if err == nil && !reply.Truncated && (reply.Rcode == dns.RcodeSuccess || reply.Rcode == dns.RcodeNameError) {
				return reply
			}
		}
	}
	return nil
}

func (r *resolver) remember(q dns.Question, m *dns.Msg) {
	ttl := time.Duration(-1)
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		lives := time.Duration(rr.Header().Ttl) * time.Second
		if soa, is := rr.(*dns.SOA); is {
			lives = min(lives, time.Duration(soa.Minttl)*time.Second)
		}
		if ttl < 0 || lives < ttl {
			ttl = lives
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cache[q] = cached{m.Copy(), r.now(), ttl}
}

// remembered is a cached answer, with what is left of its TTLs.
func (r *resolver) remembered(q dns.Question) *dns.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, known := r.cache[q]
	age := r.now().Sub(c.stored)
	if !known || age >= c.ttl {
		return nil
	}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: c.reply.Rcode}}
	for _, section := range []struct{ from, to *[]dns.RR }{{&c.reply.Answer, &m.Answer}, {&c.reply.Ns, &m.Ns}} {
		for _, rr := range *section.from {
			rr = dns.Copy(rr)
			rr.Header().Ttl -= min(rr.Header().Ttl, uint32(age/time.Second))
			*section.to = append(*section.to, rr)
		}
	}
	return m
}
