package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Cutover is [cutover].
type Cutover struct {
	MaxLag        time.Duration
	VerifyEvery   time.Duration
	QuietPeriod   time.Duration
	Workdays      []time.Weekday
	HeldAllowed   int
	Finish        string // auto or ask
	OldHosts      []string
	NotifyCommand []string
}

// DNS is [dns].
type DNS struct {
	Resolvers []netip.AddrPort
	Interval  time.Duration
}

// Domain is one [[domain]].
type Domain struct {
	Name         string // in lower case, without a final dot
	NewMX, OldMX []string
	Switch       string // mx, address or manual
	Handover     string // mx or manual
	AliasesOf    string
}

var weekdays = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"} // by time.Weekday

// cutover checks [cutover] and [dns].
func (l *loader) cutover(c *Config, f fileKeys) {
	k := f.Cutover
	c.Cutover = Cutover{
		MaxLag:        l.duration("cutover.max_lag", or(k.MaxLag, "5m"), time.Second),
		VerifyEvery:   l.duration("cutover.verify_every", or(k.VerifyEvery, "24h"), time.Minute),
		QuietPeriod:   l.duration("cutover.quiet_period", or(k.QuietPeriod, "72h"), 0),
		HeldAllowed:   or(k.HeldAllowed, 0),
		Finish:        l.oneOf("cutover.finish", or(k.Finish, "auto"), "auto", "ask"),
		OldHosts:      l.hosts("cutover.old_hosts", k.OldHosts, hostPattern),
		NotifyCommand: k.NotifyCommand,
	}
	for _, day := range or(k.Workdays, weekdays[1:6]) {
		i := slices.IndexFunc(weekdays, func(name string) bool { return strings.EqualFold(name, day) })
		if i < 0 {
			l.complain("cutover.workdays", "cutover.workdays: %q is no day; write Mon, Tue, Wed, Thu, Fri, Sat or Sun", day)
			continue
		}
		c.Cutover.Workdays = append(c.Cutover.Workdays, time.Weekday(i))
	}
	if c.Cutover.HeldAllowed < 0 {
		l.complain("cutover.held_allowed", "cutover.held_allowed: %d; at least 0", c.Cutover.HeldAllowed)
	}
	if len(k.NotifyCommand) > 0 && k.NotifyCommand[0] == "" {
		l.complain("cutover.notify_command", "cutover.notify_command: the first is the program, such as [\"/usr/local/bin/tell\", \"--quiet\"]")
	}
	c.DNS.Interval = l.duration("dns.interval", or(f.DNS.Interval, "30s"), time.Second)
	for _, text := range f.DNS.Resolvers {
		address, err := netip.ParseAddrPort(text)
		if plain, plainErr := netip.ParseAddr(text); plainErr == nil {
			address, err = netip.AddrPortFrom(plain, 53), nil
		}
		if err != nil || address.Port() == 0 {
			l.complain("dns.resolvers", "dns.resolvers: %q is no address; write for example \"192.0.2.53:53\"", text)
			continue
		}
		c.DNS.Resolvers = append(c.DNS.Resolvers, address)
	}
}

var (
	domainName  = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)
	hostPattern = regexp.MustCompile(`^[A-Za-z0-9._*-]+$`)
)

// hosts checks names, globs, addresses and networks. Without names only
// addresses and networks are allowed.
func (l *loader) hosts(key string, entries []string, names *regexp.Regexp) []string {
	for _, entry := range entries {
		_, err := netip.ParseAddr(entry)
		if _, networkErr := netip.ParsePrefix(entry); err == nil || networkErr == nil {
			continue
		}
		switch {
		case names == nil:
			l.complain(key, "%s: %q is no address; with switch = \"address\" only addresses tell the servers apart", key, entry)
		case !names.MatchString(entry):
			l.complain(key, "%s: %q; write names such as \"mx.example.org\", globs such as \"*.example.org\", or addresses", key, entry)
		}
	}
	return entries
}

// plainName is a domain's name as names are compared.
func plainName(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

func (l *loader) domain(f fileKeys, i int) Domain {
	k, key := f.Domain[i], fmt.Sprintf("domain[%d]", i)
	d := Domain{
		Name: plainName(k.Name), AliasesOf: plainName(or(k.AliasesOf, "")),
		Switch: or(k.Switch, "mx"), Handover: or(k.Handover, "mx"),
	}
	complain := func(name, format string, args ...any) {
		l.complain(key+"."+name, "domain %s: %s", k.Name, fmt.Sprintf(format, args...))
	}
	if k.Name == "" {
		l.complain(key+".name", "the domain has no name; write name = \"…\" below [[domain]]")
	} else if len(d.Name) > 253 || !domainName.MatchString(d.Name) {
		complain("name", "that is no name of a domain; write it as DNS has it, such as \"example.org\" or \"xn--mller-kva.example\"")
	}
	if !slices.Contains([]string{"mx", "address", "manual"}, d.Switch) {
		complain("switch", "switch: %q; write one of mx, address, manual", d.Switch)
	}
	if !slices.Contains([]string{"mx", "manual"}, d.Handover) {
		complain("handover", "handover: %q; write one of mx, manual", d.Handover)
	}
	names := hostPattern
	if d.Switch == "address" {
		names = nil
	}
	d.NewMX, d.OldMX = l.hosts(key+".new_mx", k.NewMX, names), l.hosts(key+".old_mx", k.OldMX, names)
	switch {
	case d.Switch != "manual" && len(d.NewMX) == 0:
		complain("new_mx", "new_mx is missing: write the MX of the new server, or switch = \"manual\" where DNS does not show it")
	case d.Switch == "manual" && len(d.NewMX)+len(d.OldMX) > 0:
		complain("new_mx", "with switch = \"manual\" DNS is not asked: leave new_mx and old_mx out")
	}
	return d
}

// domains checks the domains against one another and against the accounts.
func (l *loader) domains(c *Config) {
	lines := make(map[string]int)
	for i, d := range c.Domains {
		key := fmt.Sprintf("domain[%d]", i)
		if first, taken := lines[d.Name]; taken {
			l.complain(key+".name", "domain %s: it has a [[domain]] in line %d already", d.Name, first)
		}
		lines[d.Name] = l.at[key].line
	}
	having := make(map[string]string) // an account of each domain
	for _, a := range c.Accounts {
		for _, name := range a.Domains {
			having[name] = a.Name
		}
	}
	for i, d := range c.Domains {
		key := fmt.Sprintf("domain[%d].aliases_of", i)
		switch {
		case d.AliasesOf == "":
		case having[d.Name] != "":
			l.complain(key, "domain %s: aliases_of is for a domain without accounts, but account %s belongs to it", d.Name, having[d.Name])
		case having[d.AliasesOf] == "":
			l.complain(key, "domain %s: aliases_of: no account belongs to %q", d.Name, d.AliasesOf)
		}
	}
}

// domainsOf are the domains that an account belongs to where it does not say.
func domainsOf(a Account, domains []Domain) []string {
	for _, user := range []string{a.Source.User, a.Destination.User} {
		if at := strings.LastIndexByte(user, '@'); at >= 0 && at < len(user)-1 {
			return []string{plainName(user[at+1:])}
		}
	}
	if len(domains) == 1 {
		return []string{domains[0].Name}
	}
	return []string{"default"}
}
