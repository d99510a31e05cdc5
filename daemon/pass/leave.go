package pass

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// stay leaves pairs where they are that are to move (I11) but need not, must not
// any more, or cannot before all that has been begun is done.
func (p *Pass) stay(pairings []plan.Pairing) error {
	var change mail.Change
	for i := range pairings {
		pairing := &pairings[i]
		pair := p.pairs[pairing.Pair.ID]
		if !pairing.Pair.Moves {
			continue
		}
		switch {
		case !p.Rules.Moves(pair): // those are not in force yet
		case p.Policy.Draining:
			p.Logger.Warn("the users work on the new server: what was to be moved there stays where it is", "mailbox", pair.SourcePath, "in", pair.DestinationPath)
			pair.Moves = false
			change.Pairs = append(change.Pairs, pair)
		case pairing.Pair.Destination == pair.Destination:
			pair.Moves = false
			change.Pairs = append(change.Pairs, pair)
		case p.inDoubt(pair.ID) || pair.Left != "":
			p.result.Changed = true // once more
		default:
			continue
		}
		pair.Moves = false // as far as this run goes
		pairing.Pair, pairing.Destination = pair, p.destination[pair.Destination]
	}
	return p.commit(change)
}

// leave gives a pair the place where the rules put it now, on the operator's
// word (I11): what comes goes there at once, and the receipts say of what has
// been copied that it is in the mailbox before, out of which it is moved.
func (p *Pass) leave(pairing *plan.Pairing, change *mail.Change) error {
	old, pair := p.pairs[pairing.Pair.ID], &pairing.Pair
	receipts, err := p.receipts(old.ID)
	if err != nil {
		return err
	}
	for i := range receipts {
		if r := &receipts[i]; r.Mailbox == "" && r.Destination != 0 {
			r.Mailbox, r.UIDValidity = old.Destination, old.DestinationValidity
		}
	}
	pair.Moves, pair.DestinationValidity, pair.OwesSubscription = false, 0, false
	if len(receipts) > 0 {
		pair.Left, pair.LeftValidity = old.Destination, old.DestinationValidity
	}
	p.recognised = false // there may be mail already where it goes now
	p.Logger.Info("mailbox moves", "mailbox", pair.SourcePath, "from", old.DestinationPath, "to", pair.DestinationPath, "messages", len(receipts))
	change.Pairs = append(change.Pairs, *pair)
	change.Replace = append(change.Replace, mail.PairReceipts{Pair: pair.ID, Receipts: receipts})
	return nil
}

// moveOut moves what has been copied out of the mailboxes that pairs have left.
// What its user has put elsewhere, or what the server does not move, stays.
func (p *Pass) moveOut(ctx context.Context, pairings []plan.Pairing) error {
	for _, pairing := range pairings {
		pairing.Pair = p.pairs[pairing.Pair.ID]
		pair := pairing.Pair
		if pair.Left == "" {
			continue
		}
		if p.mustWait(pair) {
			p.result.Changed = true
			continue
		}
		done := p.Policy.Draining
		if !done {
			var err error
			if done, err = p.moveCopiesOut(ctx, &job{Pairing: pairing, source: pairing.Source}); err != nil {
				return fmt.Errorf("move out of %q: %w", pair.Left, err)
			}
		}
		if !done {
			p.result.Changed = true
			continue
		}
		pair = p.pairs[pair.ID]
		pair.Left, pair.LeftValidity = "", 0
		if err := p.commit(mail.Change{Pairs: []mail.Pair{pair}}); err != nil {
			return err
		}
	}
	return nil
}

// moveCopiesOut moves the copies of one pair, in their order (I9), and tells
// whether all that can be has been moved.
func (p *Pass) moveCopiesOut(ctx context.Context, job *job) (bool, error) {
	from := mail.Ref{Name: job.Pair.Left, UIDValidity: job.Pair.LeftValidity}
	list, err := p.leftIn(job, from)
	if err != nil {
		return false, err
	}
	unmoved := 0
	for batch := range slices.Chunk(list, adoptedAtOnce) {
		if err := p.stopped(); err != nil {
			return false, err
		}
		left, err := p.moveFrom(ctx, from, batch)
		var refused *mail.Refused
		switch {
		case errors.Is(err, mail.ErrUIDValidity) || errors.As(err, &refused) && !transient(refused):
			p.Logger.Warn("messages could not be moved to where their mailbox is now", "to", job.Pair.DestinationPath, "messages", len(batch), "error", err)
			unmoved += len(batch)
			continue
		case err != nil:
			return false, err
		}
		unmoved += len(left)
	}
	list, err = p.leftIn(job, from)
	return len(list) <= unmoved, err
}

// leftIn are the copies of a pair in the mailbox that it has left.
func (p *Pass) leftIn(job *job, from mail.Ref) ([]relocation, error) {
	receipts, err := p.receipts(job.Pair.ID)
	var list []relocation
	for _, r := range receipts {
		if r.Mailbox == from.Name && r.UIDValidity == from.UIDValidity && r.Source != 0 {
			list = append(list, relocation{vanished{job.Pair.ID, r}, job, r.Source})
		}
	}
	slices.SortFunc(list, func(a, b relocation) int { return cmp.Compare(a.Destination, b.Destination) })
	return list, err
}
