// Package bench measures how long it takes to move whole accounts between two
// real servers: by imapsyncd, by every other program that is installed, and by
// the least that a client can do. It runs with make bench; see
// deploy/docs/benchmarks.md.
package bench

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

var (
	rounds = flag.Int("rounds", 0, "how often everything is copied; 0: only a small site, once, to see that the measuring works")
	only   = flag.String("peers", ".", "regular expression of the other programs that take part")
)

// far is the round-trip time to a server that is not near.
const far = 40 * time.Millisecond

// ownConnections is what imapsyncd has to each server for one account by
// default (max_connections_per_account).
const ownConnections = 4

// mostConnections is how many connections to either side the ceiling may have.
const mostConnections = 8

// slow is how long a run may take before its program runs no more than
// slowRuns times in a scenario.
const (
	slow     = 30 * time.Second
	slowRuns = 3
)

// scenario is one site to be copied over some distance.
type scenario struct {
	site
	title          string
	oldFar, newFar time.Duration // round-trip times
	// literal, when set, is all that the new server offers of LITERAL+,
	// LITERAL- (RFC 7888) and MULTIAPPEND (RFC 3502). There is no ceiling then:
	// the dumb client needs them.
	literal string
	// foreign, when set, is the new server that is no Dovecot: cyrus or courier. Who
	// does not see to its names by itself does not take part.
	foreign string
	// endless names a program that would take hours and does not take part.
	endless string
}

// plainLiteral is a server that offers none of them.
const plainLiteral = "none"

// asByDefault undoes what the servers of other tests do for speed.
const asByDefault = "mail_fsync = optimized\n"

func server(t testing.TB) *dovecot.Server {
	return dovecot.Start(t, dovecot.Options{Extra: asByDefault})
}

// TestBench copies every site with every contender, again and again.
func TestBench(t *testing.T) {
	b := newBench(t)
	for _, c := range contenders(t) {
		if c.binary != "" || regexp.MustCompile(*only).MatchString(c.name) {
			b.contenders = append(b.contenders, c)
		}
	}
	printMachine(t, os.Stdout)
	if *rounds == 0 {
		b.compete(t, scenario{site: tiny, title: "A small site, once"}, 1)
		b.adopt(t, tiny, 1)
		b.noNews(t, tiny)
		return
	}
	for _, s := range []scenario{
		{site: large, title: "One account, 2,000 messages, 123 MB, 24 mailboxes"},
		{site: small, title: "One account, 20,000 messages of 2–4 KB, 21 mailboxes"},
		{site: accounts, title: "20 accounts of 200 messages"},
		{site: huge, title: "One account with a message of 200 MB"},
		{site: large, title: "The first, 40 ms from the old server", oldFar: far},
		{site: large, title: "The first, 40 ms from the new server", newFar: far},
		{site: small, title: "The second, 40 ms from the old server", oldFar: far, endless: "imapsync"},
		{site: small, title: "The second, 40 ms from the new server", newFar: far, endless: "imapsync"},
		{site: modest, title: "400 messages in 8 mailboxes, 40 ms from a new server that has LITERAL- only", newFar: far, literal: "LITERAL-"},
		{site: modest, title: "The same, 40 ms from a new server that has neither LITERAL- nor LITERAL+", newFar: far, literal: plainLiteral},
		{site: modest, title: "The same, 40 ms from a Cyrus", newFar: far, foreign: "cyrus"},
		{site: modest, title: "The same, 40 ms from a Courier", newFar: far, foreign: "courier"},
	} {
		t.Run(s.id(), func(t *testing.T) { b.compete(t, s, *rounds) })
	}
	t.Run("adopt", func(t *testing.T) { b.adopt(t, filled, *rounds) })
	t.Run("no-news", func(t *testing.T) { b.noNews(t, large) })
}

// id is the scenario in one word.
func (s scenario) id() string {
	switch {
	case s.literal != "":
		return s.name + "-" + s.literal
	case s.foreign != "":
		return s.name + "-" + s.foreign
	case s.oldFar > 0:
		return s.name + "-old-far"
	case s.newFar > 0:
		return s.name + "-new-far"
	}
	return s.name
}

type bench struct {
	root         testing.TB // with which all servers end
	old, new     *dovecot.Server
	limitedTo    map[string]*dovecot.Server
	foreigners   map[string]*foreigner
	contenders   []contender
	dir          string
	passwordFile string
	contents     map[string]content // of the old server, by user
	jobs         int
}

// fill puts a site on the old server, once.
func (b *bench) fill(t testing.TB, s site) {
	for i := range s.accounts {
		user := s.user(i)
		if b.contents[user] != nil {
			continue
		}
		client := corpus.Dial(t, b.old.Address(), user, dovecot.Password)
		octets, messages := 0, 0
		for box := range s.mailboxes(i) {
			client.Fill([]corpus.Mailbox{{Name: box.Name, Subscribed: true}})
			client.Do(fmt.Sprintf("SELECT %q", box.Name)) // Dovecot appends faster to what is open
			client.Append(box.Name, box.Messages...)
			for _, m := range box.Messages {
				octets += len(m.Data)
			}
			messages += len(box.Messages)
		}
		b.contents[user] = read(t, b.old.Address(), user)
		t.Logf("%s: %d messages, %.1f MB, %d mailboxes", user, messages, float64(octets)/1e6, len(b.contents[user]))
	}
}

// job prepares a copy onto users that are not there yet. Nothing is removed
// between the runs: ext4 would pay for it in the next ones.
func (b *bench) job(t testing.TB, s site) job {
	b.jobs++
	j := job{dir: filepath.Join(b.dir, fmt.Sprint(b.jobs)), oldPort: b.old.Port, newPort: b.new.Port, newServer: b.new, passwordFile: b.passwordFile}
	if err := os.Mkdir(j.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range s.accounts {
		j.accounts = append(j.accounts, pairing{s.user(i), fmt.Sprintf("%s-%d", s.user(i), b.jobs)})
	}
	return j
}

// once copies a site once and adds what that took.
func (b *bench) once(t *testing.T, s scenario, r *results, make func(testing.TB, job) order) usage {
	j := b.job(t, s.site)
	if s.literal != "" {
		j.newServer = b.limited(t, s.literal)
		j.newPort = j.newServer.Port
	}
	if s.foreign != "" {
		f := b.foreign(t, s.foreign)
		j.newPort = f.Port
		for i := range j.accounts {
			j.accounts[i].New = f.user()
		}
	}
	newPort := j.newPort
	var distant *link
	if s.oldFar > 0 {
		distant = newLink(t, b.old.Address(), s.oldFar, 0)
		j.oldPort = distant.port
	}
	if s.newFar > 0 {
		distant = newLink(t, address(j.newPort), s.newFar, 0)
		j.newPort = distant.port
	}
	o := make(t, j)
	syscall.Sync() // what earlier runs have left to be written is not this one's
	u := measure(t, o)
	if distant != nil {
		u.Commands = distant.commands.Load()
	}
	if u.Err != "" {
		r.add(u, "failed: "+u.Err)
		return u
	}
	worst := "yes"
	for _, a := range j.accounts {
		if v := verdict(b.contents[a.Old], s.named(read(t, address(newPort), a.New))); worst == "yes" {
			worst = v
		}
	}
	r.add(u, worst)
	t.Logf("%s: %s: %v, CPU %v, %d MiB, equal: %s", s.id(), r.name, u.Wall.Round(time.Millisecond), u.CPU.Round(time.Millisecond), u.RSS>>20, worst)
	return u
}

// limited returns a server that offers only so much, and lets nobody else in
// on what it could do.
func (b *bench) limited(t *testing.T, literal string) *dovecot.Server {
	if s := b.limitedTo[literal]; s != nil {
		return s
	}
	var offered []string
	for _, line := range corpus.Dial(t, b.new.Address(), "capabilities", dovecot.Password).Do("CAPABILITY") {
		for _, name := range strings.Fields(strings.TrimPrefix(line, "* CAPABILITY")) {
			if !slices.Contains([]string{"LITERAL+", "LITERAL-", "MULTIAPPEND"}, name) {
				offered = append(offered, name)
			}
		}
	}
	if literal != plainLiteral {
		offered = append(offered, literal)
	}
	s := dovecot.Start(b.root, dovecot.Options{Extra: asByDefault + "imap_capability = " + strings.Join(offered, " ") + "\n"})
	b.limitedTo[literal] = s
	return s
}

// variant is a way to be the ceiling.
type variant struct {
	connections, batch int
	results
	fastest time.Duration
}

// variants are the ways that were fastest in a try, and the fastest with as
// many connections as imapsyncd has.
func (b *bench) variants(t *testing.T, s scenario, tries int) []*variant {
	widths, batches := []int{1, 2, 4, mostConnections}, []int{50, 200}
	if *rounds == 0 {
		widths, batches = []int{2}, []int{50}
	}
	var all []*variant
	for _, connections := range widths {
		for _, batch := range batches {
			v := &variant{connections: connections, batch: batch}
			v.name = fmt.Sprintf("dumb client, %d connections, MULTIAPPEND %d", connections, batch)
			all = append(all, v)
		}
	}
	for range tries {
		for _, v := range all {
			var try results
			try.name = v.name
			if u := b.once(t, s, &try, v.order); v.fastest == 0 || u.Wall < v.fastest {
				v.fastest = u.Wall
			}
			if try.equal != "yes" {
				t.Fatalf("%s: %s", v.name, try.equal)
			}
		}
	}
	slices.SortFunc(all, func(a, b *variant) int { return cmp.Compare(a.fastest, b.fastest) })
	chosen := slices.Clone(all[:min(2, len(all))])
	for _, v := range all {
		if v.connections == ownConnections {
			if !slices.Contains(chosen, v) {
				chosen = append(chosen, v)
			}
			break
		}
	}
	return chosen
}

func (v *variant) order(t testing.TB, j job) order { return ceilingOrder(t, j, v.connections, v.batch) }

// compete runs all contenders in turn, so that whatever else the machine does
// hits all of them.
func (b *bench) compete(t *testing.T, s scenario, rounds int) {
	b.fill(t, s.site)
	type entry struct {
		*results
		order func(testing.TB, job) order
	}
	var entries []entry
	if s.literal == "" && s.foreign == "" {
		for _, v := range b.variants(t, s, min(2, rounds)) {
			entries = append(entries, entry{&v.results, v.order})
		}
	}
	own := len(entries)
	for _, c := range b.contenders {
		if (s.newFar == 0 || !c.local) && (s.accounts == 1 || !c.wide) && (s.foreign == "" || c.names) && c.name != s.endless {
			entries = append(entries, entry{&results{name: c.name}, c.order})
		}
	}
	for round := range rounds {
		for i := range entries {
			e := entries[(i+round)%len(entries)]
			if n := len(e.runs); n >= slowRuns && e.median(wall) > slow.Seconds() {
				continue
			}
			b.once(t, s, e.results, e.order)
		}
	}
	var all []*results
	for _, e := range entries {
		all = append(all, e.results)
	}
	slices.SortStableFunc(all[:own], func(a, b *results) int { return cmp.Compare(a.median(wall), b.median(wall)) })
	printTable(os.Stdout, s.title, all, own)
	for i, r := range all {
		if ours := i <= own || strings.HasPrefix(r.name, all[own].name); ours && r.equal != "yes" {
			t.Errorf("%s: %s", r.name, r.equal)
		}
	}
}

// noNews counts what a second pass costs that finds nothing.
func (b *bench) noNews(t *testing.T, s site) {
	b.fill(t, s)
	fmt.Printf("\n### A pass without news: %s\n\n", s.name)
	fmt.Println("| | time | to the old server | | from it | to the new server | | from it |")
	fmt.Println("|---|--:|--:|--:|--:|--:|--:|--:|")
	for _, c := range b.contenders {
		if c.wide {
			continue // it finds nothing just as well
		}
		j := b.job(t, s)
		old, new := newLink(t, b.old.Address(), 0, 0), newLink(t, b.new.Address(), 0, 0)
		j.oldPort, j.newPort = old.port, new.port
		o := c.order(t, j)
		if u := measure(t, o); u.Err != "" {
			t.Errorf("%s: %s", c.name, u.Err)
			continue
		}
		old.forget()
		new.forget()
		u := measure(t, o)
		if u.Err != "" {
			t.Errorf("%s, second pass: %s", c.name, u.Err)
			continue
		}
		there := new.row()
		if c.local {
			there = "– | – | –"
		}
		fmt.Printf("| %s | %.2f s | %s | %s |\n", c.name, u.Wall.Seconds(), old.row(), there)
	}
}

// adopt has imapsyncd recognise a whole site, without state, that is on the
// new server already.
func (b *bench) adopt(t *testing.T, s site, rounds int) {
	b.fill(t, s)
	j := b.job(t, s)
	if u := measure(t, ceilingOrder(t, j, 8, 200)); u.Err != "" {
		t.Fatal(u.Err)
	}
	r := &results{name: b.contenders[0].name}
	for range rounds {
		j.dir = filepath.Join(j.dir, "again")
		if err := os.Mkdir(j.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		syscall.Sync()
		u := measure(t, b.contenders[0].order(t, j))
		if u.Err != "" {
			t.Fatal(u.Err)
		}
		r.runs = append(r.runs, u)
	}
	for _, a := range j.accounts {
		if v := verdict(b.contents[a.Old], read(t, b.new.Address(), a.New)); v != "yes" {
			t.Errorf("recognised anew, %s: %s", a.New, v)
		}
	}
	fmt.Printf("\n### %d messages that are there already, without state\n\n| messages/s | median | CPU | peak RSS |\n|--:|--:|--:|--:|\n| %.0f | %.2f s | %.2f s | %.0f MiB |\n",
		s.messages*s.accounts, float64(s.messages*s.accounts)/r.median(wall), r.median(wall), r.median(cpu), float64(r.peak())/(1<<20))
}
