package pass

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// errInterrupted: the lane was to end before its mailbox was done.
var errInterrupted = errors.New("interrupted")

// lanes are those of one pass: the one that is always there, and the others as
// far as they could be opened.
type lanes struct {
	pass   *Pass
	wanted int // beside the first

	mu     sync.Mutex
	beside []*Lane
}

// lanesFor says over how many lanes the jobs are worth to be carried.
func (p *Pass) lanesFor(work []*job) *lanes {
	weight := 0
	for _, job := range work {
		weight += job.sizes.weight(job.uids)
	}
	return &lanes{pass: p, wanted: min(p.MostBeside, len(work)-1, weight/p.LaneWorth)}
}

func (l *lanes) close() {
	for _, lane := range l.beside {
		lane.Close()
	}
}

// open opens one more lane; nil when there is none to be had.
func (l *lanes) open(ctx context.Context) *Lane {
	lane := l.pass.ahead.lane(ctx)
	if lane == nil {
		opened, err := l.pass.Beside(ctx)
		if err != nil {
			if ctx.Err() == nil {
				l.pass.Logger.Debug("no further mailbox is carried beside", "error", err)
			}
			return nil
		}
		lane = &opened
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beside = append(l.beside, lane)
	return lane
}

// giveBack closes a lane that was to yield.
func (l *lanes) giveBack(lane *Lane) {
	select {
	case <-lane.Yield:
	default:
		return
	}
	l.mu.Lock()
	l.beside = slices.DeleteFunc(l.beside, func(other *Lane) bool { return other == lane })
	l.mu.Unlock()
	lane.Close()
}

// task is what one lane has to carry of one mailbox.
type task struct {
	*job
	uids     []mail.UID
	weight   int // of uids
	foremost bool
	to       mail.Ref // the destination mailbox; without UIDVALIDITY when it was just made
	make     bool     // it is made by the lane
	// floor is a UIDNEXT that the listing told, for a server whose SELECT does
	// not tell.
	floor mail.UID
	// failed is closed once nothing more of the mailbox can be sent.
	failed chan struct{}

	// What became of it, once it is over.
	over    bool       // nothing is left to be done
	missing []mail.UID // asked for and not served
	again   bool       // something was refused that is to be offered in another form
	err     error      // why not all of it has been carried
}

// carriage carries mailboxes side by side. Lanes fetch and append; whatever
// touches the maps and the journal of the pass is done for them by the one
// goroutine that owns it. What has gathered while the last commit was written
// goes into the next.
type carriage struct {
	*Pass
	errands chan errand
	quit    chan struct{} // closed: nothing more is fetched
	broken  error         // of the journal; the owner's

	mu    sync.Mutex
	tasks []*task // that no lane has taken, in the order of carrying
	lanes int     // at work
	empty func()  // called once there are none
}

// errand is something that the owner does for a lane. A nil one is nothing.
type errand struct {
	prepare func(*mail.Change) // adds to what is to be durable
	then    func()             // once it is
	done    chan error
}

func (e *errand) add(change *mail.Change) {
	if e != nil {
		e.prepare(change)
	}
}

func (e *errand) durable() {
	if e != nil {
		e.then()
	}
}

// sideBySide carries tasks until all are done, or until something has gone
// wrong that concerns more than one mailbox. It ends with nothing in flight;
// what has been fetched is still sent.
func (p *Pass) sideBySide(ctx context.Context, l *lanes, tasks []*task) error {
	c := &carriage{Pass: p, errands: make(chan errand), quit: make(chan struct{}), tasks: slices.Clone(tasks)}
	for _, t := range tasks {
		t.weight, t.foremost = t.sizes.weight(t.uids), plan.Foremost(t.source)
	}
	opening, empty := context.WithCancel(ctx)
	c.empty = empty
	defer empty()
	var all sync.WaitGroup
	all.Go(func() {
		lane := &Lane{Source: p.Source, Destination: p.Destination}
		c.drive(ctx, lane)
		c.aside(ctx, lane)
	})
	beside := slices.Clone(l.beside)
	for range min(l.wanted, len(tasks)-1) - len(beside) {
		beside = append(beside, nil)
	}
	for _, lane := range beside {
		all.Go(func() {
			if lane == nil {
				lane = l.open(opening)
			}
			if lane != nil {
				c.drive(ctx, lane)
				l.giveBack(lane)
			}
		})
	}
	go func() {
		all.Wait()
		close(c.errands)
	}()
	for e := range c.errands {
		c.serve(e)
	}
	return c.broken
}

// serve does what is asked for, and what else is waiting by now, in one commit.
func (c *carriage) serve(first errand) {
	batch := []errand{first}
gather:
	for {
		select {
		case more, ok := <-c.errands:
			if !ok {
				break gather
			}
			batch = append(batch, more)
		default:
			break gather
		}
	}
	if c.broken == nil {
		change := mail.Change{}
		for _, e := range batch {
			e.prepare(&change)
		}
		c.broken = c.commit(change)
	}
	for _, e := range batch {
		if c.broken == nil && e.then != nil {
			e.then()
		}
		e.done <- c.broken
	}
	if c.broken != nil {
		c.stop()
	}
}

// own has the owner of the pass do something for a lane.
func (c *carriage) own(prepare func(*mail.Change), then func()) error {
	done := make(chan error, 1)
	c.errands <- errand{prepare, then, done}
	return <-done
}

// stop has all lanes end once what has been fetched is sent. It is the owner's.
func (c *carriage) stop() {
	select {
	case <-c.quit:
	default:
		close(c.quit)
	}
}

// next takes the next mailbox, nil when there is none.
func (c *carriage) next() *task {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tasks) == 0 {
		return nil
	}
	i := slices.IndexFunc(c.tasks, func(t *task) bool { return t.foremost })
	if i < 0 {
		i = plan.Next(len(c.tasks), func(i int) int { return c.tasks[i].weight }, c.lanes)
	}
	t := c.tasks[i]
	if c.tasks = slices.Delete(c.tasks, i, i+1); len(c.tasks) == 0 {
		c.empty()
	}
	return t
}

// work counts the lanes at work.
func (c *carriage) work(more int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lanes += more
}

// putBack gives what is left of a task to another lane, when its own had to
// yield. It is the owner's.
func (c *carriage) putBack(t *task) {
	if !errors.Is(t.err, errInterrupted) || len(t.missing)+len(t.claimed)+len(t.arrived) > 0 {
		return
	}
	select {
	case <-c.quit:
		return
	default:
	}
	c.refresh(t.job)
	uids, err := c.uncarried(t.job)
	if err != nil || len(uids) == 0 {
		return // seen to when all lanes have ended
	}
	t.job.uids = uids
	if t.uids = t.job.toSend(); len(t.uids) == 0 {
		return // it waits for others
	}
	t.failed = make(chan struct{})
	t.weight = t.sizes.weight(t.uids)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tasks = slices.Insert(c.tasks, 0, t)
}

// drive carries one mailbox after the other over a lane: parcels are fetched
// while earlier ones are appended, or while the mailbox is opened to append to.
func (c *carriage) drive(ctx context.Context, lane *Lane) {
	c.work(1)
	defer c.work(-1)
	parcels := make(chan parcel, 1)
	go func() {
		defer close(parcels)
		c.fetch(ctx, lane, parcels)
	}()
	w := new(writer)
	var held *parcel // that came while the mailbox before it was ended
	for {
		var next parcel
		if held != nil {
			next, held = *held, nil
		} else if p, ok := w.receive(parcels); ok {
			next = p
		} else {
			w.flush()
			return
		}
		if w.task != next.task {
			w = c.writer(ctx, lane, next.task, w.before)
		}
		if w.take(ctx, next); next.last {
			held = w.end(ctx, next.err, parcels)
		}
	}
}
