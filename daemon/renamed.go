package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/state"
)

// takeOver gives accounts that have another name now the state they had under
// the old one: to an account without a state, the only state file of its hosts
// and users that no configured account claims.
func (d *Daemon) takeOver(accounts []config.Account) error {
	claimed := make(map[string]bool, len(accounts))
	var without []config.Account
	for _, a := range accounts {
		path := StatePath(d.Config.StateDir, a.Name)
		claimed[path] = true
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			without = append(without, a)
		}
	}
	if len(without) == 0 {
		return nil
	}
	orphans, err := d.orphans(claimed)
	if err != nil {
		return err
	}
	for _, a := range without {
		identity := d.stateOptions(a).Identity
		var found []string
		for path, of := range orphans {
			if of.Same(identity) {
				found = append(found, path)
			}
		}
		switch {
		case len(found) == 0:
		case len(found) > 1:
			slices.Sort(found)
			d.Logger.Warn("several state files are the account's under other names, and none is taken over: move away all but one",
				"account", a.Name, "files", found)
		default:
			if err := state.Rename(found[0], StatePath(d.Config.StateDir, a.Name)); err != nil {
				return fmt.Errorf("take over state of account %s: %w", a.Name, err)
			}
			delete(orphans, found[0])
			was := strings.TrimSuffix(filepath.Base(found[0]), stateEnding)
			d.Logger.Info("the account has another name and goes on with the state it had", "account", a.Name, "was", was)
			if err := errors.Join(d.paused.rename(was, a.Name), d.record.rename(was, a.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// orphans are the state files that are not claimed, and whose they are.
func (d *Daemon) orphans(claimed map[string]bool) (map[string]state.Identity, error) {
	dir := filepath.Dir(StatePath(d.Config.StateDir, ""))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look for state files: %w", err)
	}
	orphans := make(map[string]state.Identity)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if claimed[path] || !strings.HasSuffix(e.Name(), stateEnding) {
			continue
		}
		identity, err := state.IdentityOf(path)
		if err != nil {
			d.Logger.Warn("state file of no configured account cannot be read", "file", path, "error", err)
			continue
		}
		orphans[path] = identity
	}
	return orphans, nil
}
