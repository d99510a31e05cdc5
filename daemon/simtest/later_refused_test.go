package simtest

import (
	"context"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// without has a destination refuse names that have one of these characters, and mailboxes
// below one that is not there.
func (w *world) without(d pass.Destination, characters string) pass.Destination {
	return picky{d, func(name string) *mail.Refused {
		above, below := "", strings.LastIndex(name, "/")
		if below >= 0 {
			above = name[:below]
		}
		there := true
		w.new.Look(func() { there = above == "" || w.new.Boxes[above] != nil })
		if there && !strings.ContainsAny(name, characters) {
			return nil
		}
		return &mail.Refused{Command: "CREATE", Type: "NO", Text: "not this one"}
	}}
}

// TestLaterRefused: whatever breaks at whatever step of a first copy, the mail of a
// mailbox whose name is refused is in one of a plainer name; but where the process ends
// between the making of that and its record, nobody knows whose it is, and it is held.
func TestLaterRefused(t *testing.T) {
	for name, faults := range map[string]func(at int, stop func()) *Faults{
		"killed":  func(at int, _ func()) *Faults { return &Faults{At: at, Crash: true} },
		"cut":     func(at int, _ func()) *Faults { return &Faults{At: at} },
		"stopped": func(at int, stop func()) *Faults { return &Faults{When: at, Meanwhile: stop} },
	} {
		t.Run(name, func(t *testing.T) {
			held, steps := 0, 0
			for at, asked := 1, 1; at <= asked+1 && !t.Failed(); at++ {
				synctest.Test(t, func(t *testing.T) {
					w, stop := newWorld(), make(chan struct{})
					w.beside = 1
					for _, box := range []string{"INBOX", "100%", "a", "b", "b", "b", "b"} {
						w.old.Deliver(box, "n of "+box, day, mail.Flags{})
					}
					w.mutate = func(o *pass.Options) { o.Destination, o.Stopping = w.without(o.Destination, "%"), stop }
					f := faults(at, func() { close(stop) })
					_ = w.live(t, f)
					asked = f.Asked()
					w.mutate = func(o *pass.Options) { o.Destination = w.without(o.Destination, "%") }
					w.settle(t)
					time.Sleep(time.Minute)
					if len(w.journal.holds) > 0 {
						held++
						return
					}
					if err := w.check(t, false); err != nil || len(w.new.Boxes["100_"].Messages) != 1 {
						t.Errorf("step %d: %v", at, err)
					}
				})
				steps++
			}
			if held > 4 || steps < 30 {
				t.Errorf("held after %d of %d steps", held, steps)
			}
		})
	}
}

// TestLaterAbove: a server that makes no mailbox below one that is not there is given that
// first, under a plainer name where that has to be, and nothing is held for it: with mail
// above and without, and where one in between is made before all others for its role.
func TestLaterAbove(t *testing.T) {
	for child, want := range map[string]string{"a/b": "a/b", "a/50%": "a/50_", "a/b/c": "a/b/c", "50%/b": "50_/b", "a/Archive/2004": "a/Archive/2004"} {
		for _, mailAbove := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				for at := strings.LastIndex(child, "/"); at >= 0; at = strings.LastIndex(child[:at], "/") {
					above := child[:at]
					if w.old.Make(above); mailAbove {
						w.old.Deliver(above, "above", day, mail.Flags{})
					}
					if strings.HasSuffix(above, "Archive") {
						w.old.Boxes[above].Role = `\Archive`
					}
				}
				for range 20 {
					w.old.Deliver(child, "n", day, mail.Flags{})
				}
				w.mutate = func(o *pass.Options) { o.Destination = w.without(o.Destination, "%") }
				_, err := w.incarnation(t, &Faults{}).Run(t.Context())
				if is := w.new.Boxes[want]; err != nil || is == nil || len(is.Messages) != 20 || len(w.journal.holds) > 0 {
					t.Errorf("%s, mail above it: %v: %v, %v, held %v", child, mailAbove, err, w.new.Boxes, w.journal.holds)
				}
				if err := w.check(t, true); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// shut is a source that does not open one of its mailboxes.
type shut struct {
	pass.Source
	box string
}

func (s shut) Survey(ctx context.Context, questions []mail.Question) iter.Seq2[mail.Survey, error] {
	return func(yield func(mail.Survey, error) bool) {
		i := 0
		for answer, err := range s.Source.Survey(ctx, questions) {
			if i < len(questions) && questions[i].Name == s.box {
				answer = mail.Survey{Err: &mail.Refused{Command: "EXAMINE", Type: "NO"}}
			}
			i++
			if !yield(answer, err) {
				return
			}
		}
	}
}

// TestLaterShut: a mailbox that the old server does not open is held, and made all the
// same, under a name that the new one takes; what is in it follows once it can be had.
func TestLaterShut(t *testing.T) {
	for box, want := range map[string]string{"a": "a", "100%": "100_", "a/b": "a/b"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.old.Deliver("INBOX", "n1", day, mail.Flags{})
			if above, _, below := strings.Cut(box, "/"); below {
				w.old.Deliver(above, "n0", day, mail.Flags{}) // it is made for what is below it
			}
			w.old.Deliver(box, "n2", day, mail.Flags{})
			w.old.Boxes[box].Subscribed = true
			w.mutate = func(o *pass.Options) { o.Source, o.Destination = shut{o.Source, box}, w.without(o.Destination, "%") }
			w.settle(t)
			if made := w.new.Boxes[want]; made == nil || !made.Subscribed || len(made.Messages) != 0 || len(w.journal.holds) != 1 {
				t.Errorf("%s: %+v, held %v", box, made, w.journal.holds)
			}
			w.mutate = func(o *pass.Options) { o.Destination = w.without(o.Destination, "%") }
			w.settle(t)
			if err := w.check(t, true); err != nil || len(w.new.Boxes[want].Messages) != 1 || len(w.journal.holds) != 0 {
				t.Errorf("%s: %v, %+v, held %v", box, err, w.new.Boxes[want], w.journal.holds)
			}
		})
	}
}

// TestLaterHandedOver: subscriptions that a first copy which was broken off owes are
// carried after the handover too.
func TestLaterHandedOver(t *testing.T) {
	for at, asked := 1, 1; at <= asked+1 && !t.Failed(); at++ {
		synctest.Test(t, func(t *testing.T) {
			w := unmade(1)
			f := &Faults{At: at, Crash: true}
			_ = w.live(t, f)
			asked = f.Asked()
			w.policy.Draining = true
			w.settle(t)
			for name, b := range w.old.Boxes {
				if is := w.new.Boxes[name]; is == nil || is.Subscribed != b.Subscribed {
					t.Errorf("step %d: %s: %+v", at, name, is)
				}
			}
		})
	}
}
