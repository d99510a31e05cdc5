package daemon

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/state"
)

// recover prepares for another pass after an error: a state whose last commit
// is in doubt is opened afresh (I6), a damaged one set aside, a server that
// failed left alone for a while.
func (a *account) recover(ctx context.Context, cause error, tries int) error {
	if errors.Is(cause, pass.ErrJournal) {
		return a.reopen(cause)
	}
	// Full jitter, so that the accounts of one server do not come back at once.
	wait := a.daemon.Jitter(time.Second << tries)
	if asked := mail.SuggestedBackoff(cause.Error()); asked > 0 {
		wait += min(asked, suggestedMost)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-a.with.stopping:
		return pass.ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reopen opens a state afresh whose last commit is in doubt (I6), after setting
// a damaged one aside.
func (a *account) reopen(cause error) error {
	if err := a.store.Close(); err != nil {
		a.daemon.Logger.Warn("state did not close cleanly", "account", a.Name, "error", err)
	}
	if errors.Is(cause, state.ErrDamaged) {
		aside, err := state.Quarantine(StatePath(a.daemon.Config.StateDir, a.Name), cause.Error())
		if err != nil {
			return err
		}
		a.daemon.Metrics.StateQuarantined()
		a.daemon.Logger.Warn("damaged state file set aside", "account", a.Name, "kept_as", aside, "error", cause)
	}
	return a.openState()
}

// worthRetrying tells whether time alone may mend an error.
func worthRetrying(err error) bool {
	var far *remote.Error
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, pass.ErrOverQuota), errors.Is(err, pass.ErrSameMailbox), errors.Is(err, errOtherServer), errors.Is(err, errOneMailbox), errors.Is(err, errOneLogIn), errors.Is(err, pass.ErrRuleChanged):
		return false
	case errors.As(err, &far):
		switch far.Class {
		case remote.ClassAuth, remote.ClassCertificate, remote.ClassTLS, remote.ClassDNS:
			return false
		}
	}
	return true
}
