package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
)

// big has the first copy of an account take several connections, by messages of
// so many octets.
func (w *crowd) big(name string, size int) {
	text := wireText(0) + strings.Repeat(strings.Repeat("x", 76)+"\r\n", size/78)
	for i := range 8 {
		box := fmt.Sprint("big", i)
		w.old[name].Make(box)
		for range 4 {
			w.old[name].Deliver(box, text, time.Now(), mail.Flags{})
		}
	}
}

// TestWireTooMany: servers that bear fewer connections than are configured, in
// all or of one user, get as many as they bear. All accounts are complete, and
// the servers are asked for more now and then only.
func TestWireTooMany(t *testing.T) {
	accounts := atLength(50, 6)
	const most, mostOfOne = "bears fewer connections than max_connections:", "bears fewer connections of an account"
	for name, c := range map[string]struct {
		change func(o *imapsim.Options)
		said   string
		most   int // too many, in ten minutes
	}{
		"four of one address, without a word": {func(o *imapsim.Options) { o.Most = 4 }, most, 60},
		"three of one user":                   {func(o *imapsim.Options) { o.MostOfUser = 3 }, mostOfOne, 30},
		"one of one user":                     {func(o *imapsim.Options) { o.MostOfUser = 1 }, mostOfOne, 6 * accounts},
	} {
		t.Run(name, func(t *testing.T) {
			if err := inBubble(t, func(t *testing.T) error {
				var errs []error
				w := newCrowd(t, accounts, func(old, new *imapsim.Options) {
					c.change(old)
					c.change(new)
					new.Commit = func() time.Duration { return time.Second } // or one connection would do
				})
				defer w.close()
				w.connections(200, 200)
				for i := range w.config.Accounts {
					a := &w.config.Accounts[i]
					a.Source.MaxConnectionsPerAccount, a.Destination.MaxConnectionsPerAccount = 8, 8
				}
				w.run()
				time.Sleep(5 * time.Minute)
				w.big(w.names[0], 1<<20)
				time.Sleep(5 * time.Minute)
				for _, name := range w.names {
					w.deliver(name)
				}
				turnedAway := func() int { return w.wire.old.TurnedAway() + w.wire.new.TurnedAway() }
				early := turnedAway()
				time.Sleep(30 * time.Minute)
				late := turnedAway() - early
				if early == 0 || early > c.most || late > early+c.most/2 {
					errs = append(errs, errors.New("the servers were asked for too many connections, or never"))
				}
				if n := w.said(c.said); n < 1 || n > 10 { // of either server, and when more were tried
					errs = append(errs, fmt.Errorf("said %d times", n))
				}
				t.Logf("%d connections too many within ten minutes, %d in the half hour after that; said %d times, in %d lines", early, late, w.said(c.said), w.said("\n"))
				return w.complete(errs...)
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWireWrongPassword: a password is shown once to a server that refuses it, by
// however many connections the account would be copied.
func TestWireWrongPassword(t *testing.T) {
	if err := inBubble(t, func(t *testing.T) error {
		w := newCrowd(t, 1, func(_, new *imapsim.Options) {
			new.Password = "another"
			new.Before = func(c imapsim.Command) (carriedOut imapsim.Reaction) {
				if c.User == "" {
					time.Sleep(time.Second) // the old server has listed its mailboxes by then
				}
				return carriedOut
			}
		})
		defer w.close()
		for i := range 900 { // which are worth further connections by their number
			w.old[w.names[0]].Deliver(fmt.Sprint("box", i%3), wireText(i), time.Now(), mail.Flags{})
		}
		w.run()
		time.Sleep(10 * time.Second)
		if n := w.wire.new.Count("AUTHENTICATE", "LOGIN"); n != 1 {
			return fmt.Errorf("it was shown %d times", n)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// reads has the user of an account keep connections to a server open himself, as
// a mail client does, until close.
func (w *crowd) reads(name string, port, connections int) {
	for range connections {
		conn, err := w.network.Dial(w.t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			w.t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		_, err = in.ReadString('\n')
		fmt.Fprintf(conn, "a LOGIN %s %s\r\n", name, wirePassword)
		answer, lerr := in.ReadString('\n')
		if err := errors.Join(err, lerr); err != nil || !strings.HasPrefix(answer, "a OK") {
			w.t.Fatalf("%s %v", answer, err)
		}
	}
}

// TestWireLastConnection: of the three connections that a server bears of a user
// he has two open himself. The account makes do with the one that is left: it is
// complete at once, nothing is held, and it asks for more now and then only.
func TestWireLastConnection(t *testing.T) {
	accounts := atLength(50, 6)
	for name, ports := range map[string][]int{"old": {oldPort}, "new": {newPort}, "both": {oldPort, newPort}} {
		t.Run(name, func(t *testing.T) {
			if err := inBubble(t, func(t *testing.T) error {
				var errs []error
				fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
				w := newCrowd(t, accounts, func(old, new *imapsim.Options) {
					old.MostOfUser, new.MostOfUser = 3, 3
				})
				defer w.close()
				w.connections(200, 200)
				for i, name := range w.names {
					a := &w.config.Accounts[i]
					a.Source.MaxConnectionsPerAccount, a.Destination.MaxConnectionsPerAccount = 8, 8
					for _, port := range ports {
						w.reads(name, port, 2)
					}
				}
				for _, name := range w.names[:accounts/6] {
					w.big(name, atLength(1<<20, 300<<10))
				}
				w.run()
				time.Sleep(time.Millisecond) // it knows its accounts
				after, ok := w.recoveredBy(time.Minute)
				turnedAway := func() int { return w.wire.old.TurnedAway() + w.wire.new.TurnedAway() }
				early := turnedAway()
				if !ok || early > 3*accounts*len(ports) {
					fail("complete within a minute: %v, with %d connections too many", ok, early)
				}
				for range atLength(3, 1) {
					time.Sleep(10 * time.Minute)
					for _, name := range w.names {
						w.deliver(name)
					}
				}
				time.Sleep(2 * time.Minute)
				late := turnedAway() - early
				if late > 4*accounts*len(ports) {
					fail("%d connections too many later on", late)
				}
				if n := w.said("health=held") + w.said("health=auth") + w.said("health=stopped"); n > 0 {
					fail("%d accounts were not well", n)
				}
				t.Logf("all %d complete after %s; %d connections too many until then, %d later on; %d lines", accounts, after.Round(100*time.Millisecond), early, late, w.said("\n"))
				return w.complete(errs...)
			}); err != nil {
				t.Error(err)
			}
		})
	}
}
