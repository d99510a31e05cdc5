package pass

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// Options says what a [Pass] works with.
type Options struct {
	Source      Source
	Destination Destination
	Journal     Journal
	// Beside opens a further lane, where there is room for one: mailboxes are
	// carried side by side over Source and Destination and at most MostBeside
	// others. That there is none now is no error of the pass.
	Beside     func(context.Context) (Lane, error)
	MostBeside int
	// Parcel is how many messages are sent between two commits at most; 0: 200.
	Parcel int
	// LaneWorth is for how many messages to be carried a further lane is worth
	// its log-ins, each 16 KiB of them counted as one more; 0: 500.
	LaneWorth int
	Account   string // its name, for errors
	// Rules tell which source mailboxes are wanted, and where they go.
	Rules plan.Rules
	// Budget bounds the memory of mail in flight over all accounts.
	Budget *Budget
	// Pace waits until so many messages may be asked for, which have so many octets
	// together, as far as that is known; nil: they may. Its error ends the pass.
	Pace func(ctx context.Context, messages int, octets int64) error
	// SpoolDir is where messages over 1 MiB wait between the two servers.
	SpoolDir string
	Policy   Policy
	// Arrivals remembers what reaches the destination by itself; nil: a new one.
	// It may outlive the Pass.
	Arrivals *Arrivals
	// Complaints remembers what the operator was told; nil: a new one. It may
	// outlive the Pass.
	Complaints *Complaints
	// Quiet is how long nothing of ours must have appeared on the destination
	// before a lost answer is taken to mean "not stored"; 0: 5 s.
	Quiet time.Duration
	// LookAgain is how far apart two looks must be that find a message missing
	// before its copy may be removed; 0: 15 minutes.
	LookAgain time.Duration
	// TwinWait is how long a new message waits for its twin where mail reaches the
	// destination by itself as well; 0: 30 s.
	TwinWait time.Duration
	// Stopping, when closed, lets the pass end between two batches, with all
	// answers collected.
	Stopping <-chan struct{}
	// Yield does the same, when others need the connections.
	Yield    <-chan struct{}
	Observer Observer
	Logger   *slog.Logger
}

// Policy is what of the source is followed. The zero value follows everything.
type Policy struct {
	// Draining is true from the handover on: nothing on the destination is
	// changed or removed any more (I8); what was never carried still is.
	Draining bool
	// TakenBack is true where users were on the destination and went back: mail that
	// was born there may have been carried to the source. What the destination has
	// without a receipt is then matched whatever its age (I7).
	TakenBack bool
	// HoldBefore is the handover, where the state was lost after it: what arrived
	// before and is not recognised on the destination is held. Zero: it was not.
	HoldBefore time.Time
	// KeepFlags leaves the flags of a copy as they were carried.
	KeepFlags bool
	// CopyAgain copies what has reached the destination by itself.
	CopyAgain bool
	// KeepDeleted keeps the copies of what is deleted on the source.
	KeepDeleted bool
	// Fixups may be made of messages that the new server refuses as they are.
	Fixups mail.Fixups
}

// Observer is told what a pass does as it does it; it is called from more
// than one goroutine.
type Observer interface {
	// Pending: so many messages, of so many octets by RFC822.SIZE, are about to
	// be carried by this run. One without a size counts as 0.
	Pending(messages int, bytes int64)
	// Copied: one message has its receipt. arrived is its INTERNALDATE.
	Copied(mailbox string, bytes int64, arrived time.Time)
	// Appended: a batch was answered after so long.
	Appended(messages int, took time.Duration)
	// Mended: a message was copied with these fixups.
	Mended(mail.Fixups)
	Held(mail.Hold)
	// Recognised: so many messages were there already.
	Recognised(messages int)
	// Reflagged, Moved, Removed: so many copies follow their source message.
	Reflagged(messages int)
	Moved(messages int)
	Removed(messages int)
	// InDoubt: what became of so many lost answers: "found", "moved" or "resent".
	InDoubt(outcome string, messages int)
}

// Result is what a pass did.
type Result struct {
	Mailboxes int // wanted mailboxes
	// SourceMessages is how many messages they hold on the source, as far as
	// it tells.
	SourceMessages int
	Copied         int
	Bytes          int64
	Mended         int // of these, copied in another form than their own
	Recognised     int // adopted or rebound, not sent
	Resent         int
	Reflagged      int // copies whose flags, place or existence followed the source
	Moved          int
	Removed        int
	// Due is when the next pass has something to look at again, whatever is
	// new by then; zero: nothing.
	Due time.Time
	// Changed tells that a mailbox changed its UIDVALIDITY under the pass, so
	// that another pass is needed.
	Changed bool
}

// ErrStopped ends a pass that was asked to stop.
var ErrStopped = errors.New("stopped")

// ErrOverQuota ends a pass because the new mailbox is full.
var ErrOverQuota = errors.New("the mailbox on the new server is full")

// ErrSameMailbox: the source shows what was appended to the destination (I10).
var ErrSameMailbox = errors.New("source and destination are the same mailbox: what was appended to the destination has appeared on the source; correct [source] host before anything else")

// Pass carries the news of one account, again and again. After an error that
// is not mail's own (a server that is away, a full mailbox) it can run again;
// after [ErrJournal] the journal has to be opened afresh, with a new Pass.
type Pass struct {
	Options
	recognised bool // I7 has been done since the start or the last error
	full       bool // look at every mailbox whole, whatever its status says
	hurry      bool // resolve what one look can resolve
	compare    bool // compare flags where the source has no CONDSTORE
	latency    time.Duration
	result     Result
	expected   string // the source mailbox that is likely to have news, by raw name; empty: none more than others

	pairs    map[mail.PairID]mail.Pair
	ordered  []mail.Pair // the same by ID; nil: see storedPairs
	intents  map[uint64]*mail.Intent
	holds    map[mail.HoldKey]mail.Hold
	anchors  map[string]mail.Anchor // of destination mailboxes, by raw name
	absences map[mail.PairID]mail.Absence
	gone     gone
	unlisted map[mail.PairID]bool // pairs without source mailbox, whose receipts say so
	lastPair mail.PairID
	lastID   uint64

	source      mail.Listing
	destination map[string]mail.Mailbox // selectable, by raw name
	made        map[string]bool         // of those, the ones made by this run
	later       map[mail.PairID]*later  // pairs whose mailboxes are put off; nil: nothing is
	unresolved  map[string]error        // mailboxes whose lost answers could not be looked at
	waiting     map[string]bool         // mailboxes whose lost answers have to be waited for
	// confirmed are the source UIDs that were found missing twice.
	confirmed map[mail.PairID][]mail.UID
	// carried are the fingerprints of what has a receipt, sorted; nil: not read.
	// counted are the source mailboxes that were counted since the looks.
	carried []mail.Fingerprint
	ahead   *ahead
	told    map[mail.Question]mail.Survey // that have been asked ahead
	counted map[mail.PairID]bool
	// blind are the destination mailboxes of source mailboxes that this run could
	// not read.
	blind map[string]bool
	// uncountable are those that could not be opened to be counted, with the run
	// that saw it last.
	uncountable map[mail.PairID]int
	runs        int
	unwanted    unwanted
}

// New returns a Pass for one account.
func New(o Options) *Pass {
	if o.Quiet == 0 {
		o.Quiet = 5 * time.Second
	}
	if o.LookAgain == 0 {
		o.LookAgain = 15 * time.Minute
	}
	if o.Parcel == 0 {
		o.Parcel = 200
	}
	if o.LaneWorth == 0 {
		o.LaneWorth = 500
	}
	if o.Arrivals == nil {
		o.Arrivals = new(Arrivals)
	}
	if o.Complaints == nil {
		o.Complaints = new(Complaints)
	}
	if o.Budget == nil {
		o.Budget = NewBudget(32 << 20)
	}
	if o.Observer == nil {
		o.Observer = Nobody{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pass{Options: o, unlisted: make(map[mail.PairID]bool), uncountable: make(map[mail.PairID]int)}
}

// Expect tells that one source mailbox is likely to be the only one with news in the
// next run: it is asked about at once.
func (p *Pass) Expect(mailbox string) { p.expected = mailbox }

// RunFull is Run without trust in UIDNEXT, in counts or in HIGHESTMODSEQ: every
// UID and every flag of the source is compared with the receipts.
func (p *Pass) RunFull(ctx context.Context) (Result, error) {
	p.full = true
	defer func() { p.full = false }()
	return p.Run(ctx)
}

// RunFlags is Run with all flags compared where the source has no CONDSTORE to
// tell which have changed (RFC 7162).
func (p *Pass) RunFlags(ctx context.Context) (Result, error) {
	p.compare = true
	defer func() { p.compare = false }()
	return p.Run(ctx)
}

// Run carries everything that is new. Its order is the way of a message:
// observe both sides, resolve what an earlier run left open, look for news,
// move what has moved, recognise what is there already, carry the rest mailbox
// by mailbox; then flags, and at last what has vanished. A mailbox whose lost
// answers may still come has to wait, and no other waits for it. A first copy makes
// mailboxes as it comes to them (later.go).
func (p *Pass) Run(ctx context.Context) (result Result, err error) {
	p.result, p.blind = Result{}, make(map[string]bool)
	p.runs++
	defer func() {
		if err != nil {
			p.recognised = false
		}
	}()
	if err := p.load(); err != nil {
		return p.result, err
	}
	defer func() {
		p.ahead.close()
		p.ahead = nil
	}()
	pairings, err := p.observe(ctx)
	if err != nil {
		return p.result, err
	}
	if err := p.rebindDestinations(ctx); err != nil {
		return p.result, err
	}
	if err := p.resolveAtOnce(ctx, pairings); err != nil {
		return p.result, fmt.Errorf("resolve: %w", err)
	}
	if err := p.moveOut(ctx, pairings); err != nil {
		return p.result, err
	}
	work, err := p.copy(ctx, pairings)
	if err != nil {
		return p.result, err
	}
	if pairings, err = p.settleRest(ctx, pairings); err != nil {
		return p.result, err
	}
	var waiting []plan.Pairing
	for _, pairing := range pairings {
		if p.mustWait(pairing.Pair) {
			waiting = append(waiting, pairing)
		}
	}
	if len(waiting) > 0 {
		p.waiting = nil
		if err := p.resolve(ctx); err != nil {
			return p.result, fmt.Errorf("resolve: %w", err)
		}
		p.recognised = false // it left the mailboxes out that had to wait
		more, err := p.copy(ctx, waiting)
		if err != nil {
			return p.result, err
		}
		work = append(work, more...)
	}
	if err := p.follow(ctx, pairings, work); err != nil {
		return p.result, err
	}
	if next := p.nextLook(); !next.IsZero() {
		p.wake(next)
	}
	return p.result, nil
}

// copy carries what is new in those mailboxes that need not wait.
func (p *Pass) copy(ctx context.Context, pairings []plan.Pairing) ([]*job, error) {
	p.lookAfresh()
	work, err := p.news(ctx, pairings)
	if err != nil {
		return nil, err
	}
	work = slices.DeleteFunc(work, func(job *job) bool { return p.mustWait(job.Pair) })
	if err := p.rebindSources(ctx, work); err != nil {
		return nil, fmt.Errorf("rebind: %w", err)
	}
	if err := p.relocate(ctx, work); err != nil {
		return nil, fmt.Errorf("move: %w", err)
	}
	if err := p.recognise(ctx, work); err != nil {
		return nil, fmt.Errorf("recognise: %w", err)
	}
	if err := p.lookForArrivals(ctx, work); err != nil {
		return nil, fmt.Errorf("look for what is there already: %w", err)
	}
	if err := p.holdEarlier(ctx, work); err != nil {
		return nil, err
	}
	if err := p.weigh(ctx, work); err != nil {
		return nil, err
	}
	return work, p.carry(ctx, slices.DeleteFunc(slices.Clone(work), func(j *job) bool { return j.sidelined }))
}

// follow carries the changes of what was carried before.
func (p *Pass) follow(ctx context.Context, pairings []plan.Pairing, work []*job) error {
	if err := p.stopped(); err != nil {
		return err
	}
	if err := p.flags(ctx, pairings, work); err != nil {
		return fmt.Errorf("follow flags: %w", err)
	}
	if err := p.removals(ctx, pairings, work); err != nil {
		return fmt.Errorf("follow deletions: %w", err)
	}
	return nil
}

// job is the work on one pair in one pass.
type job struct {
	plan.Pairing
	source mail.Mailbox
	// uids are the source messages to be carried, ascending.
	uids []mail.UID
	// end is the UIDNEXT up to which uids is complete.
	end mail.UID
	// listed are UIDs that are there, below is how many are there beside them,
	// under the lowest, or uncounted where the counts did not agree.
	listed []mail.UID
	below  uint32
	// sizes are those of uids.
	sizes sizes
	// same are those of uids that need not be sent, ascending, homes where they are
	// carried.
	same  []same
	homes []home
	// absent are those of them that have gone meanwhile, as UID SEARCH confirmed.
	absent map[mail.UID]bool
	// unserved says why messages that were asked for could not be had.
	unserved map[mail.UID]unserved
	// refused are messages that are to be offered in another form.
	refused map[mail.UID]refusal
	// lifted are holds of messages that have gone.
	lifted []mail.HoldKey
	// sidelined tells that the mailbox is held and left out of this run.
	sidelined bool
	// claimed are messages in hand that were carried before, under a UID that
	// has vanished since.
	claimed []plan.Item
	// arrived are messages in hand that are on the destination already.
	arrived []arrived
	// seen is the message before which the work ended with errSeenBefore, seenIn
	// the pairs that have receipts of it.
	seen   mail.UID
	seenIn []mail.PairID
	// established tells that an earlier run has carried mail of this mailbox.
	established bool
	// rebind tells that the source has a new UIDVALIDITY.
	rebind bool
}

func (j *job) ref() mail.Ref {
	return mail.Ref{Name: j.source.Name, UIDValidity: j.source.Status.UIDValidity}
}
