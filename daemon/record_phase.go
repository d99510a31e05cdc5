package daemon

import (
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// phase is how far an account has come.
func (r *record) phase(account string) mail.Phase {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, _ := r.remembered(account)
	own, aliases := r.memories(m.Domains)
	return m.Phase(own, aliases)
}

// draining tells whether the users of an account work on the new server.
func (r *record) draining(account string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, _ := r.remembered(account)
	own, _ := r.memories(m.Domains)
	return m.Draining(own)
}

// takenBack tells whether the users of an account were once on the new server
// and went back: mail that was born there may have been carried back as well.
func (r *record) takenBack(account string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, _ := r.remembered(account)
	own, _ := r.memories(m.Domains)
	return !m.TakenBack.IsZero() || slices.ContainsFunc(own, func(d cutover.Memory) bool { return !d.AbortedLast.IsZero() })
}

// memories are those of some domains, and of the aliases of these. The caller
// holds mu, and does not keep them: thousands of accounts are gone through every few
// seconds.
func (r *record) memories(names []string) (own, aliases []cutover.Memory) {
	own, aliases = r.own[:0], r.aliases[:0]
	for _, name := range names {
		own = append(own, r.domains[name])
	}
	for _, d := range r.configured {
		if d.AliasesOf != "" && slices.Contains(names, d.AliasesOf) {
			aliases = append(aliases, r.domains[d.Name])
		}
	}
	r.own, r.aliases = own, aliases
	return own, aliases
}
