package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// pass runs one pass and returns when the next is due.
func (f *follower) pass(ctx context.Context) time.Duration {
	f.mu.Lock()
	if f.ending.Err() != nil || f.paused || len(f.errands) > 0 {
		f.mu.Unlock()
		return 0 // the loop sees it first
	}
	stopping, stop := context.WithCancel(ctx)
	defer stop()
	f.stopPass = stop
	asked := f.asked
	f.asked = nil
	f.full, f.whole = f.full || f.whole, false
	f.mu.Unlock()

	began, opened := time.Now(), f.connections.opened.Load()
	result, err := f.passOnce(ctx, stopping)
	f.connections.work(false)
	f.mu.Lock()
	f.stopPass = nil
	again := err == nil && result.Changed && f.failures < passesAtMost
	// By an errand, or by others that need its connections: it is taken up again.
	yielded := errors.Is(err, pass.ErrStopped) && f.work != nil && f.work.room.told()
	interrupted := err != nil && (yielded || stopping.Err() != nil && len(f.errands) > 0) && f.ending.Err() == nil && !f.paused
	if again || interrupted {
		f.asked = append(asked, f.asked...)
		asked = nil
	}
	f.mu.Unlock()
	if err == nil && result.Changed && !again {
		err = errUnsettled
	}
	for _, answer := range asked {
		answer <- err
	}
	switch {
	case again:
		f.failures++
		return 0
	case err == nil:
		f.back = nil
		f.failures, f.full, f.compare = 0, false, false
		f.succeeded(result, f.connections.opened.Load()-opened)
		f.passed(result, began, nil)
		wait := f.pollWait()
		if !result.Due.IsZero() {
			wait = min(wait, max(time.Until(result.Due), time.Second))
		}
		return wait
	case errors.Is(err, pass.ErrStopped) || ctx.Err() != nil || stopping.Err() != nil:
		f.cool() // what is open was to end with that pass
		if yielded {
			return 0
		}
		return f.pollWait()
	}
	f.passed(result, began, err)
	f.failures++
	f.back = nil
	health, wait := f.judge(err)
	if errors.Is(err, pass.ErrJournal) {
		err = f.reopen(err)
	} else {
		f.cool()
	}
	f.notUntil = time.Now().Add(wait)
	f.show(func(s *followerStatus) {
		if s.Health != health {
			f.hushed, f.unsaid = f.mayNotSay(err)
		}
		s.Health, s.Error = health, err.Error()
	})
	return wait
}

// passOnce opens what a pass needs and runs it. stopping ends it between two
// batches.
func (f *follower) passOnce(ctx, stopping context.Context) (pass.Result, error) {
	f.mu.Lock()
	purpose := forLive
	if f.shown = f.hinted; f.shown.IsZero() {
		f.shown = time.Now() // by a poll
		purpose = forLook
	}
	expected := f.expected
	f.hinted, f.receipt, f.expected = time.Time{}, time.Time{}, ""
	if f.status.Phase == mail.PhaseSeeding {
		purpose = forCopy
	}
	f.mu.Unlock()
	if f.failures > 0 {
		expected = "" // what breaks a server is found out one message at a time
	}
	f.connections.copying.Store(purpose == forCopy)
	f.connections.looking.Store(purpose == forLook)
	if f.work != nil && (f.work.with.draining != f.daemon.record.draining(f.account.Name) || f.work.with.borrows && purpose == forCopy || !f.work.room.use(purpose)) {
		f.cool() // what is open goes by the rules of the phase before, or has to make room
	}
	giveBack, err := f.enter(stopping, purpose)
	if err != nil {
		return pass.Result{}, err
	}
	started, waited := time.Now(), f.connections.waited.Load()
	f.connections.work(true)
	f.work.passes.Stopping = stopping.Done()
	f.work.passes.Expect(expected)
	run := f.work.passes.Run
	switch {
	case f.full:
		run = f.work.passes.RunFull
	case f.compare:
		run = f.work.passes.RunFlags
	}
	result, err := run(ctx)
	giveBack(hasNews(result))
	took := time.Since(started)
	f.lively = purpose == forLive || purpose == forLook && hasNews(result)
	f.daemon.Metrics.ObservePass(took)
	if err == nil && !hasNews(result) && !f.full && !f.compare {
		f.daemon.look.took(max(0, took-time.Duration(f.connections.waited.Load()-waited)))
	}
	return result, err
}

// hasNews tells whether a pass has found something to carry.
func hasNews(r pass.Result) bool {
	return r.Copied+r.Recognised+r.Reflagged+r.Moved+r.Removed > 0
}
