package pass

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

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
// look. A mailbox that shows the rest of others comes after them.
func (p *Pass) look(ctx context.Context, looks []*look) error {
	var rest, others []*look
	for _, l := range looks {
		if l.job.source.Rest {
			rest = append(rest, l)
		} else {
			others = append(others, l)
		}
	}
	if err := p.lookTogether(ctx, others); err != nil {
		return err
	}
	return p.lookTogether(ctx, rest)
}

func (p *Pass) lookTogether(ctx context.Context, looks []*look) error {
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
			asked = append(asked, l)
			questions = append(questions, l.job.question())
		}
	}
	i := 0
	for answer, err := range p.survey(ctx, questions) {
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

// question asks for the messages that are not counted by the anchor.
func (j *job) question() mail.Question {
	from := max(j.Pair.SourceAnchor.UIDNext, 1)
	if j.rebind {
		from = 1
	}
	return mail.Question{Ref: j.ref(), From: from, Messages: j.source.Status.Messages}
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
			p.keep(job.Pair)
			break
		}
	}
	l.held, l.retry = p.heldOf(job.Pair.ID)
	l.again = p.full || p.lookDue(job.Pair.ID) || job.source.Rest && p.leftOthers(anchor, status)
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

// leftOthers tells whether messages that are missing in other mailboxes may be in
// one now that shows the rest of them. Before a copy is removed they are looked for
// there in any case.
func (p *Pass) leftOthers(anchor mail.Anchor, status mail.Status) bool {
	changed := status.HighestModSeq == 0 || status.HighestModSeq > anchor.HighestModSeq
	for pair, a := range p.absences {
		if len(a.Missing) > 0 && (changed || p.lookDue(pair)) {
			return true
		}
	}
	return false
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
	for key, h := range p.holds {
		if key.Pair == pair && key.UID != 0 && h.Reason != mail.ReasonLateTwin {
			if held == nil {
				held = make(map[mail.UID]bool)
			}
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
