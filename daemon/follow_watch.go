package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/metrics"
)

// watch listens on the source for news, again and again, until the account is to end and
// while the server's connections allow it. It waits for days: what would take room on
// its stack is not inlined.
func (f *follower) watch(listening func()) {
	ctx := f.ending
	if !f.mayListen() {
		return // polled
	}
	ended := false // the last connection, over NOTIFY
	stepwise := false
	listened := false
	for failures := 0; ctx.Err() == nil; {
		if f.isRefused() { // one of two that try a log-in is enough
			f.rest(ctx, f.times().poll, nil)
			continue
		}
		room, sitting, err := f.seat(ctx)
		if err != nil {
			return
		}
		without := ended
		ended = false
		err = remote.Watch(sitting, remote.WatchOptions{
			Open: f.listener(), Namespaces: f.account.Source.Namespaces,
			Sweep: f.lookInterval, Jitter: f.daemon.Jitter,
			Listening: func() {
				failures = 0
				room.hears()
				f.show(func(s *followerStatus) { s.Watching = true })
				if listened {
					f.WakeUrgently() // for what arrived while nobody listened
				} else {
					f.Look() // the same, but for the first pass it is all that arrived
				}
				listened = true
				listening()
			},
			Hint:     f.Hint,
			Lender:   &f.lender,
			NoNotify: without, Stepwise: stepwise,
			Unnotified: func(why error, byIt bool) {
				ended = byIt
				f.unnotified(why)
			},
		})
		room.getUp()
		room.release()
		f.show(func(s *followerStatus) { s.Watching = false })
		if ctx.Err() != nil {
			return
		}
		f.Wake() // the poll has to take over
		if room.told() {
			continue // it is another's turn
		}
		failures++
		wait := f.daemon.backoff(failures, err)
		var far *remote.Error
		stepwise = stepwise || errors.As(err, &far) && far.Class == remote.ClassTimeout
		if errors.As(err, &far) && needsOperator(far) || errors.Is(err, errOtherServer) || errors.Is(err, errOneMailbox) || errors.Is(err, errOneLogIn) {
			wait = authWait
		}
		var away *awayError
		var back <-chan struct{}
		if errors.As(err, &away) {
			wait, back = probeLost+f.daemon.Jitter(probeLost), away.back
		}
		f.logger.Debug("watcher ended", "error", err, "again_in", wait)
		f.rest(ctx, wait, back)
	}
}

// rest waits for so long, or for a server that is back, and then a little.
func (f *follower) rest(ctx context.Context, d time.Duration, back <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return
	case <-ctx.Done():
		return
	case <-back:
	}
	f.rest(ctx, f.daemon.Jitter(returning), nil)
}

// isRefused tells whether a server refuses the log-in of the account.
//
//go:noinline
func (f *follower) isRefused() bool { return f.Status().Health == mail.HealthAuth }

//go:noinline
func (f *follower) mayListen() bool { return mayListen(*f.account) }

// seat waits until the account may listen.
//
//go:noinline
func (f *follower) seat(ctx context.Context) (*grant, context.Context, error) {
	return f.daemon.slots.watch(ctx, sourceNeed(*f.account, 1), f.lastNews)
}

// listener opens the connection by which the account is listened to.
//
//go:noinline
func (f *follower) listener() func(context.Context) (*remote.Conn, error) {
	return f.connections.opener(remote.SideSource, f.account.Source, metrics.Watching, nil)
}

// unnotified says, once for each server, that it does not do the NOTIFY which
// it offers.
func (f *follower) unnotified(why error) {
	address := addressOf(f.account.Source)
	if _, said := f.daemon.withoutNotify.LoadOrStore(address, true); !said {
		f.daemon.Logger.Info("mailboxes beside INBOX are only asked about every poll_interval: the old server does not do the NOTIFY that it offers", "server", address, "error", why)
	}
}
