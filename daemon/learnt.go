package daemon

import (
	"errors"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/metrics"
)

// learnt is what a server has shown of itself: how many connections it bears,
// and whether it takes any at all. The zero value takes the configuration's word
// for it. It is kept as long as the process lives.
type learnt struct {
	ceiling  ceiling             // of the connections of all accounts
	own      map[string]*ceiling // of those of one account, by its side and name
	toldOwn  bool                // of one such account it has been said
	all      presence
	presence map[string]*presence // by account
	standing standing
	voice    voice
}

func newLearnt() learnt {
	return learnt{own: make(map[string]*ceiling), presence: make(map[string]*presence)}
}

// moved takes in what became of a connection of an account.
func (l *learnt) moved(now time.Time, account string, from, to metrics.ConnectionState) {
	p := l.presence[account]
	if p == nil {
		p = new(presence)
		l.presence[account] = p
	}
	for _, p := range []*presence{p, &l.all} {
		switch loggedIn := from != metrics.Absent && from != metrics.Connecting; {
		case loggedIn && to == metrics.Absent:
			p.close(now)
		case from == metrics.Connecting:
			p.coming--
		}
		switch {
		case to == metrics.Connecting:
			p.coming++
		case to != metrics.Absent && (from == metrics.Absent || from == metrics.Connecting):
			p.open++
		}
	}
	if p.count(now) == 0 {
		delete(l.presence, account)
	}
}

// lesson is what has been learnt from one attempt to connect. The zero value is
// nothing new.
type lesson struct {
	// bears is how many connections the server bears of those configured, of one
	// account alone if own; 0: nothing has been learnt of that.
	bears, configured int
	own               bool
	again             bool          // the like has been said of another account
	went              bool          // it takes nobody any more
	away              time.Duration // it took nobody for so long, and does again
}

// attempt takes in how an attempt of an account to connect has ended. Of the
// connections the server is told to take configured in all and perAccount of one
// account.
func (l *learnt) attempt(now time.Time, account string, configured, perAccount int, err error) (new lesson) {
	var far *remote.Error
	if err == nil || !errors.As(err, &far) {
		new.away = l.standing.answered(now)
		return new
	}
	atLogIn := far.LogIn != nil
	switch {
	case atLogIn && !isFull(far):
		new.away = l.standing.answered(now)
	case atLogIn && l.all.open == 0:
		new.went = l.standing.refuses(now, account, err)
	case !atLogIn && meansAway(far, l.all):
		new.went = l.standing.failed(now, account, err)
	case far.Class == remote.ClassLimit && !ofVolume(far.Text) && l.all.open > 0:
		return l.refused(now, account, configured, perAccount, atLogIn)
	}
	return new
}

// refused takes in that one connection more has been refused. Who is refused at
// his log-in has too many of his own; who does not get that far meets what is
// for all that come from here.
func (l *learnt) refused(now time.Time, account string, configured, perAccount int, atLogIn bool) lesson {
	new := lesson{configured: configured}
	ceiled, borne := &l.ceiling, l.all.count(now)
	if atLogIn {
		new.own, new.configured, borne = true, perAccount, 0
		if p := l.presence[account]; p != nil {
			borne = p.count(now)
		}
		if ceiled = l.own[account]; ceiled == nil {
			ceiled = &ceiling{}
		}
	}
	if borne == 0 {
		return lesson{} // it is others than we who have so many
	}
	before := ceiled.of(new.configured)
	if ceiled.lower(now, borne); ceiled.of(new.configured) == before {
		return lesson{}
	}
	new.bears = ceiled.of(new.configured)
	if atLogIn {
		l.own[account] = ceiled
		new.again, l.toldOwn = l.toldOwn, true
	}
	return new
}

// isFull tells whether a server that refuses a log-in would take it later.
func isFull(err *remote.Error) bool {
	return err.Class == remote.ClassLimit || err.Class == remote.ClassUnavailable
}

// ofVolume tells whether a server's limit is not one of connections.
func ofVolume(text string) bool {
	return mail.SuggestedBackoff(text) > 0 || strings.Contains(strings.ToLower(text), "bandwidth")
}

// meansAway tells whether nobody can connect, as far as that can be told from one
// connection that did not come about.
func meansAway(err *remote.Error, p presence) bool {
	switch err.Class {
	case remote.ClassUnreachable:
		return true
	case remote.ClassDNS, remote.ClassTimeout, remote.ClassUnavailable:
		return p.open == 0
	case remote.ClassLimit:
		return p.open+p.coming == 0
	}
	return false
}

const (
	// voiceMost is how many accounts may say one after the other that the same
	// server fails them, voiceEvery how long it takes until one more may.
	voiceMost  = 3
	voiceEvery = time.Minute
)

// voice keeps a server that fails thousands of accounts from filling the log.
type voice struct {
	said   int
	since  time.Time
	unsaid int
}

// may tells whether an account may say that the server fails it, and how many
// have not said it since the last that could.
func (v *voice) may(now time.Time) (ok bool, unsaid int) {
	if n := int(now.Sub(v.since) / voiceEvery); n > 0 {
		v.said, v.since = max(0, v.said-n), now
	}
	if v.said == voiceMost {
		v.unsaid++
		return false, 0
	}
	v.said++
	unsaid, v.unsaid = v.unsaid, 0
	return true, unsaid
}
