package cutover

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// addresses are those of one host.
type addresses struct {
	list []netip.Addr
	ttl  time.Duration
	err  error // why it is not known whether there are any
}

func (a addresses) problem() string {
	if a.err != nil {
		return a.err.Error()
	}
	return "it has no address"
}

// merge is what two answers to one question, or the answers for A and AAAA, come
// to.
func (a addresses) merge(b addresses) addresses {
	m := addresses{list: append(slices.Clone(a.list), b.list...), ttl: max(a.ttl, b.ttl), err: a.err}
	if m.err == nil {
		m.err = b.err
	}
	slices.SortFunc(m.list, netip.Addr.Compare)
	m.list = slices.Compact(m.list)
	return m
}

// hostAddresses asks the speaker for the addresses of a host as far as it may
// speak about it. For the rest its own zone's authorities are asked where the
// addresses are what matters, else a resolver: once a round.
func (r *round) hostAddresses(ctx context.Context, s speaker, host string) addresses {
	var way addresses // the CNAME that led out of the zone
	if s.believed(host) {
		found, last := r.addressesFrom(ctx, s, host)
		if !errors.Is(found.err, errDelegated) && (s.recurse || last == host || len(found.list) > 0) {
			return found
		}
		host, way.ttl = last, found.ttl
	}
	return way.merge(r.hosts.get(host, func() addresses {
		if r.Exchanges.ByAddress {
			if found := r.authoritative(ctx, host); len(found.list) > 0 {
				return found
			}
		}
		found, _ := r.addressesFrom(ctx, anyResolver, host)
		return found
	}))
}

// addressesFrom asks one speaker for A and AAAA side by side. last is where
// CNAMEs have led.
func (r *round) addressesFrom(ctx context.Context, s speaker, host string) (found addresses, last string) {
	kinds := []uint16{dns.TypeA, dns.TypeAAAA}
	parts, ends := make([]addresses, len(kinds)), make([]string, len(kinds))
	var wait sync.WaitGroup
	for i, kind := range kinds {
		wait.Go(func() {
			ends[i] = host
			parts[i], parts[i].err = lookUp(ctx, r, s, func(ctx context.Context, s speaker) (part addresses, err error) {
				m, err := r.ask(ctx, s, host, kind)
				if err != nil {
					return part, err
				}
				records, end, ttl, err := follow(m, host, kind, s.believed)
				for _, rr := range records {
					if address, ok := addressOf(rr); ok {
						part.list = append(part.list, address)
					}
				}
				if part.ttl = ttl; !s.recurse {
					ends[i] = end
				}
				return part, err
			})
		})
	}
	wait.Wait()
	return parts[0].merge(parts[1]), ends[0]
}

func addressOf(rr dns.RR) (netip.Addr, bool) {
	var ip net.IP
	switch rr := rr.(type) {
	case *dns.A:
		ip = rr.A
	case *dns.AAAA:
		ip = rr.AAAA
	}
	address, ok := netip.AddrFromSlice(ip)
	return address.Unmap(), ok
}

// lookups remembers what was looked up in a round: the first who wants it asks,
// the others wait.
type lookups struct {
	mu   sync.Mutex
	done map[string]func() addresses
}

func (l *lookups) get(name string, look func() addresses) addresses {
	l.mu.Lock()
	if l.done == nil {
		l.done = make(map[string]func() addresses)
	}
	once := l.done[name]
	if once == nil {
		once = sync.OnceValue(look)
		l.done[name] = once
	}
	l.mu.Unlock()
	return once()
}
