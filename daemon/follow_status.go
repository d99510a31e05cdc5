package daemon

import (
	"context"
	"log/slog"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/metrics"
	"github.com/imapsyncd/imapsyncd/state"
)

// followerStatus is what a follower shows.
type followerStatus struct {
	Phase        mail.Phase
	Health       mail.Health
	Error        string
	Source       int // messages of the wanted mailboxes
	Pending      int
	PendingBytes int64
	PendingSince time.Time
	Copied       int64
	Bytes        int64
	Held         int
	Deletions    int // many at once, that wait for the operator's word
	LastSuccess  time.Time
	UnwellSince  time.Time // zero: it is well, or paused
	Following    time.Time // since when
	Watching     bool
}

// show changes what others see, and logs a change of phase or health, once.
func (f *follower) show(change func(*followerStatus)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.status
	change(&f.status)
	switch now := &f.status; {
	case now.Health == mail.HealthOK && now.Held > 0:
		now.Health = mail.HealthHeld
	case now.Health == mail.HealthHeld && now.Held == 0:
		now.Health = mail.HealthOK
	}
	if f.paused {
		f.status.Health, f.status.Error = mail.HealthPaused, ""
	}
	if well := f.status.Health == mail.HealthOK || f.status.Health == mail.HealthHeld || f.status.Health == mail.HealthPaused; well {
		f.status.UnwellSince = time.Time{}
	} else if f.status.UnwellSince.IsZero() {
		f.status.UnwellSince = f.daemon.now()
	}
	now := f.status
	defer func() {
		if f.changed != nil && (now.Health != before.Health || now.Phase != before.Phase || (now.Pending > 0) != (before.Pending > 0)) {
			f.changed()
		}
	}()
	f.metrics.SetState(now.Phase, now.Health)
	f.metrics.SetSource(now.Source)
	f.metrics.SetPending(now.Pending, now.PendingBytes, now.PendingSince)
	if now.Health == before.Health && now.Phase == before.Phase {
		return
	}
	level := slog.LevelWarn
	well := now.Health == mail.HealthOK || now.Health == mail.HealthPaused
	switch {
	case f.hushed && (well || now.Health == mail.HealthBackoff):
		level = slog.LevelDebug
	case well:
		level = slog.LevelInfo
	}
	f.hushed = f.hushed && now.Health == mail.HealthBackoff
	attributes := []any{"phase", string(now.Phase), "health", string(now.Health)}
	if now.Error != "" {
		attributes = append(attributes, "error", now.Error)
	}
	if f.unsaid > 0 {
		attributes = append(attributes, "others_unsaid", f.unsaid)
		f.unsaid = 0
	}
	f.logger.Log(context.Background(), level, "account is "+string(now.Health), attributes...)
}

// Status is what the account shows now.
func (f *follower) Status() followerStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// webStatus is Status for the page and the commands.
func (f *follower) webStatus(now time.Time) web.AccountStatus {
	s := f.Status()
	known, _ := f.daemon.record.knownAccount(f.account.Name)
	a := web.AccountStatus{
		Name: f.account.Name, Domains: f.account.Domains, Skipped: known.Skipped.Why, Phase: s.Phase, Health: s.Health, LastSuccess: s.LastSuccess, Error: s.Error,
		Messages: web.Messages{Source: s.Source, Copied: s.Copied, CopiedBytes: s.Bytes, Pending: s.Pending, PendingBytes: s.PendingBytes, Held: s.Held},
	}
	a.Connections.Source, a.Connections.Destination = f.connections.count()
	if s.Pending > 0 {
		a.LagSeconds = now.Sub(s.PendingSince).Seconds()
	}
	return a
}

// listed notes how many messages the source holds. It shows together with how
// many of them are pending, which is known a little later.
func (f *follower) listed(messages int) {
	f.mu.Lock()
	f.found = messages
	f.mu.Unlock()
}

// succeeded shows what a complete pass has found, which has opened so many
// connections.
func (f *follower) succeeded(result pass.Result, opened int64) {
	held := make(map[mail.Reason]int)
	total, deletions := 0, 0
	err := f.withStore(func(store *state.Store) error {
		if n, err := store.Size(); err == nil {
			f.metrics.SetStateBytes(n)
		}
		holds, err := store.Holds()
		for _, h := range holds {
			if !h.Skipped {
				held[h.Reason]++
				total++
			}
		}
		if err != nil {
			return err
		}
		absences, err := store.Absences()
		for _, a := range absences {
			for _, m := range a.Missing {
				if m.Guarded && !m.Apply {
					deletions += len(m.UIDs)
				}
			}
		}
		return err
	})
	if err != nil {
		f.logger.Error("holds cannot be read", "error", err)
	}
	now := time.Now()
	f.metrics.SetHeld(held)
	f.metrics.Succeeded(now)
	if err := f.daemon.completed(f.account.Name, result.Copied > 0); err != nil {
		f.logger.Error("that the pass is complete was not noted", "error", err)
	}
	f.show(func(s *followerStatus) {
		if s.Following.IsZero() {
			s.Following = now
		}
		s.Phase, s.Health, s.Error = f.daemon.record.phase(f.account.Name), mail.HealthOK, ""
		s.Source, s.Held, s.Deletions, s.LastSuccess = result.SourceMessages, total, deletions, now
		s.Pending, s.PendingBytes, s.PendingSince = 0, 0, time.Time{}
	})
	if hasNews(result) {
		f.newsAt.Store(now.UnixNano())
		f.logger.Info("pass done", "copied", result.Copied, "bytes", result.Bytes, "mended", result.Mended, "recognised", result.Recognised,
			"reflagged", result.Reflagged, "moved", result.Moved, "removed", result.Removed, "held", total, "after", f.took().Round(100*time.Microsecond), "opened", opened)
	}
}

// took is how long after the hint or the poll that showed it the last message of
// a pass had its receipt; 0: none has.
func (f *follower) took() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(0, f.receipt.Sub(f.shown))
}

// observer is told what the passes do: for what the follower shows, for the
// metrics, and for who else wants to know.
func (f *follower) observer() pass.Observer {
	o := observer{follower: f}
	if f.daemon.Observe != nil {
		o.also = f.daemon.Observe(f.account.Name)
	}
	return o
}

type observer struct {
	*follower
	also pass.Observer // nil: nobody
}

func (o observer) Pending(messages int, bytes int64) {
	if messages > 0 {
		if err := o.daemon.copying(o.account.Name, o.daemon.now()); err != nil {
			o.logger.Error("that mail is being copied was not noted", "error", err)
		}
	}
	o.show(func(s *followerStatus) {
		s.Source, s.Pending, s.PendingBytes, s.PendingSince = o.found, messages, bytes, time.Time{}
		if messages > 0 {
			s.PendingSince = time.Now()
		}
	})
	if o.also != nil {
		o.also.Pending(messages, bytes)
	}
}

// carried notes a message that is not pending any more. Its octets may be
// other than were announced.
func (s *followerStatus) carried(bytes int64) {
	s.Pending, s.PendingBytes = max(0, s.Pending-1), max(0, s.PendingBytes-bytes)
	if s.Pending == 0 {
		s.PendingBytes, s.PendingSince = 0, time.Time{}
	}
}

func (o observer) Copied(mailbox string, bytes int64, arrived time.Time) {
	now := time.Now()
	var following, shown time.Time
	o.show(func(s *followerStatus) {
		following, shown, o.receipt = s.Following, o.shown, now
		s.Copied++
		s.Bytes += bytes
		s.carried(bytes)
	})
	o.metrics.Copied(1, bytes)
	if !following.IsZero() {
		// INTERNALDATE knows no fractions of a second.
		if !arrived.Before(following.Truncate(time.Second)) {
			o.daemon.Metrics.ObserveDelay(now.Sub(arrived))
		}
		o.daemon.Metrics.ObserveCarry(now.Sub(shown))
	}
	if o.also != nil {
		o.also.Copied(mailbox, bytes, arrived)
	}
}

func (o observer) Appended(messages int, took time.Duration) {
	o.daemon.Metrics.ObserveAppend(took)
	if o.also != nil {
		o.also.Appended(messages, took)
	}
}

func (o observer) Mended(fixups mail.Fixups) {
	o.metrics.Mended(fixups)
	if o.also != nil {
		o.also.Mended(fixups)
	}
}

func (o observer) Held(h mail.Hold) {
	o.show(func(s *followerStatus) {
		if h.UID != 0 {
			s.carried(h.Size)
		}
	})
	if o.also != nil {
		o.also.Held(h)
	}
}

func (o observer) Recognised(messages int) {
	o.metrics.AlreadyThere(messages)
	if o.also != nil {
		o.also.Recognised(messages)
	}
}

func (o observer) Reflagged(messages int) {
	o.metrics.FlagsUpdated(messages)
	if o.also != nil {
		o.also.Reflagged(messages)
	}
}

func (o observer) Moved(messages int) {
	o.metrics.Moved(messages)
	if o.also != nil {
		o.also.Moved(messages)
	}
}

func (o observer) Removed(messages int) {
	o.metrics.Expunged(messages)
	if o.also != nil {
		o.also.Removed(messages)
	}
}

func (o observer) InDoubt(outcome string, messages int) {
	o.daemon.Metrics.InDoubt(metrics.Outcome(outcome), messages)
	if o.also != nil {
		o.also.InDoubt(outcome, messages)
	}
}
