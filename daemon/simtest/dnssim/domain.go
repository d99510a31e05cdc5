package dnssim

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// Domain is example.org in an Internet: a root, the zones org and example, two
// authorities ns1.example.org and ns2.hoster.example that may serve different
// things, and two caching resolvers. The zone example holds the hosts
// mx.old.example 198.51.100.7 and mx.new.example 203.0.113.7.
type Domain struct {
	*Internet
	Name        string // with the final dot
	Root, Above *Server
	Authorities [2]*Server // 192.0.2.1 and 192.0.2.2
	Resolvers   [2]*Server // 192.0.2.101 and 192.0.2.102
}

// NewDomain starts it all. The zone of the domain is empty but for its NS
// records.
func NewDomain(t testing.TB, now func() time.Time) *Domain {
	t.Helper()
	n := New(t, now)
	d := &Domain{
		Internet: n, Name: "example.org.", Root: n.Authority("192.0.2.250"), Above: n.Authority("192.0.2.251"),
		Authorities: [2]*Server{n.Authority("192.0.2.1"), n.Authority("192.0.2.2")},
	}
	d.Root.Zone(".", ". 86400 IN NS a.root.example.", "a.root.example. 86400 IN A 192.0.2.250",
		"org. 86400 IN NS ns.nic.example.", "example. 86400 IN NS ns.nic.example.", "ns.nic.example. 86400 IN A 192.0.2.251")
	d.Above.Zone("example.", "example. 86400 IN NS ns.nic.example.", "ns.nic.example. 86400 IN A 192.0.2.251",
		"ns2.hoster.example. 3600 IN A 192.0.2.2", "a.root.example. 86400 IN A 192.0.2.250",
		"mx.old.example. 3600 IN A 198.51.100.7", "mx.new.example. 3600 IN A 203.0.113.7")
	d.Delegate(3600, "ns1.example.org.", "ns2.hoster.example.")
	d.Serve(3600)
	d.Resolvers = [2]*Server{n.Resolver("192.0.2.101", d.Root), n.Resolver("192.0.2.102", d.Root)}
	return d
}

// Delegate has the parent name these servers, with a TTL in seconds.
func (d *Domain) Delegate(ttl int, servers ...string) {
	records := []string{"org. 86400 IN NS ns.nic.example.", "ns1.example.org. 3600 IN A 192.0.2.1"}
	for _, server := range servers {
		records = append(records, fmt.Sprintf("%s %d IN NS %s", d.Name, ttl, server))
	}
	d.Above.Zone("org.", records...)
}

// Serve has both authorities serve these MX hosts with a TTL in seconds.
func (d *Domain) Serve(ttl int, hosts ...string) {
	for i := range d.Authorities {
		d.ServeFrom(i, ttl, hosts...)
	}
}

// ServeFrom has one authority do so: the other lags.
func (d *Domain) ServeFrom(authority, ttl int, hosts ...string) {
	var records []string
	for i, host := range hosts {
		records = append(records, fmt.Sprintf("%s %d IN MX %d %s", d.Name, ttl, 10*(i+1), host))
	}
	d.Records(authority, records...)
}

// Records has one authority serve any records besides the NS records.
func (d *Domain) Records(authority int, records ...string) {
	d.Authorities[authority].Zone(d.Name, append(records,
		d.Name+" 3600 IN NS ns1.example.org.", d.Name+" 3600 IN NS ns2.hoster.example.", "ns1.example.org. 3600 IN A 192.0.2.1")...)
}

// ResolverAddresses are what to give to whoever is to ask them.
func (d *Domain) ResolverAddresses() []netip.AddrPort {
	return []netip.AddrPort{d.Resolvers[0].Address, d.Resolvers[1].Address}
}
