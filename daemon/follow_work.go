package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/state"
)

// brokenMost is how many connections in a row may break while they are lent, until none is
// any more: there are servers that do not bear everything on one that listens.
const brokenMost = 3

// mayBorrow tells whether the mail of a pass is read over the connection that listens: not
// that of a first copy, which takes long, nor what is to be compressed, nor after a pass
// that has failed, which may be what breaks it.
func (f *follower) mayBorrow(purpose purpose) bool {
	return purpose != forCopy && f.failures == 0 && f.broken < brokenMost &&
		f.account.Source.Compress != string(remote.CompressOn) && f.lender.Lends()
}

// enter opens what a pass needs, unless it is open, and borrows the connection that
// listens, until giveBack.
func (f *follower) enter(stopping context.Context, purpose purpose) (giveBack func(news bool), err error) {
	for {
		if f.work == nil {
			if err := f.open(stopping, purpose, f.mayBorrow(purpose)); err != nil {
				return nil, err
			}
		}
		if !f.work.with.borrows {
			return func(bool) {}, nil
		}
		// As before a connection is opened.
		if err := f.daemon.limits.allowance(remote.SideSource, f.account.Source, f.account.Name).spent(true); err != nil {
			return nil, err
		}
		if loan := f.lender.Borrow(stopping); loan != nil {
			source := f.work.source
			f.connections.lend(true)
			source.Use(loan)
			return func(news bool) {
				source.Leave(loan)
				f.connections.lend(false)
				if loan.Return(news) {
					f.broken = 0
				} else {
					f.broken++
				}
			}, nil
		}
		if err := stopping.Err(); err != nil {
			return nil, err
		}
		f.cool() // nobody listens any more: then over a connection of its own
	}
}

// open waits for room, and opens the state.
func (f *follower) open(stopping context.Context, purpose purpose, borrows bool) error {
	f.turned.Store(0) // for room
	work, err := f.daemon.enter(stopping, *f.account, accountOptions{
		connections: f.connections, observer: f.observer(), listed: f.listed, stopping: f.ending.Done(), arrivals: &f.arrivals, complaints: &f.complaints, foresight: &f.foresight, quota: f.quota,
		purpose: purpose, borrows: borrows,
	})
	f.turn()
	if err != nil {
		return err
	}
	f.storeMu.Lock()
	if err = work.openState(); err == nil {
		f.work = work
	}
	f.storeMu.Unlock()
	if err != nil {
		work.release()
	}
	return err
}

// cool closes state and connections. Who wants the state does not wait for the servers.
func (f *follower) cool() {
	f.due.cool = time.Time{}
	work := f.work
	if work == nil {
		return
	}
	f.storeMu.Lock()
	err := work.store.Close()
	f.work = nil
	f.storeMu.Unlock()
	if err := errors.Join(err, work.leave()); err != nil {
		f.logger.Debug("closing", "error", err)
	}
}

// reopen opens the state afresh after its commit has failed (I6). It returns
// the cause, with what went wrong now.
func (f *follower) reopen(cause error) error {
	f.storeMu.Lock()
	err := f.work.reopen(cause)
	f.storeMu.Unlock()
	if err != nil {
		f.cool()
	}
	return errors.Join(cause, err)
}

// errand is something to be done while no pass is running.
type errand struct {
	do   func() error
	done chan error
}

// Between lends the account's state while no pass is running. One that is
// running ends between two batches and is taken up again afterwards.
func (f *follower) Between(ctx context.Context, use func(*state.Store) error) error {
	return f.Instead(ctx, func() error { return f.withStore(use) })
}

// Turn returns once no pass is running that began before it was called: the
// next goes by what the record says of the account's phase.
func (f *follower) Turn(ctx context.Context) error {
	err := f.Instead(ctx, func() error { return nil })
	f.show(func(s *followerStatus) { s.Phase = f.daemon.record.phase(f.account.Name) })
	return err
}

// Instead does something while no pass is running.
func (f *follower) Instead(ctx context.Context, do func() error) error {
	e := errand{do, make(chan error, 1)}
	f.mu.Lock()
	if f.ending.Err() != nil {
		f.mu.Unlock()
		return pass.ErrStopped
	}
	f.errands = append(f.errands, e)
	if f.stopPass != nil {
		f.stopPass()
	}
	f.mu.Unlock()
	f.WakeUrgently()
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runErrands does what is to be done between two passes, or refuses it.
func (f *follower) runErrands(refuse error) {
	f.mu.Lock()
	errands := f.errands
	f.errands = nil
	f.mu.Unlock()
	for _, e := range errands {
		if refuse != nil {
			e.done <- refuse
		} else {
			e.done <- e.do()
		}
	}
}

// withStore lends the account's state for a moment, open or not.
func (f *follower) withStore(use func(*state.Store) error) error {
	f.storeMu.Lock()
	defer f.storeMu.Unlock()
	if f.work != nil {
		return use(f.work.store)
	}
	return f.daemon.withState(*f.account, use)
}

// inspect lends the account's state as it is, open or not.
func (f *follower) inspect(use func(*state.Store) error) error {
	f.storeMu.Lock()
	defer f.storeMu.Unlock()
	if f.work != nil {
		return use(f.work.store)
	}
	return f.daemon.inspect(*f.account, use)
}
