package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dnssim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proxy"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// clock is the time by which a daemon and the DNS around it go. It runs, and
// can be put forward.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration // of the time
}

func newClock(at time.Time) *clock { return &clock{ahead: time.Until(at)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead).UTC()
}

// Forward puts it to a later time.
func (c *clock) Forward(to time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = time.Until(to)
}

// life is a migration of example.org in all its phases: real servers, a real
// DNS, and a clock that can be put forward.
type life struct {
	*site
	clock               *clock
	dns                 *dnssim.Domain
	source, destination *proxy.Proxy
	log                 logged
	ended               chan int
}

const oldMX, newMX = "mx.old.example.", "mx.new.example."

func newLife(t *testing.T, begin time.Time, accounts ...string) *life {
	t.Helper()
	l := &life{site: newSite(t, dovecot.Options{}, dovecot.Options{}), clock: newClock(begin)}
	l.dns = dnssim.NewDomain(t, l.clock.Now)
	l.source, l.destination = proxy.Start(t, l.old.Address()), proxy.Start(t, l.new.Address())
	l.configure(near(l.source.Port()), near(l.destination.Port()), accounts...)
	l.write("poll_interval = \"1s\"\n" + readFile(t, filepath.Join(l.dir, "c.toml")) + `
[web]
listen = "127.0.0.1:0"
linger = "0s"
[dns]
interval = "1s"
[cutover]
quiet_period = "24h"
old_hosts = ["mx.old.example", "198.51.100.7"]
[[domain]]
name = "example.org"
new_mx = ["mx.new.example"]
`)
	return l
}

// start runs the daemon.
func (l *life) start() {
	l.t.Helper()
	stopping, stop := context.WithCancel(context.Background())
	l.ended = make(chan int, 1)
	asker := cutover.NewAsker(cutover.AskerOptions{Resolvers: l.dns.ResolverAddresses(), ResolvConf: "-", Reach: l.dns.Reach, Now: l.clock.Now})
	go func() {
		l.ended <- run(&common{stopping: stopping, quiet: quiet, lookAgain: lookAgain, dns: asker, now: l.clock.Now},
			[]string{"run", "--config", filepath.Join(l.dir, "c.toml")}, &l.log, &l.log)
	}()
	l.t.Cleanup(func() {
		stop()
		l.exit()
	})
}

// exit waits for the end of the daemon and returns its exit code.
func (l *life) exit() int {
	l.t.Helper()
	select {
	case code := <-l.ended:
		l.ended <- code
		return code
	case <-time.After(patience):
		l.t.Fatalf("the daemon does not end\n%s", l.log.String())
		return -1
	}
}

// until waits until the domain is as it should be, and returns everything.
func (l *life) until(what string, is func(web.DomainStatus) bool) web.Status {
	l.t.Helper()
	text := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var s web.Status
		_, text = l.run("status", "--json")
		if json.Unmarshal([]byte(text), &s) == nil && len(s.Domains) == 1 && is(s.Domains[0]) {
			return s
		}
	}
	l.t.Fatalf("not reached: %s\n%s\n%s", what, text, l.log.String())
	return web.Status{}
}

// untilBlocked waits until exactly these reasons block a verdict.
func (l *life) untilBlocked(what string, of func(web.DomainStatus) web.Verdict, reasons ...cutover.Reason) web.DomainStatus {
	l.t.Helper()
	return l.until(what, func(d web.DomainStatus) bool { return slices.Equal(blocking(of(d)), reasons) }).Domains[0]
}

// asked tells whether every DNS server has given that answer since a time.
func asked(since time.Time, answer string) func(web.DomainStatus) bool {
	return func(d web.DomainStatus) bool {
		return !slices.ContainsFunc(d.DNS, func(s web.DNSServer) bool { return s.Answered.Before(since) || s.Answer != answer })
	}
}

func toSwitch(d web.DomainStatus) web.Verdict { return d.SafeToSwitch }
func toStop(d web.DomainStatus) web.Verdict   { return d.SafeToStop }

func blocking(v web.Verdict) (reasons []cutover.Reason) {
	for _, r := range v.Reasons {
		if r.Blocking {
			reasons = append(reasons, cutover.Reason(r.Reason))
		}
	}
	return reasons
}

// text is what a verdict says of a reason; empty: it does not have it.
func text(v web.Verdict, reason cutover.Reason) string {
	for _, r := range v.Reasons {
		if r.Reason == string(reason) {
			return r.Text
		}
	}
	return ""
}

// says fails unless a verdict says all of that of a reason.
func (l *life) says(v web.Verdict, reason cutover.Reason, words ...string) {
	l.t.Helper()
	for _, word := range words {
		if !strings.Contains(text(v, reason), word) {
			l.t.Errorf("%s does not tell of %q: %+v", reason, word, v)
		}
	}
}

// late is a message that a host has brought to the old server; without a host
// the old server has delivered it by itself.
func (l *life) late(user, host string, n int) {
	l.t.Helper()
	from := "from " + host + " (" + host + " [203.0.113.99])"
	if host == "" {
		from = "from localhost (localhost [127.0.0.1])"
	}
	l.old.DropAt(user, "", fmt.Appendf(nil, "Delivered-To: %s@example.org\r\nReceived: %s by mx.old.example with ESMTP id %d; Sat, 9 Mar 2024 12:00:00 +0000\r\n"+
		"Message-ID: <late%d@x.example>\r\nDate: Sat, 9 Mar 2024 11:59:00 +0000\r\nSubject: late\r\n\r\nlate %d\r\n", user, from, n, n, n), l.clock.Now().Truncate(time.Second))
}

// mailOf is what a server shows of a user.
func (s *site) mailOf(server *dovecot.Server, user string) map[string][]corpus.Stored {
	s.t.Helper()
	boxes, _ := corpus.Read(s.t, server.Address(), user, dovecot.Password)
	return boxes
}

// added compares a user's mail with what it was: everything has to be where and
// as it was, UIDs and flags included. It returns by mailbox how many messages
// have come.
func added(t *testing.T, before, after map[string][]corpus.Stored) map[string]int {
	t.Helper()
	more := make(map[string]int)
	for name, messages := range before {
		if _, there := after[name]; !there {
			t.Errorf("mailbox %q is gone", name)
			continue
		}
		if now := after[name]; len(now) < len(messages) || !slices.EqualFunc(messages, now[:len(messages)], func(a, b corpus.Stored) bool {
			return a.UID == b.UID && a.Sum == b.Sum && a.Date.Equal(b.Date) && a.Flags == b.Flags
		}) {
			t.Errorf("mailbox %q was\n%v, and is\n%v", name, messages, now)
		}
	}
	for name, messages := range after {
		if n := len(messages) - len(before[name]); n > 0 {
			more[name] = n
		}
	}
	return more
}

// contents counts a user's messages by what they are.
func contents(boxes map[string][]corpus.Stored) map[string]int {
	counts := make(map[string]int)
	for _, messages := range boxes {
		for _, m := range messages {
			counts[fmt.Sprintf("%x %d", m.Sum, m.Date.Unix())]++
		}
	}
	return counts
}

// TestLife leads a domain from the first copy to the end, on real servers, with
// two authorities of which one lags and two resolvers that keep what they have
// heard.
func TestLife(t *testing.T) {
	t.Parallel()
	friday := time.Date(2024, 3, 8, 9, 0, 0, 0, time.UTC)
	l := newLife(t, friday, "anna", "ben")
	for i, user := range []string{"anna", "ben"} {
		l.client(l.old, user).Fill(corpus.Make(uint64(31+i), 60, 20_000))
	}
	l.dns.Serve(86400, oldMX)

	// Seeding: the new server does not answer yet.
	l.new.Freeze(true)
	l.start()
	l.until("seeding", func(d web.DomainStatus) bool { return d.Phase == mail.PhaseSeeding && d.Delivery == "old" })
	if code, out := l.run("status", "--check", "safe-to-switch", "example.org"); code != exitNo || !strings.Contains(out, "no_complete_pass: the first copy is not complete: anna, ben") {
		t.Errorf("exit %d\n%s", code, out)
	}
	l.new.Freeze(false)

	// Following, and safe to switch, but for the TTL.
	d := l.untilBlocked("safe to switch", toSwitch)
	l.says(d.SafeToSwitch, cutover.ReasonTTL, "TTL of MX is 86400: lower it to 300 now", "do not switch before 2024-03-09 09:")
	for _, user := range []string{"anna", "ben"} {
		for _, difference := range corpus.Compare(t, l.old.Address(), l.new.Address(), user, dovecot.Password) {
			t.Errorf("%s: %s", user, difference)
		}
	}
	annaOld := l.client(l.old, "anna")
	annaOld.Do("SELECT Kunden")
	annaOld.Do(`UID STORE 1 FLAGS.SILENT (\Flagged Urgent)`)
	l.old.Drop("anna", "", []byte("Message-ID: <first@x.example>\r\nSubject: new\r\n\r\nnew\r\n"))
	await(t, "mail and flags follow", func() bool {
		boxes := l.mailOf(l.new, "anna")
		return len(boxes["INBOX"]) == len(l.mailOf(l.old, "anna")["INBOX"]) && boxes["Kunden"][0].Flags == `\flagged urgent`
	})

	l.dns.Serve(300, oldMX)
	d = l.until("the TTL is low", func(d web.DomainStatus) bool { return d.TTLSeconds == 300 }).Domains[0]
	l.says(d.SafeToSwitch, cutover.ReasonTTL, "was 86400 and is 300 now", "do not switch before 2024-03-09 09:")
	saturday := friday.AddDate(0, 0, 1)
	l.clock.Forward(saturday.Add(2 * time.Hour))
	d = l.until("verified anew, and the TTL has been low for long enough", func(d web.DomainStatus) bool {
		return d.SafeToSwitch.OK && text(d.SafeToSwitch, cutover.ReasonTTL) == ""
	}).Domains[0]
	if d.Phase != mail.PhaseFollowing || d.LastVerify.Before(saturday) {
		t.Errorf("%+v", d)
	}

	// Mixed: the old server has stayed as one of lower preference. From here on
	// the new server belongs to its users.
	l.dns.Serve(300, newMX, oldMX)
	d = l.until("draining", func(d web.DomainStatus) bool { return d.Phase == mail.PhaseDraining }).Domains[0]
	if d.Delivery != "mixed" || !d.CachesUntil.IsZero() {
		t.Errorf("%+v", d)
	}
	l.says(d.SafeToStop, cutover.ReasonNotSwitched, "in part only")
	l.says(d.SafeToStop, cutover.ReasonOldMXServed, "Take it out of the records")
	l.destination.Forget()
	born := corpus.Message{Data: []byte("Message-ID: <born@x.example>\r\n\r\nborn there\r\n"), Date: l.clock.Now()}
	annaNew := l.client(l.new, "anna")
	annaNew.Append("INBOX", born)
	annaNew.Do("SELECT INBOX")
	annaNew.Do(`UID STORE 1:3 +FLAGS.SILENT (\Flagged)`)
	annaNew.Do("UID MOVE 4:5 Kunden")
	expunge(annaNew, "INBOX", "6")
	before := map[string]map[string][]corpus.Stored{"anna": l.mailOf(l.new, "anna"), "ben": l.mailOf(l.new, "ben")}

	// One authority has the new zone, the other lags; then it has it too, and what
	// the resolvers have heard is still the old one.
	noon := saturday.Add(3 * time.Hour)
	l.clock.Forward(noon)
	l.until("the resolvers have asked again", asked(noon, "mixed"))
	l.dns.ServeFrom(0, 300, newMX)
	d = l.until("an authority lags", func(d web.DomainStatus) bool {
		return strings.Contains(text(d.SafeToStop, cutover.ReasonServersDisagree), "ns1.example.org")
	}).Domains[0]
	l.says(d.SafeToStop, cutover.ReasonServersDisagree, "ns1.example.org (192.0.2.1) says mx.new.example;", "ns2.hoster.example (192.0.2.2) says mx.new.example, mx.old.example")
	if d.Delivery != "mixed" {
		t.Errorf("with an authority that lags the delivery is %s", d.Delivery)
	}
	l.dns.ServeFrom(1, 300, newMX)
	d = l.until("the delivery has moved", func(d web.DomainStatus) bool { return d.Delivery == "new" }).Domains[0]
	l.says(d.SafeToStop, cutover.ReasonClock, "caches may send mail to the old server until 2024-03-10 12:00 UTC", "its TTL was 86400")
	l.says(d.SafeToStop, cutover.ReasonServersDisagree, "192.0.2.101 says mx.new.example, mx.old.example")

	// Draining: mail still comes to the old server, and somebody works there.
	l.clock.Forward(noon.Add(time.Minute))
	begin := time.Now()
	l.late("anna", "slow.example", 1)
	await(t, "late mail is on the new server", func() bool { return len(l.mailOf(l.new, "anna")["INBOX"]) > len(before["anna"]["INBOX"]) })
	t.Logf("late mail is on the new server after %s", time.Since(begin).Round(time.Millisecond))
	l.late("ben", "list.example", 2)
	l.late("ben", "", 3)
	annaOld.Append("Sent", corpus.Message{Data: []byte("Message-ID: <sent@x.example>\r\n\r\nwritten on the old server\r\n"), Date: l.clock.Now(), Flags: []string{`\Seen`}})
	annaOld.Do("SELECT INBOX")
	annaOld.Do(`UID STORE 7:9 +FLAGS.SILENT (\Answered)`)
	annaOld.Do("UID MOVE 10:12 Trash")
	expunge(annaOld, "INBOX", "13")
	s := l.until("late mail is counted", func(d web.DomainStatus) bool { return d.LateMail.Messages == 3 && len(d.StillWorking) > 0 })
	d = s.Domains[0]
	var hosts []string
	for _, h := range d.LateMail.Hosts {
		hosts = append(hosts, fmt.Sprint(h.Messages, " ", h.Host))
	}
	if want := []string{"1 (the old server itself)", "1 list.example", "1 slow.example"}; !slices.Equal(hosts, want) || !slices.Equal(d.StillWorking, []string{"anna"}) {
		t.Errorf("late mail by host: %q, still working: %q", hosts, d.StillWorking)
	}
	l.says(d.SafeToStop, cutover.ReasonStillWorking, "anna", "Phone them")
	l.says(d.SafeToStop, cutover.ReasonDeliversLocally, "take example.org out of its local domains")

	// Quiet: the clock runs out, a host is acknowledged, another one is late again
	// on Sunday, and a whole working day has to pass.
	l.must("cutover", "ack", "example.org", "--host", "list.example", "--because", "a newsletter")
	next := noon.Add(20 * time.Hour)
	l.clock.Forward(next)
	l.until("the resolvers have asked again", asked(next, "new"))
	d = l.untilBlocked("late mail, and caches", toStop, cutover.ReasonClock, cutover.ReasonLateMail, cutover.ReasonUnverified)
	l.says(d.SafeToStop, cutover.ReasonLateMail, `cutover ack example.org --host "(the old server itself)" --because`)
	if answer := text(d.SafeToStop, cutover.ReasonServersDisagree); answer != "" {
		t.Errorf("still: %s", answer)
	}
	l.clock.Forward(noon.Add(26 * time.Hour))
	l.late("ben", "slow.example", 4)
	l.until("late mail is counted", func(d web.DomainStatus) bool { return d.LateMail.Messages == 4 })
	l.clock.Forward(noon.Add(51 * time.Hour))
	d = l.untilBlocked("quiet, but for a working day", toStop, cutover.ReasonNoWorkday)
	l.says(d.SafeToStop, cutover.ReasonNoWorkday, "wait until 2024-03-12 00:00 UTC")
	l.clock.Forward(time.Date(2024, 3, 12, 0, 0, 10, 0, time.UTC))
	if code := l.exit(); code != exitDone {
		t.Errorf("exit %d\n%s", code, l.log.String())
	}

	// Nothing that was on the new server has changed, and what was late is there
	// once.
	for user, want := range map[string]map[string]int{"anna": {"INBOX": 1, "Sent": 1}, "ben": {"INBOX": 3}} {
		after := l.mailOf(l.new, user)
		if more := added(t, before[user], after); fmt.Sprint(more) != fmt.Sprint(want) {
			t.Errorf("%s: %v have come, want %v", user, more, want)
		}
		copies := contents(after)
		for message, n := range contents(l.mailOf(l.old, user)) {
			if copies[message] > n {
				t.Errorf("%s: %s is there %d times, on the old server %d times", user, message, copies[message], n)
			}
		}
	}
	readOnly(t, l.source.Commands())
	for _, c := range l.destination.Commands() {
		if alters.MatchString(c) {
			t.Errorf("after the handover the new server has seen %s", c)
		}
	}
	l.reported()

	// Started again, it says so and ends.
	l.start()
	if code := l.exit(); code != exitDone || !strings.Contains(l.log.String(), "there is nothing to do any more") {
		t.Errorf("exit %d\n%s", code, l.log.String())
	}
}

// alters matches the commands that change or remove mail that is there.
var alters = regexp.MustCompile(`^(UID )?(STORE|MOVE|COPY|EXPUNGE|CLOSE|DELETE|RENAME)( |$)`)

// reported looks at the final report.
func (l *life) reported() {
	t := l.t
	t.Helper()
	path := daemon.ReportPath(filepath.Join(l.dir, "state"), "example.org")
	var report struct {
		Domain   string
		Finished time.Time
		History  []cutover.Change
		Verdict  cutover.Ruling   `json:"safe_to_stop"`
		Late     cutover.LateMail `json:"late_mail"`
		Accounts []daemon.AccountReport
		You      []string `json:"you_must_check"`
	}
	if err := json.Unmarshal([]byte(readFile(t, path)), &report); err != nil {
		t.Fatal(err)
	}
	if report.Domain != "example.org" || report.Finished.Format(time.DateOnly) != "2024-03-12" || !report.Verdict.OK || len(report.You) == 0 {
		t.Errorf("%+v", report)
	}
	if report.Late.Total != 4 || report.Late.Hosts["slow.example"].Messages != 2 || report.Late.Hosts["list.example"].Ack.Why != "a newsletter" {
		t.Errorf("late mail: %+v", report.Late)
	}
	var history []string
	for _, c := range report.History {
		history = append(history, strings.TrimSpace(c.Account+" "+c.What))
		if c.Why == "" || c.At.IsZero() || !strings.Contains(l.log.String(), c.What) {
			t.Errorf("without reason or time, or not logged: %+v", c)
		}
	}
	for _, account := range []string{"anna complete", "ben complete"} {
		i := slices.Index(history, account)
		if i < 0 {
			t.Errorf("%q is not in the history: %q", account, history)
			continue
		}
		history = slices.Delete(history, i, i+1)
	}
	want := []string{"delivery is old", "delivery is mixed", "handed over", "delivery is new", "late mail from list.example acknowledged"}
	if !slices.Equal(history, want) {
		t.Errorf("the history is %q, want %q", history, want)
	}
	for _, a := range report.Accounts {
		if a.Error != "" || a.Wrong() > 0 || a.Messages() == 0 || a.Compared == 0 {
			t.Errorf("%s: %+v %s", a.Account, a.Counts, a.Error)
		}
	}
	if len(report.Accounts) != 2 {
		t.Errorf("%d accounts are in the report", len(report.Accounts))
	}
	page := readFile(t, strings.TrimSuffix(path, ".json")+".html")
	for _, word := range []string{"The mail of example.org has moved", "slow.example", "a newsletter", "handed over", "anna", "ben"} {
		if !strings.Contains(page, word) {
			t.Errorf("%q is not in the page of the report", word)
		}
	}
}
