package pass

import (
	"context"
	"sync"

	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// ahead are the lanes for a first copy while they are opened, which goes on while
// mailboxes are made and looked at: a log-in takes many round trips.
type ahead struct {
	stop   context.CancelFunc
	beside chan Lane // those that could be opened; closed when there are no more to come
}

// openAhead opens what a first copy of the pairings is worth.
func (p *Pass) openAhead(ctx context.Context, pairings []plan.Pairing) {
	mailboxes, messages := 0, 0
	for _, pairing := range pairings {
		if n := int(pairing.Source.Status.Messages); n > 0 && pairing.New() {
			mailboxes, messages = mailboxes+1, messages+n
		}
	}
	lanes := min(p.MostBeside, mailboxes-1, messages/p.LaneWorth)
	if lanes <= 0 {
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
