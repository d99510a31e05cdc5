package daemon

import (
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// dues are when the loop has something to do by itself; zero: not at all.
type dues struct {
	pass, fullSweep, flags time.Time
	cool                   time.Time // close what is open
}

// first is the earliest; zero: there is none.
func (d *dues) first() (first time.Time) {
	for _, due := range []time.Time{d.pass, d.fullSweep, d.flags, d.cool} {
		if first.IsZero() || !due.IsZero() && due.Before(first) {
			first = due
		}
	}
	return first
}

// take tells whether something is due, and if so has it due no more.
func take(due *time.Time, now time.Time) bool {
	if due.IsZero() || now.Before(*due) {
		return false
	}
	*due = time.Time{}
	return true
}

// run follows the account until End or the end of ctx. done is closed once that has
// come, and everything is closed.
func (f *follower) run() {
	if f.finished() {
		f.ended()
		f.refuseAll()
		return
	}
	if f.listensFirst(f.beginWatch()) {
		now, times := time.Now(), f.times()
		f.due = dues{pass: now, fullSweep: now.Add(times.fullSweep), flags: now.Add(times.flags)}
		f.taken(&f.called) // the first pass sees to it
	}
	f.turns()
}

// turns is the loop, until the account ends or is at rest with nothing open: then it
// returns, and rouse begins it again. A stack that only waits takes 4 KB, and there
// would be thousands.
func (f *follower) turns() {
	for f.ending.Err() == nil {
		f.turn()
		f.step()
		f.turned.Store(0)
		f.setClock()
		if f.work == nil && f.back == nil {
			if f.rests() {
				return
			}
			continue
		}
		select {
		case <-f.wake:
		case <-f.wanted(): // by others
			f.due.cool = time.Now()
		case <-f.back:
			// All that wait come, but not at once.
			f.back, f.notUntil = nil, time.Time{}
			f.due.pass = time.Now().Add(f.daemon.Jitter(returning))
		}
	}
	f.clock.Stop()
	f.watcher.Wait()
	f.cool()
	f.refuseAll()
}

// step does what is due, or called for: one pass at most.
func (f *follower) step() {
	now := time.Now()
	called := f.taken(&f.called)
	if take(&f.due.fullSweep, now) {
		f.full, called = true, true
		f.due.fullSweep = now.Add(f.times().fullSweep)
	}
	if take(&f.due.flags, now) {
		f.compare, called = true, true
		f.due.flags = now.Add(f.times().flags)
	}
	if take(&f.due.pass, now) {
		f.notUntil, called = time.Time{}, true
	}
	f.runErrands(nil)
	switch {
	case f.isPaused():
		f.refuseAsked(errPaused)
		f.cool()
	// A hint does not make a server well.
	case !called, !f.taken(&f.urgent) && now.Before(f.notUntil):
		if take(&f.due.cool, now) {
			f.cool()
		}
	default:
		wait := f.pass(f.ctx)
		now = time.Now()
		f.due.pass = now.Add(wait)
		if f.work != nil {
			f.due.cool = now.Add(f.keeps(wait))
			f.work.room.rest()
		}
	}
}

// setClock has the loop roused when the next is due.
func (f *follower) setClock() {
	if first := f.due.first(); first.IsZero() {
		f.clock.Stop()
	} else {
		f.clock.Reset(time.Until(first))
	}
}

// rests tells whether nothing is left to do, so that the loop ends until rouse.
func (f *follower) rests() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.wake:
		return false
	default:
		f.resting = true
		return true
	}
}

// rouse has the loop look whether there is something to be done. It never blocks.
func (f *follower) rouse() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.resting {
		f.resting = false
		go f.turns()
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// refuseAll ends the account for whoever waits for anything of it.
func (f *follower) refuseAll() {
	f.runErrands(pass.ErrStopped)
	f.refuseAsked(pass.ErrStopped)
	close(f.done)
}

// beginWatch begins to listen for news. What it returns is closed once that has begun.
func (f *follower) beginWatch() (listening <-chan struct{}) {
	began := make(chan struct{})
	f.watcher.Go(func() { f.watch(sync.OnceFunc(func() { close(began) })) })
	return began
}

// listensFirst waits for the watcher; false: the account ends.
func (f *follower) listensFirst(listening <-chan struct{}) bool {
	first := time.NewTicker(listenFirst)
	defer first.Stop()
	for {
		select {
		case <-listening:
			return true
		case <-first.C:
			if f.connections.waiting.Load() == 0 {
				return true
			}
		case <-f.ending.Done():
			return false
		}
	}
}

// finished tells whether nothing of the account is carried any more.
func (f *follower) finished() bool {
	return f.daemon.record.phase(f.account.Name) == mail.PhaseFinished
}

// pollWait is when to look without a hint. The watcher sweeps by itself.
func (f *follower) pollWait() time.Duration {
	poll := f.lookInterval()
	if f.Status().Watching {
		poll = 10 * f.times().poll
	}
	return poll*7/8 - f.daemon.Jitter(poll/8+1) // early enough to carry what it finds
}

// keeps is how long connections and state stay open until the next look, which is due
// after so long.
func (f *follower) keeps(wait time.Duration) time.Duration {
	if f.lively || wait <= keepWarm {
		return keepWarm
	}
	return keepBriefly
}

// wanted is closed once others need the connections that are kept open.
func (f *follower) wanted() <-chan struct{} {
	if f.work == nil {
		return nil
	}
	return f.work.room.yield
}

// turn notes that the loop begins to work on something.
func (f *follower) turn() { f.turned.Store(time.Now().UnixNano()) }

// stuck tells whether the loop has been at work for so long without an octet
// going either way that something must be wrong with the daemon itself:
// whatever waits for a server has a time-out.
func (f *follower) stuck(now time.Time, bound time.Duration) bool {
	began := f.turned.Load()
	if began == 0 {
		return false
	}
	since := time.Unix(0, began)
	if moved := f.connections.lastMoved(); moved.After(since) {
		since = moved
	}
	return now.Sub(since) > bound
}
