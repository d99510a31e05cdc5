package main

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// statusFilter is what of a status is asked for; empty lists want all.
type statusFilter struct {
	accounts        []string // names and patterns
	phases, healths []string
}

// check tells what is wrong with it.
func (f statusFilter) check() error {
	for _, pattern := range f.accounts {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("--account %q: write a name, or a pattern such as \"*@example.org\"", pattern)
		}
	}
	for _, p := range f.phases {
		if !slices.Contains(mail.Phases(), mail.Phase(p)) {
			return fmt.Errorf("there is no phase %q; the phases are %v", p, mail.Phases())
		}
	}
	for _, h := range f.healths {
		if !slices.Contains(mail.Healths(), mail.Health(h)) {
			return fmt.Errorf("there is no health %q; the states of health are %v", h, mail.Healths())
		}
	}
	return nil
}

// names are the accounts that are asked for by name.
func (f statusFilter) names() []string { return slices.DeleteFunc(slices.Clone(f.accounts), isGlob) }

// isGlob tells whether what stands for accounts is a pattern.
func isGlob(pattern string) bool { return strings.ContainsAny(pattern, `*?[\`) }

// fitsName tells whether a name, or a pattern that is well formed, stands for an
// account.
func fitsName(pattern, name string) bool {
	fits, _ := path.Match(pattern, name)
	return fits
}

// of returns what is asked for. A pattern that no account fits is an error.
func (f statusFilter) of(s web.Status) (web.Status, error) {
	for _, pattern := range f.accounts {
		if isGlob(pattern) && !slices.ContainsFunc(s.Accounts, func(a web.AccountStatus) bool { return fitsName(pattern, a.Name) }) {
			return s, fmt.Errorf("--account %q fits no account", pattern)
		}
	}
	s.Accounts = slices.DeleteFunc(s.Accounts, func(a web.AccountStatus) bool {
		return len(f.accounts) > 0 && !slices.ContainsFunc(f.accounts, func(pattern string) bool { return fitsName(pattern, a.Name) }) ||
			len(f.phases) > 0 && !slices.Contains(f.phases, string(a.Phase)) ||
			len(f.healths) > 0 && !slices.Contains(f.healths, string(a.Health))
	})
	s.Domains = slices.DeleteFunc(s.Domains, func(d web.DomainStatus) bool {
		return len(f.accounts)+len(f.healths) > 0 || len(f.phases) > 0 && !slices.Contains(f.phases, string(d.Phase))
	})
	return s, nil
}
