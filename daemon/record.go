package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/state"
)

// record is what is remembered of domains and accounts beyond their states: how
// far they have come, when and why, and what the operator has said. It is a
// ledger in the state directory, and what it says is durable before it is true.
type record struct {
	ledger *state.Ledger
	logger *slog.Logger
	lost   string // why the record is not what it was; empty: it is

	mu         sync.Mutex
	configured []cutover.Domain
	rules      config.Cutover
	domains    map[string]cutover.Memory
	written    map[string]cutover.Memory // as the ledger has them
	writtenAt  map[string]time.Time
	accounts   map[string]*cutover.AccountMemory // see knownAccount
	copied     map[string]time.Time              // when the last copy of each account was made
	changes    []cutover.Change                  // the newest last
	sequence   uint64                            // of the last of them

	own, aliases []cutover.Memory // see memories
}

const (
	kindDomain  = "domain"
	kindAccount = "account"
	kindChange  = "change"

	// changesKept is how many changes are remembered.
	changesKept = 2000
	// writeEvery is how old the times of DNS answers in the ledger may be.
	writeEvery = 5 * time.Minute
)

func recordPath(stateDir string) string { return filepath.Join(stateDir, "phases") }

// openRecord opens the record in a state directory. Every change is logged.
func openRecord(stateDir string, logger *slog.Logger) (*record, error) {
	path, lost := recordPath(stateDir), ""
	ledger, created, err := state.OpenLedger(path)
	switch {
	case errors.Is(err, state.ErrDamaged):
		aside, qerr := state.Quarantine(path, err.Error())
		if qerr != nil {
			return nil, errors.Join(err, qerr)
		}
		lost = fmt.Sprintf("it was damaged and is kept as %s", filepath.Base(aside))
		if ledger, _, err = state.OpenLedger(path); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("%w; it says how far the domains are: restore it from a backup rather than remove it", err)
	case created:
		lost = "it was not there"
	}
	r, err := readRecord(ledger.Entries())
	if err != nil {
		return nil, errors.Join(err, ledger.Close())
	}
	r.ledger, r.logger, r.lost = ledger, logger, lost
	return r, nil
}

// use compares the record with a configuration. Where the record is gone although
// accounts have a state, or was damaged, nothing on the new server is changed
// until the operator has told how far the domains are.
func (r *record) use(c *config.Config, now time.Time) error {
	r.mu.Lock()
	r.configured, r.rules = domainsOf(c), c.Cutover
	lost := r.lost
	r.mu.Unlock()
	if lost != "" {
		if err := r.lose(c, lost, now); err != nil {
			return err
		}
		r.lost = ""
	}
	return r.present(c.Accounts, now)
}

func readRecord(entries []state.Entry) (*record, error) {
	r := &record{
		domains: make(map[string]cutover.Memory), written: make(map[string]cutover.Memory), writtenAt: make(map[string]time.Time),
		accounts: make(map[string]*cutover.AccountMemory), copied: make(map[string]time.Time),
	}
	for _, e := range entries {
		var err error
		switch e.Kind {
		case kindDomain:
			var m cutover.Memory
			err = json.Unmarshal(e.Value, &m)
			r.domains[e.Name], r.written[e.Name] = m, m
		case kindAccount:
			a := new(cutover.AccountMemory)
			err = json.Unmarshal(e.Value, a)
			r.accounts[e.Name] = a
		case kindChange:
			var c cutover.Change
			err = errors.Join(json.Unmarshal(e.Value, &c), scan(e.Name, &r.sequence))
			r.changes = append(r.changes, c)
		}
		if err != nil {
			return nil, fmt.Errorf("the record of the phases: %s %s: %w", e.Kind, e.Name, err)
		}
	}
	return r, nil
}

func scan(text string, n *uint64) error {
	_, err := fmt.Sscanf(text, "%d", n)
	return err
}

// lose marks what there are states of: their phases are not known.
func (r *record) lose(c *config.Config, why string, now time.Time) error {
	for _, a := range c.Accounts {
		if _, err := os.Lstat(StatePath(c.StateDir, a.Name)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		lost := cutover.Event{At: now, Why: why}
		if err := r.account(a.Name, func(m *cutover.AccountMemory) []cutover.Change {
			m.Domains, m.Lost = a.Domains, lost
			return nil
		}); err != nil {
			return err
		}
		for _, d := range a.Domains {
			if err := r.domain(d, func(m cutover.Memory) (cutover.Memory, []cutover.Change, error) {
				if m.Lost.Happened() {
					return m, nil, nil
				}
				m.Lost = lost
				return m, []cutover.Change{{At: now, Domain: d, What: "record lost", Why: why}}, nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// present compares the record with the configured accounts: one that is lacking
// and not finished is marked, one that is back is not.
func (r *record) present(accounts []config.Account, now time.Time) error {
	configured := make(map[string]config.Account, len(accounts))
	for _, a := range accounts {
		configured[a.Name] = a
	}
	for _, a := range accounts {
		if m, known := r.knownAccount(a.Name); known && !m.Removed.Happened() && slices.Equal(m.Domains, a.Domains) {
			continue
		}
		if err := r.reopen(a, now); err != nil {
			return err
		}
		if err := r.account(a.Name, func(m *cutover.AccountMemory) []cutover.Change {
			m.Domains, m.Removed = a.Domains, cutover.Event{}
			return nil
		}); err != nil {
			return err
		}
	}
	for name, m := range r.allAccounts() {
		if _, there := configured[name]; there || m.Removed.Happened() {
			continue
		}
		finished := r.phase(name) == mail.PhaseFinished
		if err := r.account(name, func(m *cutover.AccountMemory) []cutover.Change {
			if m.Removed = (cutover.Event{At: now, Why: "the configuration lacks it"}); finished {
				m.Skipped = m.Removed // nothing is waited for
			}
			return []cutover.Change{{At: now, Account: name, What: "removed", Why: m.Removed.Why}}
		}); err != nil {
			return err
		}
	}
	return nil
}

// reopen begins the finished domains again that an account has come to: its
// mail has not been carried.
func (r *record) reopen(a config.Account, now time.Time) error {
	before, _ := r.knownAccount(a.Name)
	for _, name := range a.Domains {
		if slices.Contains(before.Domains, name) && (!before.Removed.Happened() || before.Skipped == before.Removed) {
			continue
		}
		if err := r.domain(name, func(m cutover.Memory) (cutover.Memory, []cutover.Change, error) {
			if !m.Finished.Happened() {
				return m, nil, nil
			}
			m.Finished, m.Finish = cutover.Event{}, cutover.Event{}
			return m, []cutover.Change{{At: now, Domain: name, What: "begun again", Why: "account " + a.Name + " has come to it"}}, nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// allFinished tells whether every domain is.
func (r *record) allFinished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.configured) > 0 && !slices.ContainsFunc(r.configured, func(d cutover.Domain) bool { return !r.domains[d.Name].Finished.Happened() })
}

// rename lets what is remembered follow the name of its account.
func (r *record) rename(from, to string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.accounts[from]
	if !known {
		return nil
	}
	m := *was
	m.Removed = cutover.Event{}
	if err := r.put(nil, encode(kindAccount, to, m), state.Entry{Kind: kindAccount, Name: from}); err != nil {
		return err
	}
	r.accounts[to] = &m
	delete(r.accounts, from)
	return nil
}

// domain changes what is remembered of a domain, durably if that matters.
func (r *record) domain(name string, change func(cutover.Memory) (cutover.Memory, []cutover.Change, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, changes, err := change(r.domains[name])
	if err != nil {
		return err
	}
	last := m.DNS.Last
	if len(changes) > 0 || !reflect.DeepEqual(m.Timeless(), r.written[name].Timeless()) || last.Sub(r.writtenAt[name]) >= writeEvery {
		if err := r.put(changes, encode(kindDomain, name, m)); err != nil {
			return err
		}
		r.written[name], r.writtenAt[name] = m, last
	}
	r.domains[name] = m
	return nil
}

// account changes what is remembered of an account, durably if it changes.
func (r *record) account(name string, change func(*cutover.AccountMemory) []cutover.Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.remembered(name)
	m := *was
	changes := change(&m)
	if known && len(changes) == 0 && reflect.DeepEqual(m, *was) {
		return nil
	}
	if err := r.put(changes, encode(kindAccount, name, m)); err != nil {
		return err
	}
	r.accounts[name] = &m
	return nil
}

// put writes entries together with the changes that they are. The caller holds
// mu.
func (r *record) put(changes []cutover.Change, entries ...state.Entry) error {
	sequence := r.sequence
	for _, c := range changes {
		sequence++
		entries = append(entries, encode(kindChange, sequenceName(sequence), c))
		if sequence > changesKept {
			entries = append(entries, state.Entry{Kind: kindChange, Name: sequenceName(sequence - changesKept)})
		}
	}
	if err := r.ledger.Put(entries...); err != nil {
		return fmt.Errorf("remember the phases: %w", err)
	}
	for _, c := range changes {
		var of []any // a change of a domain is of no account, and the other way round
		for _, key := range []struct{ name, value string }{{"domain", c.Domain}, {"account", c.Account}} {
			if key.value != "" {
				of = append(of, key.name, key.value)
			}
		}
		r.logger.Info(c.What, append(of, "why", c.Why)...)
	}
	r.sequence = sequence
	r.changes = append(r.changes, changes...)
	if over := len(r.changes) - changesKept; over > 0 {
		r.changes = r.changes[over:]
	}
	return nil
}

func sequenceName(n uint64) string { return fmt.Sprintf("%012d", n) }

func encode(kind, name string, value any) state.Entry {
	data, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("record %s %s: %v", kind, name, err)) // they hold nothing that JSON cannot say
	}
	return state.Entry{Kind: kind, Name: name, Value: data}
}
