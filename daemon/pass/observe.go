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
	source, err := p.Source.Mailboxes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list source mailboxes: %w", err)
	}
	destination, err := p.Destination.Mailboxes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list destination mailboxes: %w", err)
	}
	p.made = make(map[string]bool)
	p.unresolved = make(map[string]error)
	p.destination = make(map[string]mail.Mailbox, len(destination.Mailboxes))
	for _, m := range destination.Mailboxes {
		if !m.NoSelect {
			p.destination[m.Name] = m
		}
	}
	pairings, conflicts := plan.Mailboxes(source, destination, p.storedPairs(), p.Select, p.Destination.Name)
	if err := p.holdConflicts(conflicts); err != nil {
		return nil, err
	}
	p.source = source
	p.result.Mailboxes = len(pairings)
	for _, pairing := range pairings {
		p.result.SourceMessages += int(pairing.Source.Status.Messages)
	}
	var made mail.Change
	kept := pairings[:0]
	for _, pairing := range pairings {
		if pairing.New() {
			p.lastPair++
			pairing.Pair.ID = p.lastPair
			if err := p.settle(ctx, &pairing); err != nil {
				var refused *mail.Refused
				if !errors.As(err, &refused) {
					return nil, err
				}
				p.lastPair--
				pairing.Pair.ID = 0
				if err := p.holdMailbox(&job{Pairing: pairing, source: pairing.Source}, refused); err != nil {
					return nil, err
				}
				continue
			}
			made.Pairs = append(made.Pairs, pairing.Pair)
			if key := (mail.HoldKey{Path: pairing.Source.DisplayName()}); p.holds[key].Path != "" {
				made.Unhold = append(made.Unhold, key)
			}
		}
		kept = append(kept, pairing)
	}
	return kept, p.commit(made)
}

// news returns the jobs of those mailboxes that have something to carry, in
// the order of copying.
func (p *Pass) news(ctx context.Context, pairings []plan.Pairing) ([]*job, error) {
	if err := p.noteUnlisted(p.source); err != nil {
		return nil, err
	}
	var work []*job
	var settled mail.Change
	for _, pairing := range pairings {
		pairing.Pair = p.pairs[pairing.Pair.ID] // as resolving left it
		job := &job{Pairing: pairing, source: pairing.Source}
		key := mail.HoldKey{Pair: job.Pair.ID}
		held, isHeld := p.holds[key]
		if held.Skipped {
			continue
		}
		err := p.look(ctx, job)
		var refused *mail.Refused
		switch {
		case errors.Is(err, mail.ErrUIDValidity):
			p.result.Changed = true
			continue
		case errors.As(err, &refused):
			if err := p.holdMailbox(job, refused); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, fmt.Errorf("look at mailbox %q: %w", job.source.DisplayName(), err)
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
			if err := p.holdMailbox(job, errors.New("answers of the new server were lost and cannot be looked for yet")); err != nil {
				return nil, err
			}
			continue
		case len(job.uids) > 0 || job.rebind:
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

// settle makes the destination mailbox of a new pair and carries its
// subscription, once.
func (p *Pass) settle(ctx context.Context, pairing *plan.Pairing) error {
	if pairing.Destination.Name == "" {
		if err := p.create(ctx, pairing.Pair, pairing.Source); err != nil {
			return err
		}
	}
	if pairing.Source.Subscribed && !pairing.Destination.Subscribed {
		err := p.Destination.Subscribe(ctx, pairing.Pair.Destination)
		var refused *mail.Refused
		if errors.As(err, &refused) {
			p.Logger.Warn("subscription could not be carried", "mailbox", pairing.Pair.DestinationPath, "error", err)
		} else if err != nil {
			return fmt.Errorf("subscribe %q: %w", pairing.Pair.DestinationPath, err)
		}
	}
	pairing.Pair.Subscribed = pairing.Source.Subscribed
	return nil
}

// create makes a destination mailbox. It is empty, so that there is nothing to
// recognise in it.
func (p *Pass) create(ctx context.Context, pair mail.Pair, source mail.Mailbox) error {
	if err := p.Destination.Create(ctx, pair.Destination, source.Role); err != nil {
		return fmt.Errorf("create %q: %w", pair.DestinationPath, err)
	}
	p.destination[pair.Destination] = mail.Mailbox{Name: pair.Destination, Path: source.Path}
	p.made[pair.Destination] = true
	return nil
}

// holdConflicts holds mailboxes that have no place of their own, and lifts
// such holds when they have got one.
func (p *Pass) holdConflicts(conflicts []plan.Conflict) error {
	for _, c := range conflicts {
		h := p.hold(&job{source: c.Source}, 0, 0, mail.ReasonName,
			fmt.Sprintf("%q on the new server already takes the mail of %q", c.Name, c.With.DisplayName()))
		h.Path = c.Source.DisplayName()
		if err := p.keepHold(h); err != nil {
			return err
		}
	}
	return nil
}

// look finds the source messages of a mailbox that are not carried yet, and
// those that have vanished. It asks the server only when the status, a hold to
// be retried or a message found missing before calls for it.
func (p *Pass) look(ctx context.Context, job *job) error {
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
		uids, err := p.Source.UIDs(ctx, job.ref(), 1)
		if err != nil {
			return err
		}
		job.found(uids, 0)
		job.uids = uids
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
	held, retry := p.heldOf(job.Pair.ID)
	again := p.full || p.lookDue(job.Pair.ID)
	shrunk := status.MessagesKnown && status.Messages != anchor.Messages
	if known && !again && !shrunk && len(retry) == 0 && status.UIDNext != 0 && status.UIDNext <= anchor.UIDNext {
		job.found(nil, anchor.Messages)
		return nil
	}
	from := max(anchor.UIDNext, 1)
	var uids []mail.UID
	if !status.MessagesKnown || status.Messages > 0 || status.UIDNext == 0 {
		var err error
		if uids, err = p.Source.UIDs(ctx, job.ref(), from); err != nil {
			return err
		}
	}
	job.found(uids, anchor.Messages)
	for key, h := range p.holds {
		// Those below the anchor go with what a count finds missing.
		if _, there := slices.BinarySearch(uids, key.UID); key.Pair == job.Pair.ID && key.UID >= from && !there && h.Reason != mail.ReasonLateTwin {
			job.lifted = append(job.lifted, key)
		}
	}
	counted, _ := slices.BinarySearch(uids, max(status.UIDNext, 1)) // what arrived since is not
	odd := known && status.MessagesKnown && status.UIDNext != 0 && int(status.Messages) != int(anchor.Messages)+counted
	if !again && !odd {
		// Receipts above the anchor were not counted by it.
		lost, _, err := plan.Missing(uids, above(from, p.Journal.Receipts(job.Pair.ID)))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrJournal, err)
		}
		odd = len(lost) > 0
	}
	if again || odd {
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
	uids = append(uids, retry...) // a hold may lie above the anchor
	slices.Sort(uids)
	uids = slices.Compact(uids)
	var err error
	if job.uids, err = plan.Uncarried(uids, p.Journal.Receipts(job.Pair.ID), held); err != nil {
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
	if !strings.EqualFold(job.source.Role, `\Drafts`) || len(job.uids) == 0 || job.Pair.SourceAnchor.UIDNext == 0 {
		return nil
	}
	now := time.Now()
	for m, err := range p.Source.Messages(ctx, job.ref(), job.uids, false) {
		if err != nil {
			return err
		}
		if age := now.Sub(m.InternalDate); age.Abs() < draftAge {
			n, _ := slices.BinarySearch(job.uids, m.UID)
			job.uids, job.end = job.uids[:n], m.UID
			p.wake(m.InternalDate.Add(draftAge))
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
