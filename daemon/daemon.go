// Package daemon is the running whole: it opens each account's state and both
// of its servers, and runs passes over them, several accounts side by side.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/metrics"
	"github.com/imapsyncd/imapsyncd/state"
)

// Options says what a [Daemon] works on.
type Options struct {
	Config *config.Config
	// Only names the accounts that [Daemon.Sync] is for; nil: all.
	Only   []string
	Logger *slog.Logger
	// Observe returns who is told of the passes of an account; nil: nobody.
	Observe func(account string) pass.Observer
	// Stopping, when closed, ends the work between two batches, with all
	// answers collected.
	Stopping <-chan struct{}
	// Quiet is pass.Options.Quiet.
	Quiet time.Duration
	// LookAgain is pass.Options.LookAgain.
	LookAgain time.Duration
	// TwinWait is pass.Options.TwinWait.
	TwinWait time.Duration
	// Timeout is how long a server may make no progress while an answer is due;
	// 0: a minute. A network that swallows everything is noticed after
	// poll_interval, or 9 minutes if that is less, and two of these.
	Timeout time.Duration
	Metrics *metrics.Metrics // nil: not counted
	// Dial opens the connections to the servers; nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Jitter returns a random time below a bound, by which accounts that wait do
	// not all come back at once; nil: rand.N.
	Jitter func(below time.Duration) time.Duration

	// Now is the clock by which phases, verdicts and late mail go; nil: time.Now.
	Now func() time.Time

	// The rest is for [Daemon.Run] only.

	// Unverified lets no verification begin by itself.
	Unverified bool
	// DNS is asked where mail for the domains goes; nil: nobody is.
	DNS cutover.Asker
	// Gatherer is what /metrics shows.
	Gatherer web.Gatherer
	// Load reads the configuration again; nil: it stays as it is. Only one that
	// has a Path is watched for changes.
	Load func() (*config.Config, error)
	// Reload asks for that.
	Reload <-chan os.Signal
	// Listen listens for the page ("tcp") and for the commands ("unix"); nil:
	// net.Listen, and a socket that only its owner can use.
	Listen func(network, address string) (net.Listener, error)
	// Listening is told the address of the page; nil: nobody.
	Listening func(net.Addr)
	Version   string
}

// Daemon is one process at work on a state directory.
type Daemon struct {
	Options
	lock        *state.DirLock
	paused      *paused
	record      *record
	slots       slots
	credentials credentials
	budget      *pass.Budget
	limits      *limits
	logIns      logIns
	look        looks
	// withoutNotify are the addresses of old servers of which it has been said
	// that they do not do the NOTIFY that they offer.
	withoutNotify sync.Map
	// mutate has a test break the protocol; nil: nobody does.
	mutate func(*pass.Options)
}

// Open takes the state directory, making it when it is not there yet. Another
// process that works on it is an error that names its pid.
func Open(o Options) (*Daemon, error) {
	dir := o.Config.StateDir
	if err := os.MkdirAll(filepath.Join(dir, "accounts"), 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w; create it, writable by the user that imapsyncd runs as, or set state_dir", err)
	}
	lock, err := state.Lock(dir)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New(nil, metrics.Options{})
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = rand.N[time.Duration]
	}
	d := &Daemon{Options: o, lock: lock, budget: pass.NewBudget(o.Config.Memory)}
	use, err := readUsage(dir, o.Logger)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	d.logIns.use(o.Config)
	d.limits = newLimits(o.Config, o.Now, o.Metrics, use)
	if d.paused, err = readPaused(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if d.record, err = openRecord(dir, o.Logger); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if err = d.takeOver(o.Config.Accounts); err == nil {
		err = d.record.use(o.Config, d.now())
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close gives the state directory back.
func (d *Daemon) Close() error {
	d.limits.usage.save(true)
	return errors.Join(d.record.ledger.Close(), d.lock.Close())
}

// now is the time that phases go by.
func (d *Daemon) now() time.Time { return d.Now().Round(0) }

// Outcome is what became of one account.
type Outcome struct {
	Account string
	pass.Result
	Held int // messages and mailboxes held without the operator's word
	Took time.Duration
	Err  error
}

const (
	passesAtMost = 6 // while UIDVALIDITY keeps changing under them
	triesAtMost  = 4 // over connections that break
)

// Sync carries everything that is new of the accounts, once.
func (d *Daemon) Sync(ctx context.Context, started func(account string), finished func(Outcome)) []Outcome {
	accounts := slices.DeleteFunc(slices.Clone(d.Config.Accounts), func(a config.Account) bool {
		return d.Only != nil && !slices.Contains(d.Only, a.Name)
	})
	d.warnOfOldTLS(accounts)
	return each(ctx, accounts, func(ctx context.Context, a config.Account) Outcome {
		outcome := d.syncAccount(ctx, a, started)
		finished(outcome)
		return outcome
	})
}

var errUnsettled = errors.New("mailboxes keep changing their UIDVALIDITY; run it again when the servers have settled")

func (d *Daemon) syncAccount(ctx context.Context, a config.Account, started func(string)) (out Outcome) {
	out.Account = a.Name
	if d.record.phase(a.Name) == mail.PhaseFinished {
		d.Logger.Info("the account is finished: nothing is carried any more", "account", a.Name)
		return out
	}
	acct, err := d.openAccount(ctx, a)
	if err != nil {
		out.Err = err
		return out
	}
	started(a.Name)
	begin := time.Now()
	defer func() {
		if acct != nil {
			out.Held, err = acct.held()
			out.Err = errors.Join(out.Err, err, acct.close())
		}
		out.Took = time.Since(begin)
	}()
	passes, tries := 0, 0
	for {
		result, err := acct.pass(ctx)
		out.add(result)
		switch {
		case errors.Is(err, pass.ErrStopped) && acct.room.told() && ctx.Err() == nil:
			// It is the turn of others.
			if err := acct.close(); err != nil {
				d.Logger.Debug("closing", "account", a.Name, "error", err)
			}
			if acct, err = d.openAccount(ctx, a); err != nil {
				out.Err = err
				return out
			}
		case err == nil && !result.Changed:
			out.Err = d.completed(a.Name, result.Copied > 0)
			return out
		case err == nil:
			if passes++; passes == passesAtMost {
				out.Err = errUnsettled
				return out
			}
		case errors.Is(err, pass.ErrStopped) || ctx.Err() != nil:
			out.Err = pass.ErrStopped
			return out
		default:
			if result.Copied > 0 {
				tries = 0
			}
			if tries++; !worthRetrying(err) || tries == triesAtMost {
				out.Err = err
				return out
			}
			d.Logger.Warn("trying again", "account", a.Name, "error", err)
			if err := acct.recover(ctx, err, tries); err != nil {
				out.Err = err
				return out
			}
		}
	}
}

// add counts what one pass did.
func (o *Outcome) add(r pass.Result) {
	o.Mailboxes = r.Mailboxes
	o.Copied += r.Copied
	o.Bytes += r.Bytes
	o.Mended += r.Mended
	o.Recognised += r.Recognised
	o.Resent += r.Resent
	o.Changed = r.Changed
}
