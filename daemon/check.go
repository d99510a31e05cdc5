package daemon

import (
	"context"
	"fmt"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// CheckResult is what the preflight of one account found.
type CheckResult struct {
	Account     string
	Source      SideCheck
	Destination SideCheck
	Preview     pass.Preview // only when both sides answered
	Warnings    []string
	Error       string // of the account as a whole; empty: none
}

// SideCheck is what one server showed.
type SideCheck struct {
	Mailboxes    int
	Messages     int64
	Capabilities []string // of those that are made use of
	Missing      []string // that would be made use of
	Error        string   // why it showed nothing; empty: it did
}

// useful are the capabilities that a pass makes use of on each side.
var usefulSource = []string{"LIST-STATUS", "SPECIAL-USE", "CONDSTORE", "ESEARCH", "ID"}
var usefulDestination = []string{"UIDPLUS", "LITERAL+", "LIST-STATUS", "SPECIAL-USE", "CONDSTORE", "ID"}

// Check implements [Operator].
func (d *desk) Check(ctx context.Context, accounts []string) ([]CheckResult, error) {
	chosen, err := d.named(accounts)
	if err != nil {
		return nil, err
	}
	return each(ctx, chosen, func(ctx context.Context, a config.Account) CheckResult {
		r := CheckResult{Account: a.Name}
		r.Error = d.lookAt(ctx, a, func(acct *account) (err error) {
			r.Source = checkSide(ctx, acct.source, acct.source.Has, usefulSource)
			r.Destination = checkSide(ctx, acct.destination, acct.destination.Has, usefulDestination)
			if r.Source.Error != "" || r.Destination.Error != "" {
				return nil
			}
			if r.Preview, err = acct.passes.Preview(ctx); err != nil {
				return err
			}
			r.Warnings = warnings(a, &r)
			return nil
		})
		return r
	}), nil
}

func checkSide(ctx context.Context, side pass.Reader, has func(string) bool, useful []string) SideCheck {
	listing, err := side.Mailboxes(ctx)
	if err != nil {
		return SideCheck{Error: err.Error()}
	}
	var c SideCheck
	for _, m := range listing.Mailboxes {
		if !m.NoSelect {
			c.Mailboxes++
			c.Messages += int64(m.Status.Messages)
		}
	}
	for _, capability := range useful {
		if has(capability) {
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
	for _, x := range r.Preview.Conflicts {
		list = append(list, fmt.Sprintf("mailbox %q has no place of its own: %q on the new server takes the mail of %q", x.Source.DisplayName(), x.Name, x.With.DisplayName()))
	}
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
	return list
}

// Mapping lists the mailboxes of a preview whose name changes.
func Mapping(p pass.Preview) []string {
	var list []string
	for _, r := range p.Rows {
		if r.Source != r.Destination {
			list = append(list, r.Source+" -> "+r.Destination)
		}
	}
	return list
}
