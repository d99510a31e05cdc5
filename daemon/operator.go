package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/state"
)

// Operator is what the commands may ask besides the carrying of mail. The
// answers are the same from [Daemon.Operator], which works on a state directory
// that nobody else works on, and from [Ask], which asks the daemon that does.
// Without names of accounts all are meant.
type Operator interface {
	// Holds returns what is held in every account.
	Holds(ctx context.Context) ([]AccountHold, error)
	// Retry has the next pass try again what is held under these names, and
	// tells how much that is.
	Retry(ctx context.Context, names []string) (int, error)
	// Skip records the operator's word that what is held is left out, and why.
	Skip(ctx context.Context, names []string, because string) (int, error)
	// SkipReason is Skip for everything that is held for one reason.
	SkipReason(ctx context.Context, reason mail.Reason, because string) (int, error)
	// Deletions returns what was deleted on the old server and waits for the
	// operator's word.
	Deletions(ctx context.Context, accounts []string) ([]Deletion, error)
	// ApplyDeletions has the next pass remove the copies of what waits under
	// these names, or of all in those accounts, and tells how many they are.
	ApplyDeletions(ctx context.Context, accounts, names []string) (int, error)
	// KeepDeleted has those copies stay.
	KeepDeleted(ctx context.Context, accounts, names []string) (int, error)
	// MoveMailboxes has what was copied into mailboxes that the rules of the
	// configuration put elsewhere now moved there, KeepMailboxes has it stay and the
	// mailboxes with it (I11). They tell how many mailboxes these are.
	MoveMailboxes(ctx context.Context, accounts []string) (int, error)
	KeepMailboxes(ctx context.Context, accounts []string) (int, error)
	// Find tells where the messages with that Message-ID are.
	Find(ctx context.Context, account, messageID string) ([]web.Found, error)
	// Preview tells what a pass would do.
	Preview(ctx context.Context, accounts []string) ([]AccountPreview, error)
	// Verify compares both sides.
	Verify(ctx context.Context, accounts []string, mode verify.Mode, sample float64) ([]AccountReport, error)
	// Check logs in on both sides and looks at what is there.
	Check(ctx context.Context, accounts []string) (Preflight, error)
	// States tells what is known of each account, CheckStates what is wrong with
	// that.
	States(ctx context.Context, accounts []string) ([]AccountState, error)
	CheckStates(ctx context.Context, accounts []string) ([]StateCheck, error)
	// Pause has nothing carried for the accounts until it is called with false,
	// over restarts too.
	Pause(ctx context.Context, accounts []string, pause bool) error

	// Switched takes in that the delivery of a domain has moved, Start that its
	// users have, or those of some of its accounts, Abort that it is taken back,
	// Finish that the old server may go, and Ack that late mail which a host
	// delivers does not count. What has changed by that is returned, and in force.
	Switched(ctx context.Context, domain string) ([]cutover.Change, error)
	Start(ctx context.Context, domain string, accounts []string) ([]cutover.Change, error)
	Abort(ctx context.Context, domain string, accounts []string) ([]cutover.Change, error)
	Finish(ctx context.Context, domain string) ([]cutover.Change, error)
	Ack(ctx context.Context, domain, host, because string) ([]cutover.Change, error)
	// SkipAccount records the operator's word that no verdict waits for an
	// account, and why.
	SkipAccount(ctx context.Context, account, because string) error
	// AcceptSource lets accounts go on with an old server that is not the one that
	// it was.
	AcceptSource(ctx context.Context, accounts []string) error
}

// desk is an Operator in the process that holds the state directory.
type desk struct {
	*Daemon
	accounts []config.Account
	poll     time.Duration // poll_interval
	// open takes an account up to look at it: nothing is carried meanwhile by
	// who looks, but perhaps by others.
	open func(ctx context.Context, a config.Account) (*account, error)
	// read lends the state of an account for a moment, change while no pass is
	// running. An account that has no state yet is passed over.
	read, change func(ctx context.Context, a config.Account, use func(*state.Store) error) error
	// inspect lends the state of an account as it is, damage and all.
	inspect func(a config.Account, use func(*state.Store) error) error
	// newest reads the accounts of the configuration as it is written now; nil:
	// they are those that there are.
	newest func() ([]config.Account, error)
	// facts are what the verdicts about a domain rest on, turned has followers go
	// by what the record says, told is told of what has changed; nil where no
	// daemon runs.
	facts  func(cutover.Domain) cutover.Facts
	turned func(ctx context.Context, accounts []string) error
	told   func([]cutover.Change)
}

// Operator works on the state directory while nothing else does.
func (d *Daemon) Operator() Operator {
	with := func(_ context.Context, a config.Account, use func(*state.Store) error) error {
		return d.withState(a, use)
	}
	return &desk{Daemon: d, accounts: d.Config.Accounts, poll: d.Config.PollInterval, open: d.openAccount, read: with, change: with, inspect: d.inspect}
}

// operator works beside the followers.
func (r *running) operator() *desk {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &desk{
		Daemon: r.Daemon, accounts: r.config.Accounts, poll: r.config.PollInterval, open: r.lookAt,
		read: func(_ context.Context, a config.Account, use func(*state.Store) error) error {
			f, err := r.follower(a.Name)
			if err != nil {
				return err
			}
			return f.withStore(use)
		},
		change: func(ctx context.Context, a config.Account, use func(*state.Store) error) error {
			f, err := r.follower(a.Name)
			if err != nil {
				return err
			}
			return f.Between(ctx, use)
		},
		inspect: func(a config.Account, use func(*state.Store) error) error {
			f, err := r.follower(a.Name)
			if err != nil {
				return err
			}
			return f.inspect(use)
		},
		newest: r.newest,
		facts:  r.migration.facts, turned: r.migration.turn, told: r.migration.told,
	}
}

// named returns the configured accounts of those names, or all.
func (d *desk) named(names []string) ([]config.Account, error) {
	if len(names) == 0 {
		return d.accounts, nil
	}
	chosen := make([]config.Account, 0, len(names))
	for _, name := range names {
		i := slices.IndexFunc(d.accounts, func(a config.Account) bool { return a.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("account %q %w", name, errNotFollowed)
		}
		chosen = append(chosen, d.accounts[i])
	}
	return chosen, nil
}

// Pause implements [Operator].
func (d *desk) Pause(_ context.Context, accounts []string, pause bool) error {
	chosen, err := d.named(accounts)
	if err != nil {
		return err
	}
	names := make([]string, len(chosen))
	for i, a := range chosen {
		names[i] = a.Name
	}
	return d.paused.set(names, pause)
}

// each runs work on every account at once, as far as the servers' connections
// allow, and waits for all. One account's error is not the others'.
func each[R any](ctx context.Context, accounts []config.Account, work func(ctx context.Context, a config.Account) R) []R {
	results := make([]R, len(accounts))
	var wait sync.WaitGroup
	for i, a := range accounts {
		wait.Go(func() { results[i] = work(ctx, a) })
	}
	wait.Wait()
	return results
}

// lookAt opens an account beside its follower: with connections of its own, on a
// copy of the state as it is now.
func (r *running) lookAt(ctx context.Context, a config.Account) (*account, error) {
	f, err := r.follower(a.Name)
	if err != nil {
		return nil, err
	}
	for _, side := range []struct {
		name        string
		limit, busy int // busy are those of the follower, at most: the source is listened to by one
	}{
		{"source", a.Source.MaxConnectionsPerAccount, sourceConnections + 1},
		{"destination", a.Destination.MaxConnectionsPerAccount, destinationConnections},
	} {
		if side.limit <= side.busy {
			return nil, fmt.Errorf("max_connections_per_account = %d in [%s] leaves no connection for this while the daemon runs: allow at least %d, or stop the daemon for it",
				side.limit, side.name, side.busy+1)
		}
	}
	return r.openBeside(ctx, a, f.withStore)
}
