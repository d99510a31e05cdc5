package daemon

import (
	"context"
	"slices"
	"time"
)

// Watching connections are kept for days. Where there are fewer than accounts,
// they belong to those that had news last: the others are polled.

const (
	// seatLeast is how long an account may listen before another takes its
	// place: each change costs a log-in.
	seatLeast = 10 * time.Minute
	// seatMargin is how much later the other must have had news.
	seatMargin = 10 * time.Minute
)

// seeker is an account that waits for a watching connection.
type seeker struct {
	*grant
	seated chan struct{}
}

// watch waits until an account may listen, by one connection. It ends to listen
// when sitting is done: the connection is needed elsewhere. news is when the
// account had news last; it must not block.
func (s *slots) watch(ctx context.Context, n need, news func() time.Time) (room *grant, sitting context.Context, err error) {
	s.mu.Lock()
	g := &grant{slots: s, purpose: forWatch, yield: make(chan struct{}), news: news, shares: []share{s.at(n).share(n)}}
	sitting, g.getUp = context.WithCancel(ctx)
	r := &seeker{g, make(chan struct{})}
	s.seekers = append(s.seekers, r)
	s.share()
	s.mu.Unlock()
	select {
	case <-r.seated:
		return g, sitting, nil
	case <-ctx.Done():
		g.getUp()
		s.mu.Lock()
		defer s.mu.Unlock()
		if i := slices.Index(s.seekers, r); i >= 0 {
			s.seekers = slices.Delete(s.seekers, i, i+1)
		} else {
			s.giveBack(g)
			s.share()
		}
		return nil, nil, ctx.Err()
	}
}

// hears notes that the account listens from now on.
func (g *grant) hears() {
	g.slots.mu.Lock()
	defer g.slots.mu.Unlock()
	g.listens = time.Now()
}

// seat gives the room that there is to those who want to listen.
func (s *slots) seat() {
	for len(s.seekers) > 0 {
		i := latest(s.seekers, func(r *seeker) bool { return s.hasSeat(r.shares[0]) })
		if i < 0 {
			break
		}
		r := s.seekers[i]
		s.seekers = slices.Delete(s.seekers, i, i+1)
		s.take(r.grant)
		close(r.seated)
	}
}

// moveSeats has one who listens make place for one who had news since.
func (s *slots) moveSeats() {
	for _, at := range s.servers {
		i := latest(s.seekers, func(r *seeker) bool {
			return r.shares[0].at == at && r.shares[0].mayListen() && r.shares[0].fitsAccount()
		})
		if i < 0 {
			continue
		}
		least, moving := s.leastWatcher(at)
		if moving == 0 && least != nil && !least.listens.IsZero() && displaces(s.seekers[i].news(), least.news(), time.Since(least.listens)) {
			least.tell()
		}
	}
}

// leastWatcher is who listens to a server, is to go on and had news first, and
// how many are about to make place there.
func (s *slots) leastWatcher(at *server) (least *grant, moving int) {
	for _, g := range s.sitting {
		if g.shares[0].at != at {
			continue
		}
		if g.leaving {
			moving++
		} else if least == nil || g.news().Before(least.news()) {
			least = g
		}
	}
	return least, moving
}

// displaces tells whether an account that had news at one time is to listen in
// the place of one that had them at another and has listened for so long.
func displaces(seeker, seated time.Time, listened time.Duration) bool {
	return listened >= seatLeast && seeker.Sub(seated) >= seatMargin
}

// latest is who had news last of those who may, the first of several; -1: none
// may.
func latest(seekers []*seeker, may func(*seeker) bool) int {
	best := -1
	var news time.Time
	for i, r := range seekers {
		if at := r.news(); (best < 0 || at.After(news)) && may(r) {
			best, news = i, at
		}
	}
	return best
}

// hasSeat tells whether there is room to listen.
func (s *slots) hasSeat(of share) bool {
	return of.at.used < s.bound(of.at, forWatch) && of.mayListen() && of.fitsAccount()
}

// mayListen tells whether the account bears a connection beside its pass.
func (of share) mayListen() bool {
	return of.at.mostOf(of.account, of.perAccount) > sourceConnections
}

func (of share) fitsAccount() bool {
	return of.own.used+of.n <= of.at.mostOf(of.account, of.perAccount)
}
