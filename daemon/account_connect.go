package daemon

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/metrics"
)

// openSource opens a connection to the source: for one who borrows, where the one that was
// lent has ended and there is room for another.
func (a *account) openSource(ctx context.Context) (*remote.Conn, error) {
	if a.with.borrows && !a.room.widen(sourceNeed(a.Account, sourceConnections)) {
		return nil, errLentEnded
	}
	a.with.borrows = false
	return a.opener(remote.SideSource, a.Source)(ctx)
}

var errLentEnded = errors.New("the connection that listens has ended, and max_connections of the old server leave no room for another now: the next pass tries again")

// welcomed waits until a log-in has worked: a password that is wrong is not to be shown
// several times at once.
func (a *account) welcomed(ctx context.Context) error {
	select {
	case <-a.welcome:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// first notes when a log-in has worked for the first time.
func (a *account) first(open func(context.Context) (*remote.Conn, error)) func(context.Context) (*remote.Conn, error) {
	welcome := sync.OnceFunc(func() { close(a.welcome) })
	return func(ctx context.Context) (*remote.Conn, error) {
		conn, err := open(ctx)
		if err == nil {
			welcome()
		}
		return conn, err
	}
}

func sourceNeed(a config.Account, connections int) need {
	return needOf(a.Source, "source "+a.Name, connections)
}

func destinationNeed(a config.Account, connections int) need {
	return needOf(a.Destination, "destination "+a.Name, connections)
}

func needOf(s config.Server, account string, connections int) need {
	return need{
		address: addressOf(s), account: account,
		connections: min(connections, s.MaxConnectionsPerAccount),
		limit:       s.MaxConnections,
		perAccount:  s.MaxConnectionsPerAccount,
	}
}

// addressOf names a server.
func addressOf(s config.Server) string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// beside opens a further lane, where there is room.
func (a *account) beside(ctx context.Context) (pass.Lane, error) {
	room, ok := a.daemon.slots.tryLane(sourceNeed(a.Account, 1), destinationNeed(a.Account, 1))
	if !ok {
		return pass.Lane{}, errNoRoom
	}
	logger := a.daemon.Logger.With("account", a.Name)
	source := remote.NewSource(remote.SourceOptions{Open: a.opener(remote.SideSource, a.Source), Logger: logger})
	destination := remote.NewDestination(remote.DestinationOptions{
		Open: a.with.connections.opener(remote.SideDestination, a.Destination, metrics.Busy, a.welcomed), Trust: &a.trust, Logger: logger,
	})
	lane := pass.Lane{Source: source, Destination: destination, Yield: room.yield, Close: func() {
		a.lanes.Go(func() {
			closeBoth(source, destination)
			room.release()
		})
	}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-room.yield:
			cancel()
		case <-ctx.Done():
		}
	}()
	opened := make(chan error, 1)
	go func() { opened <- source.Connect(ctx) }()
	if err := errors.Join(destination.Connect(ctx), <-opened); err != nil {
		lane.Close()
		return pass.Lane{}, err
	}
	if a.late != nil {
		lane.Source = lateSource{source, a.late}
	}
	return lane, nil
}

var errNoRoom = errors.New("max_connections or max_connections_per_account are in use")

func (a *account) opener(side remote.Side, s config.Server) func(context.Context) (*remote.Conn, error) {
	return a.with.connections.opener(side, s, metrics.Busy, nil)
}
