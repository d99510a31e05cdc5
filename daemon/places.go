package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
	"github.com/imapsyncd/imapsyncd/state"
)

// movedBy are the pairs of a state that the rules of an account have elsewhere
// than those of the first copy did (I11).
func movedBy(a config.Account, store *state.Store) (moved []plan.Moved, err error) {
	pairs, err := store.Pairs()
	rules := rulesOf(a)
	for _, pair := range pairs {
		if m, changed := rules.Changed(pair); changed {
			moved = append(moved, m)
		}
	}
	return moved, err
}

// refuseMoves refuses accounts whose mailboxes would go elsewhere than before
// without the operator's word.
func (r *running) refuseMoves(changed []config.Account) error {
	var errs []error
	for _, a := range changed {
		f, err := r.follower(a.Name)
		if err != nil {
			return err
		}
		if err := f.withStore(func(store *state.Store) error {
			moved, err := movedBy(a, store)
			if err == nil && len(moved) > 0 {
				err = fmt.Errorf("account %s: %w", a.Name, pass.RuleChanged(a.Name, moved))
			}
			return err
		}); err != nil {
			errs = append(errs, err)
		}
	}
	const most = 5
	if more := len(errs) - most; more > 0 {
		errs = append(errs[:most], fmt.Errorf("and %d more accounts", more))
	}
	return errors.Join(errs...)
}

// newest are the accounts of the configuration file, which may have been refused
// for the places of their mailboxes.
func (r *running) newest() ([]config.Account, error) {
	if r.Load == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.config.Accounts, nil
	}
	c, err := r.Load()
	if err != nil {
		return nil, err
	}
	return c.Accounts, nil
}

// placed has a word on the places of mailboxes recorded, and the configuration
// that waited for it taken in force.
func (r *running) placed(ctx context.Context, accounts []string, record func(context.Context, []string) (int, error)) (int, error) {
	n, err := record(ctx, accounts)
	if err != nil || r.Load == nil {
		return n, err
	}
	return n, r.Reload(ctx, false)
}

// MoveMailboxes implements [Operator].
func (d *desk) MoveMailboxes(ctx context.Context, accounts []string) (int, error) {
	return d.place(ctx, accounts, true)
}

// KeepMailboxes implements [Operator].
func (d *desk) KeepMailboxes(ctx context.Context, accounts []string) (int, error) {
	return d.place(ctx, accounts, false)
}

// place records the operator's word on mailboxes that the rules put elsewhere now.
func (d *desk) place(ctx context.Context, accounts []string, move bool) (int, error) {
	newest := *d
	if d.newest != nil {
		var err error
		if newest.accounts, err = d.newest(); err != nil {
			return 0, err
		}
	}
	chosen, err := newest.named(accounts)
	if err != nil {
		return 0, err
	}
	total := 0
	var names []string
	for _, a := range chosen {
		if !slices.ContainsFunc(d.accounts, func(known config.Account) bool { return known.Name == a.Name }) {
			continue // it is new
		}
		n := 0
		err := d.change(ctx, a, func(store *state.Store) error {
			pairs, err := store.Pairs()
			if err != nil {
				return err
			}
			var change mail.Change
			rules := rulesOf(a)
			for _, pair := range pairs {
				if _, changed := rules.Changed(pair); changed || pair.Moves && !move {
					pair.Rule, pair.Moves = rules.Place(pair.SourcePath), move
					change.Pairs = append(change.Pairs, pair)
				}
			}
			if n = len(change.Pairs); n == 0 {
				return nil
			}
			if move && d.record.draining(a.Name) {
				return errors.New("its users work on the new server, where nothing is moved any more: take the rule back, or keep the mailboxes where they are")
			}
			return store.Commit(change)
		})
		if err != nil {
			return total, fmt.Errorf("account %s: %w", a.Name, err)
		}
		if n == 0 {
			continue
		}
		total += n
		names = append(names, a.Name)
		what := "what was copied stays where it is, whatever [mailboxes] says now"
		if move {
			what = "what was copied moves to where [mailboxes] puts it now"
		}
		now := d.now()
		if err := d.record.account(a.Name, func(*cutover.AccountMemory) []cutover.Change {
			return []cutover.Change{{At: now, Account: a.Name, What: fmt.Sprintf("%s (mailboxes: %d)", what, n), Why: saidSo}}
		}); err != nil {
			return total, err
		}
	}
	return total, d.turn(ctx, names)
}
