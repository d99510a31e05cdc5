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
	Err error
}

// Preview looks at every account and changes nothing.
func (d *Daemon) Preview(ctx context.Context) []AccountPreview {
	previews := make([]AccountPreview, len(d.Config.Accounts))
	errs := d.each(ctx, func(ctx context.Context, i int, a config.Account) (err error) {
		previews[i].Account = a.Name
		acct, err := d.openAccount(ctx, a)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, acct.close()) }()
		previews[i].Preview, err = acct.passes.Preview(ctx)
		return err
	})
	for i, err := range errs {
		previews[i].Err = err
	}
	return previews
}

// Verify compares both sides of every account. The errors are by account.
func (d *Daemon) Verify(ctx context.Context, mode verify.Mode, sample float64) ([]verify.Report, []error) {
	reports := make([]verify.Report, len(d.Config.Accounts))
	errs := d.each(ctx, func(ctx context.Context, i int, a config.Account) (err error) {
		acct, err := d.openAccount(ctx, a)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, acct.close()) }()
		reports[i], err = verify.Account(ctx, verify.Options{
			Account: a.Name, Source: acct.source, Destination: acct.destination, Journal: acct.store,
			Select: acct.selects, Mode: mode, Sample: sample, Logger: d.Logger.With("account", a.Name),
		})
		return err
	})
	return reports, errs
}
