package cutover

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"

	"github.com/miekg/dns"
)

// TestUnreachableAddresses: an address to which this machine has no way says
// nothing about a server that was reached by another, and is told where it is
// the only one.
func TestUnreachableAddresses(t *testing.T) {
	var s sightings
	noWay := fmt.Errorf("this machine has no way there: %w", syscall.ENETUNREACH)
	of := func(name, address string) Observation {
		return Observation{Server: Server{Role: RoleAuthority, Name: name, Address: netip.MustParseAddrPort(address)}}
	}
	s.add(of("a.example", "[2001:db8::1]:53"), noWay)
	s.add(of("a.example", "192.0.2.1:53"), nil)
	s.add(of("b.example", "[2001:db8::2]:53"), noWay)
	list := s.list()
	if len(list) != 2 || list[0].Server.Address.Addr().Is6() || list[1].Server.Name != "b.example" {
		t.Errorf("%+v", list)
	}
}

// FuzzAnswer: what is read from any answer is of the name that was asked for,
// and within its bounds.
func FuzzAnswer(f *testing.F) {
	for _, records := range [][]string{
		{"example.org. 300 IN MX 10 mx.example.org.", "mx.example.org. 300 IN A 192.0.2.1"},
		{"example.org. 300 IN CNAME a.example.org.", "a.example.org. 300 IN CNAME b.example.org.", "b.example.org. 4294967295 IN MX 0 ."},
		{"example.org. 300 IN CNAME example.org.", "example.org. 300 IN NS ns.example.org.", "org. 300 IN SOA a. b. 1 1 1 1 1"},
	} {
		m := new(dns.Msg)
		m.SetQuestion("example.org.", dns.TypeMX)
		m.Response = true
		for _, text := range records {
			rr, err := dns.NewRR(text)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer, m.Ns = append(m.Answer, rr), append(m.Ns, rr)
		}
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	zone := speaker{zone: "example.org."}
	f.Fuzz(func(t *testing.T, packet []byte) {
		m := new(dns.Msg)
		if m.Unpack(packet) != nil {
			return
		}
		for _, kind := range []uint16{dns.TypeMX, dns.TypeA, dns.TypeAAAA} {
			records, last, ttl, err := follow(m, "example.org.", kind, zone.believed)
			for _, rr := range records {
				if h := rr.Header(); err != nil || h.Rrtype != kind || dns.CanonicalName(h.Name) != last || !zone.believed(last) {
					t.Errorf("%v (%v) at %s", rr, err, last)
				}
				if mx, is := rr.(*dns.MX); kind == dns.TypeMX && (!is || mx.Mx == "") {
					t.Errorf("%v is no MX", rr)
				}
			}
			if ttl < 0 || negativeTTL(m, last) < 0 {
				t.Errorf("TTL %s", ttl)
			}
		}
		for _, name := range nameServers(m.Answer, "example.org.").names {
			if name == "." || name == "" {
				t.Errorf("name server %q", name)
			}
		}
		referral(m)
		failure(m, "example.org.")
	})
}
