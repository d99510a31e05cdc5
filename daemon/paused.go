package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/state"
)

// paused are the accounts that the operator has paused: in a file of their own
// in the state directory, a name a line, so that a restart does not resume
// them. The file is replaced whole.
type paused struct {
	path string

	mu    sync.Mutex
	names map[string]bool
}

// readPaused reads the file; none means that nothing is paused.
func readPaused(stateDir string) (*paused, error) {
	p := &paused{path: filepath.Join(stateDir, "paused"), names: make(map[string]bool)}
	text, err := os.ReadFile(p.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read which accounts are paused: %w", err)
	}
	for _, name := range strings.Fields(string(text)) {
		p.names[name] = true
	}
	return p, nil
}

func (p *paused) has(account string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names[account]
}

// set remembers that accounts are paused, or are not any more.
func (p *paused) set(accounts []string, pause bool) error {
	return p.change(func(names map[string]bool) {
		for _, a := range accounts {
			if pause {
				names[a] = true
			} else {
				delete(names, a)
			}
		}
	})
}

// rename lets a pause follow the name of its account.
func (p *paused) rename(from, to string) error {
	return p.change(func(names map[string]bool) {
		if names[from] {
			delete(names, from)
			names[to] = true
		}
	})
}

// keep forgets accounts that are not configured any more.
func (p *paused) keep(accounts []config.Account) error {
	return p.change(func(names map[string]bool) {
		maps.DeleteFunc(names, func(name string, _ bool) bool {
			return !slices.ContainsFunc(accounts, func(a config.Account) bool { return a.Name == name })
		})
	})
}

// change makes a change durable and only then true.
func (p *paused) change(change func(names map[string]bool)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := maps.Clone(p.names)
	change(names)
	if maps.Equal(names, p.names) {
		return nil
	}
	text := ""
	for _, name := range slices.Sorted(maps.Keys(names)) {
		text += name + "\n"
	}
	if err := state.ReplaceFile(p.path, []byte(text)); err != nil {
		return fmt.Errorf("remember which accounts are paused: %w", err)
	}
	p.names = names
	return nil
}
