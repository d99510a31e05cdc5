package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
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

// Holds implements [Operator].
func (d *desk) Holds(ctx context.Context) ([]AccountHold, error) {
	var all []AccountHold
	for _, a := range d.accounts {
		err := d.read(ctx, a, func(store *state.Store) error {
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

// Retry implements [Operator].
func (d *desk) Retry(ctx context.Context, names []string) (int, error) {
	return d.changeHolds(ctx, byName(names), names, func(h *mail.Hold) {
		h.Retry, h.Skipped, h.Because, h.SkippedAt = true, false, "", time.Time{}
	})
}

// Skip implements [Operator].
func (d *desk) Skip(ctx context.Context, names []string, because string) (int, error) {
	return d.changeHolds(ctx, byName(names), names, skip(because))
}

// SkipReason implements [Operator].
func (d *desk) SkipReason(ctx context.Context, reason mail.Reason, because string) (int, error) {
	return d.changeHolds(ctx, func(h AccountHold) bool { return h.Reason == reason && !h.Skipped }, nil, skip(because))
}

func skip(because string) func(*mail.Hold) {
	return func(h *mail.Hold) {
		h.Retry, h.Skipped, h.Because, h.SkippedAt = false, true, because, time.Now().UTC()
	}
}

func byName(names []string) func(AccountHold) bool {
	return func(h AccountHold) bool { return slices.Contains(names, h.Name()) }
}

// changeHolds changes the holds that are wanted and tells how many. Names that
// stand for nothing are an error, and then nothing is changed.
func (d *desk) changeHolds(ctx context.Context, want func(AccountHold) bool, names []string, change func(*mail.Hold)) (int, error) {
	all, err := d.Holds(ctx)
	if err != nil {
		return 0, err
	}
	known := make(map[string]bool, len(all))
	concerned := make(map[string]bool) // accounts
	for _, h := range all {
		known[h.Name()] = true
		concerned[h.Account] = concerned[h.Account] || want(h)
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
	changed := 0
	for _, a := range d.accounts {
		if !concerned[a.Name] {
			continue
		}
		err := d.change(ctx, a, func(store *state.Store) error {
			holds, err := store.Holds() // a pass may have changed them since
			if err != nil {
				return err
			}
			holds = slices.DeleteFunc(holds, func(h mail.Hold) bool { return !want(AccountHold{a.Name, h}) })
			for i := range holds {
				change(&holds[i])
			}
			changed += len(holds)
			return store.Commit(mail.Change{Holds: holds})
		})
		if err != nil {
			return changed, fmt.Errorf("account %s: %w", a.Name, err)
		}
	}
	return changed, nil
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
