package daemon

import (
	"fmt"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/state"
)

// Known is what the state directory alone tells: what has been copied and what
// is held, not what is new.
func (d *Daemon) Known() (web.Status, error) {
	now := time.Now()
	s := web.Status{Started: now, Now: now}
	for _, a := range d.Config.Accounts {
		known := web.AccountStatus{Name: a.Name, Phase: mail.PhaseSeeding, Health: mail.HealthOK}
		err := d.withState(a, func(store *state.Store) error {
			pairs, err := store.Pairs()
			if err != nil {
				return err
			}
			for _, pair := range pairs {
				for receipt, err := range store.Receipts(pair.ID) {
					if err != nil {
						return err
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
			return err
		})
		if err != nil {
			return s, fmt.Errorf("account %s: %w", a.Name, err)
		}
		s.Accounts = append(s.Accounts, known)
	}
	return s, nil
}
