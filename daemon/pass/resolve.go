package pass

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

const (
	quietCap  = 2 * time.Minute
	quietPoll = 250 * time.Millisecond
)

// errTooEarly: what was sent has not appeared, but still may.
var errTooEarly = errors.New("the answers of the new server have to be waited for")

// resolveAtOnce settles the intents that one look can settle. The mailboxes of
// the others have to wait, or all of them, should what was sent be elsewhere on
// the source by now.
func (p *Pass) resolveAtOnce(ctx context.Context, pairings []plan.Pairing) error {
	p.waiting, p.hurry = make(map[string]bool), true
	err := p.resolve(ctx)
	p.hurry = false
	if err != nil || len(p.waiting) == 0 {
		return err
	}
	still, err := p.stillThere(ctx, pairings)
	if err != nil || still {
		return err
	}
	p.waiting = nil
	return p.resolve(ctx)
}

// mustWait tells whether lost answers of a pair, or in its mailbox, have to be
// waited for.
func (p *Pass) mustWait(pair mail.Pair) bool {
	return len(p.waiting) > 0 && (p.waiting[pair.Destination] || p.inDoubt(pair.ID))
}

// stillThere tells whether the messages of all open intents are where they
// were on the source. Those that are not may be elsewhere, and would be copied
// from there.
func (p *Pass) stillThere(ctx context.Context, pairings []plan.Pairing) (bool, error) {
	sources := make(map[mail.PairID]mail.Ref, len(pairings))
	for _, pairing := range pairings {
		sources[pairing.Pair.ID] = mail.Ref{Name: pairing.Source.Name, UIDValidity: pairing.Pair.SourceAnchor.UIDValidity}
	}
	byPair := make(map[mail.PairID][]mail.UID)
	for _, i := range p.intentsWhere(mail.Intent.Open) {
		if i.Kind != mail.IntentAppend {
			return false, nil
		}
		byPair[i.Pair] = append(byPair[i.Pair], i.Source)
	}
	for pair, sent := range byPair {
		ref, listed := sources[pair]
		if !listed {
			return false, nil
		}
		uids, err := p.Source.UIDs(ctx, ref, slices.Min(sent))
		if isOutOfReach(err) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		for _, uid := range sent {
			if _, there := slices.BinarySearch(uids, uid); !there {
				return false, nil
			}
		}
	}
	return true, nil
}

// resolve settles every intent whose outcome is not known: after a crash, a
// lost connection, a missing or an odd answer.
func (p *Pass) resolve(ctx context.Context) error {
	byMailbox := make(map[mail.Ref][]mail.Intent)
	var order []mail.Ref
	for _, i := range p.intentsWhere(mail.Intent.Open) {
		if p.waiting[i.Mailbox] {
			continue
		}
		ref := mail.Ref{Name: i.Mailbox, UIDValidity: i.UIDValidity}
		if byMailbox[ref] == nil {
			order = append(order, ref)
		}
		byMailbox[ref] = append(byMailbox[ref], i)
	}
	for _, ref := range order {
		of := make(map[mail.IntentKind][]mail.Intent)
		for _, i := range byMailbox[ref] {
			of[i.Kind] = append(of[i.Kind], i)
		}
		err := p.resolveStores(ctx, ref, of[mail.IntentStore])
		if err == nil {
			err = p.resolveRemovals(ctx, ref, of[mail.IntentRemove])
		}
		var refused *mail.Refused
		if errors.As(err, &refused) {
			// Nothing waits for it but what else may become of these copies.
			p.Logger.Debug("changes on the new server cannot be finished yet", "mailbox", p.destination[ref.Name].DisplayName(), "error", err)
		} else if err != nil {
			return err
		}
		if err = p.resolveAppends(ctx, ref, of[mail.IntentAppend]); err == nil {
			err = p.resolveMoves(ctx, ref, of[mail.IntentMove])
		}
		switch {
		case errors.Is(err, errTooEarly):
			p.waiting[ref.Name] = true
		case errors.As(err, &refused) || errors.Is(err, mail.ErrUIDValidity):
			p.unresolved[ref.Name] = err
		case err != nil:
			return err
		default:
			delete(p.unresolved, ref.Name)
		}
	}
	return p.lateTwins(ctx)
}

// resolveAppends finds out which messages of open intents were stored. It
// waits until the destination is quiet, because a server goes on committing
// what it has received after its client has gone.
func (p *Pass) resolveAppends(ctx context.Context, ref mail.Ref, intents []mail.Intent) error {
	if len(intents) == 0 {
		return nil
	}
	box, there := p.destination[ref.Name]
	floor := intents[0].Floor
	for _, i := range intents {
		floor = min(floor, i.Floor)
	}
	if v := box.Status.UIDValidity; v != 0 && v != ref.UIDValidity {
		// UIDs are void: any message of the mailbox may be one of ours.
		ref.UIDValidity, floor = v, 1
	}
	wanted := make([]plan.Item, len(intents))
	for n, i := range intents {
		wanted[n] = plan.Item{Fingerprint: i.Fingerprint, UID: i.Source, Tag: uint32(n)}
	}
	var seen *sighting
	var matches plan.Matches
	var missing []plan.Item
	if there {
		var err error
		if seen, matches, missing, err = p.untilQuiet(ctx, ref, floor, wanted, func(item plan.Item) place {
			return p.origin(intents[item.Tag])
		}); err != nil {
			return err
		}
	} else {
		missing = wanted
	}

	change := mail.Change{}
	receipts := make(map[mail.PairID][]mail.Receipt)
	var found []mail.Intent
	add := func(i mail.Intent, r mail.Receipt) {
		r.Source, r.Fingerprint = i.Source, i.Print()
		r.Touched = r.Touched || !r.Flags.WithoutNoise().Equal(i.Flags.WithoutNoise())
		receipts[i.Pair] = append(receipts[i.Pair], r)
		change.Settle = append(change.Settle, i.ID)
		found = append(found, i)
	}
	for m := range matches.All() {
		add(intents[m.Wanted.Tag], mail.Receipt{Destination: m.Found.UID, Flags: seen.flags[m.Found.UID]})
	}
	p.Observer.InDoubt("found", matches.Len())

	if len(missing) > 0 && (!there || plan.Unexplained(floor, seen.next, seen.present, seen.named) > 0) {
		// Something of this mailbox has gone: our copy may have been moved.
		moved, rest, err := p.findMoved(ctx, ref.Name, missing)
		if err != nil {
			return err
		}
		for _, m := range moved {
			add(intents[m.item.Tag], mail.Receipt{Destination: m.uid, Mailbox: m.ref.Name, UIDValidity: m.ref.UIDValidity, Flags: m.flags, Touched: true})
		}
		missing = rest
		p.Observer.InDoubt("moved", len(moved))
	}
	for _, m := range missing {
		i := intents[m.Tag]
		i.Resent = time.Now().UTC()
		change.Intents = append(change.Intents, i)
	}
	p.Observer.InDoubt("resent", len(missing))
	p.result.Resent += len(missing)

	for pair, list := range receipts {
		slices.SortFunc(list, bySource)
		change.Receipts = append(change.Receipts, mail.PairReceipts{Pair: pair, Receipts: list})
		stored := p.pairs[pair]
		if stored.DestinationValidity == 0 {
			stored.DestinationValidity = ref.UIDValidity
			change.Pairs = append(change.Pairs, stored)
		}
	}
	p.Logger.Info("resolved lost answers", "mailbox", box.DisplayName(), "messages", len(intents), "found", len(found), "send_again", len(missing))
	if err := p.commit(change); err != nil {
		return err
	}
	for _, i := range found {
		p.copied(p.pairs[i.Pair].SourcePath, i.Size, i.InternalDate, i.Mended)
	}
	return nil
}

// origin is where the source message of an intent is.
func (p *Pass) origin(i mail.Intent) place {
	pair := p.pairs[i.Pair]
	return place{onSource, mail.Ref{Name: pair.Source, UIDValidity: pair.SourceAnchor.UIDValidity}, i.Source}
}

// sighting is what a destination mailbox showed at and above a floor.
type sighting struct {
	next    mail.UID
	present []mail.UID
	named   map[mail.UID]bool
	flags   map[mail.UID]mail.Flags // of those that no receipt names
}

// untilQuiet looks at a mailbox until every wanted message has appeared, or
// until none has for the quiet time. Foreign arrivals do not restart the clock.
//
// What the server has altered is recognised by comparing it with the source
// message, which origin tells.
func (p *Pass) untilQuiet(ctx context.Context, ref mail.Ref, floor mail.UID, wanted []plan.Item, origin func(plan.Item) place) (*sighting, plan.Matches, []plan.Item, error) {
	named, err := p.named(map[string]mail.Anchor{ref.Name: {UIDValidity: ref.UIDValidity, UIDNext: floor}})
	if err != nil {
		return nil, plan.Matches{}, nil, err
	}
	quiet := max(p.Quiet, 4*p.latency)
	started := time.Now()
	last, changed, compared := -1, started, 0
	var altered plan.Matches
	items := make(map[mail.UID]plan.Item)
	s := &sighting{named: named[ref.Name], flags: make(map[mail.UID]mail.Flags)}
	for {
		status, err := p.Destination.Status(ctx, ref)
		if err != nil {
			return nil, plan.Matches{}, nil, fmt.Errorf("look at %q: %w", ref.Name, err)
		}
		if s.present, err = p.Destination.UIDs(ctx, ref, floor); err != nil {
			return nil, plan.Matches{}, nil, fmt.Errorf("look at %q: %w", ref.Name, err)
		}
		s.next = max(status.UIDNext, floor)
		if n := len(s.present); n > 0 {
			s.next = max(s.next, s.present[n-1]+1)
		}
		var fresh []mail.UID
		for _, uid := range s.present {
			if _, known := items[uid]; !known && !s.named[uid] {
				fresh = append(fresh, uid)
			}
		}
		called := callRoll(fresh)
		for m, err := range p.Destination.Messages(ctx, ref, fresh, true) {
			if err != nil {
				return nil, plan.Matches{}, nil, fmt.Errorf("look at %q: %w", ref.Name, err)
			}
			items[m.UID] = plan.Item{Fingerprint: m.Fingerprint, Opening: m.Opening, UID: m.UID}
			s.flags[m.UID] = m.Flags
			called.mark(m.UID)
		}
		found := make([]plan.Item, 0, len(items))
		for _, uid := range s.present {
			if item, ok := items[uid]; ok {
				found = append(found, item)
			}
		}
		matches, surplus, missing := plan.Recognise(wanted, found, false)
		if len(missing) > 0 && len(surplus) > 0 {
			if len(items) != compared {
				compared = len(items)
				if err := p.openings(ctx, missing, origin); err != nil {
					return nil, plan.Matches{}, nil, err
				}
				if altered, _, _, err = p.matchAltered(ctx, missing, surplus, origin, func(item plan.Item) place {
					return place{onDestination, ref, item.UID}
				}); err != nil {
					return nil, plan.Matches{}, nil, err
				}
			}
			matches, surplus, missing = together(matches, altered, surplus, missing)
		}
		now := time.Now()
		if matches.Len() != last {
			last, changed = matches.Len(), now
		}
		if len(missing) > 0 && p.hurry {
			return nil, plan.Matches{}, nil, errTooEarly
		}
		if len(missing) == 0 || now.Sub(changed) >= quiet || now.Sub(started) >= quietCap {
			if len(missing) > 0 {
				if err := allServed(ctx, p.Destination, ref, called); err != nil {
					return nil, plan.Matches{}, nil, fmt.Errorf("look at %q: %w", ref.Name, err)
				}
			}
			p.reportSurplus(ref, matches, surplus)
			return s, matches, missing, nil
		}
		if err := p.wait(ctx, min(quietPoll, quiet)); err != nil {
			return nil, plan.Matches{}, nil, err
		}
	}
}

// together adds matches, and takes what they match out of the rest.
func together(matches, more plan.Matches, surplus, missing []plan.Item) (plan.Matches, []plan.Item, []plan.Item) {
	matches.Add(more)
	for m := range more.All() {
		surplus = slices.DeleteFunc(slices.Clone(surplus), func(i plan.Item) bool { return i.UID == m.Found.UID })
		missing = slices.DeleteFunc(slices.Clone(missing), func(i plan.Item) bool { return i.Tag == m.Wanted.Tag })
	}
	return matches, surplus, missing
}

// reportSurplus tells of copies beyond those that were sent; they are never
// removed.
func (p *Pass) reportSurplus(ref mail.Ref, matches plan.Matches, surplus []plan.Item) {
	ours := make(map[mail.Fingerprint]bool, matches.Len())
	for m := range matches.All() {
		ours[m.Found.Fingerprint] = true
	}
	for _, item := range surplus {
		if ours[item.Fingerprint] {
			p.Logger.Warn("the new server holds a further copy of a message that was sent once", "mailbox", p.destination[ref.Name].DisplayName(), "uid", item.UID)
		}
	}
}

// movedCopy is a copy found in another mailbox than the one it was sent to.
type movedCopy struct {
	item  plan.Item
	ref   mail.Ref
	uid   mail.UID
	flags mail.Flags
}

// findMoved looks for copies in the other mailboxes that have grown.
func (p *Pass) findMoved(ctx context.Context, except string, wanted []plan.Item) ([]movedCopy, []plan.Item, error) {
	listing, err := p.Destination.Mailboxes(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("list destination mailboxes: %w", err)
	}
	for _, m := range listing.Mailboxes {
		if !m.NoSelect {
			p.destination[m.Name] = m
		}
	}
	grown, err := p.grown(ctx)
	if err != nil {
		return nil, nil, err
	}
	grown = slices.DeleteFunc(grown, func(g growth) bool { return g.ref.Name == except })
	var flags flagTable
	found, err := p.unnamed(ctx, grown, &flags, nil)
	if err != nil {
		return nil, nil, err
	}
	for name, err := range p.unresolved {
		var refused *mail.Refused
		if name != except && errors.As(err, &refused) && momentary(refused) {
			return nil, nil, err // they may be there
		}
	}
	matches, _, rest := plan.Recognise(wanted, found, true)
	moved := make([]movedCopy, 0, matches.Len())
	for m := range matches.All() {
		moved = append(moved, movedCopy{item: m.Wanted, ref: grown[m.Found.Mailbox].ref, uid: m.Found.UID, flags: flags.list[m.Found.Tag]})
	}
	return moved, rest, nil
}

// wait lets time pass, unless the pass is to end.
func (p *Pass) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.Stopping:
		return ErrStopped
	case <-p.Yield:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}
