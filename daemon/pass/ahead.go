package pass

import (
	"context"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// ahead is the connection for appending while it is opened ahead.
type ahead struct {
	opened chan struct{}
	err    error // once opened is closed
}

// connectAhead opens the connection for appending while mailboxes are made and
// looked at, where there is a first copy to be made: a log-in takes many round
// trips.
func (p *Pass) connectAhead(ctx context.Context, pairings []plan.Pairing) {
	if !slices.ContainsFunc(pairings, func(pairing plan.Pairing) bool { return pairing.New() && pairing.Source.Status.Messages > 0 }) {
		return
	}
	a := &ahead{opened: make(chan struct{})}
	p.ahead = a
	go func() {
		defer close(a.opened)
		a.err = p.Destination.ConnectAppender(ctx)
	}()
}

// connected waits for the connection that is opened ahead, and tells once why
// there is none.
func (p *Pass) connected() error {
	a := p.ahead
	if a == nil {
		return nil
	}
	p.ahead = nil
	<-a.opened
	return a.err
}
