package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// running is a daemon that follows its accounts.
type running struct {
	*Daemon
	ctx     context.Context // of the followers: its end does not wait for answers
	started time.Time
	ready   atomic.Bool

	reloading sync.Mutex // held by the one that changes followers
	ended     bool       // no follower starts any more; under reloading

	migration *migration
	stretch   stretch // belongs to the watchdog

	mu        sync.Mutex
	config    *config.Config // the one in force
	followers map[string]*follower
}

// Run follows every account until Stopping is closed: then it ends between two
// batches with all answers collected, and returns nil. The end of ctx does not
// wait for answers, as little as a kill would.
func (d *Daemon) Run(ctx context.Context) error { return d.newRunning(ctx).run(ctx) }

func (d *Daemon) newRunning(ctx context.Context) *running {
	d.slots.live = true
	r := &running{Daemon: d, ctx: ctx, started: time.Now(), config: d.Config, followers: make(map[string]*follower)}
	r.migration = newMigration(r)
	return r
}

func (r *running) run(ctx context.Context) error {
	d, listen := r.Daemon, r.Listen
	if d.record.allFinished() {
		r.tell(sd.SdNotifyReady)
		d.Logger.Info("every domain is finished: there is nothing to do any more", "reports", filepath.Dir(ReportPath(d.Config.StateDir, "")))
		return nil
	}
	if listen == nil {
		listen = net.Listen
	}
	page, err := listen("tcp", d.Config.Web.Listen)
	if err != nil {
		return fmt.Errorf("listen for the page: %w; set [web] listen or --web.listen-address", err)
	}
	control, err := web.ListenControl(web.ControlOptions{
		Path: d.Config.Socket, Listen: r.Listen, Controller: r, Methods: r.methods(), Logger: d.Logger,
	})
	if err != nil {
		page.Close()
		return err
	}

	d.Metrics.ConfigReloaded(true, r.started)
	defer context.AfterFunc(ctx, r.cut)()
	d.warnOfOldTLS(d.Config.Accounts)
	r.reloading.Lock()
	for i := range d.Config.Accounts {
		r.start(&d.Config.Accounts[i])
	}
	r.reloading.Unlock()
	r.ready.Store(true)

	serving, endServing := context.WithCancel(ctx)
	defer endServing()
	var servers sync.WaitGroup
	failed := make(chan error, 2)
	serve := func(f func() error) {
		servers.Go(func() {
			if err := f(); err != nil {
				failed <- err
			}
		})
	}
	handler := web.New(web.Options{Status: r.Status, Account: r.accountDetails, Ready: r.ready.Load, Gatherer: d.Gatherer, Logger: d.Logger})
	serve(func() error { return web.Serve(serving, page, d.Config.Web.ConfigFile, handler, d.Logger) })
	serve(func() error { return control.Serve(serving) })
	address := page.Addr().String()
	if d.Config.Web.ConfigFile == "" {
		address = "http://" + address + "/"
		if tcp, ok := page.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
			d.Logger.Warn("whoever reaches the page can read it: set [web] config_file, or listen on loopback", "page", address)
		}
	}
	d.Logger.Info("started", "accounts", len(d.Config.Accounts), "page", address, "socket", d.Config.Socket)
	if d.Listening != nil {
		d.Listening(page.Addr())
	}
	r.tell(sd.SdNotifyReady)

	changed := make(chan struct{}, 1)
	if d.Load != nil && d.Config.Path != "" {
		servers.Go(func() {
			config.Watch(serving, config.WatchOptions{Path: d.Config.Path, Known: d.Config.Sum, Secrets: r.secretFiles, Logger: d.Logger, Changed: func() {
				select {
				case changed <- struct{}{}:
				default:
				}
			}})
		})
	}
	servers.Go(func() { r.watchdog(serving) })
	migrating, endMigration := context.WithCancel(serving)
	defer endMigration()
	servers.Go(func() { r.migration.run(migrating) })

	err = r.wait(ctx, changed, failed)
	endMigration()
	r.tell(sd.SdNotifyStopping)
	d.Logger.Info("stopping")
	r.end()
	endServing()
	servers.Wait()
	d.Logger.Info("stopped", "after", time.Since(r.started).Round(time.Second))
	return err
}

// wait does what is asked for until the end: until it is told to stop, or until
// every domain has been finished for as long as the page is to stay up.
func (r *running) wait(ctx context.Context, changed <-chan struct{}, failed <-chan error) error {
	var linger <-chan time.Time
	for {
		select {
		case <-r.migration.done:
			if linger == nil {
				r.Logger.Info("every domain is finished", "page_stays_for", r.Config.Web.Linger, "reports", filepath.Dir(ReportPath(r.Config.StateDir, "")))
				linger = time.After(r.Config.Web.Linger)
			}
			continue
		case <-linger:
			if linger = nil; r.record.allFinished() {
				return nil
			}
			continue // something has been added meanwhile
		case <-r.Stopping:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case <-changed:
		case <-r.Options.Reload:
		}
		// What is wrong has been logged; the old configuration stays.
		_ = r.Reload(ctx, false)
	}
}

// start follows an account, which is not changed any more. The caller holds
// reloading.
func (r *running) start(a *config.Account) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := newFollower(r.ctx, r.Daemon, a, timingOf(r.config))
	f.changed = r.migration.look
	r.followers[a.Name] = f
	go f.run()
}

// end ends every account and waits for all.
func (r *running) end() {
	r.reloading.Lock()
	defer r.reloading.Unlock()
	r.ended = true
	all := r.all()
	for _, f := range all {
		f.End()
	}
	for _, f := range all {
		<-f.done
	}
}

// cut has every account end that a server might draw out the end of, by not even
// answering the farewell.
func (r *running) cut() {
	for _, f := range r.all() {
		f.connections.cut()
		f.End()
	}
}

// all returns the followers in the order of the configuration.
func (r *running) all() []*follower {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*follower, 0, len(r.followers))
	for _, a := range r.config.Accounts {
		if f := r.followers[a.Name]; f != nil {
			all = append(all, f)
		}
	}
	return all
}

// timing is that of the configuration in force.
func (r *running) timing() timing {
	r.mu.Lock()
	defer r.mu.Unlock()
	return timingOf(r.config)
}

func (r *running) secretFiles() map[string][sha256.Size]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.config.SecretFiles()
}

var errNotFollowed = errors.New("is not in the configuration")

// chosen returns the followers of the named accounts, or all.
func (r *running) chosen(accounts []string, all bool) ([]*follower, error) {
	if all || len(accounts) == 0 {
		return r.all(), nil
	}
	chosen := make([]*follower, 0, len(accounts))
	for _, name := range accounts {
		f, err := r.follower(name)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, f)
	}
	return chosen, nil
}

func (r *running) follower(account string) (*follower, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.followers[account]
	if f == nil {
		return nil, fmt.Errorf("account %q %w", account, errNotFollowed)
	}
	return f, nil
}
