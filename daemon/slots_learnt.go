package daemon

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/metrics"
)

// admit is nil when an account may try to connect to a server, else an
// *awayError. Who does not follow accounts tries for each.
func (s *slots) admit(address, account string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.servers[address]
	if at == nil || !s.live {
		return nil
	}
	return at.learnt.standing.admit(time.Now(), account)
}

// moved takes in what became of a connection.
func (s *slots) moved(address, account string, from, to metrics.ConnectionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.servers[address]; at != nil {
		at.learnt.moved(time.Now(), account, from, to)
	}
}

// attempt takes in how an attempt to connect has ended, and shares out anew what
// there is now.
func (s *slots) attempt(address, account string, perAccount int, err error) lesson {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.servers[address]
	if at == nil {
		return lesson{}
	}
	new := at.learnt.attempt(time.Now(), account, at.size, perAccount, err)
	if new.bears > 0 {
		s.standUp(at)
		s.touchAll()
		s.share()
	}
	if !s.live { // nobody waits for a server that is away
		new.went, new.away = false, 0
	}
	return new
}

// standUp has those listen no more whose connections a server turned out not to
// bear.
func (s *slots) standUp(at *server) {
	for _, g := range s.sitting {
		if g.shares[0].at == at && !g.leaving && !g.shares[0].mayListen() {
			g.tell()
		}
	}
	_, moving := s.leastWatcher(at)
	for surplus := at.watching - moving - watchersAt(at.most()); surplus > 0; surplus-- {
		if least, _ := s.leastWatcher(at); least != nil {
			least.tell()
		}
	}
}

// mayNotSay tells whether enough accounts have said of a server that it fails
// them, and if not, how many others could not.
func (s *slots) mayNotSay(address string) (hushed bool, unsaid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.servers[address]
	if at == nil {
		return false, 0
	}
	may, unsaid := at.learnt.voice.may(time.Now())
	return !may, unsaid
}

// bears fills in what a server has shown that it bears.
func (s *slots) bears(l *web.Limit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.servers[l.Server]
	if at == nil {
		return // nobody has used it yet
	}
	l.MaxConnections, l.Connections, l.AccountsBounded = at.size, at.most(), len(at.learnt.own)
	if standing := at.learnt.standing; !standing.since.IsZero() {
		l.AwaySince, l.AwayBecause = standing.since.UTC(), standing.cause.Error()
		var far *remote.Error
		if errors.As(standing.cause, &far) {
			l.AwayBecause = far.Text
		}
	}
}

// learn takes in how an attempt to connect has ended, and says once for all
// accounts what that means.
func (c *connections) learn(side remote.Side, s config.Server, err error) {
	address := addressOf(s)
	new := c.slots.attempt(address, string(side)+" "+c.account, s.MaxConnectionsPerAccount, err)
	logger := c.logger.With("side", string(side), "server", address)
	switch {
	case (new.went || new.away > 0) && !c.others: // the account says it
	case new.went:
		logger.Warn("the server takes nobody: its accounts wait, and one of them tries it", "error", err)
	case new.away > 0:
		logger.Info("the server is back", "away_for", new.away.Round(time.Second))
	case new.bears > 0 && new.own:
		level := slog.LevelInfo
		if new.again {
			level = slog.LevelDebug
		}
		logger.Log(context.Background(), level, "the server bears fewer connections of an account than max_connections_per_account: it gets so many, and more are tried later",
			"account", c.account, "connections", new.bears, "configured", new.configured)
	case new.bears > 0:
		logger.Warn("the server bears fewer connections than max_connections: it gets so many, and more are tried later",
			"connections", new.bears, "configured", new.configured, "error", err)
	}
}
