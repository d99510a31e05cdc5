package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/metrics"
	"github.com/imapsyncd/imapsyncd/state"
)

// account is one account at work: its state and both of its servers. It
// belongs to one goroutine.
type account struct {
	config.Account
	daemon      *Daemon
	with        accountOptions
	store       *state.Store
	source      *remote.Source
	destination *remote.Destination
	passes      *pass.Pass
	late        *late // between the pass and what it works with; nil: not draining
	quota       *quota
	trust       remote.Trust   // of how the new server parses APPEND
	welcome     chan struct{}  // closed once the new server has let us in
	room        *grant         // for the connections
	release     func()         // gives it back
	lanes       sync.WaitGroup // that take leave
}

// accountOptions is who is told of an account at work, and who ends it.
type accountOptions struct {
	connections *connections
	observer    pass.Observer // nil: nobody
	// listed is told how many messages the wanted mailboxes of the source
	// hold; nil: nobody.
	listed   func(messages int)
	stopping <-chan struct{}
	arrivals *pass.Arrivals // nil: they are forgotten with the account
	// foresight is that of the source; nil: it is forgotten with it too.
	foresight *remote.Foresight
	// complaints are those of the mailboxes; nil: they are forgotten with it too.
	complaints *pass.Complaints
	quota      *quota // nil: it is forgotten with the account
	readOnly   bool   // nothing is going to be changed
	// draining is true once the users work on the new server (I8).
	draining bool
	purpose  purpose
	// borrows is true where each pass is lent the connection that listens to the source:
	// none of its own is opened.
	borrows bool
}

const (
	// A pass has one session on either side; further lanes are beside it.
	sourceConnections      = 1
	destinationConnections = 1
)

// openAccount waits for room on both servers and opens the state. Nothing is
// sent yet.
func (d *Daemon) openAccount(ctx context.Context, a config.Account) (*account, error) {
	o := accountOptions{connections: d.newConnections(a.Name), stopping: d.Stopping, purpose: forCopy}
	if d.Observe != nil {
		o.observer = d.Observe(a.Name)
	}
	return d.openWith(ctx, a, o, (*account).openState)
}

// openBeside opens an account that others may be at work on, to look at it, on
// a copy of the state that read lends.
func (d *Daemon) openBeside(ctx context.Context, a config.Account, read func(func(*state.Store) error) error) (*account, error) {
	o := accountOptions{connections: d.newConnections(a.Name), stopping: ctx.Done(), readOnly: true}
	return d.openWith(ctx, a, o, func(acct *account) error {
		file, err := os.CreateTemp(d.Config.StateDir, "look-*")
		if err != nil {
			return fmt.Errorf("copy state: %w", err)
		}
		defer os.Remove(file.Name()) // once it is open
		copied := int64(0)
		err = read(func(store *state.Store) (err error) {
			copied, err = store.WriteTo(file)
			return err
		})
		if err := errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("copy state: %w", err)
		}
		o := d.stateOptions(a)
		if o.ReadOnly = copied > 0; !o.ReadOnly { // there is none yet: an empty one does
			if err := os.Remove(file.Name()); err != nil {
				return fmt.Errorf("copy state: %w", err)
			}
		}
		return acct.openStateAt(file.Name(), o)
	})
}

func (d *Daemon) openWith(ctx context.Context, a config.Account, o accountOptions, openState func(*account) error) (*account, error) {
	acct, err := d.enter(ctx, a, o)
	if err != nil {
		return nil, err
	}
	if err := openState(acct); err != nil {
		acct.release()
		return nil, err
	}
	// A server that does not answer does not draw out the end.
	keep, release := context.AfterFunc(ctx, o.connections.cut), acct.release
	acct.release = func() {
		keep()
		release()
	}
	return acct, nil
}

// enter waits for room on both servers. The state is not open yet.
func (d *Daemon) enter(ctx context.Context, a config.Account, o accountOptions) (*account, error) {
	source := sourceConnections
	if o.borrows {
		source = 0
	}
	room, err := d.slots.acquire(ctx, o.purpose, sourceNeed(a, source), destinationNeed(a, destinationConnections))
	if err != nil {
		return nil, err
	}
	o.connections.copying.Store(o.purpose == forCopy)
	o.draining = d.record.draining(a.Name)
	o.connections.addOnly(o.draining)
	acct := &account{Account: a, daemon: d, with: o, room: room, release: room.release, quota: o.quota, welcome: make(chan struct{})}
	if acct.quota == nil {
		acct.quota = &quota{reserve: a.Destination.QuotaReserve}
	}
	logger := d.Logger.With("account", a.Name)
	acct.source = remote.NewSource(remote.SourceOptions{Open: acct.openSource, Namespaces: a.Source.Namespaces, Foresight: o.foresight, Logger: logger})
	acct.destination = remote.NewDestination(remote.DestinationOptions{
		Open: acct.first(acct.opener(remote.SideDestination, a.Destination)), Trust: &acct.trust, Logger: logger,
	})
	return acct, nil
}

// pace waits until so many messages may be carried by what both servers allow.
func (a *account) pace(ctx context.Context, messages int, octets int64) error {
	if a.with.draining {
		a.quota.late(octets)
	} else if err := a.quota.room(octets); err != nil {
		return err
	}
	c, limits := a.with.connections, a.daemon.limits
	c.waiting.Add(1)
	defer c.waiting.Add(-1)
	limits.usage.save(false)
	for side, s := range map[remote.Side]config.Server{remote.SideSource: a.Source, remote.SideDestination: a.Destination} {
		if err := limits.allowance(side, s, a.Name).carry(ctx, !c.copying.Load(), messages); err != nil {
			return err
		}
	}
	return nil
}

// StatePath is the file that holds an account's state.
func StatePath(stateDir, account string) string {
	return filepath.Join(stateDir, "accounts", account+stateEnding)
}

const stateEnding = ".db"

func (d *Daemon) stateOptions(a config.Account) state.Options {
	return state.Options{
		Identity: state.Identity{
			SourceHost: a.Source.Host, SourceUser: a.Source.User,
			DestinationHost: a.Destination.Host, DestinationUser: a.Destination.User,
		},
		Logger: d.Logger.With("account", a.Name),
	}
}

func (a *account) openState() error {
	return a.openStateAt(StatePath(a.daemon.Config.StateDir, a.Name), a.daemon.stateOptions(a.Account))
}

func (a *account) openStateAt(path string, options state.Options) error {
	store, err := state.Open(path, options)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	a.store = store
	holdBefore, err := a.lostSince(store)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	var source pass.Source = counted{a.source, a}
	var journal pass.Journal = timed{store, a.daemon.Metrics}
	if a.with.draining && !a.with.readOnly {
		a.late = a.daemon.newLate(a.Account)
		source, journal = lateSource{source, a.late}, lateJournal{journal, a.late}
	}
	o := pass.Options{
		Source: source, Destination: bounded{a.destination, a}, Journal: journal,
		Beside:     a.beside,
		MostBeside: min(a.Source.MaxConnectionsPerAccount-sourceConnections, a.Destination.MaxConnectionsPerAccount-destinationConnections),
		Account:    a.Name,
		Rules:      rulesOf(a.Account),
		Budget:     a.daemon.budget,
		Pace:       a.pace,
		SpoolDir:   a.daemon.Config.StateDir,
		Policy: pass.Policy{
			Draining:    a.with.draining,
			TakenBack:   a.daemon.record.takenBack(a.Name),
			HoldBefore:  holdBefore,
			KeepFlags:   a.daemon.Config.Policy.Flags == "copy",
			KeepDeleted: a.daemon.Config.Policy.Deletions == "keep",
			CopyAgain:   a.daemon.Config.Policy.AlreadyThere == "copy",
			Fixups:      a.daemon.Config.Policy.Fixups,
		},
		Arrivals:   a.with.arrivals,
		Complaints: a.with.complaints,
		Quiet:      a.daemon.Quiet,
		LookAgain:  a.daemon.LookAgain,
		TwinWait:   a.daemon.TwinWait,
		Stopping:   a.with.stopping,
		Yield:      a.room.yield,
		Observer:   a.with.observer,
		Logger:     a.daemon.Logger.With("account", a.Name),
	}
	if a.daemon.mutate != nil {
		a.daemon.mutate(&o)
	}
	a.passes = pass.New(o)
	return nil
}

// counted is the source, which tells how much there is as soon as it is known.
type counted struct {
	*remote.Source
	account *account
}

func (c counted) Mailboxes(ctx context.Context) (mail.Listing, error) {
	listing, err := c.Source.Mailboxes(ctx)
	if err == nil && c.account.with.listed != nil {
		messages, rules := 0, rulesOf(c.account.Account)
		for _, m := range listing.Mailboxes {
			if !m.NoSelect && rules.Wants(m) {
				messages += int(m.Status.Messages)
			}
		}
		c.account.with.listed(messages)
	}
	return listing, err
}

// timed is a state whose commits are measured.
type timed struct {
	*state.Store
	metrics *metrics.Metrics
}

func (t timed) Commit(c mail.Change) error {
	start := time.Now()
	defer func() { t.metrics.ObserveCommit(time.Since(start)) }()
	return t.Store.Commit(c)
}

// rulesOf are what [mailboxes] says about an account.
func rulesOf(a config.Account) plan.Rules {
	return plan.Rules{
		Want:   func(m mail.Mailbox) bool { return a.Mailboxes.Match(m.Path, m.Role) },
		Rename: a.Mailboxes.Rename,
		Prefix: a.Mailboxes.Prefix,
	}
}

// pass runs one pass, complete whatever the source can tell.
func (a *account) pass(ctx context.Context) (pass.Result, error) {
	return a.passes.RunFlags(ctx)
}

// heldByReason counts what is held without the operator's word.
func (a *account) heldByReason() (map[mail.Reason]int, error) {
	holds, err := a.store.Holds()
	counts := make(map[mail.Reason]int)
	for _, h := range holds {
		if !h.Skipped {
			counts[h.Reason]++
		}
	}
	return counts, err
}

// held is their sum.
func (a *account) held() (int, error) {
	counts, err := a.heldByReason()
	total := 0
	for _, n := range counts {
		total += n
	}
	return total, err
}

func (a *account) close() error { return errors.Join(a.store.Close(), a.leave()) }

// leave takes leave of both servers, and gives the room back.
func (a *account) leave() error {
	defer a.release()
	defer a.lanes.Wait()
	return closeBoth(a.source, a.destination)
}

// closeBoth takes leave of both servers at once.
func closeBoth(source *remote.Source, destination *remote.Destination) error {
	left := make(chan error, 1)
	go func() { left <- source.Close() }()
	return errors.Join(destination.Close(), <-left)
}
