package daemon

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
)

// TestWireNotify: new mail in a mailbox that is not open is carried at once
// where the server tells of it, else within poll_interval; and that a server
// does not do what it offers, or breaks over it, is said once.
func TestWireNotify(t *testing.T) {
	const poll = 5 * time.Minute
	for name, c := range map[string]struct {
		say  string // to NOTIFY; empty: it is done
		soon bool
		said int
	}{
		"told of": {"", true, 0},
		"refused": {"NO [NOTIFICATIONOVERFLOW] NOTIFY not supported for these mailboxes.", false, 1},
		"it ends": {"BYE [UNAVAILABLE] not that", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if err := inBubble(t, func(t *testing.T) error {
				w := newWire(t, shm(t), rand.New(rand.NewPCG(1, smallSeed)), func(old, _ *imapsim.Options) {
					old.Before = func(k imapsim.Command) (r imapsim.Reaction) {
						if k.Verb == "NOTIFY" {
							r.Say = c.say
						}
						return r
					}
				})
				defer w.close()
				w.config.PollInterval = poll
				w.people.DeliverTo("a")
				w.run()
				var errs []error
				for i := range 2 {
					time.Sleep(3 * poll)
					w.network.Sever() // a watcher begins afresh
					time.Sleep(time.Minute)
					w.people.DeliverTo("a")
					time.Sleep(5 * time.Second)
					if got := w.copied("a") == i+2; got != c.soon {
						errs = append(errs, fmt.Errorf("on the new server at once: %v", got))
					}
					time.Sleep(poll)
					if got := w.copied("a"); got != i+2 {
						errs = append(errs, fmt.Errorf("%d messages on the new server after poll_interval", got))
					}
				}
				if n := strings.Count(w.log.String(), "does not do the NOTIFY"); n != c.said {
					errs = append(errs, fmt.Errorf("said %d times that there is no NOTIFY", n))
				}
				return errors.Join(append(errs, w.check())...)
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// copied is how many messages a mailbox of the new server holds.
func (w *wire) copied(mailbox string) (n int) {
	w.people.New.Look(func() {
		if box := w.people.New.Boxes[mailbox]; box != nil {
			n = len(box.Messages)
		}
	})
	return n
}
