package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/state"
)

// AccountHold is something held, with its account.
type AccountHold struct {
	Account string
	mail.Hold
}

// Name is how the operator names the hold: ACCOUNT/ID.
func (h AccountHold) Name() string { return h.Account + "/" + h.ID() }

// Holds returns what is held in every account.
func (d *Daemon) Holds() ([]AccountHold, error) {
	var all []AccountHold
	for _, a := range d.Config.Accounts {
		err := d.withState(a, func(store *state.Store) error {
			holds, err := store.Holds()
			for _, h := range holds {
				all = append(all, AccountHold{a.Name, h})
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", a.Name, err)
		}
	}
	return all, nil
}

// Retry has the next pass try what is held again. It returns how many holds
// the names stand for.
func (d *Daemon) Retry(names []string) (int, error) {
	return d.changeHolds(byName(names), names, func(h *mail.Hold) {
		h.Retry, h.Skipped, h.Because, h.SkippedAt = true, false, "", time.Time{}
	})
}

// Skip records the operator's word that what is held is left out, and why.
func (d *Daemon) Skip(names []string, because string) (int, error) {
	return d.changeHolds(byName(names), names, skip(because))
}

// SkipReason is Skip for everything that is held for one reason.
func (d *Daemon) SkipReason(reason mail.Reason, because string) (int, error) {
	return d.changeHolds(func(h AccountHold) bool { return h.Reason == reason && !h.Skipped }, nil, skip(because))
}

func skip(because string) func(*mail.Hold) {
	return func(h *mail.Hold) {
		h.Retry, h.Skipped, h.Because, h.SkippedAt = false, true, because, time.Now().UTC()
	}
}

func byName(names []string) func(AccountHold) bool {
	wanted := make(map[string]bool, len(names))
	for _, n := range names {
		wanted[n] = true
	}
	return func(h AccountHold) bool { return wanted[h.Name()] }
}

// changeHolds changes the holds that are wanted. Names that stand for nothing
// are an error, and then nothing is changed.
func (d *Daemon) changeHolds(want func(AccountHold) bool, names []string, change func(*mail.Hold)) (int, error) {
	all, err := d.Holds()
	if err != nil {
		return 0, err
	}
	known := make(map[string]bool, len(all))
	chosen := make(map[string][]mail.Hold)
	n := 0
	for _, h := range all {
		known[h.Name()] = true
		if want(h) {
			change(&h.Hold)
			chosen[h.Account] = append(chosen[h.Account], h.Hold)
			n++
		}
	}
	var unknown []string
	for _, name := range names {
		if !known[name] {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return 0, fmt.Errorf("nothing is held as %s; 'imapsyncd hold list' shows the names", strings.Join(unknown, ", "))
	}
	for _, a := range d.Config.Accounts {
		if len(chosen[a.Name]) == 0 {
			continue
		}
		err := d.withState(a, func(store *state.Store) error { return store.Commit(mail.Change{Holds: chosen[a.Name]}) })
		if err != nil {
			return 0, fmt.Errorf("account %s: %w", a.Name, err)
		}
	}
	return n, nil
}

// withState opens the state of an account for a moment. An account that has
// none yet is passed over.
func (d *Daemon) withState(a config.Account, use func(*state.Store) error) (err error) {
	path := StatePath(d.Config.StateDir, a.Name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	store, err := state.Open(path, d.stateOptions(a))
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return use(store)
}
