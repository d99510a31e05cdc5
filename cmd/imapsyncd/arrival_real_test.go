package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proxy"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// push is what a server says by itself while it is listened to, in a piece of
// its own: of the mailbox that is open, and by NOTIFY of all of them, where a name
// may be a literal.
var push = regexp.MustCompile(`^(\* \d+ (EXISTS|RECENT)\r\n|\* STATUS [^\r]*(\{\d+\}\r\n[^\r]*)?\r\n)+$`)

// appended is the answer to an APPEND (RFC 4315), with the UIDs.
var appended = regexp.MustCompile(`APPENDUID \d+ ([0-9:,]+)\]`)

// wire stands between the daemon and both servers and knows what goes through.
type wire struct {
	source, destination *proxy.Proxy
	mute                bool // the old server's pushes are dropped

	mu     sync.Mutex
	pushed time.Time      // when the old server last pushed
	stored chan time.Time // of each message
}

func newWire(t *testing.T, s *site, mute bool) *wire {
	w := &wire{source: proxy.Start(t, s.old.Address()), destination: proxy.Start(t, s.new.Address()), mute: mute, stored: make(chan time.Time, 100_000)}
	w.source.Drop = func(next []byte) bool {
		if !push.Match(next) {
			return false
		}
		w.mu.Lock()
		w.pushed = time.Now()
		w.mu.Unlock()
		return w.mute
	}
	w.destination.Cut = func(_, next []byte) bool {
		for _, m := range appended.FindAllSubmatch(next, -1) {
			for range len(uidsOf(t, string(m[1]))) {
				w.stored <- time.Now()
			}
		}
		return false
	}
	return w
}

func (w *wire) lastPush() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pushed
}

// next waits until the new server has stored one more message.
func (w *wire) next(t *testing.T) time.Time {
	t.Helper()
	select {
	case at := <-w.stored:
		return at
	case <-time.After(patience):
		t.Fatal("the message has not come to the new server")
		return time.Time{}
	}
}

// soon is what a push must lead to: far less than poll_interval, so that it is
// the push that has told. How long it takes is logged: a fraction of a second,
// on a machine that has nothing else to do.
const soon = 30 * time.Second

// TestArrival: mail of delivery agents is on the new server soon after the old
// one's push, or within poll_interval where nothing is pushed: in other
// mailboxes, and when the server has stopped telling.
func TestArrival(t *testing.T) {
	t.Parallel()
	const other = "Kunden/Müller & Söhne"
	folder := "." + strings.ReplaceAll(corpus.Encode(other), "/", ".")
	for _, test := range []struct {
		name    string
		poll    time.Duration
		mailbox string
		folder  string // of the Maildir
		mute    bool
		pushed  bool // the push is what tells
	}{
		{"INBOX", time.Minute, "INBOX", "", false, true},
		{"another mailbox", 3 * time.Second, other, folder, false, false},
		{"server that does not tell", 3 * time.Second, "INBOX", "", true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, dovecot.Options{}, dovecot.Options{})
			s.client(s.old, "u").Fill(corpus.Make(12, 25, 2000))
			w := newWire(t, s, test.mute)
			s.configure(near(w.source.Port()), near(w.destination.Port()), "u")
			s.write(fmt.Sprintf("poll_interval = %q\n", test.poll) + readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n")
			p := s.daemon()
			p.until("it follows and listens", func(a web.AccountStatus) bool {
				return a.Phase == mail.PhaseFollowing && a.Health == mail.HealthOK && a.Messages.Pending == 0 && a.Connections.Source > 1
			})
			for range 25 {
				w.next(t)
			}
			for _, agent := range []struct {
				name    string
				deliver func(data []byte)
			}{
				{"dovecot-lda", func(data []byte) { s.old.Deliver("u", test.mailbox, data) }},
				{"rename into new", func(data []byte) { s.old.Drop("u", test.folder, data) }},
			} {
				agent.deliver([]byte("Message-ID: <" + agent.name + "@test.example>\r\nSubject: x\r\n\r\nby " + agent.name + "\r\n"))
				delivered := time.Now()
				stored, pushed := w.next(t), w.lastPush()
				t.Logf("%s: stored %s after the delivery", agent.name, stored.Sub(delivered).Round(time.Millisecond))
				if took := stored.Sub(delivered); took > test.poll+soon {
					t.Errorf("%s: on the new server after %s, poll_interval is %s", agent.name, took, test.poll)
				}
				if !test.pushed {
					continue
				}
				if pushed.Before(delivered) {
					pushed = delivered // a look that was under way has been quicker
				}
				t.Logf("%s: stored %s after the push", agent.name, stored.Sub(pushed).Round(time.Millisecond))
				if took := stored.Sub(pushed); took > soon {
					t.Errorf("%s: on the new server %s after the push", agent.name, took)
				}
			}
			if test.mute && w.lastPush().IsZero() {
				t.Error("the server has pushed nothing that could be dropped")
			}
			p.until("it knows that all is there", func(a web.AccountStatus) bool { return a.Messages.Source == 27 && a.Messages.Pending == 0 })
			if err := p.end(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			s.same("u")
		})
	}
}

// TestBothWays: the old server forwards a copy of all that it gets to the new one
// while imapsyncd follows it, or mail is delivered to both. Nothing is doubled,
// whichever comes first, but for the one message that shows that the other way is
// the slower one.
func TestBothWays(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	s.client(s.old, "u").Fill([]corpus.Mailbox{numbered("INBOX", 20)})
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	s.write("poll_interval = \"1s\"\n" + readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n")
	p := s.daemon()
	p.until("all is copied", func(a web.AccountStatus) bool {
		return a.Phase == mail.PhaseFollowing && a.Messages.Source == 20 && a.Messages.Pending == 0
	})
	letter := func(n int, by string) []byte {
		return fmt.Appendf(nil, "Received: from mx.sender.example (mx.sender.example [203.0.113.5]) by %s with ESMTP id %x\r\n"+
			"Message-ID: <both%d@sender.example>\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\nSubject: both\r\n\r\nboth ways %[3]d\r\n", by, n*7919, n)
	}
	const old, new = "mx.old.example", "mx.new.example"
	forward := func(n int) []byte {
		return append([]byte("Received: from mx.old.example (mx.old.example [198.51.100.7]) by mx.new.example with ESMTP id f\r\n"), letter(n, old)...)
	}
	inbox := s.client(s.new, "u")
	inbox.Do("SELECT INBOX")
	// on is how many copies of a letter there are on the new server.
	on := func(n int) int {
		inbox.Do("NOOP")
		line := strings.Join(inbox.Do(fmt.Sprintf("UID SEARCH HEADER Message-ID both%d@sender.example", n)), " ")
		_, uids, _ := strings.Cut(line, "* SEARCH")
		return len(strings.Fields(uids))
	}
	// once waits until letters have been dealt with, and looks at them.
	once := func(from, to int) {
		t.Helper()
		for n := from; n < to; n++ {
			await(t, fmt.Sprint("letter ", n, " has its receipt"), func() bool {
				return strings.Contains(s.must("find", "u", fmt.Sprintf("<both%d@sender.example>", n)), "verdict:    copied")
			})
			if on := on(n); on != 1 {
				t.Errorf("letter %d is there %d times", n, on)
			}
		}
	}
	// The first one shows it: it was copied before the old server had forwarded it.
	s.old.Deliver("u", "INBOX", letter(0, old))
	await(t, "it is copied", func() bool { return on(0) == 1 })
	s.new.Deliver("u", "INBOX", forward(0))
	for n := 1; n < 6; n++ {
		s.old.Deliver("u", "INBOX", letter(n, old))
		time.Sleep(300 * time.Millisecond) // for the SMTP that there would be
		s.new.Deliver("u", "INBOX", forward(n))
	}
	// Dual delivery, the new server being the first.
	for n := 6; n < 9; n++ {
		s.new.Deliver("u", "INBOX", letter(n, new))
		s.old.Deliver("u", "INBOX", letter(n, old))
	}
	once(1, 9)
	if on(0) != 2 || !strings.Contains(p.log.String(), "is there twice") {
		t.Errorf("letter 0 is there %d times\n%s", on(0), p.log.String())
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	s.checkState("u")
	if out := s.must("sync"); !strings.Contains(out, " 0 messages copied") {
		t.Errorf("a further sync: %s", out)
	}
}
