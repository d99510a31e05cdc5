package pass

import (
	"context"
	"iter"
	"sync"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// ahead are the lanes for a first copy while they are opened, which goes on while
// mailboxes are listed, made and looked at: a log-in takes many round trips.
type ahead struct {
	stop   context.CancelFunc
	beside chan Lane // those that could be opened; closed when there are no more to come
}

// openAhead opens what a first copy of the wanted ones of these source mailboxes is
// worth, unless that has been done.
func (p *Pass) openAhead(ctx context.Context, boxes []mail.Mailbox) {
	mailboxes, messages := 0, 0
	for _, box := range boxes {
		if n := int(box.Status.Messages); n > 0 && !box.NoSelect && p.Rules.Wants(box) {
			mailboxes, messages = mailboxes+1, messages+n
		}
	}
	lanes := min(p.MostBeside, mailboxes-1, messages/p.LaneWorth)
	if lanes <= 0 || p.ahead != nil {
		return
	}
	a := &ahead{beside: make(chan Lane, lanes)}
	ctx, a.stop = context.WithCancel(ctx)
	p.ahead = a
	var all sync.WaitGroup
	for range lanes {
		all.Go(func() {
			if lane, err := p.Beside(ctx); err == nil { // else it is tried again when it is needed
				a.beside <- lane
			}
		})
	}
	go func() {
		all.Wait()
		close(a.beside)
	}()
}

// lane waits for a lane that nobody else has; nil: there is none.
func (a *ahead) lane(ctx context.Context) *Lane {
	if a == nil {
		return nil
	}
	select {
	case lane, ok := <-a.beside:
		if ok {
			return &lane
		}
	case <-ctx.Done():
	}
	return nil
}

// close ends what was opened for nothing.
func (a *ahead) close() {
	if a == nil {
		return
	}
	a.stop()
	for lane := range a.beside {
		lane.Close()
	}
}

// lookAhead asks the source about the mailboxes of pairs that are new while those of
// the destination are made. What it was told is waited for by the function that is
// returned.
func (p *Pass) lookAhead(ctx context.Context, pairings []plan.Pairing) (told func() (map[mail.Question]mail.Survey, error)) {
	var questions []mail.Question
	for _, pairing := range pairings {
		if s := pairing.Source.Status; pairing.New() && !pairing.Source.Rest && s.Messages > 0 && s.UIDValidity != 0 && s.UIDNext != 0 {
			questions = append(questions, (&job{Pairing: pairing, source: pairing.Source}).question())
		}
	}
	if len(questions) == 0 {
		return func() (map[mail.Question]mail.Survey, error) { return nil, nil }
	}
	answers := make(map[mail.Question]mail.Survey, len(questions))
	done := make(chan error, 1)
	go func() {
		i := 0
		for answer, err := range p.Source.Survey(ctx, questions) {
			if err != nil {
				done <- err
				return
			}
			answers[questions[i]] = answer
			i++
		}
		done <- nil
	}()
	return func() (map[mail.Question]mail.Survey, error) {
		err := <-done
		return answers, err
	}
}

// survey is Survey of the source, but for what has been asked ahead.
func (p *Pass) survey(ctx context.Context, questions []mail.Question) iter.Seq2[mail.Survey, error] {
	told := p.told
	p.told = nil
	for _, q := range questions {
		if _, asked := told[q]; !asked {
			return p.Source.Survey(ctx, questions)
		}
	}
	return func(yield func(mail.Survey, error) bool) {
		for _, q := range questions {
			if !yield(told[q], nil) {
				return
			}
		}
	}
}
