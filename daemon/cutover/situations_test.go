package cutover

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

var update = flag.Bool("update", false, "write testdata/situations.txt anew: read every line of the difference")

// history is what DNS and the operator have said, in rounds an hour apart:
// "|" parts them, and !switched, !start, !abort, !ns3 are the operator's words
// and a new delegation.
type history struct{ name, rounds string }

var histories = []history{
	{"old", "ns1:old ns2:old"},
	{"nobody answers", "ns1:unknown ns2:unknown"},
	{"nothing asked yet", ""},
	{"one of two silent", "ns1:old ns2:unknown"},
	{"new at first sight", "ns1:new ns2:new"},
	{"new at first sight, switched", "ns1:new ns2:new|!switched"},
	{"mixed at first sight", "ns1:mixed ns2:mixed"},
	{"null at first sight", "ns1:null"},
	{"switched", "ns1:old ns2:old|ns1:new ns2:new"},
	{"mixed set", "ns1:old ns2:old|ns1:mixed ns2:mixed"},
	{"one lags", "ns1:old ns2:old|ns1:new ns2:old"},
	{"one silent since", "ns1:old ns2:old|ns1:new ns2:unknown"},
	{"resolvers only", "r1:old r2:old|r1:new r2:new|r1:new r2:new"},
	{"resolvers once", "r1:old r2:old|r1:new r2:new"},
	{"one resolver", "r1:old|r1:new|r1:new|r1:new"},
	{"a cache behind", "ns1:old r1:old|ns1:new r1:old"},
	{"null", "ns1:old|ns1:null"},
	{"none", "ns1:old|ns1:none"},
	{"silence after the switch", "ns1:old|ns1:new|ns1:unknown"},
	{"reverted", "ns1:old|ns1:new|ns1:old"},
	{"reverted to mixed", "ns1:old|ns1:new|ns1:mixed"},
	{"reverted and switched again", "ns1:old|ns1:new|ns1:old|ns1:new"},
	{"aborted", "ns1:old|ns1:new|!abort|ns1:new"},
	{"aborted, old again", "ns1:old|ns1:new|!abort|ns1:old"},
	{"aborted, one still new", "ns1:old ns2:old|ns1:new ns2:new|!abort|ns1:old ns2:new"},
	{"aborted, switched again", "ns1:old|ns1:new|!abort|ns1:old|ns1:new"},
	{"former serves old", "ns1:old|!ns3|ns1:old ns3:new"},
	{"former serves new", "ns1:old|!ns3|ns1:new ns3:new"},
}

// conditions are what the accounts may be like.
var conditions = []struct {
	name string
	make func(s *story)
}{
	{"none", func(s *story) { s.accounts = nil }},
	{"seeding", func(s *story) {
		s.accounts[0].Following, s.accounts[0].FirstCopy, s.accounts[0].LastCopy = Event{}, s.now, s.now
		s.accounts[0].Quick, s.accounts[0].Contents = Verified{}, Verified{}
	}},
	{"no log-in", func(s *story) { s.accounts[0].Health = mail.HealthAuth }},
	{"away for an hour", func(s *story) {
		s.accounts[0].Health, s.accounts[0].UnwellSince = mail.HealthBackoff, s.now.Add(-time.Hour)
	}},
	{"away for a minute", func(s *story) {
		s.accounts[0].Health, s.accounts[0].UnwellSince = mail.HealthBackoff, s.now.Add(-time.Minute)
	}},
	{"stopped", func(s *story) { s.accounts[0].Health = mail.HealthStopped }},
	{"paused", func(s *story) { s.accounts[0].Health = mail.HealthPaused }},
	{"removed", func(s *story) { s.accounts[0].Removed = Event{s.now, "test"} }},
	{"full", func(s *story) { s.accounts[0].Full = true }},
	{"held", func(s *story) { s.accounts[0].Held = 1 }},
	{"differences", func(s *story) { s.accounts[0].Quick.Differences = 2 }},
	{"damaged contents", func(s *story) { s.accounts[0].Contents.Differences = 1 }},
	{"one late", func(s *story) {
		s.accounts[0].Pending, s.accounts[0].PendingSince = 3, s.now.Add(-6*time.Minute)
	}},
	{"one on its way", func(s *story) { s.accounts[0].Pending, s.accounts[0].PendingSince = 1, s.now }},
	{"copied since", func(s *story) { s.accounts[0].LastCopy = s.now }},
	{"contents never compared", func(s *story) { s.accounts[0].Contents = Verified{} }},
	{"one skipped, one well", func(s *story) {
		s.accounts = append(s.accounts, well("bar", s.now))
		s.accounts[0].Health, s.accounts[0].Skipped = mail.HealthAuth, Event{s.now, "left the company"}
	}},
	{"deletions, room unknown, still working", func(s *story) {
		a := &s.accounts[0]
		a.Deletions, a.RoomKnown, a.Working = 30, false, Event{s.now, "filed into Sent"}
	}},
}

// tell runs a history.
func (s *story) tell(h history) {
	for part := range strings.SplitSeq(h.rounds, "|") {
		switch part {
		case "!switched":
			s.must(s.switched)
		case "!abort":
			s.must(s.abort)
		case "!ns3":
			s.ns = []string{"ns3"}
		default:
			s.round(part)
		}
		s.after(time.Hour)
	}
}

// TestSituations holds phase and verdicts of every situation against what
// stands in testdata/situations.txt, which is meant to be read, and against
// rules that hold in all of them.
func TestSituations(t *testing.T) {
	var got strings.Builder
	seen := make(map[Reason]bool)
	count := 0
	look := func(name string, s *story) {
		count++
		rulings := make(map[Verdict]Ruling)
		for _, v := range Verdicts() {
			rulings[v] = s.facts().Rule(v)
			for _, f := range rulings[v].Reasons {
				seen[f.Reason] = true
				checkFinding(t, name, v, f)
			}
			if blocked := words(rulings[v], true) != ""; blocked == rulings[v].OK {
				t.Errorf("%s: %s is %t with %q", name, v, rulings[v].OK, words(rulings[v], true))
			}
		}
		s.checkRules(name, rulings)
		tell := func(r Ruling) string {
			text := "no: " + words(r, true)
			if r.OK {
				text = "yes"
			}
			if advice := words(r, false); advice != "" {
				text += " (" + advice + ")"
			}
			return text
		}
		fmt.Fprintf(&got, "%s\n\t%s; delivery %s\n\tswitch %s\n\tstop   %s\n", name, s.phase(), orNone(s.memory.Delivery), tell(rulings[SafeToSwitch]), tell(rulings[SafeToStop]))
	}

	for _, h := range histories {
		for _, handover := range []Handover{HandoverMX, HandoverManual} {
			for _, ttl := range []time.Duration{5 * time.Minute, 24 * time.Hour} {
				s := newStory(t, Domain{Handover: handover})
				s.ttl = ttl
				s.tell(h)
				look(fmt.Sprintf("%s, handover %s, TTL %s", h.name, handover, ttl), s)
				s.after(7 * 24 * time.Hour).verified()
				look(fmt.Sprintf("%s, handover %s, TTL %s, a week later", h.name, handover, ttl), s)
			}
		}
	}
	for _, c := range conditions {
		for _, later := range []string{"before the switch", "after the switch", "a week after the switch"} {
			s := newStory(t, Domain{})
			s.round("ns1:old")
			if later != "before the switch" {
				s.after(time.Hour).round("ns1:new")
			}
			if later == "a week after the switch" {
				s.after(7 * 24 * time.Hour)
			}
			s.after(time.Minute).verified()
			c.make(s)
			look("account "+c.name+", "+later, s)
		}
	}
	for _, change := range []struct {
		name string
		make func(s *story)
	}{
		{"by hand", func(s *story) { s.domain = ByHand(s.domain.Name) }},
		{"by hand, switched", func(s *story) { s.domain = ByHand(s.domain.Name); s.must(s.switched) }},
		{"by hand, handed over", func(s *story) { s.domain = ByHand(s.domain.Name); s.must(s.begin) }},
		{"by hand, both, a week later", func(s *story) {
			s.domain = ByHand(s.domain.Name)
			s.must(s.begin).must(s.switched).after(7 * 24 * time.Hour).verified()
		}},
		{"switch by address", func(s *story) { s.domain.Switch = SwitchAddress; s.round("ns1:old").round("ns1:new") }},
		{"late mail", func(s *story) {
			s.round("ns1:old").round("ns1:new").after(100 * time.Hour).verified()
			s.memory.Late = s.memory.Late.Add("a.example", s.now.Add(-time.Hour))
		}},
		{"late mail by itself", func(s *story) {
			s.round("ns1:old").round("ns1:new").after(100 * time.Hour).verified()
			s.memory.Late = s.memory.Late.Add("", s.now.Add(-time.Hour))
		}},
		{"a weekend of silence", func(s *story) {
			s.after(4*24*time.Hour + 6*time.Hour).round("ns1:old").round("ns1:new").after(73 * time.Hour).verified()
		}},
		{"finish = ask", func(s *story) {
			s.policy.Ask = true
			s.round("ns1:old").round("ns1:new").after(7 * 24 * time.Hour).verified()
		}},
		{"record lost", func(s *story) { s.memory.Lost = Event{s.now, "test"} }},
		{"an account's record lost", func(s *story) { s.accounts[0].Lost = Event{s.now, "test"} }},
		{"finished", func(s *story) {
			s.round("ns1:old").round("ns1:new").after(7 * 24 * time.Hour).verified()
			s.memory.Finished = Event{s.now, "test"}
		}},
	} {
		s := newStory(t, Domain{})
		change.make(s)
		look(change.name, s)
	}

	t.Logf("%d situations", count)
	if count < 200 {
		t.Errorf("only %d situations", count)
	}
	for _, v := range Verdicts() {
		for _, r := range Reasons(v) {
			if !seen[r] {
				t.Errorf("no situation gives %s", r)
			}
		}
	}
	const file = "testdata/situations.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("not what %s says; first difference:\n%s", file, firstDifference(got.String(), string(want)))
	}
}

func orNone(a Answer) Answer {
	if a == "" {
		return "not known"
	}
	return a
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d:\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return "the length"
}

// checkFinding: a reason is of the closed list of its verdict and a sentence
// that ends neither in the middle nor in a verb of fmt.
func checkFinding(t *testing.T, name string, v Verdict, f Finding) {
	t.Helper()
	if !slices.Contains(Reasons(v), f.Reason) || f.Blocking != slices.Contains(BlockingReasons(v), f.Reason) {
		t.Errorf("%s: %s has no reason %s", name, v, f.Reason)
	}
	if len(f.Text) < 30 || strings.Contains(f.Text, "%!") || strings.Contains(f.Text, "()") || strings.ContainsAny(f.Text, "\n\t") {
		t.Errorf("%s: %s: %q", name, f.Reason, f.Text)
	}
}

// checkRules holds what must be true of any situation, by other means than the
// code under test.
func (s *story) checkRules(name string, rulings map[Verdict]Ruling) {
	s.t.Helper()
	stop := rulings[SafeToStop].OK
	if !slices.Contains(mail.Phases(), s.phase()) {
		s.t.Errorf("%s: phase %q", name, s.phase())
	}
	if stop && s.phase() != mail.PhaseDraining && s.phase() != mail.PhaseFinished {
		s.t.Errorf("%s: safe to stop while %s", name, s.phase())
	}
	if stop && rulings[SafeToSwitch].OK {
		s.t.Errorf("%s: both verdicts say yes", name)
	}
	if stop && s.domain.Watched() {
		confirmed := 0
		for _, k := range s.memory.DNS.Servers {
			if k.Role == RoleAuthority && k.Problem == "" && k.Answer != AnswerNew {
				s.t.Errorf("%s: safe to stop while %s says %s", name, k.Name, k.Answer)
			}
			if k.Problem == "" && k.Answer == AnswerNew {
				if confirmed++; k.Role == RoleAuthority {
					confirmed = 2
				}
			}
		}
		if confirmed < 2 {
			s.t.Errorf("%s: safe to stop, confirmed by nobody", name)
		}
	}
	if len(s.accounts) == 0 && (stop || rulings[SafeToSwitch].OK) {
		s.t.Errorf("%s: a verdict says yes without accounts", name)
	}
}
