package daemon

import (
	"context"
	"errors"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

// AccountPreview is what a pass over one account would do.
type AccountPreview struct {
	Account string
	pass.Preview
	Error string // why it is not known; empty: it is
}

// Preview implements [Operator].
func (d *desk) Preview(ctx context.Context, accounts []string) ([]AccountPreview, error) {
	chosen, err := d.named(accounts)
	if err != nil {
		return nil, err
	}
	return each(ctx, chosen, func(ctx context.Context, a config.Account) AccountPreview {
		p := AccountPreview{Account: a.Name}
		p.Error = d.lookAt(ctx, a, func(acct *account) (err error) {
			p.Preview, err = acct.passes.Preview(ctx)
			return err
		})
		return p
	}), nil
}

// AccountReport is what a comparison of one account found.
type AccountReport struct {
	verify.Report
	Error string `json:"error,omitempty"` // why there is no report; empty: there is
}

// Verify implements [Operator].
func (d *desk) Verify(ctx context.Context, accounts []string, mode verify.Mode, sample float64) ([]AccountReport, error) {
	chosen, err := d.named(accounts)
	if err != nil {
		return nil, err
	}
	return each(ctx, chosen, func(ctx context.Context, a config.Account) AccountReport {
		var r AccountReport
		began := d.now()
		r.Error = d.lookAt(ctx, a, func(acct *account) (err error) {
			r.Report, err = verify.Account(ctx, verify.Options{
				Account: a.Name, Source: acct.source, Destination: acct.destination, Journal: acct.store,
				Select: acct.selects, Mode: mode, Sample: sample, Logger: d.Logger.With("account", a.Name),
			})
			if err != nil {
				return err
			}
			return d.verified(a.Name, began, r.Report)
		})
		r.Account = a.Name
		return r
	}), nil
}

// lookAt opens an account for a look, and returns the text of the error.
func (d *desk) lookAt(ctx context.Context, a config.Account, look func(*account) error) string {
	acct, err := d.open(ctx, a)
	if err == nil {
		err = errors.Join(look(acct), acct.close())
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
