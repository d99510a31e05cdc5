// Package dnssim is a small internet of real DNS servers for tests: each has an
// address of its own on paper and is reached over UDP and TCP at a port of the
// loopback interface that the kernel has chosen. It ends with its test.
package dnssim

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Internet is a set of DNS servers.
type Internet struct {
	t   testing.TB
	now func() time.Time

	mu    sync.Mutex
	ports map[netip.Addr]netip.AddrPort
	hole  netip.AddrPort // what is sent there is never answered
}

// New makes an Internet without servers. now is what caches go by; nil: the
// time.
func New(t testing.TB, now func() time.Time) *Internet {
	t.Helper()
	if now == nil {
		now = time.Now
	}
	n := &Internet{t: t, now: now, ports: make(map[netip.Addr]netip.AddrPort)}
	packets, stream := n.listen()
	n.hole = stream.Addr().(*net.TCPAddr).AddrPort()
	t.Cleanup(func() {
		packets.Close()
		stream.Close()
	})
	return n
}

// listen opens one port for UDP and TCP.
func (n *Internet) listen() (net.PacketConn, net.Listener) {
	n.t.Helper()
	var failed error
	for range 20 {
		stream, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			n.t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", stream.Addr().String())
		if err == nil {
			return packets, stream
		}
		failed = err
		stream.Close()
	}
	n.t.Fatal(failed)
	return nil, nil
}

// Reach is where the server with an address is found. Where there is none,
// nothing answers.
func (n *Internet) Reach(address netip.AddrPort) netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at, known := n.ports[address.Addr()]; known && address.Port() == 53 {
		return at
	}
	return n.hole
}

// Server is one DNS server.
type Server struct {
	Address netip.AddrPort // on paper; Internet.Reach tells where it is
	answer  func(q dns.Question) *dns.Msg

	mu     sync.Mutex
	zones  map[string][]dns.RR
	tamper func(q, reply *dns.Msg, udp bool) *dns.Msg
	before func(q *dns.Msg) [][]byte
	asked  map[string]int // by question
}

func (n *Internet) start(address string, answer func(*Server, dns.Question) *dns.Msg) *Server {
	n.t.Helper()
	s := &Server{Address: netip.AddrPortFrom(netip.MustParseAddr(address), 53), zones: make(map[string][]dns.RR), asked: make(map[string]int)}
	s.answer = func(q dns.Question) *dns.Msg { return answer(s, q) }
	packets, stream := n.listen()
	at := stream.Addr().(*net.TCPAddr).AddrPort()
	n.mu.Lock()
	n.ports[s.Address.Addr()] = at
	n.mu.Unlock()
	for _, server := range []*dns.Server{{PacketConn: packets}, {Listener: stream}} {
		started, ended := make(chan struct{}), make(chan error, 1)
		server.NotifyStartedFunc = func() { close(started) }
		server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.serve(w, q, server.PacketConn != nil) })
		go func() { ended <- server.ActivateAndServe() }()
		select {
		case <-started:
		case err := <-ended:
			n.t.Fatal(err)
		}
		n.t.Cleanup(func() {
			server.Shutdown()
			if err := <-ended; err != nil {
				n.t.Errorf("DNS server %s: %v", address, err)
			}
		})
	}
	return s
}

func (s *Server) serve(w dns.ResponseWriter, q *dns.Msg, udp bool) {
	reply := new(dns.Msg)
	if len(q.Question) != 1 || q.Question[0].Qclass != dns.ClassINET {
		reply.SetRcode(q, dns.RcodeFormatError)
	} else {
		question := q.Question[0]
		question.Name = dns.CanonicalName(question.Name)
		found := s.answer(question)
		reply.SetReply(q)
		reply.Rcode, reply.Authoritative, reply.RecursionAvailable = found.Rcode, found.Authoritative, found.RecursionAvailable
		reply.Answer, reply.Ns, reply.Extra = found.Answer, found.Ns, found.Extra
		s.mu.Lock()
		s.asked[question.Name+" "+dns.TypeToString[question.Qtype]]++
		s.mu.Unlock()
	}
	if udp {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		reply.Truncate(size)
	}
	s.mu.Lock()
	tamper, before := s.tamper, s.before
	s.mu.Unlock()
	if before != nil && udp {
		for _, packet := range before(q.Copy()) {
			w.Write(packet)
		}
	}
	if tamper != nil {
		reply = tamper(q, reply, udp)
	}
	if reply != nil {
		w.WriteMsg(reply)
	}
}

// Tamper has every answer go through a function; nil instead of an answer is
// silence. Called with nil the server is honest again.
func (s *Server) Tamper(f func(q, reply *dns.Msg, udp bool) *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tamper = f
}

// Before has every answer over UDP come after packets that somebody else has
// sent.
func (s *Server) Before(f func(q *dns.Msg) [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// Silent is a Tamper: no answer.
func Silent(_, _ *dns.Msg, _ bool) *dns.Msg { return nil }

// Rcode makes a Tamper: that error instead of every answer.
func Rcode(code int) func(q, reply *dns.Msg, udp bool) *dns.Msg {
	return func(q, _ *dns.Msg, _ bool) *dns.Msg { return new(dns.Msg).SetRcode(q, code) }
}

// Asked is how often a question was asked, such as "example.org. MX".
func (s *Server) Asked(question string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[question]
}

// Authority starts an authoritative server without zones.
func (n *Internet) Authority(address string) *Server {
	n.t.Helper()
	return n.start(address, (*Server).authoritative)
}

// Zone has an authority serve a zone with these records, in the form of a zone
// file, instead of what it has served of it. Without SOA it gets one whose
// negative TTL is 300. Without records it serves the zone no more.
func (s *Server) Zone(name string, records ...string) {
	name = dns.CanonicalName(name)
	var zone []dns.RR
	hasSOA := false
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil || rr == nil {
			panic("dnssim: record " + text + ": " + strings.TrimSpace(errorText(err)))
		}
		hasSOA = hasSOA || rr.Header().Rrtype == dns.TypeSOA
		zone = append(zone, rr)
	}
	if !hasSOA && len(zone) > 0 {
		zone = append(zone, must(dns.NewRR(name+" 3600 IN SOA ns.invalid. hostmaster.invalid. 1 7200 900 1209600 300")))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.zones[name] = zone; len(zone) == 0 {
		delete(s.zones, name)
	}
}

func errorText(err error) string {
	if err == nil {
		return "nothing"
	}
	return err.Error()
}

func must(rr dns.RR, err error) dns.RR {
	if err != nil {
		panic(err)
	}
	return rr
}

// authoritative answers from the zones (RFC 1034 §4.3.2).
func (s *Server) authoritative(q dns.Question) *dns.Msg {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg)
	apex := ""
	for zone := range s.zones {
		if dns.IsSubDomain(zone, q.Name) && len(zone) > len(apex) {
			apex = zone
		}
	}
	if apex == "" {
		m.Rcode = dns.RcodeRefused
		return m
	}
	zone := s.zones[apex]
	for offsets := dns.Split(q.Name); len(offsets) > 0; offsets = offsets[:len(offsets)-1] {
		cut := q.Name[offsets[len(offsets)-1]:]
		if cut == apex || !dns.IsSubDomain(apex, cut) {
			continue
		}
		if m.Ns = set(zone, cut, dns.TypeNS); len(m.Ns) > 0 {
			for _, ns := range m.Ns {
				for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
					m.Extra = append(m.Extra, set(zone, dns.CanonicalName(ns.(*dns.NS).Ns), kind)...)
				}
			}
			return m
		}
	}
	m.Authoritative = true
	name := q.Name
	for range 10 {
		if m.Answer = append(m.Answer, set(zone, name, q.Qtype)...); len(set(zone, name, q.Qtype)) > 0 {
			return m
		}
		alias := set(zone, name, dns.TypeCNAME)
		if len(alias) == 0 {
			break
		}
		m.Answer = append(m.Answer, alias...)
		if name = dns.CanonicalName(alias[0].(*dns.CNAME).Target); !dns.IsSubDomain(apex, name) {
			return m
		}
	}
	exists := false
	for _, rr := range zone {
		exists = exists || dns.IsSubDomain(name, dns.CanonicalName(rr.Header().Name))
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = set(zone, apex, dns.TypeSOA)
	return m
}

func set(records []dns.RR, name string, kind uint16) []dns.RR {
	var found []dns.RR
	for _, rr := range records {
		if rr.Header().Rrtype == kind && dns.CanonicalName(rr.Header().Name) == name {
			found = append(found, dns.Copy(rr))
		}
	}
	return found
}
