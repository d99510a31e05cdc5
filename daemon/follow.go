package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/metrics"
)

const (
	// keepWarm is how long connections and state stay open after a pass, so
	// that the next news finds them ready.
	keepWarm = 30 * time.Second
	// keepBriefly is the same after a first copy, and after a look that has found
	// nothing and that nothing had called for: thousands of accounts may have theirs
	// at the same time, and there is no more reason than at any other to expect news.
	keepBriefly = time.Second
	// listenFirst is how long the first pass waits for the watcher, so that
	// nothing arrives unheard between the two, which would take another pass. Where
	// the watcher waits for a limit of ours the pass would as well: that does not
	// count.
	listenFirst = 2 * time.Second
)

// follower is the event loop of one account: hints, polls, sweeps and the
// operator wake it, and it runs one pass after the other. What stands below
// the mutex may be used by everybody, the rest belongs to the loop.
type follower struct {
	daemon      *Daemon
	account     *config.Account
	logger      *slog.Logger
	metrics     *metrics.Account
	connections *connections
	wake        chan struct{}   // a hint, or a change of what the loop should do
	changed     func()          // is told of changes that matter to the verdicts; nil: nobody
	ctx         context.Context // its end does not wait for answers
	ending      context.Context // done when the account is to end, with all answers collected
	ended       context.CancelFunc
	done        chan struct{} // closed when the account has ended
	watcher     sync.WaitGroup
	lender      remote.Lender // of its connection
	newsAt      atomic.Int64  // when it last had something to carry, in Unix nanoseconds; 0: not yet
	turned      atomic.Int64  // since when the loop is at work, in Unix nanoseconds; 0: it waits

	arrivals   pass.Arrivals
	complaints pass.Complaints // of its mailboxes
	foresight  remote.Foresight
	full       bool // the next pass compares everything
	compare    bool // the next pass compares flags where the source does not tell what has changed
	failures   int  // passes that failed in a row
	broken     int  // connections that broke in a row while they were lent
	lively     bool // the last pass was called for by news, or has found some
	notUntil   time.Time
	due        dues
	clock      *time.Timer // rouses the loop for what is due
	// back is closed when the server is there again that is away; nil: none is.
	back <-chan struct{}

	mu       sync.Mutex
	resting  bool // the loop has ended until rouse
	called   bool // a look is called for
	status   followerStatus
	timing   timing
	paused   bool
	urgent   bool               // look now, whatever the back-off
	unsaid   int                // so many other accounts of the server have not said
	hushed   bool               // that it is in back-off has not been said
	hinted   time.Time          // when the next pass was first called for
	expected string             // the only mailbox that has news, as far as that is told; empty: none
	shown    time.Time          // the same of the pass that is running
	found    int                // messages that it has found on the source
	receipt  time.Time          // when that pass last wrote one; zero: not yet
	stopPass context.CancelFunc // ends the pass that is running; nil: none is
	asked    []chan error       // who waits for a complete pass
	whole    bool               // and it is to compare everything
	errands  []errand           // to be done between two passes
	passes   []web.PassStatus   // the last ones, the newest first

	quota   *quota
	seen    seen
	storeMu sync.Mutex // held while work's state is opened, closed or lent
	work    *account   // open between passes while warm
}

// timing is what a reload may change without starting the account again.
type timing struct{ poll, flags, fullSweep time.Duration }

func timingOf(c *config.Config) timing {
	return timing{c.PollInterval, c.FlagsInterval, c.FullSweep}
}

func newFollower(ctx context.Context, d *Daemon, a *config.Account, t timing) *follower {
	f := &follower{
		daemon: d, account: a, metrics: d.Metrics.Account(a.Name),
		connections: d.newConnections(a.Name),
		quota:       &quota{reserve: a.Destination.QuotaReserve},
		wake:        make(chan struct{}, 1),
		done:        make(chan struct{}),
		timing:      t,
		compare:     true,
		status:      followerStatus{Phase: d.record.phase(a.Name), Health: mail.HealthOK},
		paused:      d.paused.has(a.Name),
	}
	f.logger = f.connections.options.Logger
	known, _ := d.record.knownAccount(a.Name)
	f.status.Following = known.Following.At
	if f.paused {
		f.status.Health = mail.HealthPaused
	}
	f.ctx = ctx
	f.ending, f.ended = context.WithCancel(ctx)
	f.clock = time.AfterFunc(time.Hour, f.rouse)
	f.clock.Stop()
	f.metrics.SetState(f.status.Phase, f.status.Health)
	return f
}

// End has the loop end between two batches, with all answers collected.
func (f *follower) End() {
	f.ended()
	f.mu.Lock()
	if f.stopPass != nil {
		f.stopPass()
	}
	f.mu.Unlock()
	f.rouse()
}

// Pause stops the account's passes, one that is running too, until it is
// called with false.
func (f *follower) Pause(paused bool) {
	f.mu.Lock()
	f.paused = paused
	if paused && f.stopPass != nil {
		f.stopPass()
	}
	f.mu.Unlock()
	f.show(func(*followerStatus) {})
	f.WakeUrgently()
}

// Ask has a complete pass run at once. Its error comes through the channel.
func (f *follower) Ask() <-chan error {
	answer := make(chan error, 1)
	f.mu.Lock()
	switch {
	case f.ending.Err() != nil:
		answer <- pass.ErrStopped
	case f.paused:
		answer <- errPaused
	default:
		f.asked = append(f.asked, answer)
	}
	f.mu.Unlock()
	f.WakeUrgently()
	return answer
}

// AskFull is Ask for a pass that trusts no count.
func (f *follower) AskFull() <-chan error {
	f.mu.Lock()
	f.whole = true
	f.mu.Unlock()
	return f.Ask()
}

var errPaused = errors.New("it is paused: resume it first")

// SetTiming changes how often the account is looked at.
func (f *follower) SetTiming(t timing) {
	f.mu.Lock()
	changed := f.timing != t
	f.timing = t
	f.mu.Unlock()
	if changed {
		f.Wake()
	}
}

func (f *follower) times() timing {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.timing
}

func (f *follower) isPaused() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.paused
}

// refuseAsked answers those who wait for a pass that will not come.
func (f *follower) refuseAsked(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, answer := range f.asked {
		answer <- why
	}
	f.asked = nil
}
