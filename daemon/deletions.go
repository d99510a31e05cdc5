package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/state"
)

// Deletion is what has vanished from one source mailbox, and is too much for
// the copies to be removed without the operator's word.
type Deletion struct {
	Account     string
	Pair        mail.PairID
	Mailbox     string // display name on the source
	Destination string // display name of the mailbox that its copies were put into
	Messages    int
	Since       time.Time // when the first of them were kept back
	// Apply tells that the word has been given and the copies are about to be
	// removed; else they wait for it.
	Apply bool
}

// Name is how the operator names what is deleted: ACCOUNT/PAIR.
func (d Deletion) Name() string { return fmt.Sprintf("%s/%d", d.Account, d.Pair) }

// Deletions implements [Operator].
func (d *desk) Deletions(ctx context.Context, accounts []string) ([]Deletion, error) {
	chosen, err := d.named(accounts)
	if err != nil {
		return nil, err
	}
	var all []Deletion
	for _, a := range chosen {
		err := d.read(ctx, a, func(store *state.Store) error {
			list, err := deletionsOf(a.Name, store)
			all = append(all, list...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", a.Name, err)
		}
	}
	return all, nil
}

// deletionsOf returns what waits in one account, by pair, what waits for the
// word before what has it.
func deletionsOf(account string, store *state.Store) (list []Deletion, err error) {
	absences, err := store.Absences()
	if err != nil {
		return nil, err
	}
	pairs, err := store.Pairs()
	if err != nil {
		return nil, err
	}
	for _, a := range absences {
		for _, apply := range []bool{false, true} {
			d := Deletion{Account: account, Pair: a.Pair, Apply: apply}
			for _, m := range a.Missing {
				if !m.Guarded || m.Apply != apply {
					continue
				}
				d.Messages += len(m.UIDs)
				if d.Since.IsZero() || m.Since.Before(d.Since) {
					d.Since = m.Since
				}
			}
			if i := slices.IndexFunc(pairs, func(p mail.Pair) bool { return p.ID == a.Pair }); i >= 0 {
				d.Mailbox, d.Destination = pairs[i].SourcePath, pairs[i].DestinationPath
			}
			if d.Messages > 0 {
				list = append(list, d)
			}
		}
	}
	return list, nil
}

// ApplyDeletions implements [Operator].
func (d *desk) ApplyDeletions(ctx context.Context, accounts, names []string) (int, error) {
	return d.decide(ctx, accounts, names, true)
}

// KeepDeleted implements [Operator].
func (d *desk) KeepDeleted(ctx context.Context, accounts, names []string) (int, error) {
	return d.decide(ctx, accounts, names, false)
}

// decide records the operator's word on what waits for it, and tells how many
// messages it is about. The receipts stay in either case, and say that their
// messages are gone. Names that stand for nothing are an error, and then
// nothing is changed.
func (d *desk) decide(ctx context.Context, accounts, names []string, apply bool) (int, error) {
	all, err := d.Deletions(ctx, accounts)
	if err != nil {
		return 0, err
	}
	concerned := make(map[string]bool) // accounts
	unknown := slices.Clone(names)
	wanted := func(d Deletion) bool { return len(names) == 0 || slices.Contains(names, d.Name()) }
	for _, d := range all {
		concerned[d.Account] = concerned[d.Account] || wanted(d)
		unknown = slices.DeleteFunc(unknown, func(name string) bool { return name == d.Name() })
	}
	if len(unknown) > 0 {
		return 0, fmt.Errorf("nothing waits as %s; 'imapsyncd deletions list' shows the names", strings.Join(unknown, ", "))
	}
	messages := 0
	for _, a := range d.accounts {
		if !concerned[a.Name] {
			continue
		}
		err := d.change(ctx, a, func(store *state.Store) error {
			absences, err := store.Absences() // a pass may have changed them since
			if err != nil {
				return err
			}
			change, n := mail.Change{}, 0
			for _, absence := range absences {
				if wanted(Deletion{Account: a.Name, Pair: absence.Pair}) {
					n += settle(&absence, apply)
					change.Absences = append(change.Absences, absence)
				}
			}
			if err := store.Commit(change); err != nil {
				return err
			}
			messages += n
			return nil
		})
		if err != nil {
			return messages, fmt.Errorf("account %s: %w", a.Name, err)
		}
	}
	return messages, nil
}

// settle applies the operator's word to what waits for it of one pair, and
// tells how many messages that are.
func settle(a *mail.Absence, apply bool) (messages int) {
	var missing []mail.Missing
	for _, m := range a.Missing {
		switch {
		case !m.Guarded, apply && m.Apply:
			missing = append(missing, m)
			continue
		case apply:
			m.Apply = true
			missing = append(missing, m)
		}
		messages += len(m.UIDs)
	}
	a.Missing = missing
	return messages
}
