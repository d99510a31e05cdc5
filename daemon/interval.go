package daemon

import "time"

const (
	// busiest is how many times as often as by poll_interval a mailbox is asked
	// about while news comes.
	busiest = 6
	// quietFor is after how many times poll_interval without news it is not asked
	// about sooner than that any more.
	quietFor = 10
)

// lookInterval is how long to wait for the next look at an account that had
// news so long ago: never longer than poll_interval.
func lookInterval(poll, quiet time.Duration) time.Duration {
	return min(poll, max(poll/busiest, quiet/quietFor))
}

// lookInterval is how often the account is looked at now. While others wait for
// connections, nobody is asked about sooner than by poll_interval.
func (f *follower) lookInterval() time.Duration {
	poll := f.times().poll
	if f.daemon.slots.crowded() {
		return poll
	}
	return lookInterval(poll, time.Since(f.lastNews()))
}

// lastNews is when the account last had something to carry; the zero time: not
// since the start.
func (f *follower) lastNews() time.Time {
	at := f.newsAt.Load()
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at)
}
