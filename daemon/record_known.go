package daemon

import (
	"maps"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
)

func (r *record) knownDomain(name string) cutover.Memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.domains[name]
}

// knownAccount is what is remembered of an account, which is never changed: what takes
// its place is another. It is not nil where nothing is.
func (r *record) knownAccount(name string) (*cutover.AccountMemory, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.remembered(name)
}

// remembered is knownAccount for who holds mu.
func (r *record) remembered(name string) (*cutover.AccountMemory, bool) {
	if m, known := r.accounts[name]; known {
		return m, true
	}
	return new(cutover.AccountMemory), false
}

func (r *record) allAccounts() map[string]*cutover.AccountMemory {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.accounts)
}

// accountsOf names the accounts that belong to a domain, in their order.
func (r *record) accountsOf(domain string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for name, m := range r.accounts {
		if slices.Contains(m.Domains, domain) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// history are the changes of a domain and its accounts, the newest last; of all
// with an empty name.
func (r *record) history(domain string) []cutover.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []cutover.Change
	for _, c := range r.changes {
		of, _ := r.remembered(c.Account)
		if domain == "" || c.Domain == domain || slices.Contains(of.Domains, domain) {
			list = append(list, c)
		}
	}
	return list
}

// domainConfig is what the configuration says about a domain.
func (r *record) domainConfig(name string) (cutover.Domain, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.configured, func(d cutover.Domain) bool { return d.Name == name })
	if i < 0 {
		return cutover.Domain{}, false
	}
	return r.configured[i], true
}

func (r *record) allDomains() []cutover.Domain {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.configured)
}

// policy is [cutover] of the configuration.
func (r *record) policy() config.Cutover {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rules
}

// domainsOf are the domains of a configuration: those that have a table, and
// those of accounts, which are led by hand.
func domainsOf(c *config.Config) []cutover.Domain {
	var list []cutover.Domain
	known := make(map[string]bool)
	for _, d := range c.Domains {
		known[d.Name] = true
		list = append(list, cutover.Domain{
			Name: d.Name, NewMX: d.NewMX, OldMX: d.OldMX, AliasesOf: d.AliasesOf,
			Switch: cutover.Switch(d.Switch), Handover: cutover.Handover(d.Handover),
		})
	}
	for _, a := range c.Accounts {
		for _, name := range a.Domains {
			if !known[name] {
				known[name] = true
				list = append(list, cutover.ByHand(name))
			}
		}
	}
	return list
}

// policyOf is [cutover] as the verdicts need it.
func policyOf(c config.Cutover) cutover.Policy {
	return cutover.Policy{
		MaxLag: c.MaxLag, VerifyEvery: c.VerifyEvery, QuietPeriod: c.QuietPeriod, Workdays: c.Workdays,
		HeldAllowed: c.HeldAllowed, Ask: c.Finish == "ask",
	}
}
