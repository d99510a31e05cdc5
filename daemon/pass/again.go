package pass

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// A pass looks at one mailbox after the other. What somebody moves meanwhile
// it may have seen in both: still in the one, and new in the other. So before a
// message is sent of which there is a receipt in another mailbox, that one is
// counted once more. It is later than the look that found the message, so that
// what is still there then is a copy that its user has made, and what is not
// has been moved.

// errSeenBefore ends a carry before a message whose receipt may be out of date.
var errSeenBefore = errors.New("a message may have been moved")

// recounts is how often a mailbox is counted in which somebody is at work.
const recounts = 3

// readCarried reads the fingerprints of all receipts whose message is there, for
// all that is known.
func (p *Pass) readCarried() error {
	if p.carried != nil {
		return nil
	}
	p.carried = []mail.Fingerprint{}
	for _, pair := range p.storedPairs() {
		for r, err := range p.Journal.Receipts(pair.ID) {
			if err != nil {
				return fmt.Errorf("%w: %w", ErrJournal, err)
			}
			if !r.Vanished() {
				p.carried = append(p.carried, r.Fingerprint)
			}
		}
	}
	slices.Sort(p.carried)
	return nil
}

// untilSeenBefore cuts a parcel before the first message that has a receipt in a
// mailbox that has to be counted first.
// It is the owner's.
func (w *writer) untilSeenBefore(pieces []piece) ([]piece, error) {
	pairs := make(map[mail.Fingerprint][]mail.PairID)
	for _, m := range pieces {
		if _, seen := slices.BinarySearch(w.carried, m.Fingerprint); seen && len(w.gone.byPrint[m.Fingerprint]) == 0 {
			pairs[m.Fingerprint] = nil
		}
	}
	if len(pairs) == 0 {
		return pieces, nil
	}
	for _, pair := range w.storedPairs() {
		if w.counted[pair.ID] {
			continue
		}
		for r, err := range w.Journal.Receipts(pair.ID) {
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrJournal, err)
			}
			if of, seen := pairs[r.Fingerprint]; seen && !r.Vanished() && !slices.Contains(of, pair.ID) {
				pairs[r.Fingerprint] = append(of, pair.ID)
			}
		}
	}
	for i, m := range pieces {
		if of := pairs[m.Fingerprint]; len(of) > 0 {
			w.job.seen, w.job.seenIn = m.UID, of
			return pieces[:i], errSeenBefore
		}
	}
	return pieces, nil
}

// recount counts the mailboxes that errSeenBefore is about. Where that cannot be
// done the job ends before the message, and the next pass goes on.
func (p *Pass) recount(ctx context.Context, job *job) error {
	listed := make(map[string]bool, len(p.source.Mailboxes))
	for _, m := range p.source.Mailboxes {
		listed[m.Name] = !m.NoSelect
	}
	for _, id := range job.seenIn {
		pair := p.pairs[id]
		if !listed[pair.Source] && !p.inDoubt(id) {
			p.counted[id] = true // noteUnlisted has decided
			continue
		}
		uids, err := p.recountOne(ctx, pair)
		var refused *mail.Refused
		switch {
		case err == nil:
			err = p.noteMissing(id, uids)
		case errors.As(err, &refused) && transient(refused):
		case refused != nil && p.uncountable[id] != 0 && p.uncountable[id] != p.runs:
			err = nil // for the second time, and listed still: it is not to be had
		case refused != nil, errors.Is(err, mail.ErrUIDValidity), errors.Is(err, errAtWork):
			if refused != nil {
				p.uncountable[id] = p.runs
			}
			n, _ := slices.BinarySearch(job.uids, job.seen)
			job.uids, job.end = job.uids[:n], job.seen
			p.result.Changed = true
			return nil
		}
		if err != nil {
			return fmt.Errorf("count %q again: %w", pair.SourcePath, err)
		}
		p.counted[id] = true
	}
	return nil
}

// errAtWork: somebody is at work in a mailbox that cannot be counted for that.
var errAtWork = errors.New("the counts do not agree")

// recountOne returns all UIDs of a source mailbox.
func (p *Pass) recountOne(ctx context.Context, pair mail.Pair) ([]mail.UID, error) {
	at := &job{source: mail.Mailbox{Name: pair.Source, Status: mail.Status{UIDValidity: pair.SourceAnchor.UIDValidity}}}
	for range recounts {
		if uids, agree, err := p.census(ctx, at); err != nil || agree {
			return uids, err
		}
	}
	return nil, errAtWork
}

// lookAfresh forgets what was counted: what is looked at from now on may have
// been moved since.
func (p *Pass) lookAfresh() {
	p.carried = nil
	p.counted = make(map[mail.PairID]bool)
}
