package daemon

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// carelessJournal is a state that is told something else.
type carelessJournal struct {
	pass.Journal
	commit func(*mail.Change)
}

func (j carelessJournal) Commit(c mail.Change) error {
	j.commit(&c)
	return j.Journal.Commit(c)
}

// trustingDestination takes a lost answer for a good one.
type trustingDestination struct{ pass.Destination }

func (d trustingDestination) Appender(ctx context.Context, box mail.Ref) (mail.Appender, error) {
	a, err := d.Destination.Appender(ctx, box)
	if err != nil {
		return nil, err
	}
	return trustingAppender{a}, nil
}

func (d trustingDestination) Make(ctx context.Context, box mail.Creation) (mail.Appender, error) {
	a, err := d.Destination.Make(ctx, box)
	if err != nil {
		return nil, err
	}
	return trustingAppender{a}, nil
}

type trustingAppender struct{ mail.Appender }

func (a trustingAppender) Append(ctx context.Context, messages []mail.Upload) <-chan mail.Answer {
	next, validity := a.Status().UIDNext, a.Status().UIDValidity
	trusted, honest := make(chan mail.Answer, 1), a.Appender.Append(ctx, messages)
	go func() {
		answer := <-honest
		for i := range answer.Outcomes {
			if errors.Is(answer.Outcomes[i].Err, mail.ErrInDoubt) {
				answer.Outcomes[i] = mail.Appended{UID: next + mail.UID(i), UIDValidity: validity}
			}
		}
		trusted <- answer
	}()
	return trusted
}

// expungingDestination has a mailbox expunged whenever something is removed.
type expungingDestination struct {
	pass.Destination
	expunge func(mail.Ref)
}

func (d expungingDestination) Editor(ctx context.Context, box mail.Ref) (mail.Editor, error) {
	e, err := d.Destination.Editor(ctx, box)
	if err != nil {
		return nil, err
	}
	return expungingEditor{e, func() { d.expunge(box) }}, nil
}

type expungingEditor struct {
	mail.Editor
	expunge func()
}

func (e expungingEditor) Remove(ctx context.Context, edits []mail.Edit) ([]mail.UID, error) {
	changed, err := e.Editor.Remove(ctx, edits)
	e.expunge()
	return changed, err
}

// TestWireMutations breaks the protocol of the daemon, one rule after the other,
// and expects a random world to notice it, to notice it again, and to be content
// with the daemon as it is.
func TestWireMutations(t *testing.T) {
	if *wires < 20 {
		t.Skip("with -wires 20 or more")
	}
	begun := time.Now()
	dir := shm(t)
	mutations := map[string]struct {
		from   int64 // the first seed that is tried
		mutate func(*wire, *pass.Options)
	}{
		"I1: intents are not durable": {81, func(_ *wire, o *pass.Options) {
			o.Journal = carelessJournal{Journal: o.Journal, commit: func(c *mail.Change) { c.Intents = nil }}
		}},
		"I2: a receipt without an answer": {12, func(_ *wire, o *pass.Options) {
			o.Destination = trustingDestination{o.Destination}
		}},
		"I3: an anchor runs ahead": {206, func(_ *wire, o *pass.Options) {
			o.Journal = carelessJournal{Journal: o.Journal, commit: func(c *mail.Change) {
				for i := range c.Pairs {
					c.Pairs[i].SourceAnchor.UIDNext += 100
				}
			}}
		}},
		"I4: a plain EXPUNGE": {95, func(w *wire, o *pass.Options) {
			o.Destination = expungingDestination{o.Destination, func(box mail.Ref) {
				w.people.New.Do(func() {
					if b := w.people.New.Boxes[w.new.Name(box.Name)]; b != nil {
						b.Messages = slices.DeleteFunc(b.Messages, func(m simtest.Message) bool { return m.Flags.System&mail.Deleted != 0 })
					}
				})
			}}
		}},
	}
	for name, m := range mutations {
		t.Run(name, func(t *testing.T) {
			fails := func(seed int64, mutate func(*wire, *pass.Options), times int) bool {
				for range times {
					if inBubble(t, func(t *testing.T) error { return randomWire(t, dir, seed, mutate) }) == nil {
						return false
					}
				}
				return true
			}
			for seed := m.from; seed < m.from+200; seed++ {
				if !fails(seed, m.mutate, 2) {
					continue
				}
				t.Logf("seed %d, and again", seed)
				if fails(seed, nil, 1) {
					t.Errorf("seed %d fails as well when nothing is broken", seed)
				}
				return
			}
			t.Error("no world notices it")
		})
	}
	proof.Count(t, begun, "%d rules broken, each noticed", len(mutations))
}
