package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/state"
)

// letterAt is a message of the old server.
type letterAt struct {
	mailbox string // raw name
	uid     mail.UID
}

var (
	examine = regexp.MustCompile(`(?i)^(?:EXAMINE|SELECT) "?([^"]+)"?( |$)`)
	bodies  = regexp.MustCompile(`(?i)^UID FETCH ([0-9:,]+) \(.*BODY`)
)

// fetched counts how often each body has been asked for by those commands. ahead are those
// that were asked for before it was known whether they are there.
func fetched(t *testing.T, commands []string) (counts map[letterAt]int, ahead map[letterAt]bool) {
	t.Helper()
	counts, ahead = make(map[letterAt]int), make(map[letterAt]bool)
	mailbox := ""
	for _, c := range commands {
		if m := examine.FindStringSubmatch(c); m != nil {
			mailbox = m[1]
		}
		m := bodies.FindStringSubmatch(c)
		if m == nil || strings.Contains(c, fmt.Sprintf("BODY.PEEK[]<0.%d>", mail.PrefixLen)) { // for a fingerprint
			continue
		}
		for _, uid := range uidsOf(t, m[1]) {
			if strings.Contains(c, "BODY.PEEK[]<") {
				ahead[letterAt{mailbox, uid}] = true
			} else {
				counts[letterAt{mailbox, uid}]++
			}
		}
	}
	return counts, ahead
}

// uidsOf reads a set of UIDs such as 1:3,7.
func uidsOf(t *testing.T, set string) (uids []mail.UID) {
	t.Helper()
	for part := range strings.SplitSeq(set, ",") {
		first, last, ranged := strings.Cut(part, ":")
		if !ranged {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA != nil || errB != nil {
			t.Errorf("a set of UIDs that cannot be read: %s", set)
		}
		for uid := a; uid <= b; uid++ {
			uids = append(uids, mail.UID(uid))
		}
	}
	return uids
}

// known reads the receipts of a daemon that has ended, and how many of its
// APPENDs are in doubt.
func (s *site) known() (receipts map[letterAt]bool, inDoubt int) {
	s.t.Helper()
	store, err := state.Open(daemon.StatePath(filepath.Join(s.dir, "state"), "u"), state.Options{ReadOnly: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer store.Close()
	pairs, err := store.Pairs()
	if err != nil {
		s.t.Fatal(err)
	}
	receipts = make(map[letterAt]bool)
	for _, pair := range pairs {
		for r, err := range store.Receipts(pair.ID) {
			if err != nil {
				s.t.Fatal(err)
			}
			receipts[letterAt{pair.Source, r.Source}] = true
		}
	}
	intents, err := store.Intents()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, i := range intents {
		if i.Open() {
			inDoubt++
		}
	}
	return receipts, inDoubt
}

// TestRestarts stops, kills and restarts the daemon while mail is delivered,
// in the middle of the first copy and while it follows. What SIGTERM ends
// fetches no body again. What a kill ends fetches again only bodies that had
// been asked for and whose messages had no receipt yet: still on their way
// into the program, or sent with the answer in doubt and then not found.
func TestRestarts(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	// New drafts would wait for ten minutes.
	boxes := slices.DeleteFunc(corpus.Make(13, 1200, 100_000)[:9], func(box corpus.Mailbox) bool { return box.Name == "Drafts" || box.Name == "Entwürfe" })
	s.client(s.old, "u").Fill(boxes)
	w := newWire(t, s, false)
	w.source.Delay(2 * time.Millisecond)
	w.destination.Delay(2 * time.Millisecond)
	s.configure(near(w.source.Port()), near(w.destination.Port()), "u")
	s.write("poll_interval = \"2s\"\n" + readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n")

	// Mail arrives all the time.
	total := 0
	for _, box := range boxes {
		total += len(box.Messages)
	}
	enough := make(chan struct{})
	var delivering sync.WaitGroup
	agent := s.client(s.old, "u")
	delivering.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-enough:
				return
			case <-time.After(15 * time.Millisecond):
			}
			data := fmt.Sprintf("Message-ID: <r%d@test.example>\r\nSubject: r\r\n\r\nnumber %d\r\n", n, n)
			agent.Append(boxes[n%len(boxes)].Name, corpus.Message{Data: []byte(data), Date: time.Now().Truncate(time.Second)})
			total++
		}
	})

	asked := make(map[letterAt]int)     // bodies, until the last end
	lost := make(map[letterAt]bool)     // asked for without a receipt at a kill
	again := make(map[letterAt]bool)    // asked for a second time
	foreseen := make(map[letterAt]bool) // carried as they were asked for ahead
	settled := make(map[letterAt]bool)  // with a receipt at an end
	inDoubt := 0                        // at the last end
	end := func(p *program, signal syscall.Signal) {
		t.Helper()
		err := p.end(signal)
		if (err == nil) != (signal == syscall.SIGTERM) {
			t.Fatalf("%s: %v\n%s", signal, err, p.log.String())
		}
		now, ahead := fetched(t, w.source.Commands())
		for letter := range foreseen {
			now[letter]++
		}
		for letter, n := range now {
			switch fresh := n - asked[letter]; {
			case fresh > 1:
				t.Errorf("%v was fetched %d times by one run", letter, fresh)
			case fresh == 1 && settled[letter]:
				t.Errorf("%v was fetched although it had its receipt", letter)
			case fresh == 1 && asked[letter] > 0 && !lost[letter]:
				t.Errorf("%v was fetched again although nothing had happened to it", letter)
			case fresh == 1 && asked[letter] > 0:
				again[letter] = true
			}
		}
		asked = now
		wasLost, wasInDoubt := maps.Clone(lost), inDoubt
		settled, inDoubt = s.known()
		for letter := range ahead {
			if settled[letter] && asked[letter] == 0 {
				asked[letter], foreseen[letter] = 1, true
			}
		}
		clear(lost)
		for letter := range asked {
			if !settled[letter] {
				lost[letter] = true
			}
		}
		t.Logf("%-10s %4d bodies asked for, %4d receipts, %3d in doubt, %3d asked for without a receipt", signal, len(asked), len(settled), inDoubt, len(lost))
		// What the kill before has left may have to wait still.
		maps.DeleteFunc(wasLost, func(letter letterAt, _ bool) bool { return !lost[letter] })
		if signal == syscall.SIGTERM && (len(lost) > len(wasLost) || inDoubt > wasInDoubt) {
			t.Errorf("SIGTERM leaves %d messages fetched and not copied, and %d in doubt", len(lost), inDoubt)
		}
		for len(w.stored) > 0 {
			<-w.stored
		}
	}
	carried := func(n int) {
		t.Helper()
		for range n {
			w.next(t)
		}
	}

	p := s.daemon()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL} {
		carried(120)
		end(p, signal)
		p = s.daemon()
	}
	following := func(a web.AccountStatus) bool { return a.Phase == mail.PhaseFollowing && a.Health == mail.HealthOK }
	p.until("the first copy is done", following)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL} {
		end(p, signal)
		begin := time.Now()
		p = s.daemon()
		p.until("it follows again", following)
		// Within two seconds when the machine has nothing else to do, and quiet
		// more where an answer has to count as lost first.
		if took := time.Since(begin); took > soon {
			t.Errorf("%s: following again after %s", signal, took)
		} else {
			t.Logf("%s: following again after %s, %d in doubt", signal, took.Round(time.Millisecond), inDoubt)
		}
		carried(20)
	}
	close(enough)
	delivering.Wait()
	p.until("everything is carried", func(a web.AccountStatus) bool {
		return following(a) && a.Messages.Source == total && a.Messages.Pending == 0
	})
	end(p, syscall.SIGTERM)
	if len(asked) != total || len(settled) != total {
		t.Errorf("%d bodies asked for and %d receipts, of %d messages", len(asked), len(settled), total)
	}
	s.same("u")
	if out := s.must("sync"); !strings.Contains(out, " 0 messages copied") {
		t.Errorf("a further sync: %s", out)
	}
	now, _ := fetched(t, w.source.Commands())
	for letter := range foreseen {
		now[letter]++
	}
	if !maps.Equal(now, asked) {
		t.Error("a further sync has fetched bodies")
	}
	t.Logf("%d messages, %d of them asked for ahead, %d bodies asked for a second time after kills", total, len(foreseen), len(again))
}

// TestStuckStop: servers that do not answer do not hold the daemon beyond ten
// seconds after SIGTERM, neither in the middle of a copy nor at the farewell, and
// what was in flight is neither lost nor doubled. It is logged how many it was;
// the test allows for a machine that has other things to do, on which it would
// still be minutes if the servers were waited for.
func TestStuckStop(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		idle bool
	}{{"in the middle of a copy", false}, {"while it waits for mail", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, dovecot.Options{}, dovecot.Options{})
			s.client(s.old, "u").Fill(corpus.Make(14, 400, 50_000))
			w := newWire(t, s, false)
			w.destination.Delay(2 * time.Millisecond)
			s.configure(near(w.source.Port()), near(w.destination.Port()), "u")
			s.write(readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n")
			p := s.daemon()
			for range 50 {
				w.next(t)
			}
			if test.idle {
				p.until("it waits for mail", func(a web.AccountStatus) bool {
					return a.Phase == mail.PhaseFollowing && a.Messages.Pending == 0 && a.Connections.Source == 2 && a.Connections.Destination == 1
				})
			}
			w.source.BlackHole(true)
			w.destination.BlackHole(true)
			begin := time.Now()
			if err := p.end(syscall.SIGTERM); err != nil {
				t.Errorf("SIGTERM: %v\n%s", err, p.log.String())
			}
			if took := time.Since(begin); took > soon {
				t.Errorf("it ended %s after SIGTERM", took)
			} else {
				t.Logf("it ended %s after SIGTERM", took.Round(time.Millisecond))
			}
			w.source.BlackHole(false)
			w.destination.BlackHole(false)
			s.must("sync")
			s.same("u")
		})
	}
}
