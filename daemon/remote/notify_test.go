package remote

import (
	"context"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	server "github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/netsim"
)

// notified is a Watch of a simulated server with INBOX and Archive. It sweeps
// once an hour.
type notified struct {
	t      *testing.T
	model  *simtest.Server
	server *imapsim.Server
	hints  chan struct{}
	why    []string // what Unnotified was told
}

// listens runs what happens while a Watch listens.
func listens(t *testing.T, change func(*imapsim.Options), happens func(*notified)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &notified{t: t, model: simtest.NewServer(10), hints: make(chan struct{}, 100)}
		n.model.Make("INBOX")
		n.model.Make("Archive")
		o := imapsim.Options{
			Users: map[string]*simtest.Server{"u": n.model}, Password: "p", Source: true, Capabilities: slices.Clone(imapsim.Capabilities),
		}
		if change != nil {
			change(&o)
		}
		n.server = imapsim.New(o)
		var network netsim.Network
		l, err := network.Listen("tcp", "127.0.0.1:143")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error)
		go func() { served <- n.server.Serve(l) }()
		ctx, cancel := context.WithCancel(t.Context())
		listening, ended := make(chan struct{}), make(chan error)
		go func() {
			ended <- Watch(ctx, WatchOptions{
				Open: func(ctx context.Context) (*Conn, error) {
					return Dial(ctx, Server{
						Side: SideSource, Host: "127.0.0.1", Port: 143, TLS: TLSNone, User: "u",
						Password: func(context.Context) (string, error) { return "p", nil },
					}, Options{Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
						return network.Dial(ctx, "tcp", address)
					}})
				},
				Sweep: hourly, Jitter: func(time.Duration) time.Duration { return 0 },
				Listening:  func() { close(listening) },
				Hint:       func(string) { n.hints <- struct{}{} },
				Unnotified: func(why error, _ bool) { n.why = append(n.why, why.Error()) },
			})
		}()
		select {
		case <-listening:
		case err := <-ended:
			t.Fatal(err)
		}
		synctest.Wait()
		if len(n.hints) > 0 {
			t.Error("a hint although nothing has happened")
		}
		happens(n)
		cancel()
		<-ended
		l.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		for _, v := range n.server.Violations() {
			t.Error(v)
		}
	})
}

// hinted expects hints at once, or none.
func (n *notified) hinted(want bool, of string) {
	n.t.Helper()
	synctest.Wait()
	got := len(n.hints)
	for range got {
		<-n.hints
	}
	if (got > 0) != want {
		n.t.Errorf("%d hints of %s", got, of)
	}
}

func (n *notified) deliver(mailbox string) {
	n.model.Deliver(mailbox, "Subject: x\r\n\r\nx\r\n", time.Now(), mail.Flags{})
}

func lacks(names ...string) func(*imapsim.Options) {
	return func(o *imapsim.Options) {
		o.Capabilities = slices.DeleteFunc(o.Capabilities, func(name string) bool { return slices.Contains(names, name) })
	}
}

// answersNotify has the server answer NOTIFY where its line has some word in it.
func answersNotify(word, say string) func(*imapsim.Options) {
	return func(o *imapsim.Options) {
		o.Before = func(c imapsim.Command) (r imapsim.Reaction) {
			if c.Verb == "NOTIFY" && strings.Contains(c.Line, word) {
				r.Say = say
			}
			return r
		}
	}
}

// TestNotify: what happens in any mailbox is heard at once, again and again,
// with IDLE and without.
func TestNotify(t *testing.T) {
	for name, change := range map[string]func(*imapsim.Options){
		"with IDLE": nil, "without": lacks("IDLE"), "that tells of mail only": answersNotify("FlagChange", "NO [BADEVENT (MessageNew MessageExpunge)] not those"),
	} {
		t.Run(name, func(t *testing.T) {
			listens(t, change, func(n *notified) {
				for range 3 {
					n.deliver("Archive")
					n.hinted(true, "mail in a mailbox that is not open")
					n.deliver("INBOX")
					n.hinted(true, "mail in INBOX")
					n.model.Flag("Archive", 0, mail.Flags{System: mail.Seen})
					n.hinted(true, "a flag")
					n.model.Expunge("Archive", 0)
					n.hinted(true, "a removal")
					time.Sleep(7 * time.Hour / 10)
				}
				if len(n.why) > 0 {
					n.t.Errorf("told that there is no NOTIFY: %q", n.why)
				}
			})
		})
	}
}

// TestNotifyRefused: INBOX is listened to all the same, the rest is found by
// the sweeps, and it is told once.
func TestNotifyRefused(t *testing.T) {
	for name, change := range map[string]func(*imapsim.Options){
		"NO": answersNotify("", "NO [NOTIFICATIONOVERFLOW] not here"), "BAD": answersNotify("", "BAD what?"),
		"events": answersNotify("", "NO [BADEVENT (MailboxName)] not those"),
	} {
		t.Run(name, func(t *testing.T) {
			listens(t, change, func(n *notified) {
				n.deliver("INBOX")
				n.hinted(true, "mail in INBOX")
				n.deliver("Archive")
				n.hinted(false, "mail that nobody tells of")
				time.Sleep(time.Hour)
				n.hinted(true, "the sweep")
				if len(n.why) != 1 || !strings.HasPrefix(n.why[0], "NOTIFY refused: ") {
					n.t.Errorf("told %q", n.why)
				}
			})
		})
	}
}

// TestNotifyOverflows: a server that gives up has lost something, and the
// sweeps are left.
func TestNotifyOverflows(t *testing.T) {
	for name, without := range map[string][]string{"with IDLE": nil, "without": {"IDLE"}} {
		t.Run(name, func(t *testing.T) {
			listens(t, func(o *imapsim.Options) {
				lacks(without...)(o)
				o.NotifyMost = 2
			}, func(n *notified) {
				for range 3 { // the third is what is too much
					n.deliver("Archive")
					n.hinted(true, "mail, or of the end")
				}
				n.deliver("Archive")
				n.hinted(false, "mail that nobody tells of")
				time.Sleep(2 * time.Hour)
				n.hinted(true, "the sweep")
				if len(n.why) != 1 || !strings.Contains(n.why[0], "NOTIFICATIONOVERFLOW") {
					n.t.Errorf("told %q", n.why)
				}
				if slices.Contains(n.server.Capabilities, "IDLE") {
					n.deliver("INBOX")
					n.hinted(true, "mail in INBOX")
				}
			})
		})
	}
}

// TestNotifyOfDovecot hears of mail in a mailbox that is not open, from a real
// server.
func TestNotifyOfDovecot(t *testing.T) {
	s := server.Start(t, server.Options{})
	user := corpus.Dial(t, s.Address(), "all", server.Password)
	user.Do("CREATE Archive")
	told, hints := make(chan struct{}, 1), make(chan struct{}, 1)
	tells := func(c chan struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	arrived := regexp.MustCompile(`STATUS "?Archive"? \(.*MESSAGES [1-9]`)
	listening, ended := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ended <- Watch(ctx, WatchOptions{
			Open: func(ctx context.Context) (*Conn, error) {
				return Dial(ctx, Server{
					Side: SideSource, Host: "127.0.0.1", Port: s.Port, TLS: TLSNone, User: "all",
					Password: func(context.Context) (string, error) { return server.Password, nil },
				}, Options{Timeout: time.Minute, Trace: func(_ byte, line string) {
					if arrived.MatchString(line) {
						tells(told)
					}
				}})
			},
			Sweep:      hourly,
			Listening:  func() { close(listening) },
			Hint:       func(string) { tells(hints) },
			Unnotified: func(why error, _ bool) { t.Errorf("Dovecot has no NOTIFY: %v", why) },
		})
	}()
	defer func() {
		cancel()
		<-ended
	}()
	limit := time.After(time.Minute)
	select {
	case <-listening:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	case <-limit:
		t.Fatal("it does not listen")
	}
	again := time.NewTicker(5 * time.Second)
	defer again.Stop()
	for {
		select {
		case <-hints: // of something else
		default:
		}
		user.Append("Archive", corpus.Message{Data: []byte("Subject: x\r\n\r\nx\r\n"), Date: noon})
		select {
		case <-told:
			select {
			case <-hints:
				return
			case <-limit:
				t.Fatal("told of new mail, and gave no hint")
			}
		case err := <-ended:
			ended <- err
			t.Fatal(err)
		case <-again.C:
		case <-limit:
			t.Fatal("new mail in a mailbox that is not open is not told of")
		}
	}
}
