package cutover_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dnssim"
)

var byName = cutover.Exchanges{New: []string{"mx.new.example"}, Old: []string{"mx.old.example"}}

// asker asks the servers of a domain of the tests.
func asker(d *dnssim.Domain, o cutover.AskerOptions) cutover.Asker {
	o.ResolvConf, o.Resolvers, o.Reach = "-", d.ResolverAddresses(), d.Reach
	if o.Timeout == 0 {
		o.Timeout = 400 * time.Millisecond
	}
	return cutover.NewAsker(o)
}

// ask is one round about the domain of the tests.
func ask(t *testing.T, d *dnssim.Domain, e cutover.Exchanges, former ...cutover.Server) cutover.Round {
	t.Helper()
	return asker(d, cutover.AskerOptions{}).Ask(context.Background(), cutover.Question{Domain: "example.org", Exchanges: e, Former: former})
}

// answers are those of ns1, ns2 and the two resolvers, in one line.
func answers(r cutover.Round) string {
	var words []string
	for _, o := range r.Observations {
		words = append(words, string(o.Answer))
	}
	return strings.Join(words, " ")
}

// expect fails unless the first answers are these.
func expect(t *testing.T, r cutover.Round, want string) {
	t.Helper()
	if got := answers(r); got != want && !strings.HasPrefix(got, want+" ") {
		t.Errorf("answers: %s\nwant:    %s", got, want)
		for _, o := range r.Observations {
			t.Logf("%+v", o)
		}
		t.Logf("%+v", r.Delegation)
	}
}

func TestAskLife(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 6, 18, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	pass := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	d := dnssim.NewDomain(t, clock)
	a := asker(d, cutover.AskerOptions{Now: clock, Timeout: 2 * time.Second})
	round := func() cutover.Round {
		return a.Ask(context.Background(), cutover.Question{Domain: "example.org", Exchanges: byName})
	}

	d.Serve(86400, "mx.old.example.")
	r := round()
	expect(t, r, "old old old old")
	if r.Delegation.Zone != "example.org" || fmt.Sprint(r.Delegation.Servers) != "[ns1.example.org ns2.hoster.example]" || r.Delegation.TTL != time.Hour || r.Delegation.Problem != "" {
		t.Errorf("%+v", r.Delegation)
	}
	first := r.Observations[0]
	if first.Server.Name != "ns1.example.org" || first.Server.Address != netip.MustParseAddrPort("192.0.2.1:53") || first.Server.Role != cutover.RoleAuthority ||
		first.MXTTL != 24*time.Hour || first.AddressTTL != time.Hour || !first.At.Equal(now) || len(first.Hosts) != 1 ||
		first.Hosts[0].Name != "mx.old.example" || first.Hosts[0].Preference != 10 || fmt.Sprint(first.Hosts[0].Addresses) != "[198.51.100.7]" {
		t.Errorf("%+v", first)
	}

	// The TTL is lowered; the caches do not know yet.
	d.Serve(300, "mx.old.example.")
	pass(time.Hour)
	r = round()
	if r.Observations[0].MXTTL != 5*time.Minute || r.Observations[2].MXTTL != 23*time.Hour {
		t.Errorf("TTLs: %v", r.Observations)
	}
	pass(24 * time.Hour)
	expect(t, round(), "old old old old")

	// The switch: one authority lags, the caches follow after the TTL.
	d.ServeFrom(0, 300, "mx.new.example.", "mx.old.example.")
	expect(t, round(), "mixed old old old")
	d.ServeFrom(0, 300, "mx.new.example.")
	expect(t, round(), "new old old old")
	d.ServeFrom(1, 300, "mx.new.example.")
	expect(t, round(), "new new old old")
	pass(5 * time.Minute)
	expect(t, round(), "new new new new")
}

func TestAskAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		records []string
		e       cutover.Exchanges
		want    string
		problem string // in that of the first server
	}{
		{"null MX", []string{"example.org. 300 IN MX 0 ."}, byName, "null", ""},
		{"null MX beside another", []string{"example.org. 300 IN MX 0 .", "example.org. 300 IN MX 10 mx.new.example."}, byName, "new", ""},
		{"no MX, an address", []string{"example.org. 300 IN A 203.0.113.7"}, cutover.Exchanges{New: []string{"203.0.113.7"}}, "new", ""},
		{"no MX, an old address", []string{"example.org. 300 IN A 198.51.100.7"}, cutover.Exchanges{New: []string{"203.0.113.7"}}, "old", ""},
		{"no MX, only IPv6", []string{"example.org. 300 IN AAAA 2001:db8::7"}, cutover.Exchanges{New: []string{"2001:db8::/32"}}, "new", ""},
		{"nothing", nil, byName, "none", ""},
		{"hosts of neither", []string{"example.org. 300 IN MX 10 ns2.hoster.example."}, byName, "unknown", "ns2.hoster.example (192.0.2.2), which stands neither in new_mx nor in old_mx"},
		{"a glob", []string{"example.org. 300 IN MX 10 MX.New.Example."}, cutover.Exchanges{New: []string{"*.new.example"}}, "new", ""},
		{"a host in the zone", []string{"example.org. 300 IN MX 10 mail.example.org.", "mail.example.org. 600 IN A 203.0.113.7"}, cutover.Exchanges{New: []string{"203.0.113.7"}}, "new", ""},
		{"a host that is an alias", []string{"example.org. 300 IN MX 10 mail.example.org.", "mail.example.org. 900 IN CNAME mx.new.example."}, cutover.Exchanges{New: []string{"203.0.113.7"}, Old: []string{"x.example"}}, "new", ""},
		{"a host without address", []string{"example.org. 300 IN MX 10 gone.example.org."}, cutover.Exchanges{New: []string{"203.0.113.7"}, Old: []string{"x.example"}}, "unknown", "gone.example.org (NXDOMAIN"},
		{"aliases in a circle at a host", []string{"example.org. 300 IN MX 10 a.example.org.", "a.example.org. 300 IN CNAME b.example.org.", "b.example.org. 300 IN CNAME a.example.org."},
			cutover.Exchanges{New: []string{"203.0.113.7"}, Old: []string{"x.example"}}, "unknown", "circle"},
		{"by address", []string{"example.org. 300 IN MX 10 mail.example.org.", "mail.example.org. 300 IN A 203.0.113.7"}, cutover.Exchanges{New: []string{"203.0.113.7"}, ByAddress: true}, "new", ""},
		{"by address, half", []string{"example.org. 300 IN MX 10 mail.example.org.", "mail.example.org. 300 IN A 203.0.113.7", "mail.example.org. 300 IN A 198.51.100.7"},
			cutover.Exchanges{New: []string{"203.0.113.7"}, ByAddress: true}, "mixed", ""},
		{"by address, elsewhere", []string{"example.org. 300 IN MX 10 mx.new.example."}, cutover.Exchanges{New: []string{"203.0.113.7"}, ByAddress: true}, "new", ""},
		{"by address, names do not count", []string{"example.org. 300 IN MX 10 mx.old.example."}, cutover.Exchanges{New: []string{"mx.old.example", "203.0.113.7"}, ByAddress: true}, "old", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := dnssim.NewDomain(t, nil)
			d.Records(0, test.records...)
			d.Records(1, test.records...)
			r := ask(t, d, test.e)
			expect(t, r, strings.Join([]string{test.want, test.want, test.want, test.want}, " "))
			if got := r.Observations[0].Problem; !strings.Contains(got, test.problem) || (got == "") != (test.problem == "") {
				t.Errorf("problem %q, want %q", got, test.problem)
			}
		})
	}
}

// TestAskNegativeTTL: how long caches keep that there is no MX.
func TestAskNegativeTTL(t *testing.T) {
	t.Parallel()
	d := dnssim.NewDomain(t, nil)
	d.Records(0, "example.org. 40 IN A 203.0.113.7", "example.org. 3600 IN SOA ns1.example.org. root.example.org. 1 1 1 1 600")
	r := ask(t, d, byName)
	if o := r.Observations[0]; o.MXTTL != 10*time.Minute || o.AddressTTL != 40*time.Second {
		t.Errorf("%+v", o)
	}
}

// TestAskBadServers: what is not known is never taken for old or new.
func TestAskBadServers(t *testing.T) {
	t.Parallel()
	forge := func(f func(m *dns.Msg)) func(q, reply *dns.Msg, udp bool) *dns.Msg {
		return func(_, reply *dns.Msg, _ bool) *dns.Msg {
			f(reply)
			return reply
		}
	}
	evil := func(owner string) dns.RR {
		rr, err := dns.NewRR(owner + " 300 IN MX 1 mx.new.example.")
		if err != nil {
			t.Fatal(err)
		}
		return rr
	}
	tests := []struct {
		name    string
		tamper  func(q, reply *dns.Msg, udp bool) *dns.Msg
		want    string
		problem string
	}{
		{"SERVFAIL", dnssim.Rcode(dns.RcodeServerFailure), "unknown", "answered SERVFAIL"},
		{"REFUSED", dnssim.Rcode(dns.RcodeRefused), "unknown", "answered REFUSED"},
		{"NXDOMAIN", func(q, reply *dns.Msg, _ bool) *dns.Msg {
			m := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
			m.Authoritative = true
			return m
		}, "unknown", "NXDOMAIN"},
		{"silence", dnssim.Silent, "unknown", "no answer, over UDP or TCP"},
		{"silence over UDP", func(_, reply *dns.Msg, udp bool) *dns.Msg {
			if udp {
				return nil
			}
			return reply
		}, "old", ""},
		{"truncated over UDP", func(_, reply *dns.Msg, udp bool) *dns.Msg {
			if udp {
				reply.Truncated = true
				reply.Answer = []dns.RR{evil("example.org.")}
			}
			return reply
		}, "old", ""},
		{"truncated over TCP too", forge(func(m *dns.Msg) { m.Truncated, m.Answer = true, []dns.RR{evil("example.org.")} }), "unknown", "truncated over TCP too"},
		{"lame", forge(func(m *dns.Msg) { m.Authoritative = false }), "unknown", "lame"},
		{"a referral", forge(func(m *dns.Msg) { m.Authoritative, m.Ns, m.Answer = false, m.Answer, nil }), "unknown", "lame"},
		{"wrong ID", forge(func(m *dns.Msg) { m.Id++ }), "unknown", "answered another question"},
		{"wrong question", forge(func(m *dns.Msg) { m.Question[0].Name = "example.net." }), "unknown", "answered another question"},
		{"wrong type in the question", forge(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT }), "unknown", "answered another question"},
		{"no question", forge(func(m *dns.Msg) { m.Question = nil }), "unknown", "answered another question"},
		{"a question for an answer", forge(func(m *dns.Msg) { m.Response = false }), "unknown", "answered another question"},
		{"another opcode", forge(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), "unknown", "answered another question"},
		{"another class", forge(func(m *dns.Msg) {
			for _, rr := range m.Answer {
				rr.Header().Class = dns.ClassCHAOS
			}
		}), "none", ""},
		{"records of another name", forge(func(m *dns.Msg) { m.Answer = []dns.RR{evil("example.net.")} }), "none", ""},
		{"records without data", forge(func(m *dns.Msg) {
			m.Answer = []dns.RR{&dns.RFC3597{Hdr: dns.RR_Header{Name: "example.org.", Rrtype: dns.TypeMX, Class: dns.ClassINET, Ttl: 300}}}
		}), "none", ""},
		{"records in other sections", forge(func(m *dns.Msg) {
			m.Answer, m.Extra, m.Ns = nil, []dns.RR{evil("example.org.")}, []dns.RR{evil("example.org.")}
		}), "none", ""},
		{"additional addresses nobody asked for", forge(func(m *dns.Msg) {
			rr, err := dns.NewRR("mx.old.example. 300 IN A 203.0.113.66")
			if err != nil {
				panic(err)
			}
			m.Extra = append(m.Extra, rr)
			m.Answer = append(m.Answer, rr)
		}), "old", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := dnssim.NewDomain(t, nil)
			d.Serve(300, "mx.old.example.")
			d.Authorities[0].Tamper(test.tamper)
			r := ask(t, d, byName)
			expect(t, r, test.want+" old")
			o := r.Observations[0]
			if !strings.Contains(o.Problem, test.problem) || (o.Problem == "") != (test.problem == "") {
				t.Errorf("problem %q, want %q", o.Problem, test.problem)
			}
			for _, h := range o.Hosts {
				if slices.Contains(h.Addresses, netip.MustParseAddr("203.0.113.66")) {
					t.Errorf("an address that the server cannot know is believed: %+v", h)
				}
			}
		})
	}
}

// TestAskForgedPackets: packets with another ID or question, or garbage, that
// come before the right answer do not keep it from being taken.
func TestAskForgedPackets(t *testing.T) {
	t.Parallel()
	d := dnssim.NewDomain(t, nil)
	d.Serve(300, "mx.old.example.")
	d.Authorities[0].Before(func(q *dns.Msg) [][]byte {
		var packets [][]byte
		for _, change := range []func(m *dns.Msg){
			func(m *dns.Msg) { m.Id++ },
			func(m *dns.Msg) { m.Question[0].Name = "example.net." },
			func(m *dns.Msg) { m.Response = false },
		} {
			m := new(dns.Msg).SetReply(q)
			m.Authoritative = true
			rr, err := dns.NewRR(q.Question[0].Name + " 300 IN MX 1 mx.new.example.")
			if err != nil {
				panic(err)
			}
			m.Answer = []dns.RR{rr}
			change(m)
			packed, err := m.Pack()
			if err != nil {
				panic(err)
			}
			packets = append(packets, packed)
		}
		return append(packets, []byte{1}, []byte("garbage that is long enough to be a header"), nil)
	})
	expect(t, ask(t, d, byName), "old old")
}

// TestAskBadResolvers: a resolver is believed as far as it goes, and one that
// fails does not keep the authorities from being found.
func TestAskBadResolvers(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]func(q, reply *dns.Msg, udp bool) *dns.Msg{
		"silent": dnssim.Silent, "SERVFAIL": dnssim.Rcode(dns.RcodeServerFailure),
		"no resolver": func(_, reply *dns.Msg, _ bool) *dns.Msg {
			reply.Answer, reply.Ns, reply.RecursionAvailable = nil, nil, false
			return reply
		},
		"aliases in a circle": func(q, reply *dns.Msg, _ bool) *dns.Msg {
			reply.Answer = nil
			for _, text := range []string{q.Question[0].Name + " 300 IN CNAME a.example.", "a.example. 300 IN CNAME " + q.Question[0].Name} {
				rr, err := dns.NewRR(text)
				if err != nil {
					panic(err)
				}
				reply.Answer = append(reply.Answer, rr)
			}
			reply.Ns = nil
			return reply
		},
		"aliases without end": func(q, reply *dns.Msg, _ bool) *dns.Msg {
			reply.Answer, reply.Ns = nil, nil
			for i := range 20 {
				owner := fmt.Sprintf("c%d.example.", i)
				if i == 0 {
					owner = q.Question[0].Name
				}
				rr, err := dns.NewRR(fmt.Sprintf("%s 300 IN CNAME c%d.example.", owner, i+1))
				if err != nil {
					panic(err)
				}
				reply.Answer = append(reply.Answer, rr)
			}
			return reply
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := dnssim.NewDomain(t, nil)
			d.Serve(300, "mx.old.example.")
			d.Resolvers[0].Tamper(tamper)
			expect(t, ask(t, d, byName), "old old unknown old")
		})
	}
}

// TestAskWithoutResolvers: what is remembered is asked, as what it was.
func TestAskWithoutResolvers(t *testing.T) {
	t.Parallel()
	d := dnssim.NewDomain(t, nil)
	d.Serve(300, "mx.new.example.")
	var known []cutover.Server
	for _, o := range ask(t, d, byName).Observations[:2] {
		known = append(known, o.Server)
	}
	for _, resolver := range d.Resolvers {
		resolver.Tamper(dnssim.Silent)
	}
	r := ask(t, d, byName, known...)
	expect(t, r, "new new unknown unknown")
	if r.Observations[0].Server.Role != cutover.RoleAuthority || !strings.Contains(r.Delegation.Problem, "none of the resolvers answers") {
		t.Errorf("%+v", r)
	}
	none := cutover.NewAsker(cutover.AskerOptions{ResolvConf: "-", Reach: d.Reach}).Ask(context.Background(), cutover.Question{Domain: "example.org", Exchanges: byName})
	if len(none.Observations) != 0 || !strings.Contains(none.Delegation.Problem, "name one in [dns] resolvers") {
		t.Errorf("%+v", none)
	}
}

// TestAskDelegation: a server that left the delegation is asked as a former one,
// one that only the zone names as an authority.
func TestAskDelegation(t *testing.T) {
	t.Parallel()
	d := dnssim.NewDomain(t, nil)
	d.Serve(300, "mx.old.example.")
	former := ask(t, d, byName).Observations[1].Server

	d.Delegate(7200, "ns1.example.org.")
	d.ServeFrom(0, 300, "mx.new.example.") // its NS records still name both
	r := ask(t, d, byName, former)
	if roles := roles(r); roles != "ns1.example.org authority new, ns2.hoster.example authority old" || r.Delegation.TTL != 2*time.Hour || len(r.Delegation.Servers) != 2 {
		t.Errorf("%s; %+v", roles, r.Delegation)
	}
	d.Authorities[0].Zone("example.org.", "example.org. 300 IN MX 1 mx.new.example.", "example.org. 600 IN NS ns1.example.org.", "ns1.example.org. 60 IN A 192.0.2.1")
	r = ask(t, d, byName, former)
	if roles := roles(r); roles != "ns1.example.org authority new, ns2.hoster.example former old" || len(r.Delegation.Servers) != 1 {
		t.Errorf("%s; %+v", roles, r.Delegation)
	}

	// A server without an address is named.
	d.Delegate(7200, "ns1.example.org.", "ns9.hoster.example.")
	r = ask(t, d, byName)
	if roles := roles(r); roles != "ns1.example.org authority new, ns9.hoster.example authority unknown" || r.Observations[1].Problem != "no address is found for it" {
		t.Errorf("%s; %+v", roles, r.Observations)
	}

	// The parent's servers do not answer: a resolver tells the servers, and that
	// is said.
	d.Above.Tamper(func(q, reply *dns.Msg, _ bool) *dns.Msg {
		if q.Question[0].Qtype == dns.TypeNS && q.Question[0].Name == "example.org." {
			return new(dns.Msg).SetRcode(q, dns.RcodeRefused)
		}
		return reply
	})
	r = ask(t, d, byName)
	if roles := roles(r); !strings.HasPrefix(roles, "ns1.example.org authority new") || !strings.Contains(r.Delegation.Problem, "REFUSED") || len(r.Delegation.Servers) != 0 {
		t.Errorf("%s; %+v", roles, r.Delegation)
	}
}

func roles(r cutover.Round) string {
	var words []string
	for _, o := range r.Observations {
		if o.Server.Role != cutover.RoleResolver {
			words = append(words, fmt.Sprintf("%s %s %s", o.Server.Name, o.Server.Role, o.Answer))
		}
	}
	return strings.Join(words, ", ")
}

// TestAskGlue: addresses in a referral are believed only for servers below the
// zone.
func TestAskGlue(t *testing.T) {
	t.Parallel()
	d := dnssim.NewDomain(t, nil)
	d.Serve(300, "mx.old.example.")
	liar := d.Authority("192.0.2.66")
	liar.Zone("example.org.", "example.org. 300 IN MX 1 mx.new.example.")
	d.Above.Tamper(func(q, reply *dns.Msg, _ bool) *dns.Msg {
		if len(reply.Ns) > 0 && reply.Ns[0].Header().Name == "example.org." {
			rr, err := dns.NewRR("ns2.hoster.example. 300 IN A 192.0.2.66")
			if err != nil {
				panic(err)
			}
			reply.Extra = append(reply.Extra, rr)
		}
		return reply
	})
	expect(t, ask(t, d, byName), "old old old old")
	if n := liar.Asked("example.org. MX"); n != 0 {
		t.Errorf("the server of the false glue was asked %d times", n)
	}
}

// TestAskSubdomain: a mail domain that is no zone of its own, and one that is an
// alias.
func TestAskSubdomain(t *testing.T) {
	t.Parallel()
	d := dnssim.NewDomain(t, nil)
	for i := range d.Authorities {
		d.Records(i, "sub.example.org. 300 IN MX 5 mx.old.example.", "alias.example.org. 900 IN CNAME sub.example.org.", "away.example.org. 900 IN CNAME box.hoster.example.")
	}
	d.Above.Zone("example.", "example. 86400 IN NS ns.nic.example.", "ns.nic.example. 86400 IN A 192.0.2.251", "ns2.hoster.example. 3600 IN A 192.0.2.2",
		"mx.old.example. 3600 IN A 198.51.100.7", "box.hoster.example. 60 IN MX 1 mx.old.example.")
	for _, name := range []string{"sub.example.org", "alias.example.org", "away.example.org"} {
		r := asker(d, cutover.AskerOptions{}).Ask(context.Background(), cutover.Question{Domain: name, Exchanges: byName})
		expect(t, r, "old old old old")
		if r.Delegation.Zone != "example.org" {
			t.Errorf("%+v", r.Delegation)
		}
		if name != "sub.example.org" && r.Observations[0].MXTTL != 15*time.Minute {
			t.Errorf("%s: the alias is kept for %s", name, r.Observations[0].MXTTL)
		}
	}
}

// TestAskManyHosts: an answer that does not fit into a packet comes over TCP.
func TestAskManyHosts(t *testing.T) {
	t.Parallel()
	d := dnssim.NewDomain(t, nil)
	many := func(n int) (hosts []string) {
		for i := range n {
			hosts = append(hosts, fmt.Sprintf("%s%d.mx.old.example.", strings.Repeat("a", 50), i))
		}
		return hosts
	}
	e := cutover.Exchanges{New: []string{"mx.new.example"}}
	d.Serve(300, many(30)...)
	r := ask(t, d, e)
	expect(t, r, "old old old old")
	if len(r.Observations[0].Hosts) != 30 {
		t.Errorf("%d hosts", len(r.Observations[0].Hosts))
	}
	d.Serve(300, many(100)...)
	if r = ask(t, d, e); r.Observations[0].Answer != cutover.AnswerUnknown || !strings.Contains(r.Observations[0].Problem, "100 hosts") {
		t.Errorf("%+v", r.Observations[0])
	}
}

// TestAskIsBounded: neither silence nor a stream of wrong answers holds a round
// up beyond its time, and its end by the context is at once.
func TestAskIsBounded(t *testing.T) {
	t.Parallel()
	d := dnssim.NewDomain(t, nil)
	d.Serve(300, "mx.old.example.")
	for _, s := range []*dnssim.Server{d.Authorities[0], d.Authorities[1], d.Resolvers[0]} {
		s.Tamper(dnssim.Silent)
	}
	start := time.Now()
	r := asker(d, cutover.AskerOptions{Timeout: time.Minute, RoundTimeout: 1500 * time.Millisecond}).Ask(context.Background(), cutover.Question{Domain: "example.org", Exchanges: byName})
	if took := time.Since(start); took > 10*time.Second || r.At.IsZero() {
		t.Errorf("took %s", took)
	}
	for _, o := range r.Observations {
		if o.Answer != cutover.AnswerUnknown && o.Server.Address != d.Resolvers[1].Address {
			t.Errorf("%+v", o)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	start = time.Now()
	asker(d, cutover.AskerOptions{Timeout: time.Minute, RoundTimeout: time.Minute}).Ask(ctx, cutover.Question{Domain: "example.org", Exchanges: byName})
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("ended %s after its context", took)
	}
}

// TestAskSystemResolvers: those of the system are asked as well, each resolver
// once, and the file is read again at each round.
func TestAskSystemResolvers(t *testing.T) {
	t.Parallel()
	d := dnssim.NewDomain(t, nil)
	d.Serve(300, "mx.old.example.")
	path := filepath.Join(t.TempDir(), "resolv.conf")
	a := cutover.NewAsker(cutover.AskerOptions{ResolvConf: path, Resolvers: d.ResolverAddresses()[1:], Reach: d.Reach})
	for _, step := range []struct {
		file, want string
		resolvers  int
	}{
		{"", "old old old", 1},
		{"search example.org\nnameserver 192.0.2.101\nnameserver 192.0.2.102\noptions edns0\n", "old old old old", 2},
	} {
		if step.file != "" {
			if err := os.WriteFile(path, []byte(step.file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := a.Ask(context.Background(), cutover.Question{Domain: "example.org", Exchanges: byName})
		expect(t, r, step.want)
		if len(r.Observations) != 2+step.resolvers {
			t.Errorf("%+v", r.Observations)
		}
	}
}

// TestAskNames: what is no name is refused, whatever its octets.
func TestAskNames(t *testing.T) {
	t.Parallel()
	d := dnssim.NewDomain(t, nil)
	for _, name := range []string{"", strings.Repeat("a", 64) + ".org", strings.Repeat("a.", 200), "a..b"} {
		r := asker(d, cutover.AskerOptions{}).Ask(context.Background(), cutover.Question{Domain: name, Exchanges: byName})
		for _, o := range r.Observations {
			if o.Answer != cutover.AnswerUnknown {
				t.Errorf("%q: %+v", name, o)
			}
		}
	}
}
