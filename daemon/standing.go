package daemon

import (
	"time"
)

const (
	// probeLeast is how long a server that refuses log-ins is left alone before
	// the next account tries it.
	probeLeast = 10 * time.Second
	// probeLost is how long nobody has tried a server that is away before another
	// account does: the one that did may have been paused.
	probeLost = 30 * time.Second
	// returning is how long it takes at most until all that wait for a server have
	// tried it again, but for its limits.
	returning = 5 * time.Second
	// refusedMost is how many accounts in a row are refused before it is taken to
	// be no matter of theirs.
	refusedMost = 3
)

// standing is whether a server takes connections: a circuit breaker. While it
// takes none one account tries it, and the others wait for that.
type standing struct {
	since  time.Time // away; zero: it is there
	tried  time.Time // last
	prober string    // the account that tries it; empty: whoever comes next
	cause  error
	back   chan struct{} // closed when it is there again
	// refused are the accounts in a row that it would not log in for now.
	refused map[string]bool
}

// awayError is that a server is away, and that another account tries it.
type awayError struct {
	cause error
	back  <-chan struct{}
}

func (e *awayError) Error() string { return e.cause.Error() }
func (e *awayError) Unwrap() error { return e.cause }

// admit is nil when an account may try to connect, else an *awayError.
func (s *standing) admit(now time.Time, account string) error {
	tried := now.Sub(s.tried)
	if s.since.IsZero() {
		return nil
	}
	if account == s.prober || s.prober == "" && tried >= probeLeast || tried >= probeLost {
		s.prober, s.tried = account, now
		return nil
	}
	return &awayError{s.cause, s.back}
}

// failed takes in that the server is away, and tells whether it was there before.
func (s *standing) failed(now time.Time, account string, cause error) (went bool) {
	if went = s.since.IsZero(); went {
		s.since, s.back = now, make(chan struct{})
	}
	s.prober, s.tried, s.cause = account, now, cause
	return went
}

// refuses takes in that the server would not log in an account for now. That may
// be the account's fault: it takes several to be the server's, and while it goes
// on another one tries each time.
func (s *standing) refuses(now time.Time, account string, cause error) (went bool) {
	if s.since.IsZero() {
		if s.refused == nil {
			s.refused = make(map[string]bool)
		}
		if s.refused[account] = true; len(s.refused) < refusedMost {
			return false
		}
	}
	return s.failed(now, "", cause)
}

// answered takes in that the server is there, and tells for how long it was not;
// 0: it was.
func (s *standing) answered(now time.Time) (away time.Duration) {
	if !s.since.IsZero() {
		away = max(now.Sub(s.since), 1)
		close(s.back)
	}
	*s = standing{}
	return away
}
