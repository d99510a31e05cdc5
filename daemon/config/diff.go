package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Difference is what a new configuration changes.
type Difference struct {
	Added, Changed []Account // as they are to be
	Removed        []Account // as they were
	// AtRestart names the keys that take effect at the next start only.
	AtRestart []string
}

// Diff compares a configuration with the one that follows it. Accounts are the
// same by their name.
func Diff(old, next *Config) Difference {
	var d Difference
	before := byName(old.Accounts)
	after := byName(next.Accounts)
	for _, a := range next.Accounts {
		was, there := before[a.Name]
		switch {
		case !there:
			d.Added = append(d.Added, a)
		case !reflect.DeepEqual(was, a):
			d.Changed = append(d.Changed, a)
		}
	}
	for _, a := range old.Accounts {
		if _, there := after[a.Name]; !there {
			d.Removed = append(d.Removed, a)
		}
	}
	for _, key := range []struct {
		name    string
		changed bool
	}{
		{"state_dir", old.StateDir != next.StateDir},
		{"socket", old.Socket != next.Socket},
		{"[log]", old.Log != next.Log},
		{"[web]", old.Web != next.Web},
		{"[metrics] account_label", old.AccountLabel != next.AccountLabel},
		{"[limits] memory", old.Memory != next.Memory},
		{"[policy]", old.Policy != next.Policy},
		{"[dns]", !reflect.DeepEqual(old.DNS, next.DNS)},
		{"max_connections", slices.ContainsFunc(d.Changed, func(a Account) bool {
			was := before[a.Name]
			return was.Source.MaxConnections != a.Source.MaxConnections || was.Destination.MaxConnections != a.Destination.MaxConnections
		})},
	} {
		if key.changed {
			d.AtRestart = append(d.AtRestart, key.name)
		}
	}
	return d
}

// Removals refuses a difference that takes away more accounts than a slip of
// the hand should: more than 5, or more than 5 % of them. One that comes back
// under another name is not taken away.
func (d Difference) Removals(accounts int) error {
	gone := slices.DeleteFunc(slices.Clone(d.Removed), func(was Account) bool {
		return slices.ContainsFunc(d.Added, func(a Account) bool {
			return a.Source.sameLogIn(was.Source) && a.Destination.sameLogIn(was.Destination)
		})
	})
	n := len(gone)
	if n <= 5 && n*100 <= accounts*5 {
		return nil
	}
	names := make([]string, 0, 5)
	for _, a := range gone[:min(n, 5)] {
		names = append(names, a.Name)
	}
	return fmt.Errorf("the new configuration lacks %d of %d accounts (%v): if that is meant, run 'imapsyncd reload --allow-removals'", n, accounts, names)
}

// sameLogIn tells whether both are the same user of the same host.
func (s Server) sameLogIn(other Server) bool {
	return strings.EqualFold(s.Host, other.Host) && s.User == other.User
}

func byName(accounts []Account) map[string]Account {
	m := make(map[string]Account, len(accounts))
	for _, a := range accounts {
		m[a.Name] = a
	}
	return m
}
