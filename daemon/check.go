package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// Preflight is what the preflight of accounts found.
type Preflight struct {
	Accounts []CheckResult
	Outlooks []web.Outlook // of their old servers
	// Forecasts are how long the first copies may take, by old server.
	Forecasts []Forecast
}

// CheckResult is what the preflight of one account found.
type CheckResult struct {
	Account     string
	Source      SideCheck
	Destination SideCheck
	Preview     pass.Preview // only when both sides answered
	// Labels compares what an old server shows that has labels in the place of
	// mailboxes; nil: it has not.
	Labels   *remote.Labels
	Probe    *Probe // nil: something is in the way
	Warnings []string
	Error    string // of the account as a whole; empty: none
}

// SideCheck is what one server showed.
type SideCheck struct {
	Mailboxes    int
	Messages     int64
	Capabilities []string // of those that are made use of
	Missing      []string // that would be made use of
	TLS          remote.Security
	Took         time.Duration // to log in and to list
	Error        string        // why it showed nothing; empty: it did
}

// useful are the capabilities that are made use of on each side.
var usefulSource = []string{"IDLE", "NOTIFY", "LIST-STATUS", "SPECIAL-USE", "CONDSTORE", "ESEARCH", "ID"}
var usefulDestination = []string{"UIDPLUS", "LITERAL+", "LIST-STATUS", "SPECIAL-USE", "CONDSTORE", "ID"}

// Check implements [Operator].
func (d *desk) Check(ctx context.Context, accounts []string) (Preflight, error) {
	chosen, err := d.named(accounts)
	if err != nil {
		return Preflight{}, err
	}
	first := firsts(chosen)
	p := Preflight{Accounts: each(ctx, chosen, func(ctx context.Context, a config.Account) CheckResult {
		r := CheckResult{Account: a.Name}
		r.Error = words(d.lookAt(ctx, a, func(acct *account) (err error) {
			r.Source = checkSide(ctx, acct.source, usefulSource)
			r.Destination = checkSide(ctx, acct.destination, usefulDestination)
			if r.Source.Error != "" || r.Destination.Error != "" {
				return nil
			}
			if r.Preview, err = acct.passes.Preview(ctx); err != nil {
				return err
			}
			if r.Labels, err = acct.source.Labels(ctx); err != nil {
				return err
			}
			if r.Labels != nil {
				r.Source.Messages += int64(r.Labels.Rest)
			}
			if r.Probe, err = acct.probe(ctx, r.Preview, first[a.Name]); err != nil {
				return err
			}
			r.Warnings = warnings(a, &r)
			return nil
		}))
		return r
	})}
	p.Forecasts = d.forecasts(chosen, p.Accounts)
	for _, o := range d.outlooks(d.accounts, d.poll, quickest(p.Accounts)) {
		if slices.ContainsFunc(chosen, func(a config.Account) bool { return addressOf(a.Source) == o.Server }) {
			p.Outlooks = append(p.Outlooks, o)
		}
	}
	return p, nil
}

// checked is one server that is logged in to.
type checked interface {
	pass.Reader
	Has(capability string) bool
	Security() remote.Security
}

func checkSide(ctx context.Context, side checked, useful []string) SideCheck {
	began := time.Now()
	listing, err := side.Mailboxes(ctx)
	if err != nil {
		return SideCheck{Error: err.Error()}
	}
	c := SideCheck{TLS: side.Security(), Took: time.Since(began)}
	for _, m := range listing.Mailboxes {
		if m.NoSelect || m.View {
			continue
		}
		c.Mailboxes++
		if !m.Rest {
			c.Messages += int64(m.Status.Messages)
		}
	}
	for _, capability := range useful {
		if side.Has(capability) {
			c.Capabilities = append(c.Capabilities, capability)
		} else {
			c.Missing = append(c.Missing, capability)
		}
	}
	return c
}

// warnings says what an administrator should know before the first copy.
func warnings(a config.Account, r *CheckResult) []string {
	var list []string
	for _, domain := range a.Domains {
		if strings.EqualFold(a.Source.Host, domain) || strings.HasSuffix(strings.ToLower(a.Source.Host), "."+strings.ToLower(domain)) {
			list = append(list, fmt.Sprintf("the old server's name %s lies in the migrated domain %s: when it is repointed, imapsyncd would talk to the wrong machine; write its address into [source] host", a.Source.Host, domain))
		}
	}
	for _, capability := range r.Destination.Missing {
		if capability == "UIDPLUS" {
			list = append(list, "the new server has no UIDPLUS: every batch has to be looked for after it was sent, which is slow")
		}
	}
	list = append(list, labelWarnings(r.Labels)...)
	list = append(list, probeWarnings(r.Probe)...)
	list = append(list, tlsWarnings("old server", a.Source, r.Source.TLS, time.Now())...)
	return append(list, tlsWarnings("new server", a.Destination, r.Destination.TLS, time.Now())...)
}

// labelWarnings says what is not to be seen of an account with labels.
func labelWarnings(l *remote.Labels) (list []string) {
	switch {
	case l == nil:
		return nil
	case l.Hidden:
		return []string{`the old server has labels, and hides the mailbox with all mail: what was archived cannot be seen, nor copied; have its user switch on "Show in IMAP" for All Mail in the settings of its labels`}
	}
	if l.Unshown > 0 {
		list = append(list, fmt.Sprintf(`of %d messages the old server says that they have a label, whose mailbox does not show them: they would not be copied; see whether IMAP is limited to so many messages in a mailbox, in the settings of the account`, l.Unshown))
	}
	if l.Beyond > 0 {
		list = append(list, fmt.Sprintf("the mailbox with all mail does not show %d messages that others do; they are copied all the same", l.Beyond))
	}
	return list
}

// probeWarnings says what a first copy will meet with.
func probeWarnings(p *Probe) (list []string) {
	if p == nil {
		return nil
	}
	if p.Quota.Limit > 0 && p.Octets > p.Room {
		list = append(list, fmt.Sprintf("%d kB are to be carried, and the quota on the new server leaves room for %d kB (%d of %d kB are used, and quota_reserve is left alone): copying will pause; raise the quota", p.Octets>>10, p.Room>>10, p.Quota.Used>>10, p.Quota.Limit>>10))
	}
	if p.AppendLimit > 0 && p.Largest > p.AppendLimit {
		list = append(list, fmt.Sprintf("the largest message has %d kB, and the new server takes no more than %d kB of one (APPENDLIMIT): what is larger will be held; raise that limit", p.Largest>>10, p.AppendLimit>>10))
	}
	if p.Refused != "" {
		list = append(list, fmt.Sprintf("a connection beside the first %d of this account was refused: %s; lower max_connections_per_account, or raise what the server allows", p.Connections, p.Refused))
	}
	return list
}

// expirySoon is how long before a certificate expires it is warned of.
const expirySoon = 14 * 24 * time.Hour

// tlsWarnings says what is wrong with how a server is talked to.
func tlsWarnings(which string, s config.Server, seen remote.Security, now time.Time) []string {
	var list []string
	switch {
	case seen.Version == "" && s.AllowCleartext:
		list = append(list, "the "+which+" is talked to in clear text: passwords and mail can be read on the way")
	case seen.Weak:
		list = append(list, fmt.Sprintf("the %s is talked to by %s with %s, which others can break: passwords and mail may be read on the way", which, seen.Version, seen.Cipher))
	case s.TLSLegacyCiphers:
		list = append(list, fmt.Sprintf("old TLS is allowed to the %s, but it speaks %s: remove tls_legacy_ciphers", which, seen.Version))
	}
	switch left := seen.NotAfter.Sub(now); {
	case seen.Version == "" || left >= expirySoon:
	case left < 0:
		list = append(list, fmt.Sprintf("the certificate of the %s has expired on %s", which, seen.NotAfter.Format(time.DateOnly)))
	default:
		list = append(list, fmt.Sprintf("the certificate of the %s expires on %s, in %d days: renew it, or log-ins fail from then on", which, seen.NotAfter.Format(time.DateOnly), left/(24*time.Hour)))
	}
	return list
}

// Mapping lists the mailboxes of a preview whose name changes, and tells how many
// keep theirs.
func Mapping(p pass.Preview) (changed []string, kept int) {
	for _, r := range p.Rows {
		if r.Source == r.Destination {
			kept++
			continue
		}
		changed = append(changed, r.Source+" -> "+r.Destination)
	}
	return changed, kept
}
