package cutover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	// serversMost bounds how many authorities of one zone are asked.
	serversMost = 40
	// labelsMost bounds the way up to the zone that a name lies in.
	labelsMost = 12
)

// authorities asks every server that the zone of the domain is delegated to, by
// its parent or by itself, and those that it was delegated to before.
func (r *round) authorities(ctx context.Context) (Delegation, []Observation) {
	d, zone, named := r.delegation(ctx, r.name)
	if zone == "" {
		zone = r.name
	}
	var seen sightings
	asked := make(map[netip.AddrPort]bool)
	ask := func(servers []Server) (records []dns.RR) {
		var wait sync.WaitGroup
		var mu sync.Mutex
		for _, server := range servers {
			if !server.Address.IsValid() || asked[server.Address] || len(asked) >= serversMost {
				continue
			}
			asked[server.Address] = true
			s := speaker{server: server.Address, zone: zone}
			wait.Go(func() { seen.add(r.observe(ctx, server, s)) })
			if server.Role == RoleAuthority {
				wait.Go(func() {
					if m, err := r.ask(ctx, s, zone, dns.TypeNS); err == nil {
						mu.Lock()
						defer mu.Unlock()
						records = append(records, m.Answer...)
					}
				})
			}
		}
		wait.Wait()
		return records
	}
	servers := r.addressed(ctx, named.names, named.glue)
	records := ask(servers)
	// The zone may name servers that its parent does not: caches ask them too.
	itself := nameServers(records, zone)
	more := slices.DeleteFunc(slices.Clone(itself.names), func(name string) bool { return slices.Contains(named.names, name) })
	servers = append(servers, r.addressed(ctx, more, nil)...)
	ask(servers)
	if d.Problem == "" {
		for _, name := range slices.Concat(named.names, more) {
			d.Servers = append(d.Servers, plain(name))
		}
		slices.Sort(d.Servers)
		d.TTL = max(named.ttl, itself.ttl)
	}
	ask(r.remembered(d, servers))
	for _, server := range servers {
		if !server.Address.IsValid() && !seen.reached[server.Name] {
			seen.add(Observation{Server: server, At: r.Now(), Answer: AnswerUnknown, Problem: "no address is found for it"}, nil)
		}
	}
	return d, seen.list()
}

// remembered are the authorities of earlier rounds with what they are now. One
// whose name is delegated to still, but has no address that can be found now,
// is what it was; so is every one while the delegation is not known.
func (r *round) remembered(d Delegation, servers []Server) []Server {
	var list []Server
	for _, server := range r.Former {
		lost := slices.ContainsFunc(servers, func(s Server) bool { return s.Name == server.Name && !s.Address.IsValid() })
		switch {
		case lost:
			server.Role = RoleAuthority
		case d.Problem == "":
			server.Role = RoleFormer
		}
		list = append(list, server)
	}
	return list
}

// delegation finds the zone that a name lies in by asking the servers of the
// zones above it, and what they say about who serves it. Where they cannot be
// asked a resolver's word is taken, and Problem says so.
func (r *round) delegation(ctx context.Context, name string) (d Delegation, zone string, named nameServerSet) {
	zone = name
	var err error
	for range labelsMost {
		if named, err = r.parentSays(ctx, zone); !errors.Is(err, errNoCut) {
			break
		}
		zone = above(zone)
	}
	if err == nil {
		d.Zone = plain(zone)
		return d, zone, named
	}
	d.Problem = fmt.Sprintf("what %s is delegated to is not known: %v", plain(name), err)
	if zone, err = r.zoneOf(ctx, name); err != nil {
		return d, "", named
	}
	d.Zone = plain(zone)
	if named, err = r.nameServersOf(ctx, zone); err != nil {
		d.Problem += fmt.Sprintf("; its servers neither: %v", err)
	}
	return d, zone, named
}

// errNoCut: a name is not the top of a zone.
var errNoCut = errors.New("it is no zone")

// zoneOf is the zone that a name lies in, as a resolver says: the owner of the
// SOA record that it gives for the name or for the nearest name above (RFC 2308
// §2.2).
func (r *round) zoneOf(ctx context.Context, name string) (zone string, err error) {
	asked := name
	for range labelsMost {
		var answered atomic.Bool
		zone, err = lookUp(ctx, r, anyResolver, func(ctx context.Context, s speaker) (string, error) {
			m, err := r.ask(ctx, s, name, dns.TypeSOA)
			if m == nil {
				return "", err
			}
			answered.Store(true)
			for _, rr := range slices.Concat(m.Answer, m.Ns) {
				if owner := rr.Header().Name; rr.Header().Rrtype == dns.TypeSOA && dns.IsSubDomain(owner, name) {
					return dns.CanonicalName(owner), nil
				}
			}
			return "", fmt.Errorf("no SOA record is found for %s or above it", plain(asked))
		})
		if err == nil || name == "." || !answered.Load() {
			break
		}
		name = above(name)
	}
	return zone, err
}

// nameServersOf are the NS records of a zone, as a resolver says.
func (r *round) nameServersOf(ctx context.Context, zone string) (nameServerSet, error) {
	return lookUp(ctx, r, anyResolver, func(ctx context.Context, s speaker) (nameServerSet, error) {
		m, err := r.ask(ctx, s, zone, dns.TypeNS)
		if err != nil {
			return nameServerSet{}, err
		}
		named := nameServers(m.Answer, zone)
		if len(named.names) == 0 {
			return named, fmt.Errorf("no NS records are found for %s", plain(zone))
		}
		return named, nil
	})
}

// above is a name without its first label.
func above(name string) string {
	if end, last := dns.NextLabel(name, 0); !last {
		return name[end:]
	}
	return "."
}

// parentSays asks the servers of the zone above for the NS records of a zone,
// and returns errNoCut when there are none because the name lies in that zone.
func (r *round) parentSays(ctx context.Context, zone string) (named nameServerSet, err error) {
	if zone == "." {
		return named, errors.New("it is the root")
	}
	parent, err := r.zoneOf(ctx, above(zone))
	if err != nil {
		return named, err
	}
	above, err := r.nameServersOf(ctx, parent)
	if err != nil {
		return named, err
	}
	servers := r.addressed(ctx, above.names, nil)
	servers = slices.DeleteFunc(servers, func(s Server) bool { return !s.Address.IsValid() })
	m, err := first(ctx, servers, func(ctx context.Context, server Server) (*dns.Msg, error) {
		m, err := r.ask(ctx, speaker{server: server.Address, zone: parent}, zone, dns.TypeNS)
		if referral(m) == zone {
			return m, nil
		}
		return m, err
	})
	switch {
	case errors.Is(err, errNoName):
		return named, errNoCut
	case err != nil:
		return named, fmt.Errorf("the servers of the zone above, %q: %w", parent, err)
	}
	if named = nameServers(m.Answer, zone); referral(m) != "" {
		named = nameServers(m.Ns, zone)
	}
	if len(named.names) == 0 {
		return named, errNoCut
	}
	// Glue is believed only for servers below the zone, which nobody finds
	// without.
	named.glue = make(map[string][]netip.Addr)
	for _, rr := range m.Extra {
		owner := dns.CanonicalName(rr.Header().Name)
		if address, ok := addressOf(rr); ok && dns.IsSubDomain(zone, owner) && slices.Contains(named.names, owner) {
			named.glue[owner] = append(named.glue[owner], address)
		}
	}
	return named, nil
}

// nameServerSet is what NS records say.
type nameServerSet struct {
	names []string // fully qualified, sorted, each once
	ttl   time.Duration
	glue  map[string][]netip.Addr
}

// nameServers reads the NS records of a zone.
func nameServers(records []dns.RR, zone string) nameServerSet {
	var set nameServerSet
	for _, rr := range records {
		if ns, is := rr.(*dns.NS); is && ns.Hdr.Class == dns.ClassINET && ns.Hdr.Rdlength > 0 && dns.CanonicalName(ns.Hdr.Name) == zone {
			set.names = append(set.names, dns.CanonicalName(ns.Ns))
			set.ttl = max(set.ttl, lifetime(ns.Hdr.Ttl))
		}
	}
	slices.Sort(set.names)
	set.names = slices.Compact(set.names)
	return set
}

// addressed looks up the addresses of name servers. One that has none that can
// be found is there without.
func (r *round) addressed(ctx context.Context, names []string, glue map[string][]netip.Addr) []Server {
	names = names[:min(len(names), serversMost)]
	found := make([]addresses, len(names))
	var wait sync.WaitGroup
	for i, name := range names {
		wait.Go(func() {
			found[i] = addresses{list: glue[name]}.merge(r.servers.get(name, func() addresses {
				list, _ := r.addressesFrom(ctx, anyResolver, name)
				return list
			}))
		})
	}
	wait.Wait()
	var servers []Server
	for i, name := range names {
		server := Server{Role: RoleAuthority, Name: plain(name)}
		for _, address := range found[i].list {
			server.Address = netip.AddrPortFrom(address, 53)
			servers = append(servers, server)
		}
		if len(found[i].list) == 0 {
			servers = append(servers, server)
		}
	}
	return servers
}

// authoritative asks all authorities of the zone that a host lies in for its
// addresses. What any of them says is among them.
func (r *round) authoritative(ctx context.Context, host string) addresses {
	_, zone, named := r.delegation(ctx, host)
	servers := r.addressed(ctx, named.names, named.glue)
	found := make([]addresses, len(servers))
	var wait sync.WaitGroup
	for i, server := range servers {
		wait.Go(func() {
			found[i], _ = r.addressesFrom(ctx, speaker{server: server.Address, zone: zone}, host)
		})
	}
	wait.Wait()
	var all addresses
	for _, f := range found {
		all = all.merge(f)
	}
	return all
}

// sightings gathers observations.
type sightings struct {
	mu          sync.Mutex
	all         []Observation
	unreachable []Observation // this machine has no way there
	reached     map[string]bool
}

func (s *sightings) add(o Observation, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if isUnreachable(err) {
		s.unreachable = append(s.unreachable, o)
		return
	}
	if s.reached == nil {
		s.reached = make(map[string]bool)
	}
	s.all, s.reached[o.Server.Name] = append(s.all, o), true
}

// list are the observations, authorities before former ones. An address that
// cannot be reached from here says nothing where its server was reached by
// another.
func (s *sightings) list() []Observation {
	for _, o := range s.unreachable {
		if !s.reached[o.Server.Name] {
			s.all = append(s.all, o)
		}
	}
	slices.SortFunc(s.all, func(a, b Observation) int {
		return cmp.Or(cmp.Compare(a.Server.Role, b.Server.Role), strings.Compare(a.Server.Name, b.Server.Name), a.Server.Address.Compare(b.Server.Address))
	})
	return s.all
}
