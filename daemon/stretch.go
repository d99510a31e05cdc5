package daemon

import (
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/metrics"
)

// stretch remembers whether it has been said that poll_interval cannot be met.
type stretch struct{ said bool }

// judge tells whether it is to be said that poll_interval is not met, or that it
// is again: an account has waited so long for a look.
func (s *stretch) judge(poll, longest time.Duration) (stretched, met bool) {
	switch {
	case !s.said && longest > poll*3/2+5*time.Second:
		s.said = true
		return true, false
	case s.said && longest <= poll*11/10:
		s.said = false
		return false, true
	}
	return false, false
}

// longestWait is how long ago the last look at an account was that is well, is
// not listened to, and not being looked at now.
func (r *running) longestWait(now time.Time) (longest time.Duration) {
	for _, f := range r.all() {
		s := f.Status()
		well := s.Health == mail.HealthOK || s.Health == mail.HealthHeld
		if well && !s.Watching && !s.LastSuccess.IsZero() && s.Phase != mail.PhaseFinished && f.turned.Load() == 0 {
			longest = max(longest, now.Sub(s.LastSuccess))
		}
	}
	return longest
}

// measureServers sets the metrics of what servers bear.
func (r *running) measureServers() {
	away, withheld := make(map[string]int), make(map[string]int)
	for _, l := range r.limits.servers() {
		r.slots.bears(&l)
		withheld[l.Side] += l.MaxConnections - l.Connections
		if !l.AwaySince.IsZero() {
			away[l.Side]++
		}
	}
	for _, side := range []metrics.Side{metrics.Source, metrics.Destination} {
		r.Metrics.SetServers(side, away[string(side)], withheld[string(side)])
	}
}

// lookOut says when poll_interval cannot be met, and when it can be again.
func (r *running) lookOut(now time.Time) {
	poll, longest := r.timing().poll, r.longestWait(now)
	r.Metrics.SetPollDelay(max(0, longest-poll))
	switch stretched, met := r.stretch.judge(poll, longest); {
	case stretched:
		attributes := []any{"poll_interval", poll, "waited", longest.Round(time.Second)}
		for _, o := range r.outlooks() {
			if o.Listened < o.Accounts {
				attributes = append(attributes, "outlook", o.String())
			}
		}
		r.Logger.Warn("poll_interval cannot be met: new mail waits for longer", attributes...)
	case met:
		r.Logger.Info("poll_interval is met again", "poll_interval", poll)
	}
}
