package pass

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// carry copies the messages that have to be copied, several mailboxes side by
// side, begun in the order of the jobs. Where an answer is lost all lanes end,
// what is in doubt is resolved, and they go on with what is left.
func (p *Pass) carry(ctx context.Context, work []*job) error {
	lanes := p.lanesFor(work)
	defer lanes.close()
	var queue []*job
	for _, job := range work {
		more, err := true, error(nil)
		if alike(job) && len(job.uids) > 0 {
			more, err = p.carryFirst(ctx, lanes, job)
		}
		if err != nil {
			return err
		}
		if more {
			queue = append(queue, job)
		}
	}
	return p.carryWaiting(ctx, lanes, queue)
}

// carryFirst carries one message of a mailbox, which tells whether both names
// lead to one mailbox; more tells that something is left.
func (p *Pass) carryFirst(ctx context.Context, lanes *lanes, job *job) (more bool, err error) {
	for {
		first := job.uids[0]
		left, err := p.round(ctx, lanes, []*task{{job: job, uids: job.uids[:1]}})
		if err != nil {
			return false, err
		}
		probed, err := p.probe(ctx, job, first)
		if err != nil {
			return false, fmt.Errorf("mailbox %q: %w", job.source.DisplayName(), err)
		}
		if more = len(left) > 0; probed || !more {
			return more, nil
		}
	}
}

// round carries tasks until all lanes have ended, resolves what is in doubt,
// and returns the jobs that have something left, in their order. What concerns
// one mailbox alone is held, and the others go on.
func (p *Pass) round(ctx context.Context, lanes *lanes, tasks []*task) (left []*job, err error) {
	if _, err := p.vanished(); err != nil {
		return nil, err
	}
	if err := p.readCarried(); err != nil {
		return nil, err
	}
	var ready []*task
	for _, t := range tasks {
		if err := p.prepare(ctx, t); err != nil {
			if err := p.apart(t.job, err); err != nil {
				return nil, err
			}
			continue
		}
		if len(t.uids) > 0 || t.make {
			ready = append(ready, t)
		} else if err := p.finish(t.job); err != nil {
			return nil, err
		}
	}
	if err := p.sideBySide(ctx, lanes, ready); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rerr := p.resolve(ctx)
	for _, t := range ready {
		switch {
		case t.over:
			continue
		case rerr != nil || t.err != nil && !errors.Is(t.err, mail.ErrInDoubt) && !concernsOne(t.err):
			p.Arrivals.putBack(t.arrived)
			if t.claimed, t.arrived = nil, nil; t.err != nil && err == nil {
				err = fmt.Errorf("mailbox %q: %w", t.source.DisplayName(), t.err)
			}
			continue
		}
		switch more, cerr := p.conclude(ctx, t); {
		case cerr != nil:
			if cerr := p.apart(t.job, cerr); cerr != nil && err == nil {
				err = cerr
			}
		case more:
			left = append(left, t.job)
		}
	}
	if err == nil && len(left) > 0 {
		err = p.stopped()
	}
	return left, errors.Join(err, rerr)
}

// prepare makes the destination mailbox when its user has removed it. One that was put
// off is made by the lane.
func (p *Pass) prepare(ctx context.Context, t *task) error {
	name := t.Pair.Destination
	if err := p.unresolved[name]; err != nil {
		return mailboxError(err) // sending now might send twice
	}
	p.refresh(t.job)
	box, exists := p.destination[name]
	if t.make = !exists && p.later[t.Pair.ID] != nil; !exists && !t.make && len(t.uids) > 0 {
		if err := p.createFor(ctx, t.job); err != nil {
			return mailboxError(err)
		}
		box = p.destination[name]
	}
	t.to = mail.Ref{Name: name, UIDValidity: box.Status.UIDValidity}
	t.floor = box.Status.UIDNext
	t.failed = make(chan struct{})
	t.err = errInterrupted // until it has been carried
	return nil
}

// conclude does what the end of a task leaves to be done; more tells that
// something of the job is left to be carried.
func (p *Pass) conclude(ctx context.Context, t *task) (more bool, err error) {
	job, before := t.job, len(t.job.uids)
	if err := p.unresolved[job.Pair.Destination]; err != nil {
		p.Arrivals.putBack(job.arrived)
		job.claimed, job.arrived = nil, nil
		return false, mailboxError(err) // as in prepare
	}
	seenBefore := errors.Is(t.err, errSeenBefore) && !errors.Is(t.err, mail.ErrInDoubt)
	goesOn := errors.Is(t.err, errInterrupted) || seenBefore
	if seenBefore {
		if err := p.recount(ctx, job); err != nil {
			return false, err
		}
	}
	p.refresh(job)
	claimed, there := job.claimed, job.arrived
	if job.claimed, job.arrived = nil, nil; t.err == nil || goesOn {
		if err := p.account(ctx, job, t.missing); err != nil {
			return false, err
		}
		if err := p.claim(ctx, job, claimed); err != nil {
			return false, err
		}
		if err := p.adoptArrivals(job, there); err != nil {
			return false, err
		}
	} else {
		p.Arrivals.putBack(there)
	}
	if job.uids, err = p.uncarried(job); err != nil {
		return false, err
	}
	if errors.As(t.err, new(errUnmade)) {
		return p.makeNow(ctx, job)
	}
	switch {
	case t.err != nil && !errors.Is(t.err, mail.ErrInDoubt) && !goesOn:
		return false, t.err
	case len(job.uids) == 0:
		return false, p.finish(job)
	case len(job.uids) == before && !goesOn && !t.again:
		return false, fmt.Errorf("carry: no progress: %w", cmp.Or(t.err, mail.ErrInDoubt))
	}
	return true, nil
}

// finish notes that a mailbox has been carried.
func (p *Pass) finish(job *job) error {
	change := mail.Change{}
	p.finished(job, &change)
	return p.commit(change)
}

func (p *Pass) finished(job *job, change *mail.Change) {
	change.Pairs = append(change.Pairs, job.anchored(job.end))
	if key := (mail.HoldKey{Pair: job.Pair.ID}); p.holds[key].Pair != 0 {
		change.Unhold = append(change.Unhold, key)
	}
}

// apart decides on an error of one mailbox: nil when the others can go on.
func (p *Pass) apart(job *job, err error) error {
	var only errMailbox
	switch {
	case errors.Is(err, mail.ErrUIDValidity):
		// The next pass sees the new UIDVALIDITY and rebinds.
		p.result.Changed = true
		return nil
	case errors.As(err, &only):
		return p.holdMailbox(job, only.err)
	}
	return fmt.Errorf("mailbox %q: %w", job.source.DisplayName(), err)
}

// concernsOne tells whether the end of a task is nothing to other mailboxes.
func concernsOne(err error) bool {
	return !errors.Is(err, mail.ErrInDoubt) && !errors.Is(err, ErrOverQuota) &&
		(errors.Is(err, errInterrupted) || errors.Is(err, errSeenBefore) || errors.Is(err, mail.ErrUIDValidity) || errors.As(err, new(errMailbox)))
}

// refresh gives the job its pair as commits of others have left it.
func (p *Pass) refresh(job *job) {
	stored := p.pairs[job.Pair.ID]
	if stored.DestinationValidity == 0 {
		stored.DestinationValidity = job.Pair.DestinationValidity // not in use yet
	}
	job.Pair = stored
}

// uncarried returns what is left of the job.
func (p *Pass) uncarried(job *job) ([]mail.UID, error) {
	held := make(map[mail.UID]bool)
	for key, h := range p.holds {
		if key.Pair == job.Pair.ID && !h.Retry {
			held[key.UID] = true
		}
	}
	uids, err := plan.Uncarried(job.uids, p.Journal.Receipts(job.Pair.ID), held)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return slices.DeleteFunc(uids, func(uid mail.UID) bool { return job.absent[uid] }), nil
}

func (p *Pass) stopped() error {
	select {
	case <-p.Stopping:
		return ErrStopped
	case <-p.Yield:
		return ErrStopped
	default:
		return nil
	}
}

// account explains the messages that were asked for and not served: gone
// meanwhile, as UID SEARCH confirms, or held.
func (p *Pass) account(ctx context.Context, job *job, missing []mail.UID) error {
	if len(missing) == 0 {
		return nil
	}
	present, err := p.Source.UIDs(ctx, job.ref(), missing[0])
	if err != nil {
		return fmt.Errorf("confirm what is absent from %q: %w", job.source.DisplayName(), err)
	}
	var change mail.Change
	for _, uid := range missing {
		_, there := slices.BinarySearch(present, uid)
		switch why, told := job.unserved[uid]; {
		case there && told:
			change.Holds = append(change.Holds, p.hold(job, uid, why.size, why.reason, why.text))
		case there:
			change.Holds = append(change.Holds, p.hold(job, uid, 0, mail.ReasonMissing, "the old server lists the message but does not serve it"))
		default:
			if job.absent == nil {
				job.absent = make(map[mail.UID]bool)
			}
			job.absent[uid] = true
			change.Unhold = append(change.Unhold, mail.HoldKey{Pair: job.Pair.ID, UID: uid})
		}
	}
	return p.commit(change)
}

// errMailbox marks an error that ends the work on one mailbox, not the pass.
type errMailbox struct{ err error }

func (e errMailbox) Error() string { return e.err.Error() }
func (e errMailbox) Unwrap() error { return e.err }

// mailboxError marks a refusal as one that concerns the mailbox only: it is
// held, and tried again by the next pass, while the others go on.
func mailboxError(err error) error {
	var refused *mail.Refused
	if errors.As(err, &refused) && !isOverQuota(refused) {
		return errMailbox{err}
	}
	return err
}

// lasting is mailboxError for a refusal that is not transient.
func lasting(err error) error {
	var refused *mail.Refused
	if errors.As(err, &refused) && transient(refused) {
		return err
	}
	return mailboxError(err)
}

// transient tells whether the server may well take the command later (RFC
// 5530), so that waiting, not holding, is the answer.
func transient(r *mail.Refused) bool {
	if mail.SuggestedBackoff(r.Text) > 0 {
		return true
	}
	switch r.Code {
	case "LIMIT":
		// Of a log-in or of a rate; else, as RFC 5530 has it, of what the
		// command carries.
		text := strings.ToLower(r.Text)
		return strings.Contains(text, "rate") || strings.Contains(text, "too many") || strings.Contains(text, "later")
	case "UNAVAILABLE", "THROTTLED", "EXPIRED", "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "PRIVACYREQUIRED", "CONTACTADMIN":
		return true
	}
	return false
}

// isOverQuota tells whether a mailbox is full. Courier says so in words only.
func isOverQuota(r *mail.Refused) bool {
	text := strings.ToLower(r.Text)
	return r.Code == "OVERQUOTA" || strings.Contains(text, "quota") && (strings.Contains(text, "exceeded") || strings.Contains(text, "over quota"))
}

// momentary tells whether a refusal says nothing about what was asked for, so
// that nothing final may follow from it: besides what is transient, a fault of
// the server itself, or somebody else at work in the mailbox. It may stay so, but
// concerns that mailbox alone.
func momentary(r *mail.Refused) bool {
	return transient(r) || r.Code == "SERVERBUG" || r.Code == "INUSE"
}

// passes tells whether a refusal says nothing about the change that was asked
// for: it is momentary, or is one of the look beforehand.
func passes(r *mail.Refused) bool {
	return momentary(r) ||
		!slices.Contains([]string{"UID STORE", "UID EXPUNGE", "UID MOVE", "UID COPY"}, r.Command)
}

// alike tells whether both sides of a pair number alike, which one mailbox
// under two names would. Two servers may also do so by chance.
func alike(job *job) bool {
	s, d := job.source.Status, job.Destination.Status
	return s.UIDValidity != 0 && s.UIDValidity == d.UIDValidity && s.UIDNext == d.UIDNext
}

// probe looks whether the copy of a message has appeared on the source (I10);
// probed tells that there is a copy.
func (p *Pass) probe(ctx context.Context, job *job, carried mail.UID) (probed bool, err error) {
	var sent mail.Fingerprint
	for r, err := range p.Journal.Receipts(job.Pair.ID) {
		if err != nil {
			return false, fmt.Errorf("%w: %w", ErrJournal, err)
		}
		if r.Source == carried {
			sent = r.Fingerprint
		}
	}
	if sent == 0 {
		return false, nil
	}
	uids, err := p.Source.UIDs(ctx, job.ref(), job.end)
	if err != nil {
		return false, fmt.Errorf("probe source: %w", err)
	}
	for m, err := range p.Source.Messages(ctx, job.ref(), uids, true) {
		if err != nil {
			return false, fmt.Errorf("probe source: %w", err)
		}
		if m.Fingerprint == sent {
			return false, ErrSameMailbox
		}
	}
	return true, nil
}
