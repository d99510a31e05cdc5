package simtest

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// slow is a destination that does not answer before something else has begun.
type slow struct {
	pass.Destination
	opened, asked <-chan struct{}
}

func (s slow) Mailboxes(ctx context.Context) (mail.Listing, error) {
	<-s.opened
	return s.Destination.Mailboxes(ctx)
}

func (s slow) Create(ctx context.Context, boxes []mail.Creation) ([]error, error) {
	<-s.asked
	return s.Destination.Create(ctx, boxes)
}

// asked is a source that notes when it is asked about mailboxes.
type asked struct {
	pass.Source
	noted func()
}

func (a asked) Survey(ctx context.Context, questions []mail.Question) iter.Seq2[mail.Survey, error] {
	if len(questions) > 0 {
		a.noted()
	}
	return a.Source.Survey(ctx, questions)
}

// TestAhead: in a first copy lanes are opened while the new server still lists its
// mailboxes, and the old one is asked about its own, once, while those of the new one
// are made. Else this never ends, which the bubble tells.
func TestAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := sideBySide(2)
		opened, surveyed := make(chan struct{}), make(chan struct{})
		opens, surveys := sync.OnceFunc(func() { close(opened) }), sync.OnceFunc(func() { close(surveyed) })
		var times atomic.Int32
		mutate := w.mutate
		w.mutate = func(o *pass.Options) {
			o.Source = asked{o.Source, func() { times.Add(1); surveys() }}
			o.Destination = slow{o.Destination, opened, surveyed}
			mutate(o)
			beside := o.Beside
			o.Beside = func(ctx context.Context) (pass.Lane, error) {
				opens()
				return beside(ctx)
			}
		}
		w.settle(t)
		if n := times.Load(); n != 1 {
			t.Errorf("the old server was asked %d times", n)
		}
		if err := w.check(t, true); err != nil {
			t.Error(err)
		}
	})
}
