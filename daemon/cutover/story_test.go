package cutover

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// start is a Monday morning.
var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

var policy = Policy{
	MaxLag: 5 * time.Minute, VerifyEvery: 24 * time.Hour, QuietPeriod: 72 * time.Hour,
	Workdays: []time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday},
}

// story is the life of one domain, told in steps.
type story struct {
	t        testing.TB
	now      time.Time
	domain   Domain
	memory   Memory
	policy   Policy
	accounts []Account
	ns       []string // what the parent delegates to
	ttl      time.Duration
	changes  []Change
}

func newStory(t testing.TB, d Domain) *story {
	d.Name = "example.org"
	if d.Switch == "" {
		d.Switch = SwitchMX
	}
	if d.Handover == "" {
		d.Handover = HandoverMX
	}
	return &story{t: t, now: start, domain: d, policy: policy, ns: []string{"ns1", "ns2"}, ttl: 5 * time.Minute, accounts: []Account{well("foo", start)}}
}

// well is an account that nothing is wrong with.
func well(name string, now time.Time) Account {
	return Account{
		Name: name, Phase: mail.PhaseFollowing, Health: mail.HealthOK, RoomKnown: true,
		AccountMemory: &AccountMemory{
			Domains: []string{"example.org"}, Following: Event{now.Add(-time.Hour), "the first pass is complete"},
			FirstCopy: now.Add(-2 * time.Hour), LastCopy: now.Add(-2 * time.Hour),
			Quick: Verified{Began: now.Add(-time.Hour)}, Contents: Verified{Began: now.Add(-time.Hour)},
		},
	}
}

// server makes a server of its name: ns… is an authority, anything else a
// resolver.
func (s *story) server(name string) Server {
	n := byte(len(name)) + name[len(name)-1]
	server := Server{Role: RoleResolver, Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 53)}
	if strings.HasPrefix(name, "ns") {
		server.Role, server.Name = RoleAuthority, name
		if !slices.Contains(s.ns, name) {
			server.Role = RoleFormer
		}
	}
	return server
}

// round has the servers answer: "ns1:old ns2:new r1:unknown".
func (s *story) round(answers string) *story {
	r := Round{Domain: s.domain.Name, At: s.now, Delegation: Delegation{Zone: s.domain.Name, Servers: s.ns, TTL: time.Hour}}
	for field := range strings.FieldsSeq(answers) {
		name, answer, _ := strings.Cut(field, ":")
		o := Observation{Server: s.server(name), At: s.now, Answer: Answer(answer), MXTTL: s.ttl, AddressTTL: time.Minute}
		switch o.Answer {
		case AnswerOld:
			o.Hosts = []Host{{Name: "mx.old.example"}}
		case AnswerNew:
			o.Hosts = []Host{{Name: "mx.new.example"}}
		case AnswerMixed:
			o.Hosts = []Host{{Name: "mx.new.example"}, {Name: "mx.old.example", Preference: 20}}
		case AnswerUnknown:
			o.Problem, o.MXTTL, o.AddressTTL = "SERVFAIL", 0, 0
		}
		r.Observations = append(r.Observations, o)
	}
	memory, changes := s.memory.Look(s.domain, r)
	s.memory, s.changes = memory, append(s.changes, changes...)
	return s
}

// after lets time pass.
func (s *story) after(d time.Duration) *story {
	s.now = s.now.Add(d)
	return s
}

func (s *story) facts() Facts {
	return Facts{Domain: s.domain, Memory: s.memory, Policy: s.policy, Accounts: s.accounts, Now: s.now}
}

// blocking are the words of a verdict that block, in their order.
func (s *story) blocking(v Verdict) string { return words(s.facts().Rule(v), true) }

func words(r Ruling, blocking bool) string {
	var list []string
	for _, f := range r.Reasons {
		if f.Blocking == blocking {
			list = append(list, string(f.Reason))
		}
	}
	return strings.Join(list, " ")
}

func (s *story) phase() mail.Phase {
	var phases []mail.Phase
	for _, a := range s.accounts {
		phases = append(phases, a.AccountMemory.Phase([]Memory{s.memory}, nil))
	}
	return s.memory.Phase(phases)
}

// expect checks the phase and what blocks the stop.
func (s *story) expect(phase mail.Phase, stop string) *story {
	s.t.Helper()
	if got := s.phase(); got != phase {
		s.t.Errorf("%s: phase %s, want %s", s.now.Sub(start), got, phase)
	}
	if got := s.blocking(SafeToStop); got != stop {
		s.t.Errorf("%s: stop is blocked by %q, want %q", s.now.Sub(start), got, stop)
	}
	return s
}

// verified has everything verified now.
func (s *story) verified() *story {
	for i := range s.accounts {
		s.accounts[i].Quick.Began, s.accounts[i].Contents.Began = s.now, s.now
	}
	return s
}

func TestWholeLife(t *testing.T) {
	s := newStory(t, Domain{})
	s.ttl = 24 * time.Hour
	s.round("ns1:old ns2:old r1:old").expect(mail.PhaseFollowing, "not_switched not_handed_over")
	if got := s.blocking(SafeToSwitch); got != "" {
		t.Errorf("switch is blocked by %q", got)
	}
	if got := s.memory.DNS.OldMX; !slices.Equal(got, []string{"mx.old.example"}) {
		t.Errorf("the old MX is %v", got)
	}
	advice := func(want string) {
		t.Helper()
		if got := s.memory.Advise(s.domain, s.now).Text; got != want {
			t.Errorf("advice %q, want %q", got, want)
		}
	}
	advice("TTL of MX is 86400: lower it to 300 now, and do not switch before 2026-03-03 09:00 UTC")
	s.ttl = 5 * time.Minute
	s.after(time.Hour).round("ns1:old ns2:old r1:old")
	advice("TTL of MX was 86400 and is 300 now; caches may keep the old one: do not switch before 2026-03-03 10:00 UTC")
	s.after(25 * time.Hour).round("ns1:old ns2:old r1:old")
	advice("")

	// The switch: one authority lags.
	s.after(time.Hour).round("ns1:new ns2:old r1:old").expect(mail.PhaseDraining, "not_switched old_mx_served")
	s.after(time.Minute).round("ns1:new ns2:new r1:old").expect(mail.PhaseDraining, "clock quiet_period")
	if from, until := s.memory.Clock(s.domain); !from.Equal(s.now) || !until.Equal(s.now.Add(24*time.Hour)) {
		t.Errorf("clock from %s until %s", from, until)
	}
	if got := s.blocking(SafeToSwitch); got != "already_switched unverified" {
		t.Errorf("switch is blocked by %q", got)
	}
	// Late mail on Wednesday: silence from then on.
	s.after(25 * time.Hour).round("ns1:new ns2:new r1:new")
	s.memory.Late = s.memory.Late.Add("mx.slow.example", s.now)
	s.accounts[0].LastCopy = s.now
	s.expect(mail.PhaseDraining, "late_mail unverified")
	s.after(71*time.Hour).verified().expect(mail.PhaseDraining, "late_mail")
	s.after(time.Hour).expect(mail.PhaseDraining, "")
	s.memory.Finished = Event{s.now, "test"}
	s.expect(mail.PhaseFinished, "")
}

func TestWorkday(t *testing.T) {
	friday := time.Date(2026, 3, 6, 18, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		from     time.Time
		quiet    time.Duration
		workdays []time.Weekday
		want     string
	}{
		{friday, 72 * time.Hour, policy.Workdays, "2026-03-10 00:00"},
		{friday, 24 * time.Hour, policy.Workdays, "2026-03-10 00:00"},
		{friday, 24 * time.Hour, nil, "2026-03-07 18:00"},
		{friday.Add(-24 * time.Hour), 72 * time.Hour, policy.Workdays, "2026-03-08 18:00"}, // a whole Friday
		{friday.Truncate(24 * time.Hour), 24 * time.Hour, policy.Workdays, "2026-03-07 00:00"},
		{friday, 24 * time.Hour, []time.Weekday{time.Friday}, "2026-03-14 00:00"},
	} {
		if got := QuietUntil(c.from, c.quiet, c.workdays).Format("2006-01-02 15:04"); got != c.want {
			t.Errorf("from %s, %s, %v: %s, want %s", c.from, c.quiet, c.workdays, got, c.want)
		}
	}
	// The day on which the clocks are put forward has 23 hours.
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones here:", err)
	}
	from := time.Date(2026, 3, 28, 12, 0, 0, 0, berlin)
	if got := QuietUntil(from, time.Hour, []time.Weekday{time.Sunday}); !got.Equal(time.Date(2026, 3, 30, 0, 0, 0, 0, berlin)) {
		t.Errorf("over the change to summer time: %s", got)
	}
}

func TestEvidence(t *testing.T) {
	for _, c := range []struct {
		rounds []string
		want   Answer
	}{
		{[]string{"ns1:new"}, AnswerNew},
		{[]string{"ns1:new ns2:unknown"}, AnswerNew},
		{[]string{"ns1:old ns2:new"}, AnswerMixed},
		{[]string{"ns1:mixed ns2:mixed"}, AnswerMixed},
		{[]string{"ns1:null ns2:new"}, AnswerMixed},
		{[]string{"ns1:null ns2:old"}, AnswerOld},
		{[]string{"ns1:null ns2:none"}, AnswerNull},
		{[]string{"ns1:none"}, AnswerNone},
		{[]string{"ns1:old r1:new r2:new", "ns1:old r1:new r2:new"}, AnswerOld},
		{[]string{"ns1:unknown r1:new r2:new"}, AnswerUnknown},
		{[]string{"ns1:unknown r1:new r2:new", "ns1:unknown r1:new r2:new"}, AnswerNew},
		{[]string{"r1:new r2:old", "r1:new r2:old"}, AnswerUnknown},
		{[]string{"r1:new r2:new", "r1:unknown r2:new", "r1:new r2:new"}, AnswerUnknown},
		{[]string{"r1:new", "r1:new", "r1:new"}, AnswerUnknown},
		{[]string{"r1:new r2:new r3:old r4:old", "r1:new r2:new r3:old r4:old"}, AnswerMixed},
		{[]string{"ns9:new"}, AnswerUnknown}, // an authority that nobody delegates to
		{[]string{""}, AnswerUnknown},
	} {
		s := newStory(t, Domain{})
		for _, r := range c.rounds {
			s.round(r).after(time.Minute)
		}
		if got, why := s.memory.DNS.evidence(); got != c.want {
			t.Errorf("%q: %s (%s), want %s", c.rounds, got, why, c.want)
		}
	}
}

func TestClock(t *testing.T) {
	clock := func(s *story, from, until time.Duration) {
		t.Helper()
		f, u := s.memory.Clock(s.domain)
		if f.Sub(start) != from || u.Sub(start) != until {
			t.Errorf("clock from %s until %s, want %s, %s", f.Sub(start), u.Sub(start), from, until)
		}
	}
	t.Run("the daemon was down over the switch", func(t *testing.T) {
		s := newStory(t, Domain{}).round("ns1:old").after(50 * time.Hour).round("ns1:new")
		clock(s, 50*time.Hour, 50*time.Hour+5*time.Minute)
	})
	t.Run("the largest TTL ever", func(t *testing.T) {
		s := newStory(t, Domain{})
		s.ttl = 48 * time.Hour
		s.round("ns1:old")
		s.ttl = time.Minute
		s.after(time.Hour).round("ns1:old").after(time.Hour).round("ns1:new")
		clock(s, 2*time.Hour, 50*time.Hour)
	})
	t.Run("a TTL that no cache keeps", func(t *testing.T) {
		s := newStory(t, Domain{})
		s.ttl = 1 << 31 * time.Second
		s.round("ns1:old").round("ns1:new")
		clock(s, 0, ttlMost)
	})
	t.Run("one that lags", func(t *testing.T) {
		s := newStory(t, Domain{}).round("ns1:old ns2:old").after(time.Hour).round("ns1:new ns2:old").after(time.Hour).round("ns1:new ns2:new")
		clock(s, 2*time.Hour, 2*time.Hour+5*time.Minute)
	})
	t.Run("silence is not the old answer", func(t *testing.T) {
		s := newStory(t, Domain{}).round("ns1:old ns2:old").after(time.Hour).round("ns1:new ns2:unknown")
		clock(s, time.Hour, time.Hour+5*time.Minute)
	})
	t.Run("the delegation changed", func(t *testing.T) {
		s := newStory(t, Domain{}).round("ns1:old")
		s.ns = []string{"ns3"}
		s.after(time.Hour).round("ns1:old ns3:new").after(10 * time.Hour).round("ns1:old ns3:new")
		clock(s, 2*time.Hour, 2*time.Hour+5*time.Minute)
		if got := words(s.facts().Rule(SafeToStop), false); !strings.Contains(got, string(ReasonFormerServesOld)) {
			t.Errorf("advice: %q", got)
		}
	})
	t.Run("resolvers alone", func(t *testing.T) {
		s := newStory(t, Domain{}).round("r1:old r2:old").after(time.Minute).round("r1:old r2:old").after(time.Minute).round("r1:new r2:new").after(time.Minute).round("r1:new r2:new")
		clock(s, 2*time.Minute, 7*time.Minute)
	})
	t.Run("resolvers count for nothing beside authorities", func(t *testing.T) {
		s := newStory(t, Domain{}).round("ns1:old r1:old").after(time.Minute).round("ns1:new r1:old").after(time.Hour).round("ns1:new r1:old")
		clock(s, time.Minute, 6*time.Minute)
	})
	t.Run("new at first sight", func(t *testing.T) {
		s := newStory(t, Domain{}).round("ns1:new").after(time.Hour)
		m, _, err := s.memory.Switch(s.domain, s.now)
		if err != nil {
			t.Fatal(err)
		}
		s.memory = m
		clock(s, 0, 5*time.Minute)
	})
	t.Run("by hand", func(t *testing.T) {
		s := newStory(t, Domain{Switch: SwitchManual}).round("ns1:old").after(time.Hour)
		m, _, err := s.memory.Switch(s.domain, s.now)
		if err != nil {
			t.Fatal(err)
		}
		s.memory = m
		clock(s, time.Hour, time.Hour)
	})
}

// word applies a word of the operator and returns its error.
func (s *story) word(say func() (Memory, []Change, error)) error {
	m, changes, err := say()
	s.memory, s.changes = m, append(s.changes, changes...)
	return err
}

func (s *story) must(say func() (Memory, []Change, error)) *story {
	s.t.Helper()
	if err := s.word(say); err != nil {
		s.t.Fatal(err)
	}
	return s
}

func (s *story) switched() (Memory, []Change, error) { return s.memory.Switch(s.domain, s.now) }
func (s *story) begin() (Memory, []Change, error) {
	return s.memory.Start(s.domain, "the operator said so", s.now)
}
func (s *story) abort() (Memory, []Change, error) { return s.memory.Abort(s.domain, false, s.now) }

func TestFirstSight(t *testing.T) {
	s := newStory(t, Domain{}).round("ns1:new").expect(mail.PhaseFollowing, "not_switched not_handed_over")
	if got := s.blocking(SafeToSwitch); got != "new_at_first_sight" {
		t.Errorf("switch is blocked by %q", got)
	}
	s.after(time.Minute).round("ns1:new").expect(mail.PhaseFollowing, "not_switched not_handed_over")
	s.must(s.switched).expect(mail.PhaseDraining, "clock quiet_period")
	if s.word(s.switched) == nil {
		t.Error("said twice")
	}

	// It was a mistake that was corrected.
	s = newStory(t, Domain{}).round("ns1:mixed").after(time.Minute).round("ns1:old").expect(mail.PhaseFollowing, "not_switched not_handed_over")
	s.after(time.Minute).round("ns1:new").expect(mail.PhaseDraining, "clock quiet_period")
}

func TestRevertAndAbort(t *testing.T) {
	s := newStory(t, Domain{}).round("ns1:old ns2:old").after(time.Hour).round("ns1:new ns2:new").expect(mail.PhaseDraining, "clock quiet_period")
	s.after(time.Hour).round("ns1:old ns2:old").expect(mail.PhaseDraining, "reverted old_mx_served clock quiet_period")
	s.after(time.Hour).round("ns1:new ns2:new").expect(mail.PhaseDraining, "clock quiet_period")
	s.must(s.abort).expect(mail.PhaseFollowing, "not_switched not_handed_over")
	if got := s.blocking(SafeToSwitch); got != "aborted" {
		t.Errorf("switch is blocked by %q", got)
	}
	s.after(time.Minute).round("ns1:new ns2:new").expect(mail.PhaseFollowing, "not_switched not_handed_over")
	s.after(time.Minute).round("ns1:old ns2:new").expect(mail.PhaseFollowing, "not_switched not_handed_over old_mx_served")
	s.after(time.Minute).round("ns1:new ns2:old").expect(mail.PhaseDraining, "not_switched old_mx_served") // both have shown it
	if s.word(s.abort) != nil {
		t.Error("it cannot be aborted twice")
	}
	if s.word(s.abort) == nil {
		t.Error("nothing can be aborted")
	}
}

func TestHandoverByHand(t *testing.T) {
	s := newStory(t, Domain{Handover: HandoverManual}).round("ns1:old").after(time.Hour).round("ns1:new").expect(mail.PhaseFollowing, "not_handed_over clock quiet_period")
	s.must(s.begin).expect(mail.PhaseDraining, "clock quiet_period")
	if s.word(s.begin) == nil {
		t.Error("handed over twice")
	}

	// Two hundred a night, with the MX as it was.
	s = newStory(t, Domain{Handover: HandoverManual}).round("ns1:old")
	s.accounts = append(s.accounts, well("bar", start))
	s.accounts[0].Handover = Event{s.now, "test"}
	all := func() []*AccountMemory {
		return []*AccountMemory{s.accounts[0].AccountMemory, s.accounts[1].AccountMemory}
	}
	s.expect(mail.PhaseFollowing, "not_switched not_handed_over")
	if s.accounts[0].AccountMemory.Phase([]Memory{s.memory}, nil) != mail.PhaseDraining || s.accounts[1].AccountMemory.Phase([]Memory{s.memory}, nil) != mail.PhaseFollowing {
		t.Error("the accounts are in other phases")
	}
	if _, changes := s.memory.Handed(s.domain, all(), s.now); changes != nil {
		t.Errorf("one of two: %v", changes)
	}
	s.accounts[1].Handover = Event{s.now, "test"}
	s.memory, s.changes = s.memory.Handed(s.domain, all(), s.now)
	s.expect(mail.PhaseDraining, "not_switched")
}

func TestByHand(t *testing.T) {
	s := newStory(t, ByHand(""))
	s.expect(mail.PhaseFollowing, "not_switched not_handed_over")
	s.must(s.switched).expect(mail.PhaseFollowing, "not_handed_over quiet_period")
	s.must(s.begin).expect(mail.PhaseDraining, "quiet_period")
	s.after(72*time.Hour).verified().expect(mail.PhaseDraining, "")
	s.must(s.abort).expect(mail.PhaseFollowing, "not_switched not_handed_over")
	if got := s.blocking(SafeToSwitch); got != "" {
		t.Errorf("switch is blocked by %q", got)
	}
}

func TestWordAgainstDNS(t *testing.T) {
	s := newStory(t, Domain{}).round("ns1:old")
	if err := s.word(s.switched); err == nil || !strings.Contains(err.Error(), "ns1") {
		t.Errorf("%v", err)
	}
	s = newStory(t, Domain{}).round("ns1:unknown")
	s.must(s.switched).expect(mail.PhaseDraining, "unconfirmed quiet_period")
}

func TestRecordLost(t *testing.T) {
	lost := Event{start, "the file was gone"}
	s := newStory(t, Domain{Handover: HandoverManual})
	s.memory.Lost = lost
	s.round("ns1:old").expect(mail.PhaseDraining, "not_switched record_lost")
	s.after(time.Minute).round("ns1:new").expect(mail.PhaseDraining, "clock quiet_period record_lost")
	s.must(s.begin).expect(mail.PhaseDraining, "clock quiet_period")

	s = newStory(t, Domain{})
	s.memory.Lost = lost
	s.round("ns1:old")
	s.must(s.abort).expect(mail.PhaseFollowing, "not_switched not_handed_over")
}

func TestLateMail(t *testing.T) {
	s := newStory(t, Domain{}).round("ns1:old").round("ns1:new").after(100 * time.Hour).verified()
	s.memory.Late = s.memory.Late.Add("list.example", s.now.Add(-time.Hour)).Add("", s.now.Add(-90*time.Hour))
	s.expect(mail.PhaseDraining, "late_mail")
	if got := words(s.facts().Rule(SafeToStop), false); got != string(ReasonDeliversLocally) {
		t.Errorf("advice: %q", got)
	}
	if err := s.word(func() (Memory, []Change, error) { return s.memory.Ack(s.domain, "other.example", "x", s.now) }); err == nil || !strings.Contains(err.Error(), "list.example") {
		t.Errorf("%v", err)
	}
	s.must(func() (Memory, []Change, error) {
		return s.memory.Ack(s.domain, "LIST.example.", "a newsletter", s.now)
	}).expect(mail.PhaseDraining, "")

	// What arrives in the very second of the switch is late: an INTERNALDATE has
	// no fractions.
	s = newStory(t, Domain{}).round("ns1:old").after(700 * time.Millisecond).round("ns1:new")
	s.memory.Late = s.memory.Late.Add("list.example", s.now.Truncate(time.Second))
	s.after(50*time.Hour).verified().expect(mail.PhaseDraining, "late_mail")

	var l LateMail
	for i := range 3 * lateHosts {
		l = l.Add(fmt.Sprintf("h%d.example", i), start.Add(time.Duration(i)*time.Hour))
	}
	if len(l.Hosts) != lateHosts+1 || len(l.Hours) != lateHours || l.Total != 3*lateHosts || l.Hosts[lateOthers].Messages != 2*lateHosts {
		t.Errorf("%d hosts, %d hours, %d in all", len(l.Hosts), len(l.Hours), l.Total)
	}
}
