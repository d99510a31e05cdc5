package daemon

import (
	"context"
	"fmt"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const (
	// stuckAfter is how long a loop may be at work without an octet going
	// either way. Whatever it waits for has a shorter time-out.
	stuckAfter = 15 * time.Minute
	// statusEvery is how often systemd is told how things are.
	statusEvery = 15 * time.Second
)

// tell tells systemd, where it listens.
func (r *running) tell(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		r.Logger.Warn("systemd was not told", "error", err)
	}
}

// watchdog tells systemd how things are, and that no loop is stuck.
func (r *running) watchdog(ctx context.Context) {
	every := statusEvery
	feeds, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		r.Logger.Warn("the watchdog of systemd is not fed", "error", err)
	}
	if feeds > 0 {
		every = min(every, feeds/3)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	complained := false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			state, stuck := "STATUS="+r.summary(), r.stuck(now)
			if feeds > 0 && stuck == "" {
				state += "\n" + sd.SdNotifyWatchdog
			}
			r.tell(state)
			if stuck != "" && !complained {
				r.Logger.Error("the account does not move: systemd will start imapsyncd again", "account", stuck)
			}
			complained = stuck != ""
			r.lookOut(now)
			r.measureServers()
		}
	}
}

// stuck names an account that is, if one is.
func (r *running) stuck(now time.Time) string {
	for _, f := range r.all() {
		if f.stuck(now, stuckAfter) {
			return f.account.Name
		}
	}
	return ""
}

// summary says in one line how things are.
func (r *running) summary() string {
	following, unwell, pending, held := 0, 0, 0, 0
	all := r.all()
	for _, f := range all {
		s := f.Status()
		if s.Phase == mail.PhaseFollowing {
			following++
		}
		if s.Health != mail.HealthOK && s.Health != mail.HealthHeld && s.Health != mail.HealthPaused {
			unwell++
		}
		pending += s.Pending
		held += s.Held
	}
	return fmt.Sprintf("%d of %d accounts following, %d not well, %d messages pending, %d held", following, len(all), unwell, pending, held)
}
