package cutover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// AskerOptions are what [NewAsker] needs.
type AskerOptions struct {
	// Resolvers are asked besides those of ResolvConf, the file that names the
	// system's (default /etc/resolv.conf; "-": none). It is read at each round.
	Resolvers  []netip.AddrPort
	ResolvConf string
	// Timeout is how long one packet is waited for (default 2 s). A server is
	// given three of them for a question: UDP twice, then TCP.
	Timeout time.Duration
	// RoundTimeout bounds a round (default 25 s): who has not answered by then is
	// unknown.
	RoundTimeout time.Duration
	// Reach is where a server is found that has an address; nil: at that address.
	Reach  func(netip.AddrPort) netip.AddrPort
	Now    func() time.Time
	Logger *slog.Logger
}

// asker is an [Asker] that asks real DNS servers.
//
// Its invariants: an answer is taken only from the server that was asked, to
// the question that was asked. Of an authority only records of the zone that is
// delegated to it are believed, and only where it calls itself authoritative;
// everything else, glue but for the way to the servers of a zone included, is
// asked for where it belongs.
type asker struct {
	AskerOptions
	room chan struct{} // bounds the questions under way
}

// inFlight is how many questions are under way at once.
const inFlight = 64

// NewAsker makes an Asker.
func NewAsker(o AskerOptions) Asker {
	o.ResolvConf = cmp.Or(o.ResolvConf, "/etc/resolv.conf")
	o.Timeout = cmp.Or(o.Timeout, 2*time.Second)
	o.RoundTimeout = cmp.Or(o.RoundTimeout, 25*time.Second)
	if o.Reach == nil {
		o.Reach = func(a netip.AddrPort) netip.AddrPort { return a }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &asker{AskerOptions: o, room: make(chan struct{}, inFlight)}
}

// Ask implements [Asker].
func (a *asker) Ask(ctx context.Context, q Question) Round {
	ctx, cancel := context.WithTimeout(ctx, a.RoundTimeout)
	defer cancel()
	r := &round{asker: a, Question: q, name: dns.CanonicalName(q.Domain), resolvers: a.resolvers()}
	result := Round{Domain: q.Domain}
	if _, ok := dns.IsDomainName(q.Domain); !ok {
		result.Delegation.Problem = "that is no domain name"
		result.At = a.Now()
		return result
	}
	var wait sync.WaitGroup
	ofResolvers := make([]Observation, len(r.resolvers))
	for i, server := range r.resolvers {
		wait.Go(func() {
			ofResolvers[i], _ = r.observe(ctx, Server{Role: RoleResolver, Address: server}, speaker{server: server, recurse: true})
		})
	}
	var ofAuthorities []Observation
	wait.Go(func() { result.Delegation, ofAuthorities = r.authorities(ctx) })
	wait.Wait()
	result.Observations = append(ofAuthorities, ofResolvers...)
	result.At = a.Now()
	return result
}

// resolvers are those of the system and of the configuration, each once.
func (a *asker) resolvers() []netip.AddrPort {
	var list []netip.AddrPort
	if a.ResolvConf != "-" {
		system, err := dns.ClientConfigFromFile(a.ResolvConf)
		if err != nil {
			a.Logger.Debug("no resolvers of the system", "error", err)
		} else {
			for _, server := range system.Servers {
				if address, err := netip.ParseAddr(server); err == nil {
					list = append(list, netip.AddrPortFrom(address, 53))
				}
			}
		}
	}
	var unique []netip.AddrPort
	for _, server := range append(list, a.Resolvers...) {
		if server = netip.AddrPortFrom(server.Addr().Unmap(), server.Port()); !slices.Contains(unique, server) {
			unique = append(unique, server)
		}
	}
	return unique
}

// round is one Question under way.
type round struct {
	*asker
	Question
	name      string // of the domain, fully qualified
	resolvers []netip.AddrPort
	good      atomic.Pointer[netip.AddrPort] // the resolver that answered last
	silent    atomic.Bool                    // no resolver answers
	hosts     lookups                        // of hosts that no authority of the zone knows
	servers   lookups                        // of name servers
}

// speaker is a server whose word is wanted, and about what it may speak.
type speaker struct {
	server  netip.AddrPort
	recurse bool   // a resolver: about everything
	zone    string // an authority: about this zone
}

func (s speaker) believed(name string) bool { return s.recurse || dns.IsSubDomain(s.zone, name) }

// anyResolver stands for whichever resolver answers first, about what the
// authorities of the zone cannot know.
var anyResolver = speaker{recurse: true}

// lookUp reads something from a speaker. In the place of anyResolver each
// resolver is asked until one tells.
func lookUp[R any](ctx context.Context, r *round, s speaker, read func(context.Context, speaker) (R, error)) (R, error) {
	if s != anyResolver {
		return read(ctx, s)
	}
	resolvers := r.resolvers
	var none R
	switch {
	case len(resolvers) == 0:
		return none, errors.New("no resolver is known: name one in [dns] resolvers")
	case r.silent.Load():
		return none, errSilent
	}
	if good := r.good.Load(); good != nil {
		resolvers = append([]netip.AddrPort{*good}, slices.DeleteFunc(slices.Clone(resolvers), func(other netip.AddrPort) bool { return other == *good })...)
	}
	answer, err := first(ctx, resolvers, func(ctx context.Context, server netip.AddrPort) (R, error) {
		answer, err := read(ctx, speaker{server: server, recurse: true})
		if err == nil {
			r.good.Store(&server)
		}
		return answer, err
	})
	if errors.Is(err, errNoAnswer) {
		r.silent.Store(true)
		return none, errSilent
	}
	return answer, err
}

// errSilent stands for all resolvers, once none of them has answered.
var errSilent = errors.New("none of the resolvers answers")

// errDelegated: the name lies in a zone below, of which others know.
var errDelegated = errors.New("it only names the servers of a zone below")

// ask asks a server, and tells why what it says is no answer.
func (r *round) ask(ctx context.Context, s speaker, name string, kind uint16) (*dns.Msg, error) {
	m, err := r.exchange(ctx, s.server, query{name, kind, s.recurse})
	if err != nil {
		return nil, err
	}
	if !s.recurse && !m.Authoritative && (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError) {
		if below := referral(m); below != "" && below != s.zone && dns.IsSubDomain(s.zone, below) && dns.IsSubDomain(below, name) {
			return m, errDelegated
		}
		return nil, fmt.Errorf("lame: it is not authoritative for %s", plain(s.zone))
	}
	if err := failure(m, name); err != nil {
		return m, err
	}
	if s.recurse && len(m.Answer) == 0 && (!m.RecursionAvailable || referral(m) != "") {
		return nil, fmt.Errorf("it is no resolver for %s: it only names other servers", plain(name))
	}
	return m, nil
}

// observe asks one server where mail for the domain goes. The error is why there
// is no answer, which the observation tells as well.
func (r *round) observe(ctx context.Context, server Server, s speaker) (Observation, error) {
	o := Observation{Server: server, Answer: AnswerUnknown}
	err := r.read(ctx, s, &o)
	if err != nil {
		o = Observation{Server: server, Answer: AnswerUnknown, Problem: err.Error()}
	}
	o.At = r.Now()
	return o, err
}

func (r *round) read(ctx context.Context, s speaker, o *Observation) error {
	found, err := r.exchanges(ctx, s, r.name)
	if err != nil {
		return err
	}
	o.MXTTL = found.ttl
	for _, mx := range found.records {
		if mx.Mx == "." {
			if len(found.records) == 1 {
				o.Answer = AnswerNull
				return nil
			}
			continue // RFC 7505 §3 forbids it beside others: nobody can deliver there
		}
		o.Hosts = append(o.Hosts, Host{Name: plain(mx.Mx), Preference: mx.Preference})
	}
	implicit := len(o.Hosts) == 0
	if implicit { // RFC 5321 §5.1
		o.Hosts = []Host{{Name: plain(found.name)}}
	}
	slices.SortFunc(o.Hosts, func(a, b Host) int {
		return cmp.Or(cmp.Compare(a.Preference, b.Preference), strings.Compare(a.Name, b.Name))
	})
	if len(o.Hosts) > hostsMost {
		return fmt.Errorf("it names %d hosts", len(o.Hosts))
	}
	var wait sync.WaitGroup
	list := make([]addresses, len(o.Hosts))
	for i := range o.Hosts {
		wait.Go(func() { list[i] = r.hostAddresses(ctx, s, dns.Fqdn(o.Hosts[i].Name)) })
	}
	wait.Wait()
	for i, f := range list {
		o.Hosts[i].Addresses, o.AddressTTL = f.list, max(o.AddressTTL, f.ttl)
		if len(f.list) == 0 {
			o.Hosts[i].Problem = f.problem()
		}
	}
	if implicit && len(list[0].list) == 0 {
		if list[0].err != nil {
			return list[0].err
		}
		o.Answer, o.Hosts = AnswerNone, nil
		return nil
	}
	o.Answer, o.Problem = r.Exchanges.Classify(o.Hosts)
	return nil
}

// hostsMost is how many MX hosts are looked at.
const hostsMost = 32

// exchanges are the MX records of a name.
type exchanges struct {
	records []*dns.MX
	name    string        // where CNAMEs have led
	ttl     time.Duration // of the records on the way, or of the absence of any
}

func (r *round) exchanges(ctx context.Context, s speaker, name string) (found exchanges, err error) {
	found.name = name
	for range aliasesMost {
		m, err := r.ask(ctx, s, found.name, dns.TypeMX)
		if err != nil {
			return found, err
		}
		records, last, ttl, err := follow(m, found.name, dns.TypeMX, s.believed)
		if err != nil {
			return found, err
		}
		found.ttl = max(found.ttl, ttl)
		for _, rr := range records {
			mx := rr.(*dns.MX)
			mx.Mx = dns.CanonicalName(mx.Mx)
			if !slices.ContainsFunc(found.records, func(other *dns.MX) bool { return other.Mx == mx.Mx && other.Preference == mx.Preference }) {
				found.records = append(found.records, mx)
			}
		}
		if done := len(records) > 0 || last == found.name || s.recurse; done {
			if found.name = last; len(records) == 0 {
				found.ttl = max(found.ttl, negativeTTL(m, last))
			}
			return found, nil
		}
		// A CNAME has led on. Within the zone the same server is asked again;
		// elsewhere it has nothing to say.
		if found.name = last; !s.believed(last) {
			rest, err := lookUp(ctx, r, anyResolver, func(ctx context.Context, s speaker) (exchanges, error) { return r.exchanges(ctx, s, last) })
			rest.ttl = max(rest.ttl, found.ttl)
			return rest, err
		}
	}
	return found, fmt.Errorf("more than %d CNAMEs follow %s", aliasesMost, plain(name))
}
