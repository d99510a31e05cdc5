package remote

import (
	"cmp"
	"context"
	"sync"
)

// Lender lends the connection by which an account is listened to: its mail is read over
// the same one, and the old server has one of the account open instead of two, and one
// log-in. The zero value is ready; it has nothing to lend but while a [Watch] that was
// given it listens.
type Lender struct {
	mu      sync.Mutex
	watcher *watcher // who listens; nil: nobody
	asked   *Loan    // who waits for the connection; nil: nobody
	lent    bool
}

// Loan is a connection that listens in the hands of a [Source], which sends what it wants
// to and has read all answers when it gives it back.
type Loan struct {
	given chan *session // how it is found; nil: there is none any more
	back  chan bool     // what there was, as Return is told
	found *session
}

// Lends tells whether there is a connection to be lent.
func (l *Lender) Lends() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.watcher != nil
}

// Borrow waits for the connection, which is to be given back by [Loan.Return]; nobody
// listens on it until then. nil: nobody does now, or ctx has ended. One may ask at a time.
func (l *Lender) Borrow(ctx context.Context) *Loan {
	loan := &Loan{given: make(chan *session, 1), back: make(chan bool, 1)}
	l.mu.Lock()
	w := l.watcher
	if w == nil {
		l.mu.Unlock()
		return nil
	}
	l.asked = loan
	w.conn.call()
	l.mu.Unlock()
	select {
	case loan.found = <-loan.given:
	case <-ctx.Done():
		l.mu.Lock()
		waits := l.asked == loan
		if waits {
			l.asked = nil
		}
		l.mu.Unlock()
		if waits {
			return nil
		}
		loan.found = <-loan.given
	}
	if loan.found == nil {
		return nil
	}
	return loan
}

// Return gives the connection back, as it is. It is looked at once what has come meanwhile,
// but for a pass that a sweep has called for and that has found no news: with a server that
// never tells the same twice one would follow the other. intact is false if it has ended.
func (n *Loan) Return(news bool) (intact bool) {
	intact = n.found.conn.Err() == nil
	n.back <- news
	return intact
}

// offer has the connection of who listens be lent.
func (l *Lender) offer(w *watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watcher = w
}

// withdraw ends that.
func (l *Lender) withdraw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watcher = nil
	if l.asked != nil {
		l.asked.given <- nil
		l.asked = nil
	}
}

// next is who waits for the connection, which is his now; nil: nobody is.
func (l *Lender) next(ctx context.Context) *Loan {
	l.mu.Lock()
	defer l.mu.Unlock()
	loan := l.asked
	if loan == nil || ctx.Err() != nil {
		return nil // withdraw says it
	}
	l.asked, l.lent = nil, true
	return loan
}

// returned notes that the connection is the watcher's again.
func (l *Lender) returned() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lent = false
}

func (l *Lender) isLent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lent
}

// lend hands the connection over to who waits for it, and waits until it comes back.
// DONE goes with his first command, and its answer is due then. news is what he has found.
func (w *watcher) lend(ctx context.Context) (news bool, err error) {
	loan := w.Lender.next(ctx)
	if loan == nil {
		return false, ctx.Err()
	}
	defer w.Lender.returned()
	if w.Stepwise {
		err = apart(func() error { return w.endIdle(ctx) })
	} else if w.idling != "" {
		err = w.conn.Send(ctx, []byte("DONE\r\n"))
		w.conn.earlier = append(w.conn.earlier, w.idling)
		w.conn.due(1)
		w.idling = ""
	}
	if err != nil { // it may be in IDLE still
		loan.given <- nil
		return false, err
	}
	loan.given <- &session{
		conn: w.conn, at: w.session.at, spaces: w.session.spaces, asked: w.session.asked, plainList: w.session.plainList, heard: w.listedBy,
	}
	news = <-loan.back
	w.session.isOpen, w.session.at = false, loan.found.at
	w.opens = w.session.at != "INBOX"
	if w.conn.overflowed && w.notified {
		w.notification(Response{Type: "OK", Code: overflow})
	}
	return news, cmp.Or(w.conn.Err(), ctx.Err())
}

// Use has all that is asked until Leave go over a connection that is lent.
func (s *Source) Use(n *Loan) {
	found := *n.found
	found.open, found.logger, found.lists, found.gmail, found.expects, found.foresight = s.open, s.logger, s.lists, s.gmail, s.expects, s.foresight
	s.session = found
}

// Leave forgets the connection, which goes on. It is to be given back then. One that has
// been opened since, because that one has ended, is kept.
func (s *Source) Leave(n *Loan) {
	if s.conn != n.found.conn {
		return
	}
	n.found.at = s.at
	s.conn = nil
	s.drop()
}
