package main

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proxy"
	"github.com/imapsyncd/imapsyncd/state"
)

var (
	kills     = flag.Int("kills", 15, "how often the storm kills the daemon")
	stormSeed = flag.Uint64("storm-seed", 1, "what the storm's weather and people follow from, but for the time that everything takes")
)

const (
	killsASeason = 25
	killsAtOnce  = 5 // between two quiescences
)

// format is how a Dovecot stores mail.
type format string

const (
	maildir format = ""
	sdbox   format = "mail_location = sdbox:~/sdbox"
)

// TestStorm kills the daemon again and again while it follows several accounts
// between real servers, people are at work on both sides, answers and commits
// are late, connections break, and the servers are killed and frozen as well.
// Whenever all is quiet, every message is once where it should be, and as the
// user of its copy has left it.
func TestStorm(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	var counts stormCounts
	t.Run("seasons", func(t *testing.T) {
		seasons := max(2, (*kills+killsASeason-1)/killsASeason)
		for i := range seasons {
			share := *kills*(i+1)/seasons - *kills*i/seasons
			formats := [][2]format{{maildir, sdbox}, {sdbox, maildir}, {maildir, maildir}, {sdbox, sdbox}}[i%4]
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				s := newSeason(t, *stormSeed+uint64(i), formats[0], formats[1])
				s.storm(share)
				if i == 0 && !t.Failed() {
					s.planted()
				}
				counts.add(s)
			})
		}
	})
	proof.Count(t, begun, "%s", &counts)
	if counts.kills != *kills {
		t.Errorf("%d kills, not %d", counts.kills, *kills)
	}
}

// season is a storm over one pair of servers.
type season struct {
	*site
	seed                uint64
	rng                 *rand.Rand
	oldFormat           format
	source, destination *proxy.Proxy
	weather             *weather
	people              []*household
	counts              stormCounts
	log                 strings.Builder // of the daemons since the last quiescence

	// away is held for reading while somebody gives a command, and for writing
	// while a server is not there.
	away  sync.RWMutex
	lives map[*dovecot.Server]int
}

func newSeason(t *testing.T, seed uint64, old, new format) *season {
	s := &season{
		site: newSite(t, dovecot.Options{Extra: string(old)}, dovecot.Options{Extra: string(new)}),
		seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), oldFormat: old, lives: make(map[*dovecot.Server]int),
	}
	s.source, s.destination = proxy.Start(t, s.old.Address()), proxy.Start(t, s.new.Address())
	s.weather = newWeather(seed, s.source, s.destination)
	names := []string{"ann", "bob"}
	for i, name := range names {
		s.people = append(s.people, &household{
			season: s, name: name, rng: rand.New(rand.NewPCG(seed, uint64(10+i))), boxes: []string{"INBOX"}, deeds: make(map[string]int), cameAgain: make(map[*letter]bool),
			clients: make(map[*dovecot.Server]*corpus.Client), dialed: make(map[*dovecot.Server]int),
		})
	}
	s.configure(near(s.source.Port()), near(s.destination.Port()), names...)
	s.write("poll_interval = \"1s\"\n" + readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n")
	return s
}

// storm goes on until the daemon has been killed so often.
func (s *season) storm(left int) {
	for _, h := range s.people {
		for range 20 {
			h.turn()
		}
	}
	for left > 0 && !s.t.Failed() {
		stop := make(chan struct{})
		var people sync.WaitGroup
		for _, h := range s.people {
			people.Go(func() { h.live(stop) })
		}
		for range min(left, killsAtOnce) {
			s.kill()
		}
		left -= min(left, killsAtOnce)
		close(stop)
		people.Wait()
		if !s.t.Failed() {
			s.quiesce()
		}
	}
	if s.t.Failed() {
		s.t.Log(s.told(), s.log.String())
		s.t.Logf("go test ./cmd/imapsyncd -run TestStorm -kills %d -storm-seed %d", *kills, *stormSeed)
	}
}

// kill starts the daemon, lets something happen to the servers or not, and
// kills it at a random moment.
func (s *season) kill() {
	p := s.daemon()
	most := 1200
	if s.rng.IntN(4) == 0 {
		most = 3500 // it has come to following by then
	}
	after := time.Duration(s.rng.IntN(most)) * time.Millisecond
	if s.rng.IntN(2) == 0 {
		s.weather.aim(s.rng, func() { p.cmd.Process.Signal(syscall.SIGKILL) })
		after += time.Second // by then at the latest
	}
	var disaster sync.WaitGroup
	if s.rng.IntN(3) == 0 {
		strike, wait := s.disaster(), time.Duration(s.rng.IntN(600))*time.Millisecond
		disaster.Go(func() {
			time.Sleep(wait)
			strike()
		})
	}
	select {
	case err := <-p.ended:
		p.ended <- err
	case <-time.After(after):
	}
	aimed := s.weather.rest()
	if aimed != "" {
		s.counts.note("killed at " + aimed)
		aimed = ", at " + aimed
	}
	err := p.end(syscall.SIGKILL)
	if err == nil || err.Error() != "signal: killed" {
		s.t.Errorf("it has ended by itself: %v\n%s", err, p.log.String())
	}
	s.sane(p)
	fmt.Fprintf(&s.log, "%skilled at %s%s\n", p.log.String(), time.Now().UTC().Format("15:04:05.000"), aimed)
	s.counts.kills++
	disaster.Wait()
}

// sane looks for what no log may hold.
func (s *season) sane(p *program) {
	s.t.Helper()
	text := p.log.String()
	for _, never := range []string{"panic", "DATA RACE", "goroutine ", dovecot.Password} {
		if strings.Contains(text, never) {
			s.t.Errorf("%q is in the log:\n%s", never, text)
		}
	}
}

// disaster is something that happens to a server, or to the network before it.
func (s *season) disaster() func() {
	server, way, name := s.old, s.source, "old server "
	if s.rng.IntN(2) == 0 {
		server, way, name = s.new, s.destination, "new server "
	}
	length := time.Duration(100+s.rng.IntN(900)) * time.Millisecond
	switch s.rng.IntN(3) {
	case 0:
		s.counts.note(name + "killed")
		return func() {
			s.away.Lock()
			defer s.away.Unlock()
			server.Kill()
			s.lives[server]++
			time.Sleep(length / 2)
			server.Restart()
		}
	case 1:
		s.counts.note(name + "frozen")
		return func() {
			s.away.Lock()
			defer s.away.Unlock()
			server.Freeze(true)
			time.Sleep(length)
			server.Freeze(false)
		}
	}
	s.counts.note(name + "cut off")
	return func() {
		way.BlackHole(true)
		time.Sleep(length)
		way.BlackHole(false)
	}
}

// receipts are the fingerprints of an account that have durable receipts, of
// messages that are on the new server. known is false when the state is just
// being written.
func (s *season) receipts(user string) (prints map[mail.Fingerprint]bool, known bool) {
	data, err := os.ReadFile(daemon.StatePath(filepath.Join(s.dir, "state"), user))
	if err != nil {
		return nil, os.IsNotExist(err)
	}
	path := filepath.Join(s.dir, "look-"+user)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		s.t.Error(err)
		return nil, false
	}
	store, err := state.Open(path, state.Options{ReadOnly: true})
	if err != nil {
		return nil, false
	}
	defer store.Close()
	pairs, err := store.Pairs()
	if err != nil {
		return nil, false
	}
	prints = make(map[mail.Fingerprint]bool)
	for _, pair := range pairs {
		for r, err := range store.Receipts(pair.ID) {
			if err != nil {
				return nil, false
			}
			prints[r.Fingerprint] = prints[r.Fingerprint] || r.Destination != 0
		}
	}
	return prints, true
}

// stormCounts is what a storm has gone through.
type stormCounts struct {
	mu                          sync.Mutex
	seasons, kills, quiescences int
	letters, again              int
	events, deeds               map[string]int
}

func (c *stormCounts) note(what string) {
	if c.events == nil {
		c.events = make(map[string]int)
	}
	c.events[what]++
}

func (c *stormCounts) add(s *season) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seasons++
	c.kills += s.counts.kills
	c.quiescences += s.counts.quiescences
	c.events, c.deeds = summed(c.events, s.counts.events), summed(c.deeds, s.weather.counts())
	for _, h := range s.people {
		c.letters += len(h.letters)
		c.again += len(h.cameAgain)
		c.deeds = summed(c.deeds, h.deeds)
	}
}

func summed(a, b map[string]int) map[string]int {
	sum := make(map[string]int)
	for _, m := range []map[string]int{a, b} {
		for what, n := range m {
			sum[what] += n
		}
	}
	return sum
}

func (c *stormCounts) String() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d kills in %d seasons, %d quiescences, %d messages, %d came again for being moved or removed before their receipts",
		c.kills, c.seasons, c.quiescences, c.letters, c.again)
	for _, m := range []map[string]int{c.events, c.deeds} {
		for i, what := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(&b, "%s%d %s", map[bool]string{true: "; ", false: ", "}[i == 0], m[what], what)
		}
	}
	return b.String()
}
