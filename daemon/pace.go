package daemon

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// pace is a token bucket that holds a second's worth. Those who wait get their
// turn in the order in which they came, but who carries news goes before first
// copies.
type pace struct {
	rate func() float64 // a second, now; 0: no limit
	// most is how many with news go before one who waits without; 0: any number.
	most int

	mu     sync.Mutex
	tokens float64 // less than 0 after more was taken than was there
	at     time.Time
	queues [2][]*turn // news, and the rest
	ahead  int        // so many of the first went before the second
	timer  *time.Timer
}

// turn is one who waits.
type turn struct {
	n    float64
	come chan struct{}
}

// paceMost is how long a wait is reckoned in advance: meanwhile a window or a
// reload may have changed the rate.
const paceMost = 10 * time.Second

// wait takes n when it is there, or when a second's worth is, and returns how
// long that took.
func (p *pace) wait(ctx context.Context, news bool, n float64) (time.Duration, error) {
	if p.rate() == 0 {
		return 0, nil // who waits is seen to when again runs
	}
	p.mu.Lock()
	t := &turn{n, make(chan struct{})}
	queue := &p.queues[1]
	if news {
		queue = &p.queues[0]
	}
	*queue = append(*queue, t)
	p.serve()
	p.mu.Unlock()
	select {
	case <-t.come:
		return 0, nil
	default:
	}
	began := time.Now()
	select {
	case <-t.come:
		return time.Since(began), nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		if i := slices.Index(*queue, t); i >= 0 {
			*queue = slices.Delete(*queue, i, i+1)
		} else {
			p.tokens += n
		}
		p.serve()
		return time.Since(began), ctx.Err()
	}
}

// take takes n that cannot wait any more. Who comes next waits for it.
func (p *pace) take(n float64) {
	if p.rate() == 0 {
		return
	}
	p.mu.Lock()
	p.refill()
	p.tokens -= n
	p.mu.Unlock()
}

// refill adds what the time has brought, and returns the rate.
func (p *pace) refill() float64 {
	now, rate := time.Now(), p.rate()
	switch worth := max(1, rate); {
	case rate == 0:
		p.tokens = 0
	case p.at.IsZero():
		p.tokens = worth
	default:
		p.tokens = min(worth, p.tokens+rate*now.Sub(p.at).Seconds())
	}
	p.at = now
	return rate
}

// serve gives all their turn whose it is, and comes back for the others.
func (p *pace) serve() {
	rate := p.refill()
	for {
		q := p.next()
		if len(p.queues[q]) == 0 {
			return
		}
		t := p.queues[q][0]
		if lack := min(t.n, max(1, rate)) - p.tokens; rate > 0 && lack > 1e-9 {
			wait := min(paceMost, time.Duration(math.Ceil(lack/rate*float64(time.Second))))
			if p.timer == nil {
				p.timer = time.AfterFunc(wait, p.again)
			} else {
				p.timer.Reset(wait)
			}
			return
		}
		if q == 1 || len(p.queues[1]) == 0 {
			p.ahead = 0
		} else {
			p.ahead++
		}
		p.tokens -= t.n
		p.queues[q] = p.queues[q][1:]
		close(t.come)
	}
}

// next is the queue whose turn it is.
func (p *pace) next() int {
	if len(p.queues[0]) == 0 || len(p.queues[1]) > 0 && p.most > 0 && p.ahead >= p.most {
		return 1
	}
	return 0
}

func (p *pace) again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serve()
}
