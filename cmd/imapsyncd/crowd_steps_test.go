package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// crowdAsked is what two servers have been asked for some time.
type crowdAsked struct {
	LogIns  map[string]int // by side
	Most    map[string]int // log-ins in one second, by side
	Fetches int            // FETCH, to the old server
	Users   []string       // who has begun to listen, where there is NOTIFY
	Again   []string       // who has logged in to either server
}

// asking tells what servers have been asked since it was called last.
type asking interface{ asked() crowdAsked }

// askedCounter counts what is asked.
type askedCounter struct {
	servers []*imapsim.Server
	before  map[string]int // log-ins, by user

	mu     sync.Mutex
	so     crowdAsked
	second map[string]time.Time
	within map[string]int
	users  map[string]bool
}

// counts returns what imapsim calls before each command.
func (a *askedCounter) counts(side string) func(imapsim.Command) imapsim.Reaction {
	return func(c imapsim.Command) imapsim.Reaction {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.second == nil {
			a.reset()
		}
		switch {
		case c.Verb == "AUTHENTICATE" || c.Verb == "LOGIN":
			a.so.LogIns[side]++
			if now := time.Now(); now.Sub(a.second[side]) >= time.Second {
				a.second[side], a.within[side] = now, 0
			}
			a.within[side]++
			a.so.Most[side] = max(a.so.Most[side], a.within[side])
		case c.Verb == "NOTIFY": // once on each connection that listens
			a.users[c.User] = true
		}
		if side == "source" && strings.HasSuffix(c.Verb, "FETCH") {
			a.so.Fetches++
		}
		return imapsim.Reaction{}
	}
}

func (a *askedCounter) reset() {
	a.so = crowdAsked{LogIns: make(map[string]int), Most: make(map[string]int)}
	a.second, a.within, a.users = make(map[string]time.Time), make(map[string]int), make(map[string]bool)
}

// take returns what has been asked since the last time.
func (a *askedCounter) take() crowdAsked {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.second == nil {
		a.reset()
	}
	so := a.so
	so.Users = slices.Sorted(maps.Keys(a.users))
	now := make(map[string]int)
	for _, s := range a.servers {
		for user, n := range s.LogIns() {
			now[user] += n
		}
	}
	for user, n := range now {
		if user != "" && n > a.before[user] {
			so.Again = append(so.Again, user)
		}
	}
	slices.Sort(so.Again)
	a.before = now
	a.reset()
	return so
}

func (a crowdAsked) String() string {
	return fmt.Sprintf("%d log-ins to the old server and %d to the new one, in one second at most %d and %d; %d FETCH to the old server",
		a.LogIns["source"], a.LogIns["destination"], a.Most["source"], a.Most["destination"], a.Fetches)
}

// accountsNow is how its accounts are.
func (p *program) accountsNow() []web.AccountStatus {
	p.t.Helper()
	var stdout, stderr bytes.Buffer
	var s web.Status
	if run(&common{stopping: p.t.Context()}, []string{"status", "--json", "--config", filepath.Join(p.dir, "c.toml")}, &stdout, &stderr) != exitDone {
		return nil // not yet
	}
	if err := json.Unmarshal(stdout.Bytes(), &s); err != nil {
		p.t.Fatal(err)
	}
	return s.Accounts
}

// followed waits until all accounts have been looked at and are listened to, and
// returns how long that took.
func (p *program) followed(accounts int, since time.Time) time.Duration {
	p.t.Helper()
	p.showsWithin("all are listened to", map[string]float64{`connections{side="source",state="watching"}`: float64(accounts)}, time.Hour)
	for deadline := since.Add(time.Hour); ; time.Sleep(time.Second) {
		all := p.accountsNow()
		left := len(all) - accounts
		for _, a := range all {
			if a.LastSuccess.IsZero() {
				left++
			}
		}
		if len(all) > 0 && left == 0 {
			return time.Since(since)
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("not all have been looked at: %d of %d are left\n%s", left, accounts, p.log.String())
		}
	}
}

// compared waits until all accounts have been verified for the first time, which
// logs in and reads some mail.
func (p *program) compared() {
	p.t.Helper()
	const oldest = `imapsyncd_last_verify_timestamp_seconds{domain="crowd.example"}`
	for deadline := time.Now().Add(time.Hour); ; time.Sleep(time.Second / 4) {
		if values, _ := p.scrape(); values[oldest] > 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("not all are verified\n%s", p.log.String())
		}
	}
}

// killed ends the program without a warning and starts it again.
func (p *program) killed(c crowd, binary string, accounts int) *program {
	p.t.Helper()
	counter := c.(asking)
	counter.asked()
	p.end(syscall.SIGKILL)
	begun := time.Now()
	p = p.daemonOf(binary)
	await(p.t, "it has begun", func() bool { return page.MatchString(p.log.String()) })
	took := p.followed(accounts, begun)
	p.t.Logf("after kill -9 all %d are followed after %s", accounts, took.Round(time.Second))
	asked := counter.asked()
	p.t.Logf("meanwhile: %s", asked)
	if asked.Fetches > 0 {
		p.t.Errorf("what is known was read again: %s", asked)
	}
	if _, _, messages := carried(p.log.String()); messages > 0 {
		p.t.Errorf("%d messages were carried though none was new", messages)
	}
	return p
}

// seldom has accounts that are listened to be looked at besides so seldom that no
// log-in is to be seen which something else does not call for.
func (p *program) seldom(c asking) {
	p.t.Helper()
	begun := time.Now()
	p.write(strings.Replace(readFile(p.t, filepath.Join(p.dir, "c.toml")), "poll_interval = ", "poll_interval = \"1h\" # ", 1))
	p.must("reload")
	for deadline := begun.Add(time.Hour); ; time.Sleep(time.Second) { // a look at each, and then rest
		left := 0
		for _, a := range p.accountsNow() {
			if a.LastSuccess.Before(begun) {
				left++
			}
		}
		if left == 0 && len(c.asked().Again) == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%d accounts have not been looked at\n%s", left, p.log.String())
		}
	}
}

// reloads adds an account to the list, takes one away and changes one, all at
// once, after which no other logs in, and then cuts the list short, which changes
// nothing.
func (p *program) reloads(c crowd, accounts int) {
	p.t.Helper()
	counter := c.(asking)
	p.seldom(counter)
	file := filepath.Join(p.dir, "accounts.csv")
	whole := p.list(c, accounts+1, func(i int, line []string) []string {
		switch i {
		case 0:
			return nil
		case 1:
			return append(line[:len(line)-1], "other.example") // its domain
		}
		return line
	})
	reload := func(flags ...string) (time.Duration, int, string) {
		var stdout, stderr bytes.Buffer
		begun := time.Now()
		code := run(&common{stopping: p.t.Context()}, append([]string{"reload", "--config", filepath.Join(p.dir, "c.toml")}, flags...), &stdout, &stderr)
		return time.Since(begun), code, stdout.String() + stderr.String()
	}
	begun := time.Now()
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		p.t.Fatal(err)
	}
	took, code, said := reload("--allow-removals") // one of a few is many
	if code != exitDone {
		p.t.Fatalf("the reload is refused: %s", said)
	}
	p.followed(accounts, begun)
	p.t.Logf("a reload of %d accounts with 3 changes takes %s, and all are followed after %s", accounts, took.Round(time.Millisecond), time.Since(begun).Round(10*time.Millisecond))
	want := []string{crowdUser(1), crowdUser(accounts)}
	asked := counter.asked()
	if *crowdNotify && !slices.Equal(asked.Users, want) {
		p.t.Errorf("%v have begun to listen anew, and only %v were to", asked.Users, want)
	}
	if !slices.Equal(asked.Again, want) {
		p.t.Errorf("%v have logged in, and only %v were to", asked.Again, want)
	}
	p.t.Logf("meanwhile %v have logged in: %s", asked.Again, asked)

	if err := os.WriteFile(file, whole[:len(whole)/2], 0o600); err != nil {
		p.t.Fatal(err)
	}
	took, code, said = reload()
	p.t.Logf("half of the list is refused after %s: %s", took.Round(time.Millisecond), strings.TrimSpace(said))
	if code == exitDone {
		p.t.Error("half of the list was taken")
	}
	p.shows("all are listened to", map[string]float64{`connections{side="source",state="watching"}`: float64(accounts)})
	if asked := counter.asked(); len(asked.Users) > 0 || len(asked.Again) > 0 && !slices.Equal(asked.Again, want[1:]) { // which is verified now
		p.t.Errorf("by a list that is refused %v have logged in, and %v have begun to listen", asked.Again, asked.Users)
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// list is a list of accounts, as change leaves each line; nil: it is left away.
func (s *site) list(c crowd, accounts int, change func(i int, line []string) []string) []byte {
	s.t.Helper()
	var list bytes.Buffer
	w := csv.NewWriter(&list)
	w.Write([]string{"name", "source_user", "source_password", "destination_user", "destination_password", "domains"})
	for i := range accounts {
		if line := change(i, []string{crowdUser(i), crowdUser(i), c.password(), crowdUser(i), c.password(), ""}); line != nil {
			w.Write(line)
		}
	}
	if w.Flush(); w.Error() != nil {
		s.t.Fatal(w.Error())
	}
	return list.Bytes()
}
