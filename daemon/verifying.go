package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

// verifyLook is how often it is looked whether an account is due.
const verifyLook = 2 * time.Second

// verifying compares both sides of every account when that is due, one account
// after the other, so that it never weighs on the servers.
func (m *migration) verifying(ctx context.Context) {
	if m.running.Unverified {
		return
	}
	pace := verify.PerSecond(scheduledPace)
	ticker := time.NewTicker(verifyLook)
	defer ticker.Stop()
	for {
		for _, f := range m.running.all() {
			if ctx.Err() != nil {
				return
			}
			if m.due(f.account.Name) {
				if err := m.verify(ctx, f.account.Name, pace); err != nil && ctx.Err() == nil {
					m.running.Logger.Warn("verification failed", "account", f.account.Name, "error", err, "again_in", retryAfter)
				}
				m.look()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// due tells whether an account is to be verified now: after its first complete
// pass, when verify_every is over, and when nothing but that stands between its
// domain and the stop.
func (m *migration) due(account string) bool {
	r := m.running
	known, _ := r.record.knownAccount(account)
	now := r.now()
	policy := policyOf(r.record.policy())
	regular := known.Quick.Began.IsZero() || !known.Contents.Began.After(known.FirstCopy) || now.Sub(known.Quick.Began) >= policy.VerifyEvery
	if !regular && known.Quick.Began.After(known.LastCopy) {
		return false // all of it has been compared: most of thousands, whenever it is asked
	}
	f, err := r.follower(account)
	if err != nil || !known.Following.Happened() || known.Skipped.Happened() || r.record.phase(account) == mail.PhaseFinished {
		return false
	}
	m.mu.Lock()
	notBefore := m.retry[account]
	m.mu.Unlock()
	if s := f.Status(); now.Before(notBefore) || s.Health == mail.HealthPaused || s.Health == mail.HealthAuth || s.Health == mail.HealthStopped {
		return false
	}
	return regular || r.record.draining(account) && m.onlyUnverified(known.Domains)
}

// onlyUnverified tells whether one of the domains could stop if it were
// verified.
func (m *migration) onlyUnverified(domains []string) bool {
	for _, name := range domains {
		d, there := m.running.record.domainConfig(name)
		if !there {
			continue
		}
		only := true
		for _, f := range m.facts(d).Rule(cutover.SafeToStop).Reasons {
			only = only && (!f.Blocking || f.Reason == cutover.ReasonUnverified || f.Reason == cutover.ReasonUnverifiedBody)
		}
		if only {
			return true
		}
	}
	return false
}

// verify compares both sides of an account, with a sample of the contents, and
// remembers the outcome.
func (m *migration) verify(ctx context.Context, account string, pace func(context.Context, int64) error) error {
	_, err := m.running.operator().compareScheduled(ctx, account, pace)
	if err != nil {
		m.mu.Lock()
		m.retry[account] = m.running.now().Add(retryAfter)
		m.mu.Unlock()
	}
	return err
}

// verified remembers what a comparison that began at a time has found.
func (d *Daemon) verified(account string, began time.Time, report verify.Report) error {
	differences, damaged := 0, 0
	found := make(map[string]int64)
	for class, n := range report.Counts {
		if n > 0 {
			found[string(class)] = n
		}
		switch {
		case class == verify.Damaged:
			damaged += int(n)
		case class.Wrong():
			// What is held is a reason of its own, and what is on its way too.
			differences += int(n)
		}
	}
	d.record.mu.Lock()
	copied := d.record.copied[account]
	d.record.mu.Unlock()
	err := d.record.account(account, func(m *cutover.AccountMemory) []cutover.Change {
		m.Quick = cutover.Verified{Began: began, Differences: differences, Found: found}
		if report.Mode != verify.Quick {
			m.Contents = cutover.Verified{Began: began, Differences: damaged}
		}
		if copied.After(began) {
			m.LastCopy = copied // which it has not seen
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remember the verification: %w", err)
	}
	return nil
}
