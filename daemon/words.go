package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// saidSo is the reason of what the operator orders.
const saidSo = "the operator said so"

// Switched implements [Operator].
func (d *desk) Switched(ctx context.Context, domain string) ([]cutover.Change, error) {
	return d.say(ctx, domain, func(of cutover.Domain, m cutover.Memory, now time.Time) (cutover.Memory, []cutover.Change, error) {
		return m.Switch(of, now)
	})
}

// Start implements [Operator].
func (d *desk) Start(ctx context.Context, domain string, accounts []string) ([]cutover.Change, error) {
	if len(accounts) == 0 {
		return d.say(ctx, domain, func(of cutover.Domain, m cutover.Memory, now time.Time) (cutover.Memory, []cutover.Change, error) {
			return m.Start(of, saidSo, now)
		})
	}
	return d.sayAlone(ctx, domain, accounts, func(name string, m *cutover.AccountMemory, now time.Time) ([]cutover.Change, error) {
		if m.Handover.Happened() {
			return nil, fmt.Errorf("account %s has been handed over already", name)
		}
		m.Handover, m.Lost = cutover.Event{At: now, Why: saidSo}, cutover.Event{}
		return []cutover.Change{{At: now, Domain: domain, Account: name, What: "handed over", Why: saidSo}}, nil
	})
}

// Abort implements [Operator].
func (d *desk) Abort(ctx context.Context, domain string, accounts []string) ([]cutover.Change, error) {
	if len(accounts) > 0 {
		if m := d.record.knownDomain(domain); m.Handover.Happened() {
			return nil, fmt.Errorf("%s as a whole has been handed over: single accounts of it cannot be taken back; 'imapsyncd cutover abort %[1]s' takes back all", domain)
		}
		return d.sayAlone(ctx, domain, accounts, func(name string, m *cutover.AccountMemory, now time.Time) ([]cutover.Change, error) {
			if !m.Handover.Happened() && !m.Lost.Happened() {
				return nil, fmt.Errorf("account %s has not been handed over: there is nothing to take back", name)
			}
			m.Handover, m.Lost, m.TakenBack = cutover.Event{}, cutover.Event{}, now
			return []cutover.Change{{At: now, Domain: domain, Account: name, What: "aborted", Why: saidSo}}, nil
		})
	}
	alone := slices.ContainsFunc(d.record.accountsOf(domain), func(name string) bool {
		m, _ := d.record.knownAccount(name)
		return m.Handover.Happened() || m.Lost.Happened()
	})
	return d.say(ctx, domain, func(of cutover.Domain, m cutover.Memory, now time.Time) (cutover.Memory, []cutover.Change, error) {
		return m.Abort(of, alone, now)
	})
}

// say takes in a word about a whole domain. When it returns, the word is in
// force.
func (d *desk) say(ctx context.Context, domain string, word func(cutover.Domain, cutover.Memory, time.Time) (cutover.Memory, []cutover.Change, error)) ([]cutover.Change, error) {
	of, err := d.domainNamed(domain)
	if err != nil {
		return nil, err
	}
	var said []cutover.Change
	err = d.record.domain(domain, func(m cutover.Memory) (cutover.Memory, []cutover.Change, error) {
		m, changes, err := word(of, m, d.now())
		said = changes
		return m, changes, err
	})
	if err != nil {
		return nil, err
	}
	more, err := d.settleAccounts(domain)
	said = append(said, more...)
	if err != nil {
		return said, err
	}
	d.tell(said)
	return said, d.turn(ctx, d.record.accountsOf(domain))
}

// settleAccounts lets what is said of a domain come true for its accounts: where
// the whole is not handed over, and not because its record was lost, no single
// one is after an abort; and what was lost is known again.
func (d *Daemon) settleAccounts(domain string) (said []cutover.Change, err error) {
	m, now := d.record.knownDomain(domain), d.now()
	if m.Lost.Happened() {
		return nil, nil
	}
	for _, name := range d.record.accountsOf(domain) {
		if err := d.record.account(name, func(a *cutover.AccountMemory) []cutover.Change {
			a.Lost = cutover.Event{}
			if !a.Handover.Happened() || m.Handover.Happened() || !a.Handover.At.Before(m.AbortedLast) {
				return nil
			}
			a.Handover = cutover.Event{}
			c := cutover.Change{At: now, Domain: domain, Account: name, What: "aborted", Why: "its domain was"}
			said = append(said, c)
			return []cutover.Change{c}
		}); err != nil {
			return said, err
		}
	}
	return said, nil
}

// sayAlone takes in a word about single accounts of a domain.
func (d *desk) sayAlone(ctx context.Context, domain string, accounts []string, word func(string, *cutover.AccountMemory, time.Time) ([]cutover.Change, error)) ([]cutover.Change, error) {
	of, err := d.domainNamed(domain)
	if err != nil {
		return nil, err
	}
	now := d.now()
	for _, name := range accounts { // all or none
		known, there := d.record.knownAccount(name)
		if !there || !slices.Contains(known.Domains, domain) {
			return nil, fmt.Errorf("account %q does not belong to %s", name, domain)
		}
		if d.record.phase(name) == mail.PhaseFinished {
			return nil, fmt.Errorf("account %s is finished: nothing is carried any more", name)
		}
		m := *known
		if _, err := word(name, &m, now); err != nil {
			return nil, err
		}
	}
	var said []cutover.Change
	for _, name := range accounts {
		if err := d.record.account(name, func(m *cutover.AccountMemory) []cutover.Change {
			changes, _ := word(name, m, now) // it has been tried
			said = append(said, changes...)
			return changes
		}); err != nil {
			return said, err
		}
	}
	var all []*cutover.AccountMemory
	for _, name := range d.record.accountsOf(domain) {
		if m, _ := d.record.knownAccount(name); !m.Removed.Happened() {
			all = append(all, m)
		}
	}
	err = d.record.domain(domain, func(m cutover.Memory) (cutover.Memory, []cutover.Change, error) {
		m, changes := m.Handed(of, all, now)
		said = append(said, changes...)
		return m, changes, nil
	})
	if err != nil {
		return said, err
	}
	d.tell(said)
	return said, d.turn(ctx, accounts)
}

// Finish implements [Operator].
func (d *desk) Finish(ctx context.Context, domain string) ([]cutover.Change, error) {
	of, err := d.domainNamed(domain)
	if err != nil {
		return nil, err
	}
	if d.facts == nil {
		return nil, errors.New("whether the old server may go is known only while the daemon runs: start it first")
	}
	facts := d.facts(of)
	if facts.Memory.Finished.Happened() {
		return nil, fmt.Errorf("%s is finished already", domain)
	}
	if ruling := facts.Rule(cutover.SafeToStop); !ruling.OK {
		text := fmt.Sprintf("%s is not safe to stop:", domain)
		for _, f := range ruling.Reasons {
			if f.Blocking {
				text += fmt.Sprintf("\n  %s: %s", f.Reason, f.Text)
			}
		}
		return nil, errors.New(text)
	}
	return d.say(ctx, domain, func(_ cutover.Domain, m cutover.Memory, now time.Time) (cutover.Memory, []cutover.Change, error) {
		m.Finish = cutover.Event{At: now, Why: saidSo}
		return m, []cutover.Change{{At: now, Domain: domain, What: "may finish", Why: saidSo}}, nil
	})
}

// Ack implements [Operator].
func (d *desk) Ack(ctx context.Context, domain, host, because string) ([]cutover.Change, error) {
	return d.say(ctx, domain, func(of cutover.Domain, m cutover.Memory, now time.Time) (cutover.Memory, []cutover.Change, error) {
		return m.Ack(of, host, because, now)
	})
}

// SkipAccount implements [Operator].
func (d *desk) SkipAccount(_ context.Context, account, because string) error {
	if _, known := d.record.knownAccount(account); !known {
		return fmt.Errorf("account %q is not known: it is neither in the configuration nor was it", account)
	}
	now := d.now()
	err := d.record.account(account, func(m *cutover.AccountMemory) []cutover.Change {
		m.Skipped = cutover.Event{At: now, Why: because}
		return []cutover.Change{{At: now, Account: account, What: "skipped", Why: because}}
	})
	if err == nil {
		d.tell(nil)
	}
	return err
}

func (d *desk) domainNamed(name string) (cutover.Domain, error) {
	if of, known := d.record.domainConfig(name); known {
		return of, nil
	}
	var names []string
	for _, of := range d.record.allDomains() {
		names = append(names, of.Name)
	}
	return cutover.Domain{}, fmt.Errorf("there is no domain %q; the domains are %s", name, strings.Join(names, ", "))
}

// turn has the followers of accounts go by what the record says now.
func (d *desk) turn(ctx context.Context, accounts []string) error {
	if d.turned == nil {
		return nil // nobody follows them
	}
	return d.turned(ctx, accounts)
}

// tell tells who else is to know what has changed.
func (d *desk) tell(changes []cutover.Change) {
	if d.told != nil {
		d.told(changes)
	}
}
