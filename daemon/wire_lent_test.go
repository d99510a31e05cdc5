package daemon

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
)

// TestWireLent: an account that is listened to has one connection to the old server, over
// which its mail is read too: no further log-in, whatever arrives and however long nothing
// has. And what has been carried is not looked for again.
func TestWireLent(t *testing.T) {
	for name, without := range map[string]string{"told by NOTIFY": "", "swept": "NOTIFY"} {
		t.Run(name, func(t *testing.T) {
			if err := inBubble(t, func(t *testing.T) error {
				var errs []error
				fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
				w := newCrowd(t, 3, func(old, _ *imapsim.Options) {
					old.Capabilities = slices.DeleteFunc(slices.Clone(old.Capabilities), func(c string) bool { return c == without })
				})
				defer w.close()
				for _, name := range w.names {
					w.old[name].Make("Archive")
				}
				w.config.PollInterval = time.Minute
				w.run()
				time.Sleep(10 * time.Minute)
				logIns := w.wire.old.LogIns()
				for i := range 40 {
					name := w.names[i%len(w.names)]
					listed := w.wire.new.Count("LIST")
					w.old[name].Deliver([]string{"INBOX", "Archive"}[i/2%2], wireText(i), time.Now(), mail.Flags{})
					time.Sleep(time.Minute)
					if w.missing(name) != 0 {
						fail("message %d is not on the new server after a minute", i)
					}
					if n := w.wire.new.Count("LIST") - listed; n != 1 {
						fail("%d passes for message %d", n, i)
					}
					if old, _ := w.follower(name).connections.count(); old != 1 {
						fail("%d connections to the old server", old)
					}
					time.Sleep(time.Duration(i%3) * time.Minute) // while the new server's are kept, and after
				}
				for name, n := range w.wire.old.LogIns() {
					if n != logIns[name] {
						fail("%s has logged in %d times more", name, n-logIns[name])
					}
				}
				return w.complete(errs...)
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWireLentLost: a connection that breaks while it is lent costs a pass, not the
// account, and what had arrived is carried over another one.
func TestWireLentLost(t *testing.T) {
	if err := inBubble(t, func(t *testing.T) error {
		var errs []error
		w := newCrowd(t, 1, nil)
		defer w.close()
		w.config.PollInterval = time.Minute
		w.run()
		for range 20 {
			time.Sleep(5 * time.Minute)
			w.deliver(w.names[0])
			w.network.Sever()
			time.Sleep(time.Minute)
			if n := w.missing(w.names[0]); n != 0 {
				errs = append(errs, errors.New("not on the new server a minute after it has broken"))
			}
		}
		return w.complete(errs...)
	}); err != nil {
		t.Error(err)
	}
}

// TestWireLentCrashes: a server that breaks over what a pass asks has as many log-ins as the
// back-off allows, though the connection that listens breaks with it; one that breaks in the
// middle of a mailbox is read on over another connection, but for what is asked ahead.
func TestWireLentCrashes(t *testing.T) {
	for name, c := range map[string]struct {
		over   string // what the command is or has in it
		times  int64
		logIns int // in half an hour, at most
		failed bool
		held   bool
	}{
		"always, in the survey":              {"UID SEARCH", 1 << 30, 200, true, false},
		"once, over a message":               {"BODY.PEEK[])", 1, 2, false, false},
		"once, over one that is asked ahead": {"BODY.PEEK[]<", 1, 2, true, false},
		"always, over what is asked ahead":   {"BODY.PEEK[]<", 1 << 30, 4, true, false},
		"always, over each message":          {"BODY.PEEK[]", 1 << 30, 60, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := inBubble(t, func(t *testing.T) error {
				var errs []error
				var left atomic.Int64
				w := newCrowd(t, 1, func(old, _ *imapsim.Options) {
					old.Before = func(k imapsim.Command) (r imapsim.Reaction) {
						if strings.Contains(k.Line, c.over) && left.Add(-1) >= 0 {
							r.Say = "BYE crashed"
						}
						return r
					}
				})
				defer w.close()
				w.config.PollInterval = time.Minute
				w.run()
				time.Sleep(10 * time.Minute)
				name := w.names[0]
				before := w.wire.old.LogIns()[name]
				left.Store(c.times)
				for range 5 { // one more than is asked ahead
					w.deliver(name)
				}
				time.Sleep(30 * time.Minute)
				left.Store(0)
				if n := w.wire.old.LogIns()[name] - before; n > c.logIns {
					errs = append(errs, fmt.Errorf("%d log-ins", n))
				}
				if failed := w.said("account is backoff") > 0; failed != c.failed {
					errs = append(errs, fmt.Errorf("failed: %v", failed))
				}
				time.Sleep(2 * time.Minute)
				if over := w.said("account is held"); c.held != (over > 0) {
					errs = append(errs, fmt.Errorf("held: %v", over > 0))
				} else if c.held {
					return errors.Join(errs...)
				}
				return w.complete(errs...)
			}); err != nil {
				t.Error(err)
			}
		})
	}
}
