package pass

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// rebindSources binds the receipts again whose source UIDs a new UIDVALIDITY
// has voided (I5).
func (p *Pass) rebindSources(ctx context.Context, work []*job) error {
	for _, job := range work {
		if job.rebind && !job.sidelined {
			if err := p.sideline(job, p.rebindSource(ctx, job)); err != nil {
				return err
			}
		}
	}
	return nil
}

// recognise finds what is there already before anything is copied: messages on
// the destination that no receipt names are matched with those to be carried
// (I7). What remains in the jobs has to be copied.
func (p *Pass) recognise(ctx context.Context, work []*job) error {
	work = slices.DeleteFunc(slices.Clone(work), func(j *job) bool { return j.sidelined })
	for _, h := range p.holds {
		if h.Retry && unknown(h) {
			p.recognised = false
		}
	}
	if p.recognised || !slices.ContainsFunc(work, func(j *job) bool { return len(j.uids) > 0 }) {
		return nil
	}
	if err := p.adopt(ctx, work); err != nil {
		return err
	}
	p.recognised = len(p.unresolved) == 0 && len(p.blind) == 0 // else not all has been looked at
	return nil
}

// sideline holds a mailbox that the source refuses to show, and leaves it out
// of this run. Any other error is returned.
func (p *Pass) sideline(job *job, err error) error {
	var refused *mail.Refused
	if !errors.As(err, &refused) {
		return err
	}
	job.sidelined = true
	p.blind[job.Pair.Destination] = true
	return p.holdMailbox(job, refused)
}

// rebindSource gives the receipts of a pair their new source UIDs. Messages
// that have no receipt stay in the job.
func (p *Pass) rebindSource(ctx context.Context, job *job) error {
	receipts, err := p.receipts(job.Pair.ID)
	if err != nil {
		return err
	}
	wanted := make([]plan.Item, len(receipts))
	for i, r := range receipts {
		wanted[i] = plan.Item{Fingerprint: r.Fingerprint, UID: r.Source, Tag: uint32(i)}
	}
	found := make([]plan.Item, 0, len(job.uids))
	for m, err := range p.Source.Messages(ctx, job.ref(), job.uids, true) {
		if err != nil {
			return fmt.Errorf("rebind %q: %w", job.source.DisplayName(), err)
		}
		found = append(found, plan.Item{Fingerprint: m.Fingerprint, UID: m.UID})
	}
	matches, _, _ := plan.Recognise(wanted, found, false)
	for i := range receipts {
		receipts[i].Source, receipts[i].Gone = 0, false
	}
	bound := make(map[mail.UID]bool, matches.Len())
	for m := range matches.All() {
		receipts[m.Wanted.Tag].Source = m.Found.UID
		bound[m.Found.UID] = true
	}
	slices.SortStableFunc(receipts, bySource)
	job.uids = slices.DeleteFunc(job.uids, func(uid mail.UID) bool { return bound[uid] })

	job.Pair.SourceAnchor = mail.Anchor{UIDValidity: job.source.Status.UIDValidity, UIDNext: 1, HighestModSeq: compareAll}
	change := mail.Change{
		Pairs:   []mail.Pair{job.Pair},
		Replace: []mail.PairReceipts{{Pair: job.Pair.ID, Receipts: receipts}},
		// What was missing had a UID that means nothing any more.
		Absences: []mail.Absence{{Pair: job.Pair.ID, Removed: p.absences[job.Pair.ID].Removed}},
	}
	for key := range p.holds {
		if key.Pair == job.Pair.ID && key.UID != 0 {
			change.Unhold = append(change.Unhold, key)
		}
	}
	p.Logger.Info("source mailbox has a new UIDVALIDITY", "mailbox", job.source.DisplayName(), "rebound", matches.Len(), "new", len(job.uids))
	p.result.Recognised += matches.Len()
	p.Observer.Recognised(matches.Len())
	return p.commit(change)
}

// rebindDestinations looks for destination mailboxes that have a new
// UIDVALIDITY.
func (p *Pass) rebindDestinations(ctx context.Context) error {
	for _, pair := range slices.Collect(maps.Values(p.pairs)) {
		box, ok := p.destination[pair.Destination]
		if v := box.Status.UIDValidity; ok && v != 0 && pair.DestinationValidity != 0 && v != pair.DestinationValidity {
			err := p.rebindDestination(ctx, pair, box)
			var refused *mail.Refused
			if errors.As(err, &refused) {
				p.unresolved[box.Name] = refused
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// rebindDestination gives the receipts of a pair their new destination UIDs. A
// copy that is not found stays as a receipt without UID: it is refilled on the
// operator's word only.
func (p *Pass) rebindDestination(ctx context.Context, pair mail.Pair, box mail.Mailbox) error {
	ref := mail.Ref{Name: box.Name, UIDValidity: box.Status.UIDValidity}
	lists := make(map[mail.PairID][]mail.Receipt)
	var here []*mail.Receipt // those that name the mailbox, of all pairs
	var sources []place      // of their messages
	var wanted []plan.Item
	for _, other := range p.storedPairs() {
		receipts, err := p.receipts(other.ID)
		if err != nil {
			return err
		}
		for i := range receipts {
			name, validity := whereabouts(other, receipts[i])
			if name != box.Name || validity != pair.DestinationValidity {
				continue
			}
			wanted = append(wanted, plan.Item{Fingerprint: receipts[i].Fingerprint, UID: receipts[i].Destination, Tag: uint32(len(here))})
			here = append(here, &receipts[i])
			at := place{onSource, mail.Ref{Name: other.Source, UIDValidity: other.SourceAnchor.UIDValidity}, receipts[i].Source}
			if receipts[i].Vanished() {
				at.uid = 0
			}
			sources = append(sources, at)
			lists[other.ID] = receipts
		}
	}
	uids, err := p.Destination.UIDs(ctx, ref, 1)
	if err != nil {
		return fmt.Errorf("rebind %q on the new server: %w", box.DisplayName(), err)
	}
	var table flagTable
	found := make([]plan.Item, 0, len(uids))
	for m, err := range p.Destination.Messages(ctx, ref, uids, true) {
		if err != nil {
			return fmt.Errorf("rebind %q on the new server: %w", box.DisplayName(), err)
		}
		found = append(found, plan.Item{Fingerprint: m.Fingerprint, Opening: m.Opening, UID: m.UID, Tag: table.index(m.Flags)})
	}
	called := callRoll(uids)
	for _, item := range found {
		called.mark(item.UID)
	}
	if err := allServed(ctx, p.Destination, ref, called); err != nil {
		return fmt.Errorf("rebind %q on the new server: %w", box.DisplayName(), err)
	}
	matches, surplus, missing := plan.Recognise(wanted, found, false)
	if len(surplus) > 0 && len(missing) > 0 {
		origin := func(item plan.Item) place { return sources[item.Tag] }
		if err := p.openings(ctx, missing, origin); err != nil {
			return err
		}
		altered, _, _, err := p.matchAltered(ctx, missing, surplus, origin, func(item plan.Item) place { return place{onDestination, ref, item.UID} })
		if err != nil {
			return err
		}
		matches.Add(altered)
	}
	for _, r := range here {
		if r.Destination = 0; r.Mailbox != "" {
			r.UIDValidity = ref.UIDValidity
		}
	}
	for m := range matches.All() {
		r := here[m.Wanted.Tag]
		r.Destination = m.Found.UID
		if !plan.Between(r.Flags, r.Flags, table.list[m.Found.Tag]) {
			r.Touched = true
		}
	}
	pair.DestinationValidity = box.Status.UIDValidity
	p.Logger.Info("destination mailbox has a new UIDVALIDITY", "mailbox", box.DisplayName(), "rebound", matches.Len(), "lost", len(wanted)-matches.Len())
	p.result.Recognised += matches.Len()
	p.Observer.Recognised(matches.Len())
	change := mail.Change{
		Pairs:              []mail.Pair{pair},
		DestinationAnchors: map[string]mail.Anchor{box.Name: {UIDValidity: box.Status.UIDValidity, UIDNext: 1}},
	}
	for id, receipts := range lists {
		change.Replace = append(change.Replace, mail.PairReceipts{Pair: id, Receipts: receipts})
	}
	return p.commit(change)
}

func (p *Pass) receipts(pair mail.PairID) ([]mail.Receipt, error) {
	var list []mail.Receipt
	for r, err := range p.Journal.Receipts(pair) {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJournal, err)
		}
		list = append(list, r)
	}
	return list, nil
}
