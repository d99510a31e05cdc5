package daemon

import (
	"context"
	"errors"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// AccountPreview is what a pass over one account would do.
type AccountPreview struct {
	Account string
	pass.Preview
	Error string // why it is not known; empty: it is
	Cause error  `json:"-"` // of Error; nil where a daemon was asked
}

// Preview implements [Operator].
func (d *desk) Preview(ctx context.Context, accounts []string) ([]AccountPreview, error) {
	chosen, err := d.named(accounts)
	if err != nil {
		return nil, err
	}
	return each(ctx, chosen, func(ctx context.Context, a config.Account) AccountPreview {
		p := AccountPreview{Account: a.Name}
		p.Cause = d.lookAt(ctx, a, func(acct *account) (err error) {
			p.Preview, err = acct.passes.Preview(ctx)
			return err
		})
		p.Error = words(p.Cause)
		return p
	}), nil
}

// lookAt opens an account for a look.
func (d *desk) lookAt(ctx context.Context, a config.Account, look func(*account) error) error {
	acct, err := d.open(ctx, a)
	if err != nil {
		return err
	}
	return errors.Join(look(acct), acct.close())
}

// words is the text of an error, or none.
func words(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
