package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/state"
)

// Known is what the state directory alone tells: what has been copied and what
// is held, not what is new. It takes no lock that a daemon about to start would
// miss.
func Known(c *config.Config) (web.Status, error) {
	now := time.Now()
	s := web.Status{Started: now, Now: now}
	paused, err := readPaused(c.StateDir)
	if err != nil {
		return s, err
	}
	record, err := knownRecord(c)
	if err != nil {
		return s, err
	}
	for _, a := range c.Accounts {
		known, err := knownOf(StatePath(c.StateDir, a.Name))
		if err != nil {
			return s, fmt.Errorf("account %s: %w", a.Name, err)
		}
		m, _ := record.knownAccount(a.Name)
		known.Domains, known.Phase, known.Skipped = a.Domains, record.phase(a.Name), m.Skipped.Why
		if known.Name = a.Name; paused.has(a.Name) {
			known.Health = mail.HealthPaused
		}
		s.Accounts = append(s.Accounts, known)
	}
	s.Domains = record.statusWithoutDaemon(now)
	return s, nil
}

// knownRecord is the record as it is; without one nothing is known.
func knownRecord(c *config.Config) (*record, error) {
	entries, err := state.ReadLedger(recordPath(c.StateDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	r, err := readRecord(entries)
	if err == nil {
		r.configured, r.rules = domainsOf(c), c.Cutover
	}
	return r, err
}

func knownOf(path string) (known web.AccountStatus, err error) {
	known = web.AccountStatus{Phase: mail.PhaseSeeding, Health: mail.HealthOK}
	store, err := state.Open(path, state.Options{ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return known, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	pairs, err := store.Pairs()
	if err != nil {
		return known, err
	}
	for _, pair := range pairs {
		for receipt, err := range store.Receipts(pair.ID) {
			if err != nil {
				return known, err
			}
			if receipt.Source != 0 {
				known.Messages.Source++
			}
		}
	}
	holds, err := store.Holds()
	for _, h := range holds {
		if !h.Skipped {
			known.Messages.Held++
			known.Messages.Source++
			known.Health = mail.HealthHeld
		}
	}
	return known, err
}
