package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

const (
	// scheduledSample is the share of the messages whose contents are compared
	// without being asked for, scheduledPace how many octets of them are read in a
	// second at most.
	scheduledSample = 0.01
	scheduledPace   = 8 << 20
	// progressEvery is how often it is written down how far that has come.
	progressEvery = 30 * time.Second
)

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
		return d.compare(ctx, a, verify.Options{Mode: mode, Sample: sample})
	}), nil
}

// compare compares one account as o says, and remembers the outcome.
func (d *desk) compare(ctx context.Context, a config.Account, o verify.Options) AccountReport {
	var r AccountReport
	began := d.now()
	o.Account, o.Now, o.Logger = a.Name, d.now, d.Logger.With("account", a.Name)
	o.UsersMoved, o.FlagsKept = d.record.draining(a.Name), d.Config.Policy.Flags == "copy"
	r.Error = words(d.lookAt(ctx, a, func(acct *account) (err error) {
		o.Source, o.Destination, o.Journal, o.Rules = acct.source, acct.destination, acct.store, rulesOf(acct.Account)
		if r.Report, err = verify.Account(ctx, o); err != nil {
			return err
		}
		return d.verified(a.Name, began, r.Report)
	}))
	r.Account = a.Name
	return r
}

// compareScheduled compares one account with a sample of the contents, slowly,
// and goes on where an earlier attempt was broken off, in another process
// perhaps.
func (d *desk) compareScheduled(ctx context.Context, name string, pace func(context.Context, int64) error) (AccountReport, error) {
	chosen, err := d.named([]string{name})
	if err != nil {
		return AccountReport{}, err
	}
	progress := new(verify.Progress)
	known, _ := d.record.knownAccount(name)
	if len(known.Comparing) > 0 && json.Unmarshal(known.Comparing, progress) != nil {
		*progress = verify.Progress{} // of another version: begin
	}
	save := func(p verify.Progress) {
		err := d.record.account(name, func(m *cutover.AccountMemory) []cutover.Change {
			m.Comparing = nil
			if p.Seed != 0 {
				m.Comparing, _ = json.Marshal(p) // it has only values that can be
			}
			return nil
		})
		if err != nil {
			d.Logger.Warn("progress of the verification was not written down", "account", name, "error", err)
		}
	}
	var saved time.Time
	report := d.compare(ctx, chosen[0], verify.Options{
		Mode: verify.Sample, Sample: scheduledSample, Pace: pace, Progress: progress,
		Saved: func(p verify.Progress) {
			if now := time.Now(); now.Sub(saved) >= progressEvery {
				saved = now
				save(p)
			}
		},
	})
	save(*progress)
	if report.Error != "" {
		err = errors.New(report.Error)
	}
	return report, err
}
