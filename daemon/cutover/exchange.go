package cutover

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// udpSize is how large an answer over UDP may be: what fits into a packet that
// is never cut into pieces.
const udpSize = 1232

// query is one question to one server.
type query struct {
	name    string // fully qualified
	kind    uint16
	recurse bool
}

// errElsewhere is an answer to another question than was asked.
var errElsewhere = errors.New("answered another question")

// exchange asks one server over UDP, twice, and over TCP when the answer is
// truncated or none comes. What it returns is an answer to that question, from
// that server, whatever its RCODE. The error is for people.
func (a *asker) exchange(ctx context.Context, server netip.AddrPort, q query) (*dns.Msg, error) {
	select {
	case a.room <- struct{}{}:
		defer func() { <-a.room }()
	case <-ctx.Done():
		return nil, errNoTime
	}
	edns := true
	var err error
	for _, network := range []string{"udp", "udp", "tcp"} {
		var m *dns.Msg
		if m, err = a.once(ctx, network, server, q, edns); err == nil && edns && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
			edns = false // a server from before RFC 6891
			m, err = a.once(ctx, network, server, q, edns)
		}
		if err == nil && m.Truncated && network == "udp" {
			m, err = a.once(ctx, "tcp", server, q, edns)
		}
		switch {
		case err == nil && m.Truncated:
			return nil, errors.New("its answer is truncated over TCP too")
		case err == nil:
			return m, nil
		case ctx.Err() != nil:
			return nil, errNoTime
		case isUnreachable(err):
			return nil, fmt.Errorf("this machine has no way there: %w", err)
		}
	}
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, fmt.Errorf("%w, over UDP or TCP", errNoAnswer)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w: no DNS server is there (connection refused)", errNoAnswer)
	case errors.Is(err, errElsewhere):
		return nil, err
	}
	return nil, fmt.Errorf("%w that can be read: %w", errNoAnswer, err)
}

var (
	errNoAnswer = errors.New("no answer")
	errNoTime   = fmt.Errorf("%w in time", errNoAnswer)
)

// isUnreachable tells whether this machine has no way to an address: mostly one
// of IPv6.
func isUnreachable(err error) bool {
	for _, e := range []error{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EAFNOSUPPORT, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (a *asker) once(ctx context.Context, network string, server netip.AddrPort, q query, edns bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, a.Reach(server).String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	m := new(dns.Msg)
	m.SetQuestion(q.name, q.kind)
	m.RecursionDesired = q.recurse
	var id [2]byte
	rand.Read(id[:])
	m.Id = binary.BigEndian.Uint16(id[:])
	if edns {
		m.SetEdns0(udpSize, false)
	}
	c := &dns.Conn{Conn: conn, UDPSize: udpSize}
	if err := c.WriteMsg(m); err != nil {
		return nil, err
	}
	// On UDP the answer to another question, or a packet that is none, may be
	// somebody else's (RFC 5452 §4): the right one may still come.
	for {
		reply, err := c.ReadMsg()
		if err != nil && (network == "tcp" || isEnd(err)) {
			return nil, err
		}
		switch {
		case err == nil && answers(reply, m):
			return reply, nil
		case network == "tcp":
			return nil, errElsewhere
		}
	}
}

// isEnd tells whether nothing more will be read.
func isEnd(err error) bool {
	var failed net.Error
	return errors.As(err, &failed) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed)
}

// answers tells whether a message is the answer to another one. Only an error
// may come without its question.
func answers(reply, asked *dns.Msg) bool {
	if !reply.Response || reply.Id != asked.Id || reply.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(reply.Question) == 0 {
		return reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError
	}
	is, was := reply.Question[0], asked.Question[0]
	return len(reply.Question) == 1 && is.Qtype == was.Qtype && is.Qclass == was.Qclass && strings.EqualFold(is.Name, was.Name)
}

// failure says why an answer tells nothing about a name; nil: it tells.
func failure(m *dns.Msg, name string) error {
	switch m.Rcode {
	case dns.RcodeSuccess:
		return nil
	case dns.RcodeNameError:
		return fmt.Errorf("%w: %s", errNoName, plain(name))
	}
	word, known := dns.RcodeToString[m.Rcode]
	if !known {
		word = fmt.Sprintf("RCODE %d", m.Rcode)
	}
	return fmt.Errorf("answered %s", word)
}

var errNoName = errors.New("NXDOMAIN, there is no such name")

// aliasesMost bounds a chain of CNAMEs.
const aliasesMost = 8

// follow goes along the CNAMEs of an answer from name, as far as believed says
// that the server may speak for a name, to the records of a kind. last is where
// the chain ends in this answer; without records the server has none for it, or
// does not know. ttl is the largest on the way: for that long somebody may keep
// a part of it.
func follow(m *dns.Msg, name string, kind uint16, believed func(name string) bool) (records []dns.RR, last string, ttl time.Duration, err error) {
	last = dns.CanonicalName(name)
	passed := []string{last}
	for believed(last) {
		var alias string
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || h.Rdlength == 0 || dns.CanonicalName(h.Name) != last {
				continue // the library reads no data as the root's name
			}
			if h.Rrtype == kind {
				records = append(records, rr)
				ttl = max(ttl, lifetime(h.Ttl))
			} else if c, is := rr.(*dns.CNAME); is {
				alias = dns.CanonicalName(c.Target)
				ttl = max(ttl, lifetime(h.Ttl))
			}
		}
		if len(records) > 0 || alias == "" {
			break
		}
		if slices.Contains(passed, alias) {
			return nil, last, ttl, fmt.Errorf("CNAMEs go round in a circle at %s", plain(alias))
		}
		if passed = append(passed, alias); len(passed) > aliasesMost {
			return nil, last, ttl, fmt.Errorf("more than %d CNAMEs follow %s", aliasesMost, plain(name))
		}
		last = alias
	}
	return records, last, ttl, nil
}

// lifetime reads a TTL (RFC 2181 §8: one with the highest bit set is 0).
func lifetime(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// negativeTTL is for how long the absence of a name's records may be remembered
// (RFC 2308 §5); 0 where the answer does not say.
func negativeTTL(m *dns.Msg, name string) time.Duration {
	for _, rr := range m.Ns {
		if soa, is := rr.(*dns.SOA); is && dns.IsSubDomain(soa.Hdr.Name, name) {
			return min(lifetime(soa.Hdr.Ttl), lifetime(soa.Minttl))
		}
	}
	return 0
}

// referral is the zone whose servers an answer only names; empty when it is
// something else.
func referral(m *dns.Msg) string {
	if m == nil || m.Authoritative || len(m.Answer) > 0 {
		return ""
	}
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeNS {
			return dns.CanonicalName(rr.Header().Name)
		}
	}
	return ""
}

// first asks servers until one answers: the next when one fails or has said
// nothing for a second. Without an answer it returns the first error that tells
// more than that there was none.
func first[S, R any](ctx context.Context, servers []S, ask func(context.Context, S) (R, error)) (R, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		answer R
		err    error
	}
	outcomes := make(chan outcome, len(servers))
	var none R
	var failed error
	for next, waiting := 0, 0; ; {
		if next < len(servers) {
			server := servers[next]
			next++
			waiting++
			go func() {
				answer, err := ask(ctx, server)
				outcomes <- outcome{answer, err}
			}()
		} else if waiting == 0 {
			if failed == nil {
				failed = errNoServer
			}
			return none, failed
		}
		var more <-chan time.Time
		if next < len(servers) {
			more = time.After(patience)
		}
		select {
		case o := <-outcomes:
			if waiting--; o.err == nil {
				return o.answer, nil
			}
			if failed == nil || errors.Is(failed, errNoAnswer) && !errors.Is(o.err, errNoAnswer) {
				failed = o.err
			}
		case <-more:
		case <-ctx.Done():
			return none, errNoTime
		}
	}
}

// patience is how long one server may be silent before another is asked too.
const patience = time.Second

var errNoServer = errors.New("there is no server to ask")

// plain is a name as people write it.
func plain(name string) string { return hostName(name) }
