package pass

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// recognise finds what is there already before anything is copied: receipts
// whose source UIDs a new UIDVALIDITY has voided are bound again (I5), and
// messages on the destination that no receipt names are matched with those to
// be carried (I7). What remains in the jobs has to be copied.
func (p *Pass) recognise(ctx context.Context, work []*job) error {
	for _, job := range work {
		if job.rebind {
			if err := p.sideline(job, p.rebindSource(ctx, job)); err != nil {
				return err
			}
		}
	}
	work = slices.DeleteFunc(slices.Clone(work), func(j *job) bool { return j.sidelined })
	if p.recognised || !slices.ContainsFunc(work, func(j *job) bool { return len(j.uids) > 0 }) {
		return nil
	}
	if err := p.adopt(ctx, work); err != nil {
		return err
	}
	p.recognised = true
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
		receipts[i].Source = 0
	}
	bound := make(map[mail.UID]bool, len(matches))
	for _, m := range matches {
		receipts[m.Wanted.Tag].Source = m.Found.UID
		bound[m.Found.UID] = true
	}
	slices.SortStableFunc(receipts, func(a, b mail.Receipt) int { return cmp.Compare(a.Source, b.Source) })
	job.uids = slices.DeleteFunc(job.uids, func(uid mail.UID) bool { return bound[uid] })

	job.Pair.SourceAnchor = mail.Anchor{UIDValidity: job.source.Status.UIDValidity, UIDNext: 1}
	change := mail.Change{
		Pairs:   []mail.Pair{job.Pair},
		Replace: []mail.PairReceipts{{Pair: job.Pair.ID, Receipts: receipts}},
	}
	for key := range p.holds {
		if key.Pair == job.Pair.ID && key.UID != 0 {
			change.Unhold = append(change.Unhold, key)
		}
	}
	p.Logger.Info("source mailbox has a new UIDVALIDITY", "mailbox", job.source.DisplayName(), "rebound", len(matches), "new", len(job.uids))
	p.result.Recognised += len(matches)
	p.Observer.Recognised(len(matches))
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
	receipts, err := p.receipts(pair.ID)
	if err != nil {
		return err
	}
	ref := mail.Ref{Name: box.Name, UIDValidity: box.Status.UIDValidity}
	var wanted []plan.Item
	for i, r := range receipts {
		if r.Mailbox == "" {
			wanted = append(wanted, plan.Item{Fingerprint: r.Fingerprint, UID: r.Destination, Tag: uint32(i)})
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
		found = append(found, plan.Item{Fingerprint: m.Fingerprint, UID: m.UID, Tag: table.index(m.Flags)})
	}
	matches, _, _ := plan.Recognise(wanted, found, false)
	for i := range receipts {
		if receipts[i].Mailbox == "" {
			receipts[i].Destination = 0
		}
	}
	for _, m := range matches {
		r := &receipts[m.Wanted.Tag]
		r.Destination = m.Found.UID
		if !table.list[m.Found.Tag].WithoutNoise().Equal(r.Flags.WithoutNoise()) {
			r.Touched = true
		}
	}
	pair.DestinationValidity = box.Status.UIDValidity
	p.Logger.Info("destination mailbox has a new UIDVALIDITY", "mailbox", box.DisplayName(), "rebound", len(matches), "lost", len(wanted)-len(matches))
	p.result.Recognised += len(matches)
	p.Observer.Recognised(len(matches))
	return p.commit(mail.Change{
		Pairs:              []mail.Pair{pair},
		Replace:            []mail.PairReceipts{{Pair: pair.ID, Receipts: receipts}},
		DestinationAnchors: map[string]mail.Anchor{box.Name: {UIDValidity: box.Status.UIDValidity, UIDNext: 1}},
	})
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
