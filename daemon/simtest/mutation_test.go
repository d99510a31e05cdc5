package simtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// mutated has a mutation applied to every incarnation of the world's pass.
func (w *world) mutated(mutate func(*world, *pass.Options)) {
	if mutate != nil {
		w.mutate = func(o *pass.Options) { mutate(w, o) }
	}
}

// The mutations: what a pass would do without one of its invariants is had by
// standing between it and what it works with.

// forgetful is a journal that changes what is committed, or what is read.
type forgetful struct {
	pass.Journal
	commit  func(*mail.Change)
	swallow bool // I6: a failed commit counts as done
	anchors func() map[string]mail.Anchor
	pairs   func([]mail.Pair)
}

func (f forgetful) Commit(c mail.Change) error {
	if f.commit != nil {
		c.Pairs = slices.Clone(c.Pairs)
		f.commit(&c)
	}
	err := f.Journal.Commit(c)
	if f.swallow && errors.Is(err, errCut) {
		*f.Journal.(anchored).failed = nil
		return nil
	}
	return err
}

func (f forgetful) DestinationAnchors() (map[string]mail.Anchor, error) {
	if f.anchors != nil {
		return f.anchors(), nil
	}
	return f.Journal.DestinationAnchors()
}

func (f forgetful) Pairs() ([]mail.Pair, error) {
	list, err := f.Journal.Pairs()
	if f.pairs != nil {
		f.pairs(list)
	}
	return list, err
}

// careless is a destination whose appenders and editors are less careful.
type careless struct {
	pass.Destination
	appended func([]mail.Appended, mail.Status) // I2
	reversed bool                               // I9
	removed  func(mail.Ref)                     // I4
	listed   func(*mail.Listing)                // I10
	spelled  func(path []string) string         // I11
}

func (c careless) Appender(ctx context.Context, box mail.Ref) (mail.Appender, error) {
	a, err := c.Destination.Appender(ctx, box)
	if err != nil {
		return nil, err
	}
	return carelessAppender{a, c}, nil
}

func (c careless) Make(ctx context.Context, box mail.Creation) (mail.Appender, error) {
	a, err := c.Destination.Make(ctx, box)
	if err != nil {
		return nil, err
	}
	return carelessAppender{a, c}, nil
}

func (c careless) Mailboxes(ctx context.Context) (mail.Listing, error) {
	l, err := c.Destination.Mailboxes(ctx)
	if c.listed != nil {
		c.listed(&l)
	}
	return l, err
}

func (c careless) Name(path []string) string {
	if c.spelled != nil {
		return c.spelled(path)
	}
	return c.Destination.Name(path)
}

func (c careless) Editor(ctx context.Context, box mail.Ref) (mail.Editor, error) {
	e, err := c.Destination.Editor(ctx, box)
	if err != nil || c.removed == nil {
		return e, err
	}
	return carelessEditor{e, func() { c.removed(box) }}, nil
}

type carelessAppender struct {
	mail.Appender
	careless careless
}

func (a carelessAppender) Append(ctx context.Context, messages []mail.Upload) <-chan mail.Answer {
	if a.careless.reversed {
		messages = slices.Clone(messages)
		slices.Reverse(messages)
	}
	spoilt, careful := make(chan mail.Answer, 1), a.Appender.Append(ctx, messages)
	go func() {
		answer := <-careful
		if a.careless.reversed {
			slices.Reverse(answer.Outcomes)
		}
		if a.careless.appended != nil && !errors.Is(answer.Err, errCrash) {
			a.careless.appended(answer.Outcomes, a.Status())
		}
		spoilt <- answer
	}()
	return spoilt
}

type carelessEditor struct {
	mail.Editor
	removed func()
}

func (e carelessEditor) Remove(ctx context.Context, edits []mail.Edit) ([]mail.UID, error) {
	changed, err := e.Editor.Remove(ctx, edits)
	e.removed()
	return changed, err
}

// trusting is a source whose UIDVALIDITY nobody looks at.
type trusting struct{ pass.Source }

func (s trusting) Mailboxes(ctx context.Context) (mail.Listing, error) {
	l, err := s.Source.Mailboxes(ctx)
	for i := range l.Mailboxes {
		l.Mailboxes[i].Status.UIDValidity = 1
	}
	return l, err
}

func (s trusting) Status(ctx context.Context, box mail.Ref) (mail.Status, error) {
	status, err := s.Source.Status(ctx, mail.Ref{Name: box.Name})
	status.UIDValidity = 1
	return status, err
}

func (s trusting) UIDs(ctx context.Context, box mail.Ref, from mail.UID) ([]mail.UID, error) {
	return s.Source.UIDs(ctx, mail.Ref{Name: box.Name}, from)
}

func (s trusting) Survey(ctx context.Context, questions []mail.Question) iter.Seq2[mail.Survey, error] {
	questions = slices.Clone(questions)
	for i := range questions {
		questions[i].UIDValidity = 0
	}
	return s.Source.Survey(ctx, questions)
}

func (s trusting) Messages(ctx context.Context, box mail.Ref, uids []mail.UID, prints bool) iter.Seq2[mail.Message, error] {
	return s.Source.Messages(ctx, mail.Ref{Name: box.Name}, uids, prints)
}

func (s trusting) Flags(ctx context.Context, box mail.Ref, below mail.UID, since mail.ModSeq) iter.Seq2[mail.Message, error] {
	return s.Source.Flags(ctx, mail.Ref{Name: box.Name}, below, since)
}

func (s trusting) Bodies(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Body, error] {
	return s.Source.Bodies(ctx, mail.Ref{Name: box.Name}, uids)
}

// simulation is one kind of random world.
type simulation func(t *testing.T, seed int64, mutate func(*world, *pass.Options)) error

// TestMutations turns off each invariant in turn and expects a simulation to
// fail, to fail again from the printed seed, and to pass that seed with the
// invariant on.
func TestMutations(t *testing.T) {
	for _, m := range []struct {
		invariant string
		simulate  simulation
		mutate    func(*world, *pass.Options)
	}{
		{"I1: intents are not durable", random, func(w *world, o *pass.Options) {
			o.Journal = forgetful{Journal: o.Journal, commit: func(c *mail.Change) { c.Intents = nil }}
		}},
		{"I2: a receipt without an answer", random, func(w *world, o *pass.Options) {
			o.Destination = careless{Destination: o.Destination, appended: func(outcomes []mail.Appended, status mail.Status) {
				for i := range outcomes {
					if errors.Is(outcomes[i].Err, mail.ErrInDoubt) {
						outcomes[i] = mail.Appended{UID: status.UIDNext + mail.UID(i), UIDValidity: status.UIDValidity}
					}
				}
			}}
		}},
		{"I3: the anchor runs ahead", random, func(w *world, o *pass.Options) {
			o.Journal = forgetful{Journal: o.Journal, commit: func(c *mail.Change) {
				for i := range c.Pairs {
					if b := w.old.Boxes[c.Pairs[i].Source]; b != nil && c.Pairs[i].SourceAnchor.UIDValidity == b.Validity {
						c.Pairs[i].SourceAnchor.UIDNext = b.Next
						c.Pairs[i].SourceAnchor.Messages = uint32(len(b.Messages))
					}
				}
			}}
		}},
		{"I4: a plain EXPUNGE", live, func(w *world, o *pass.Options) {
			o.Destination = careless{Destination: o.Destination, removed: func(box mail.Ref) {
				w.new.mu.Lock()
				defer w.new.mu.Unlock()
				if b := w.new.Boxes[box.Name]; b != nil {
					b.Messages = slices.DeleteFunc(b.Messages, func(m Message) bool { return m.Flags.System&mail.Deleted != 0 })
				}
			}}
		}},
		{"I5: nobody looks at UIDVALIDITY", live, func(w *world, o *pass.Options) { o.Source = trusting{o.Source} }},
		{"I6: a failed commit counts as done", random, func(w *world, o *pass.Options) {
			o.Journal = forgetful{Journal: o.Journal, swallow: true}
		}},
		{"I7: what is there already is not looked at", random, func(w *world, o *pass.Options) {
			o.Journal = forgetful{Journal: o.Journal, anchors: func() map[string]mail.Anchor {
				anchors := make(map[string]mail.Anchor)
				for name, b := range w.new.Boxes {
					anchors[name] = mail.Anchor{UIDValidity: b.Validity, UIDNext: b.Next}
				}
				return anchors
			}}
		}},
		{"I8: the handover is forgotten", live, func(w *world, o *pass.Options) { o.Policy.Draining = false }},
		{"I9: another order", random, func(w *world, o *pass.Options) {
			o.Destination = careless{Destination: o.Destination, reversed: true}
		}},
		{"I10: source and destination are not compared", sameMailbox, func(w *world, o *pass.Options) {
			o.Destination = careless{Destination: o.Destination, listed: func(l *mail.Listing) {
				for i := range l.Mailboxes {
					l.Mailboxes[i].Status.UIDNext = 0
				}
			}}
		}},
		{"I11: the place of a mailbox is not kept", changedRule, func(w *world, o *pass.Options) {
			o.Journal = forgetful{Journal: o.Journal, pairs: func(pairs []mail.Pair) {
				for i := range pairs {
					if name := o.Destination.Name([]string{pairs[i].SourcePath}); name != pairs[i].Destination {
						pairs[i].Destination, pairs[i].DestinationValidity = name, 0
					}
				}
			}}
		}},
	} {
		t.Run(m.invariant, func(t *testing.T) {
			fails := func(seed int64, mutate func(*world, *pass.Options)) (failed bool) {
				// A mutated pass may also be wrong in ways that end it.
				synctest.Test(t, func(t *testing.T) { failed = m.simulate(t, seed, mutate) != nil })
				return failed
			}
			for seed := range int64(2000) {
				if !fails(seed, m.mutate) {
					continue
				}
				t.Logf("seed %d", seed)
				if !fails(seed, m.mutate) {
					t.Errorf("seed %d does not fail again", seed)
				}
				if fails(seed, nil) {
					t.Errorf("seed %d fails with the invariant on", seed)
				}
				return
			}
			t.Error("no simulation notices it")
		})
	}
}

// sameMailbox repoints the name of the source to the new server.
func sameMailbox(t *testing.T, seed int64, mutate func(*world, *pass.Options)) error {
	w := small()
	w.mutated(mutate)
	rng := rand.New(rand.NewPCG(uint64(seed), 3))
	w.settle(t)
	for range 2 + rng.IntN(3) {
		w.new.Deliver("INBOX", "born here", day, mail.Flags{})
	}
	w.old.Deliver("INBOX", "n6", day, mail.Flags{})
	w.settle(t) // which has looked at what was born there
	w.old = w.new
	before := w.new.Appends
	if err := w.live(t, &Faults{}); !errors.Is(err, pass.ErrSameMailbox) {
		return fmt.Errorf("the pass ends with %w", err)
	}
	if n := w.new.Appends - before; n > 1 {
		return fmt.Errorf("%d messages were copied onto their own mailbox", n)
	}
	return errors.Join(w.errs...)
}

// changedRule changes the rule that gives a mailbox its place.
func changedRule(t *testing.T, seed int64, mutate func(*world, *pass.Options)) error {
	w := newWorld()
	rule := "first/"
	w.mutate = func(o *pass.Options) {
		o.Destination = careless{Destination: o.Destination, spelled: func(path []string) string { return rule + path[0] }}
		if mutate != nil {
			mutate(w, o)
		}
	}
	w.old.Deliver("a", "n1", day, mail.Flags{})
	w.settle(t)
	rule = "second/"
	for range 1 + seed%3 {
		w.old.Deliver("a", fmt.Sprintf("n%d", 2+seed), day, mail.Flags{})
	}
	w.settle(t)
	if b := w.new.Boxes["second/a"]; b != nil && len(b.Messages) > 0 {
		return fmt.Errorf("%d messages are in another place", len(b.Messages))
	}
	return w.check(t, false)
}
