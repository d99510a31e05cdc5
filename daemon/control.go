package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// Status implements [web.Controller].
func (r *running) Status() web.Status {
	now := time.Now()
	s := web.Status{Version: r.Version, Started: r.started, Now: now}
	for _, f := range r.all() {
		s.Accounts = append(s.Accounts, f.webStatus(now))
	}
	s.Limits = r.limits.status()
	for i := range s.Limits {
		if l := &s.Limits[i]; l.Account == "" {
			r.slots.bears(l)
		}
	}
	s.Outlooks = r.outlooks()
	s.YouMustCheck = cutover.YouMustCheck()
	for _, d := range r.record.allDomains() {
		s.Domains = append(s.Domains, r.record.domainStatus(r.migration.facts(d)))
	}
	return s
}

// Pause implements [web.Controller].
func (r *running) Pause(accounts []string, all bool) error { return r.pause(accounts, all, true) }

// Resume implements [web.Controller].
func (r *running) Resume(accounts []string, all bool) error { return r.pause(accounts, all, false) }

func (r *running) pause(accounts []string, all, paused bool) error {
	chosen, err := r.chosen(accounts, all)
	if err != nil {
		return err
	}
	names := make([]string, len(chosen))
	for i, f := range chosen {
		names[i] = f.account.Name
	}
	if err := r.paused.set(names, paused); err != nil {
		return err
	}
	for _, f := range chosen {
		f.Pause(paused)
	}
	return nil
}

// trace logs what is said to the servers of some accounts, or does not any
// more. It ends with the process, and with a change of the account.
func (r *running) trace(accounts []string, on bool) error {
	if on && !r.Logger.Enabled(context.Background(), slog.LevelInfo) {
		return errors.New("a trace is logged with level info, which [log] level leaves out: write info or debug there, and restart imapsyncd")
	}
	chosen, err := r.chosen(accounts, false)
	if err != nil {
		return err
	}
	for _, f := range chosen {
		f.logger.Info("trace", "on", on)
		f.connections.trace(on)
	}
	return nil
}

// Sync implements [web.Controller].
func (r *running) Sync(ctx context.Context, accounts []string, all bool) error {
	chosen, err := r.chosen(accounts, all)
	if err != nil {
		return err
	}
	answers := make([]<-chan error, len(chosen))
	for i, f := range chosen {
		answers[i] = f.Ask()
	}
	var errs []error
	for i, answer := range answers {
		select {
		case err := <-answer:
			if err != nil {
				errs = append(errs, fmt.Errorf("account %s: %w", chosen[i].account.Name, err))
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}

// Reload implements [web.Controller]. A configuration that is wrong, or that
// takes away too much, changes nothing.
func (r *running) Reload(_ context.Context, allowRemovals bool) error {
	r.reloading.Lock()
	defer r.reloading.Unlock()
	if r.ended {
		return errors.New("imapsyncd is stopping")
	}
	r.tell(sd.SdNotifyReloading)
	defer r.tell(sd.SdNotifyReady)
	err := r.reload(allowRemovals)
	r.Metrics.ConfigReloaded(err == nil, time.Now())
	if err != nil {
		r.Logger.Error("configuration not taken; the one before stays in force", "error", err)
		return fmt.Errorf("%w\nThe configuration that was in force before stays in force", err)
	}
	return nil
}

// reload takes a new configuration in force. Accounts that are the same go on
// undisturbed.
func (r *running) reload(allowRemovals bool) error {
	if r.Load == nil {
		return errors.New("there is no configuration file to be read")
	}
	next, err := r.Load()
	if err != nil {
		return err
	}
	r.mu.Lock()
	old := r.config
	r.mu.Unlock()
	d := config.Diff(old, next)
	if !allowRemovals {
		if err := d.Removals(len(old.Accounts)); err != nil {
			return err
		}
	}

	if err := r.refuseMoves(d.Changed); err != nil {
		return err
	}

	var ending []*follower
	r.mu.Lock()
	for _, a := range append(d.Removed, d.Changed...) {
		f := r.followers[a.Name]
		f.End()
		ending = append(ending, f)
	}
	r.mu.Unlock()
	for _, f := range ending {
		<-f.done
	}
	r.mu.Lock()
	r.config = next
	r.limits.use(next)
	r.logIns.use(next)
	for _, a := range d.Removed {
		delete(r.followers, a.Name)
	}
	limited := !reflect.DeepEqual(old.SourceLimits, next.SourceLimits) || !reflect.DeepEqual(old.DestinationLimits, next.DestinationLimits)
	for _, f := range r.followers {
		f.SetTiming(timingOf(next))
		if limited && f.Status().Health == mail.HealthBackoff {
			f.WakeUrgently() // it may have waited for daily_bytes
		}
	}
	r.mu.Unlock()
	for _, a := range d.Removed {
		r.Metrics.RemoveAccount(a.Name)
	}
	err = r.takeOver(next.Accounts)
	if err == nil {
		err = r.paused.keep(next.Accounts)
	}
	err = errors.Join(err, r.record.use(next, r.now()))
	r.migration.look()
	fresh := append(d.Added, d.Changed...)
	for i := range fresh {
		r.start(&fresh[i])
	}
	if err != nil { // the configuration is in force all the same
		r.Logger.Error("not all could be kept of accounts that changed", "error", err)
	}
	r.warnOfOldTLS(append(d.Added, d.Changed...))
	r.Logger.Info("configuration read", "added", len(d.Added), "changed", len(d.Changed), "removed", len(d.Removed))
	if len(d.AtRestart) > 0 {
		r.Logger.Warn("some of it takes effect at the next start only", "keys", d.AtRestart)
	}
	return nil
}
