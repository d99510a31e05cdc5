package daemon

import "time"

// Wake has the loop look at once. It never blocks.
func (f *follower) Wake() {
	f.mu.Lock()
	if f.hinted.IsZero() {
		f.hinted = time.Now()
	}
	f.called = true
	f.mu.Unlock()
	f.rouse()
}

// Hint is Wake for what the old server has told of a mailbox, by raw name; "": of
// one that it does not tell.
func (f *follower) Hint(mailbox string) {
	f.mu.Lock()
	if f.hinted.IsZero() {
		f.expected = mailbox
	} else if f.expected != mailbox {
		f.expected = "" // there are several
	}
	f.mu.Unlock()
	f.Wake()
}

// Look has the loop look at once although nothing has called for it, whatever the
// back-off.
func (f *follower) Look() {
	f.mu.Lock()
	f.urgent, f.called = true, true
	f.mu.Unlock()
	f.rouse()
}

// WakeUrgently is Wake for what makes waiting for a server pointless.
func (f *follower) WakeUrgently() {
	f.mu.Lock()
	f.urgent = true
	f.mu.Unlock()
	f.Wake()
}

// taken tells, once, that something has been asked for.
func (f *follower) taken(asked *bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := *asked
	*asked = false
	return was
}
