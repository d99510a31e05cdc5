package pass

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// observe looks at all mailboxes of both sides, gives each wanted source
// mailbox its place in the order of copying, and makes on the destination what
// a new pair needs.
func (p *Pass) observe(ctx context.Context) ([]plan.Pairing, error) {
	if moved := p.changedRules(); len(moved) > 0 {
		return nil, RuleChanged(p.Account, moved)
	}
	l, err := p.places(ctx)
	if err != nil {
		return nil, err
	}
	p.made = make(map[string]bool)
	p.unresolved = make(map[string]error)
	p.destination = make(map[string]mail.Mailbox, len(l.destination.Mailboxes))
	for _, m := range l.destination.Mailboxes {
		if !m.NoSelect {
			p.destination[m.Name] = m
		}
	}
	if err := p.holdConflicts(l.pairings, l.conflicts); err != nil {
		return nil, err
	}
	p.source = l.source
	p.result.Mailboxes = len(l.pairings)
	for _, pairing := range l.pairings {
		p.result.SourceMessages += int(pairing.Source.Status.Messages)
	}
	if err := p.stay(l.pairings); err != nil {
		return nil, err
	}
	return p.settle(ctx, l.pairings)
}

// list lists the mailboxes of both sides at once.
func (p *Pass) list(ctx context.Context) (source, destination mail.Listing, err error) {
	listed := make(chan error, 1)
	go func() {
		var err error
		destination, err = p.Destination.Mailboxes(ctx)
		listed <- err
	}()
	if source, err = p.Source.Mailboxes(ctx); err != nil {
		err = fmt.Errorf("list source mailboxes: %w", err)
	}
	if derr := <-listed; derr != nil && err == nil {
		err = fmt.Errorf("list destination mailboxes: %w", derr)
	}
	return source, destination, err
}

// news returns the jobs of those mailboxes that have something to carry, in
// the order of copying.
func (p *Pass) news(ctx context.Context, pairings []plan.Pairing) ([]*job, error) {
	if err := p.noteUnlisted(p.source); err != nil {
		return nil, err
	}
	var work []*job
	var settled mail.Change
	var looked []*look
	for _, pairing := range pairings {
		pairing.Pair = p.pairs[pairing.Pair.ID] // as resolving left it
		if !p.holds[mail.HoldKey{Pair: pairing.Pair.ID}].Skipped {
			looked = append(looked, &look{job: &job{Pairing: pairing, source: pairing.Source}})
		}
	}
	if err := p.look(ctx, looked); err != nil {
		return nil, err
	}
	for _, l := range looked {
		job := l.job
		key := mail.HoldKey{Pair: job.Pair.ID}
		_, isHeld := p.holds[key]
		var refused *mail.Refused
		switch {
		case errors.Is(l.err, mail.ErrUIDValidity):
			p.result.Changed, p.blind[job.Pair.Destination] = true, true
			continue
		case errors.As(l.err, &refused):
			if err := p.sideline(job, refused); err != nil {
				return nil, err
			}
			continue
		}
		settled.Unhold = append(settled.Unhold, job.lifted...)
		if anchor := &job.Pair.SourceAnchor; anchor.UIDValidity == 0 && job.source.Status.UIDValidity != 0 {
			// Durable before the first receipt or intent names a UID under it (I5).
			anchor.UIDValidity = job.source.Status.UIDValidity
			settled.Pairs = append(settled.Pairs, job.Pair)
		}
		switch {
		case job.rebind && p.inDoubt(job.Pair.ID):
			// Its open intents name source UIDs of the old numbering: they have
			// to be resolved under it first.
			if err := p.holdMailbox(job, errUnresolved); err != nil {
				return nil, err
			}
			continue
		case len(job.uids) > 0 || job.rebind:
			if err := p.unresolved[job.Pair.Destination]; err != nil {
				// Whatever is there may be ours, and is not to be taken for another's.
				job.sidelined = true
				if err := p.holdMailbox(job, err); err != nil {
					return nil, err
				}
			}
			work = append(work, job)
			continue
		case job.end > job.Pair.SourceAnchor.UIDNext || job.count(job.end) != job.Pair.SourceAnchor.Messages:
			settled.Pairs = append(settled.Pairs, job.anchored(job.end))
		}
		if isHeld {
			settled.Unhold = append(settled.Unhold, key)
		}
	}
	return work, p.commit(settled)
}

// settle makes the destination mailboxes of pairs that are new, or that move, and
// carries their subscriptions, once. A pair whose mailbox cannot be made is held.
func (p *Pass) settle(ctx context.Context, pairings []plan.Pairing) ([]plan.Pairing, error) {
	var missing []*plan.Pairing
	for i := range pairings {
		if unsettled(pairings[i]) && pairings[i].Destination.Name == "" {
			missing = append(missing, &pairings[i])
		}
	}
	refused, err := p.create(ctx, missing)
	if err != nil {
		return nil, err
	}
	unmade := make(map[string]bool)
	for i, pairing := range missing {
		if refused[i] == nil {
			continue
		}
		if refused[i], err = p.createPlainer(ctx, pairing, refused[i]); err != nil {
			return nil, err
		}
		if refused[i] != nil {
			unmade[pairing.Source.Name] = true
			if err := p.holdUnplaced(pairing, refused[i]); err != nil {
				return nil, err
			}
		}
	}
	pairings = slices.DeleteFunc(pairings, func(pairing plan.Pairing) bool { return unmade[pairing.Source.Name] })
	if err := p.subscribe(ctx, pairings); err != nil {
		return nil, err
	}
	var made mail.Change
	for i := range pairings {
		pairing := &pairings[i]
		if pairing.Pair.Moves {
			if err := p.leave(pairing, &made); err != nil {
				return nil, err
			}
		}
		if !pairing.New() {
			continue
		}
		p.lastPair++
		pairing.Pair.ID = p.lastPair
		pairing.Pair.Subscribed = pairing.Source.Subscribed
		made.Pairs = append(made.Pairs, pairing.Pair)
		if key := (mail.HoldKey{Path: pairing.Source.DisplayName()}); p.holds[key].Path != "" {
			made.Unhold = append(made.Unhold, key)
		}
	}
	return pairings, p.commit(made)
}

// unsettled tells whether the place of a pairing is new.
func unsettled(pairing plan.Pairing) bool { return pairing.New() || pairing.Pair.Moves }

// subscribe carries the subscriptions of pairs that are new, or that move.
func (p *Pass) subscribe(ctx context.Context, pairings []plan.Pairing) error {
	var names []string
	for _, pairing := range pairings {
		if unsettled(pairing) && pairing.Source.Subscribed && !pairing.Destination.Subscribed {
			names = append(names, pairing.Pair.Destination)
		}
	}
	if len(names) == 0 {
		return nil
	}
	refused, err := p.Destination.Subscribe(ctx, names)
	for i, err := range refused {
		if err != nil {
			p.Logger.Warn("subscription could not be carried", "mailbox", p.destination[names[i]].DisplayName(), "error", err)
		}
	}
	return err
}

// create makes destination mailboxes, and returns why one cannot be made. They
// are empty, so that there is nothing to recognise in them.
func (p *Pass) create(ctx context.Context, pairings []*plan.Pairing) (refused []error, err error) {
	if len(pairings) == 0 {
		return nil, nil
	}
	boxes := make([]mail.Creation, len(pairings))
	for i, pairing := range pairings {
		boxes[i] = mail.Creation{Name: pairing.Pair.Destination, Role: pairing.Role}
	}
	if refused, err = p.Destination.Create(ctx, boxes); err != nil {
		return nil, err
	}
	for i, pairing := range pairings {
		if refused[i] == nil {
			name := pairing.Pair.Destination
			p.destination[name] = mail.Mailbox{Name: name, Path: pairing.Path}
			p.made[name] = true
		}
	}
	return refused, nil
}

// createFor makes the destination mailbox of a job, which its user has removed.
func (p *Pass) createFor(ctx context.Context, job *job) error {
	refused, err := p.create(ctx, []*plan.Pairing{&job.Pairing})
	if err != nil {
		return fmt.Errorf("create %q: %w", job.Pair.DestinationPath, err)
	}
	return refused[0]
}

// look is a look at one source mailbox.
type look struct {
	job *job
	// held is what of it is held, retry what of that is to be tried again.
	held  map[mail.UID]bool
	retry []mail.UID
	asked bool // it has to be asked
	again bool // and every UID compared with the receipts
	err   error
}

// look finds the source messages of mailboxes that are not carried yet, and
// those that have vanished. It asks about a mailbox only when the status, a hold
// to be retried or a message found missing before calls for it, and then about
// all of them together. An error that concerns one mailbox only is left in its
// look.
func (p *Pass) look(ctx context.Context, looks []*look) error {
	fail := func(l *look, err error) error {
		if l.err = err; err == nil || isOutOfReach(err) {
			return nil
		}
		return fmt.Errorf("look at mailbox %q: %w", l.job.source.DisplayName(), err)
	}
	var asked []*look
	var questions []mail.Question
	for _, l := range looks {
		if err := fail(l, p.glance(ctx, l)); err != nil {
			return err
		}
		if l.asked && l.err == nil {
			from := max(l.job.Pair.SourceAnchor.UIDNext, 1)
			if l.job.rebind {
				from = 1
			}
			asked = append(asked, l)
			questions = append(questions, mail.Question{Ref: l.job.ref(), From: from, Messages: l.job.source.Status.Messages})
		}
	}
	i := 0
	for answer, err := range p.Source.Survey(ctx, questions) {
		if err != nil {
			return fmt.Errorf("look at mailboxes: %w", err)
		}
		l := asked[i]
		if err = answer.Err; err == nil {
			err = p.compared(ctx, l, answer)
		}
		if err := fail(l, err); err != nil {
			return err
		}
		i++
	}
	return nil
}

// glance decides what has to be asked about a mailbox.
func (p *Pass) glance(ctx context.Context, l *look) error {
	job := l.job
	anchor := job.Pair.SourceAnchor
	if s := job.source.Status; s.UIDValidity == 0 || s.UIDNext == 0 {
		opened, err := p.Source.Status(ctx, mail.Ref{Name: job.source.Name})
		if err != nil {
			return err
		}
		opened.HighestModSeq = max(opened.HighestModSeq, s.HighestModSeq)
		job.source.Status = opened
	}
	status := job.source.Status
	known := anchor.UIDValidity != 0
	job.established = anchor.UIDNext > 1
	job.rebind = known && status.UIDValidity != 0 && status.UIDValidity != anchor.UIDValidity
	if job.end = max(status.UIDNext, anchor.UIDNext, 1); job.rebind {
		job.end = max(status.UIDNext, 1) // the anchor is of other UIDs
		l.asked = true
		return nil
	}
	if anchor.HighestModSeq == 0 && status.HighestModSeq != 0 {
		// What an earlier run has carried has the flags of that time.
		for range p.Journal.Receipts(job.Pair.ID) {
			job.Pair.SourceAnchor.HighestModSeq = compareAll
			p.pairs[job.Pair.ID] = job.Pair
			break
		}
	}
	l.held, l.retry = p.heldOf(job.Pair.ID)
	l.again = p.full || p.lookDue(job.Pair.ID)
	shrunk := status.MessagesKnown && status.Messages != anchor.Messages
	if known && !l.again && !shrunk && len(l.retry) == 0 && status.UIDNext != 0 && status.UIDNext <= anchor.UIDNext {
		job.found(nil, anchor.Messages)
		return nil
	}
	if status.MessagesKnown && status.Messages == 0 && status.UIDNext != 0 {
		return p.compared(ctx, l, mail.Survey{}) // there is nothing to be asked
	}
	l.asked = true
	return nil
}

// compared compares what is there with the receipts.
func (p *Pass) compared(ctx context.Context, l *look, there mail.Survey) error {
	job, uids := l.job, there.UIDs
	job.sizes = sizes{uids: uids, size: there.Sizes}
	if job.rebind {
		job.found(uids, 0)
		job.uids = slices.Clone(uids)
		return nil
	}
	anchor, status := job.Pair.SourceAnchor, job.source.Status
	from := max(anchor.UIDNext, 1)
	job.found(uids, anchor.Messages)
	for key, h := range p.holds {
		// Those below the anchor go with what a count finds missing.
		if _, there := slices.BinarySearch(uids, key.UID); key.Pair == job.Pair.ID && key.UID >= from && !there && h.Reason != mail.ReasonLateTwin {
			job.lifted = append(job.lifted, key)
		}
	}
	counted, _ := slices.BinarySearch(uids, max(status.UIDNext, 1)) // what arrived since is not
	odd := anchor.UIDValidity != 0 && status.MessagesKnown && status.UIDNext != 0 && int(status.Messages) != int(anchor.Messages)+counted
	if !l.again && !odd {
		// Receipts above the anchor were not counted by it.
		lost, _, err := plan.Missing(uids, above(from, p.Journal.Receipts(job.Pair.ID)))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrJournal, err)
		}
		odd = len(lost) > 0
	}
	if l.again || odd {
		all, agree, err := p.census(ctx, job)
		if err != nil {
			return err
		}
		if agree {
			if err := p.noteMissing(job.Pair.ID, all); err != nil {
				return err
			}
			job.found(all, 0)
			uids = all
		} else {
			job.below = uncounted // the next pass counts again
		}
	}
	if len(l.retry) > 0 {
		uids = slices.Concat(uids, l.retry) // a hold may lie above the anchor
		slices.Sort(uids)
		uids = slices.Compact(uids)
	}
	var err error
	if job.uids, err = plan.Uncarried(uids, p.Journal.Receipts(job.Pair.ID), l.held); err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return p.deferDrafts(ctx, job)
}

// above leaves out the receipts of source UIDs below from.
func above(from mail.UID, receipts iter.Seq2[mail.Receipt, error]) iter.Seq2[mail.Receipt, error] {
	return func(yield func(mail.Receipt, error) bool) {
		for r, err := range receipts {
			if (err != nil || r.Source >= from) && !yield(r, err) {
				return
			}
		}
	}
}

// heldOf returns what is held of a pair: true for what stays so, and those
// that are to be tried again.
func (p *Pass) heldOf(pair mail.PairID) (held map[mail.UID]bool, retry []mail.UID) {
	held = make(map[mail.UID]bool)
	for key, h := range p.holds {
		if key.Pair == pair && key.UID != 0 && h.Reason != mail.ReasonLateTwin {
			held[key.UID] = !h.Retry
			if h.Retry {
				retry = append(retry, key.UID)
			}
		}
	}
	return held, retry
}

// draftAge is how old a draft must be to be carried: until then its user is
// likely to replace it.
const draftAge = 10 * time.Minute

// deferDrafts leaves young drafts, and what follows them, to a later pass.
func (p *Pass) deferDrafts(ctx context.Context, job *job) error {
	if !strings.EqualFold(job.source.Role, `\Drafts`) || job.Pair.SourceAnchor.UIDNext == 0 {
		return nil
	}
	return p.deferYoung(ctx, job, draftAge)
}

// deferYoung leaves messages that have arrived less than so long ago, and what
// follows them, to a later pass.
func (p *Pass) deferYoung(ctx context.Context, job *job, least time.Duration) error {
	if len(job.uids) == 0 {
		return nil
	}
	now := time.Now()
	for m, err := range p.Source.Messages(ctx, job.ref(), job.uids, false) {
		if err != nil {
			return err
		}
		if age := now.Sub(m.InternalDate); age.Abs() < least {
			n, _ := slices.BinarySearch(job.uids, m.UID)
			job.uids, job.end = job.uids[:n], m.UID
			p.wake(m.InternalDate.Add(least))
			break
		}
	}
	return nil
}

// wake has the next pass run at a time, or sooner.
func (p *Pass) wake(at time.Time) {
	if p.result.Due.IsZero() || at.Before(p.result.Due) {
		p.result.Due = at
	}
}

// anchored is the job's pair with everything below next processed (I3). The
// HIGHESTMODSEQ is taken once, when the first copy is complete: every change
// up to it is in the flags that were copied.
func (j *job) anchored(next mail.UID) mail.Pair {
	a := &j.Pair.SourceAnchor
	if a.UIDValidity == 0 {
		a.UIDValidity = j.source.Status.UIDValidity
	}
	a.UIDNext = max(a.UIDNext, next)
	a.Messages = j.count(a.UIDNext)
	if next == j.end && a.HighestModSeq == 0 {
		a.HighestModSeq = j.source.Status.HighestModSeq
	}
	return j.Pair
}

// found notes how far the job is complete, given UIDs that are there beside so
// many messages below them.
func (j *job) found(uids []mail.UID, below uint32) {
	j.listed, j.below = uids, below
	if len(uids) > 0 {
		j.end = max(j.end, uids[len(uids)-1]+1)
	}
}

// uncounted in the place of a number of messages: it is not known. No mailbox
// that holds any number of them is taken for one that has not changed.
const uncounted = math.MaxUint32

// count is how many messages there are below a UID.
func (j *job) count(uid mail.UID) uint32 {
	if j.below == uncounted {
		return uncounted
	}
	n, _ := slices.BinarySearch(j.listed, uid)
	for gone := range j.absent {
		if gone < uid {
			n--
		}
	}
	return j.below + uint32(n)
}
