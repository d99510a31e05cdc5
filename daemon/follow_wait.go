package daemon

import (
	"errors"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
)

const (
	// A server that is away is looked for more often than one that asks for
	// patience: what arrives meanwhile is to be carried soon after its return.
	backoffLeast = time.Second
	backoffAway  = 10 * time.Second
	backoffMost  = 30 * time.Second
	// suggestedMost is how long a server is left alone at most that asks for it.
	suggestedMost = time.Hour
	// authWait is the pause after a refused log-in, authLater that after the next:
	// servers lock accounts, and delay all who come from here.
	authWait  = 10 * time.Minute
	authLater = 30 * time.Minute
	// spentWait is how often daily_bytes is looked at while it is used up.
	spentWait = 10 * time.Minute
	// decisionWait is the pause after an error that only the operator can mend.
	decisionWait = 24 * time.Hour
)

// judge says what an error makes of the account and when to try again.
func (f *follower) judge(err error) (mail.Health, time.Duration) {
	var far *remote.Error
	var spent *spentError
	var away *awayError
	switch {
	case errors.As(err, &away):
		f.back = away.back
		return mail.HealthBackoff, probeLost + f.daemon.Jitter(probeLost)
	case errors.As(err, &spent):
		// A reload may allow more sooner.
		return mail.HealthBackoff, max(time.Second, min(spent.until.Sub(f.daemon.now()), spentWait)) + f.daemon.Jitter(time.Minute)
	case errors.Is(err, pass.ErrOverQuota):
		return mail.HealthQuota, authWait
	case errors.Is(err, pass.ErrSameMailbox), errors.Is(err, errOtherServer), errors.Is(err, errOneLogIn), errors.Is(err, pass.ErrRuleChanged):
		return mail.HealthStopped, decisionWait
	case errors.Is(err, errOneMailbox):
		return mail.HealthStopped, authWait // the other account may be given another log-in
	case errors.As(err, &far) && needsOperator(far):
		if f.Status().Health == mail.HealthAuth {
			return mail.HealthAuth, authLater
		}
		return mail.HealthAuth, authWait
	}
	return mail.HealthBackoff, f.daemon.backoff(f.failures, err)
}

// mayNotSay tells whether enough accounts have said of the server that it fails
// them, and if not, how many others could not. What the operator has to mend of
// an account is always said.
func (f *follower) mayNotSay(err error) (hushed bool, unsaid int) {
	var far *remote.Error
	switch {
	case errors.As(err, new(*awayError)):
		return true, 0 // it is said of the server
	case !errors.As(err, &far) || far.Class == remote.ClassAuth:
		return false, 0
	}
	s := f.account.Destination
	if far.Side == remote.SideSource {
		s = f.account.Source
	}
	return f.daemon.slots.mayNotSay(addressOf(s))
}

// needsOperator tells whether trying soon again does harm or is in vain.
func needsOperator(err *remote.Error) bool {
	return err.Class == remote.ClassAuth || err.Class == remote.ClassCertificate
}

// backoff grows with the failures in a row, with full jitter, so that the
// accounts of a server that comes back do not come at once. A server that says how
// long it wants to be left alone is.
func (d *Daemon) backoff(failures int, err error) time.Duration {
	if asked := mail.SuggestedBackoff(err.Error()); asked > 0 {
		return min(asked, suggestedMost) + d.Jitter(backoffLeast)
	}
	most := backoffAway
	var far *remote.Error
	if errors.As(err, &far) && (far.Class == remote.ClassLimit || far.Class == remote.ClassUnavailable) {
		most = backoffMost
	}
	ceiling := min(backoffLeast<<min(failures, 10), most)
	return backoffLeast/2 + d.Jitter(ceiling)
}
