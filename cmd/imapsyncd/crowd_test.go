package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/proxy"
)

var (
	crowdAccounts    = flag.Int("accounts", 0, "how many accounts TestCrowd follows; 0: a few, to see that the measuring works")
	crowdMailboxes   = flag.Int("mailboxes", 20, "how many mailboxes each of them has")
	crowdServers     = flag.String("servers", "simulated", "on which servers: simulated or dovecot")
	crowdIdle        = flag.Duration("idle", 3*time.Minute, "how long nothing happens; 0: nor is it waited until what it holds has settled")
	crowdDeliveries  = flag.Int("deliveries", 2000, "how many messages are delivered")
	crowdRate        = flag.Float64("rate", 20, "how many of them a second")
	crowdAgent       = flag.Bool("agent", false, "they are written into the Maildirs, not appended")
	crowdNotify      = flag.Bool("notify", true, "the old server offers NOTIFY")
	crowdRTT         = flag.Duration("rtt", 0, "round-trip time to either server")
	crowdLogins      = flag.Int("logins", 200, "logins_per_second")
	crowdConnections = flag.Int("connections", 600, "max_connections to the new server, and of the old one beside those that listen")
	crowdSteps       = flag.Bool("steps", false, "it is killed and started again, and the list of accounts is changed; on simulated servers")
	crowdPoll        = flag.Duration("poll", time.Minute, "poll_interval")
)

// crowd is many accounts of equal names on two servers.
type crowd interface {
	// keys are how a server is written in the configuration, but for its port.
	keys(side string) string
	port(side string) int
	password() string
	// ready is called once everything is copied.
	ready()
	// deliver has a message arrive on the old server and returns when it has.
	deliver(account, mailbox int)
	// next waits for the next message to be on the new server, and returns how long
	// after its delivery that was.
	next() time.Duration
}

// crowdUser is the name of an account.
func crowdUser(i int) string { return fmt.Sprintf("u%05d@crowd.example", i) }

// TestCrowd follows many accounts by the built program and measures what it
// takes while nothing happens, and how soon new mail is on the new server. By
// default it is a few accounts, and nothing is to be learnt from the figures.
func TestCrowd(t *testing.T) {
	t.Parallel()
	few := *crowdAccounts == 0
	if few {
		*crowdAccounts, *crowdMailboxes, *crowdIdle, *crowdDeliveries, *crowdRate = 10, 3, 0, 20, 1000
	}
	var c crowd
	switch *crowdServers {
	case "simulated":
		c = newSimulatedCrowd(t, *crowdAccounts, *crowdMailboxes, *crowdNotify)
	case "dovecot":
		c = newDovecotCrowd(t, *crowdAccounts, *crowdMailboxes, *crowdNotify, *crowdAgent)
	default:
		t.Fatalf("-servers %s; write simulated or dovecot", *crowdServers)
	}
	if _, counts := c.(asking); *crowdSteps && !counts {
		t.Fatal("-steps takes -servers simulated")
	}
	s := &site{t: t, dir: t.TempDir()}
	s.crowded(c, *crowdAccounts)
	begun := time.Now()
	binary := programOf(t, few)
	p := s.daemonOf(binary)
	await(t, "it has begun", func() bool { return page.MatchString(p.log.String()) })
	follow := map[string]float64{`accounts{health="ok",phase="following"}`: float64(*crowdAccounts)}
	p.showsWithin("all is copied", follow, time.Hour)
	t.Logf("%d accounts are followed after %s", *crowdAccounts, time.Since(begun).Round(time.Second))
	p.showsWithin("all are listened to", map[string]float64{`connections{side="source",state="watching"}`: float64(*crowdAccounts)}, time.Hour)
	if *crowdSteps && !few { // for a few they are not verified
		p.compared()
	}
	p.idles(few)
	if *crowdSteps || few {
		p = p.killed(c, binary, *crowdAccounts)
		p.idles(few)
	}
	c.ready()

	said := len(p.log.String())
	rng := rand.New(rand.NewPCG(1, uint64(*crowdAccounts)))
	before := p.footprint()
	arrived := make(chan []time.Duration)
	go func() {
		var took []time.Duration
		for range *crowdDeliveries {
			took = append(took, c.next())
		}
		arrived <- took
	}()
	due := time.NewTicker(time.Duration(float64(time.Second) / *crowdRate))
	defer due.Stop()
	for range *crowdDeliveries {
		<-due.C
		c.deliver(rng.IntN(*crowdAccounts), rng.IntN(*crowdMailboxes))
	}
	var took []time.Duration
	select {
	case took = <-arrived:
	case <-time.After(10 * time.Minute):
		t.Fatalf("not all of %d messages have come to the new server\n%s", *crowdDeliveries, p.log.String())
	}
	await(t, "all of it has a receipt", func() bool {
		_, _, messages := carried(p.log.String()[said:])
		return messages >= *crowdDeliveries
	})
	t.Logf("%d deliveries, %g a second: %s", *crowdDeliveries, *crowdRate, p.footprint().since(before, *crowdAccounts))
	kept, opened, messages := carried(p.log.String()[said:])
	t.Logf("from the push or the sweep to the receipt, over connections that were open: %s", quantiles(kept))
	t.Logf("the same, over connections that had to be opened: %s", quantiles(opened))
	t.Logf("from the delivery to the new server: %s", quantiles(took))
	if messages != *crowdDeliveries {
		t.Errorf("%d messages have a receipt, of %d that were delivered", messages, *crowdDeliveries)
	}
	if *crowdSteps || few {
		p.reloads(c, *crowdAccounts)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// idles measures what the program takes while nothing happens.
func (p *program) idles(few bool) {
	p.t.Helper()
	if *crowdIdle == 0 && !few {
		return
	}
	if !few {
		p.settles()
	}
	before := p.footprint()
	time.Sleep(*crowdIdle) // in which nothing is to happen
	p.t.Logf("nothing happens for %s: %s", *crowdIdle, p.footprint().since(before, *crowdAccounts))
}

// crowded writes a configuration for so many accounts.
func (s *site) crowded(c crowd, accounts int) {
	s.t.Helper()
	list := s.list(c, accounts, func(_ int, line []string) []string { return line })
	if err := os.WriteFile(filepath.Join(s.dir, "accounts.csv"), list, 0o600); err != nil {
		s.t.Fatal(err)
	}
	text := fmt.Sprintf("state_dir = \"state\"\npoll_interval = %q\n[log]\nformat = \"json\"\n[web]\nlisten = \"127.0.0.1:0\"\n[metrics]\naccount_label = \"none\"\n[accounts]\nfile = \"accounts.csv\"\n", *crowdPoll)
	text += fmt.Sprintf("[limits]\nlogins_per_second = %d\n", *crowdLogins)
	// Of the old server's three quarters are for listening.
	most := map[string]int{"source": max(accounts+*crowdConnections, accounts*4/3+2), "destination": *crowdConnections}
	for side := range most {
		port := c.port(side)
		if *crowdRTT > 0 {
			p := proxy.Start(s.t, fmt.Sprintf("127.0.0.1:%d", port))
			p.Delay(*crowdRTT / 2)
			port = p.Port()
		}
		text += fmt.Sprintf("[%s]\nhost = \"127.0.0.1\"\nport = %d\nmax_connections = %d\n%s", side, port, most[side], c.keys(side))
	}
	s.write(text)
}

// programOf is what is measured: the program as it is built, or for a few
// accounts this one, which is there already.
func programOf(t *testing.T, few bool) string {
	t.Helper()
	if few {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		return self
	}
	binary := filepath.Join(t.TempDir(), "imapsyncd")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	revision, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		revision = []byte("?") // not a checkout
	}
	t.Logf("imapsyncd %s, %s, %d cores", strings.TrimSpace(string(revision)), runtime.Version(), runtime.NumCPU())
	return binary
}
