package daemon

import (
	"errors"

	"github.com/imapsyncd/imapsyncd/state"
)

// cool closes connections and state.
func (f *follower) cool() {
	f.storeMu.Lock()
	defer f.storeMu.Unlock()
	if f.work == nil {
		return
	}
	if err := f.work.close(); err != nil {
		f.logger.Debug("closing", "error", err)
	}
	f.work = nil
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

// withStore lends the account's state for a moment, open or not.
func (f *follower) withStore(use func(*state.Store) error) error {
	f.storeMu.Lock()
	defer f.storeMu.Unlock()
	if f.work != nil {
		return use(f.work.store)
	}
	return f.daemon.withState(f.account, use)
}
