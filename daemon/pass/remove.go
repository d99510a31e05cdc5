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

// removals removes the copies of messages that were found missing twice, that
// are nowhere else on the source, and that nobody has touched: the only place
// where mail is destroyed. Every other copy is kept.
func (p *Pass) removals(ctx context.Context, pairings []plan.Pairing, work []*job) error {
	confirmed, err := p.confirmedReceipts()
	if err != nil || len(confirmed) == 0 {
		return err
	}
	var keep, doubtful []vanished
	for _, v := range confirmed {
		if p.Policy.Draining || p.Policy.KeepDeleted || p.source.Hides || v.Touched || v.Mailbox != "" || v.Destination == 0 {
			keep = append(keep, v)
		} else {
			doubtful = append(doubtful, v)
		}
	}
	if len(doubtful) > 0 {
		elsewhere, sure, err := p.elsewhere(ctx, pairings, work, doubtful)
		if err != nil {
			return err
		}
		if !sure {
			return p.keepCopies(keep) // the others when every mailbox can be looked at
		}
		doubtful = slices.DeleteFunc(doubtful, func(v vanished) bool {
			if elsewhere[v.Fingerprint] == 0 {
				return false
			}
			elsewhere[v.Fingerprint]--
			keep = append(keep, v)
			return true
		})
	}
	if err := p.keepCopies(keep); err != nil {
		return err
	}
	roles := make(map[mail.PairID]string)
	for _, pairing := range pairings {
		roles[pairing.Pair.ID] = pairing.Source.Use()
	}
	byPair := make(map[mail.PairID][]vanished)
	for _, v := range doubtful {
		byPair[v.pair] = append(byPair[v.pair], v)
	}
	for _, pair := range p.storedPairs() {
		if list := byPair[pair.ID]; len(list) > 0 {
			err := p.removeOf(ctx, pair, roles[pair.ID], list)
			var refused *mail.Refused
			if errors.As(err, &refused) && !transient(refused) {
				p.Logger.Warn("copies of deleted messages cannot be removed yet", "mailbox", pair.DestinationPath, "error", err)
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// confirmedReceipts are the receipts of what this run has found missing again.
func (p *Pass) confirmedReceipts() ([]vanished, error) {
	some := false
	for _, uids := range p.confirmed {
		some = some || len(uids) > 0
	}
	if !some {
		return nil, nil
	}
	gone, err := p.vanished()
	if err != nil {
		return nil, err
	}
	doubtful := p.doubtful()
	var list []vanished
	for _, of := range gone {
		for _, v := range of {
			if _, ok := slices.BinarySearch(p.confirmed[v.pair], v.Source); ok && v.Source != 0 && !doubtful[goneKey{v.pair, v.Source}] {
				list = append(list, v)
			}
		}
	}
	return list, nil
}

// keepCopies ends the search for messages whose copies stay. Their receipts
// stay too, so that nothing of it is carried again.
func (p *Pass) keepCopies(list []vanished) error {
	change := mail.Change{}
	for pair, uids := range sources(list) {
		change.Absences = append(change.Absences, p.without(pair, uids))
	}
	return p.commit(change)
}

func sources(list []vanished) map[mail.PairID][]mail.UID {
	uids := make(map[mail.PairID][]mail.UID)
	for _, v := range list {
		uids[v.pair] = append(uids[v.pair], v.Source)
	}
	return uids
}

// elsewhere counts, for the fingerprints of some receipts, the messages of the
// source that have no receipt of their own: in mailboxes that are left out, or
// held. sure is false when a mailbox could not be looked at. What a view shows is in
// others.
func (p *Pass) elsewhere(ctx context.Context, pairings []plan.Pairing, work []*job, list []vanished) (count map[mail.Fingerprint]int, sure bool, err error) {
	count = make(map[mail.Fingerprint]int)
	wanted := make(map[mail.Fingerprint]bool, len(list))
	for _, v := range list {
		wanted[v.Fingerprint] = true
	}
	if slices.ContainsFunc(work, func(j *job) bool { return j.sidelined }) {
		return nil, false, nil
	}
	paired := make(map[string]mail.PairID, len(pairings))
	for _, pairing := range pairings {
		paired[pairing.Source.Name] = pairing.Pair.ID
	}
	for _, box := range p.source.Mailboxes {
		if box.NoSelect || box.View {
			continue
		}
		ref := mail.Ref{Name: box.Name}
		var uids []mail.UID
		if id, ok := paired[box.Name]; ok {
			for key := range p.holds {
				if key.Pair == id && key.UID != 0 {
					uids = append(uids, key.UID)
				}
			}
			slices.Sort(uids)
		} else if !box.Status.MessagesKnown || box.Status.Messages > 0 {
			if uids, err = p.Source.UIDs(ctx, ref, 1); err != nil {
				break
			}
		}
		if len(uids) == 0 {
			continue
		}
		for m, merr := range p.Source.Messages(ctx, ref, uids, true) {
			if merr != nil {
				err = merr
				break
			}
			if wanted[m.Fingerprint] {
				count[m.Fingerprint]++
			}
		}
		if err != nil {
			break
		}
	}
	var refused *mail.Refused
	if errors.As(err, &refused) {
		p.Logger.Warn("what was deleted on the old server is kept for now: a mailbox cannot be searched for it", "error", err)
		return nil, false, nil
	}
	return count, err == nil, err
}

// removeOf removes copies of one pair, unless they are too many.
func (p *Pass) removeOf(ctx context.Context, pair mail.Pair, role string, list []vanished) error {
	now := time.Now().UTC()
	absence := p.absences[pair.ID]
	var removed []mail.Removal
	count := 0
	for _, r := range absence.Removed {
		if now.Sub(r.At) < 24*time.Hour {
			removed = append(removed, r)
			count += r.Messages
		}
	}
	present := 0
	if n := pair.SourceAnchor.Messages; n != uncounted {
		present = int(n)
	}
	applied := make(map[mail.UID]bool)
	for _, m := range absence.Missing {
		for _, uid := range m.UIDs {
			applied[uid] = m.Apply
		}
	}
	word := slices.DeleteFunc(slices.Clone(list), func(v vanished) bool { return applied[v.Source] })
	if len(word) > 0 && plan.Guarded(role, present+len(list)+count, count, len(word)) {
		guard := p.without(pair.ID, sources(word)[pair.ID])
		guard.Removed = removed
		guard.Missing = append(guard.Missing, mail.Missing{Since: now, UIDs: slices.Sorted(slices.Values(sources(word)[pair.ID])), Guarded: true})
		p.Logger.Warn("many messages were deleted on the old server: their copies are kept until you say 'imapsyncd deletions apply' or 'keep'",
			"mailbox", pair.SourcePath, "messages", len(word))
		if err := p.commit(mail.Change{Absences: []mail.Absence{guard}}); err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(v vanished) bool { return !applied[v.Source] })
	}
	for batch := range slices.Chunk(list, adoptedAtOnce) {
		if err := p.removeCopies(ctx, pair, batch); err != nil {
			return err
		}
	}
	return nil
}

// removeCopies removes copies that are where we left them and as we left them.
func (p *Pass) removeCopies(ctx context.Context, pair mail.Pair, list []vanished) error {
	at := mail.Ref{Name: pair.Destination, UIDValidity: pair.DestinationValidity}
	editor, err := p.edit(ctx, at)
	switch {
	case errors.Is(err, mail.ErrUIDValidity):
		p.result.Changed = true
		return nil
	case err != nil:
		return err
	case editor == nil:
		return p.keepCopies(list)
	}
	defer editor.Close()
	if !editor.CanRemove() {
		p.Logger.Warn("copies of deleted messages are kept: the new server cannot expunge single messages (UIDPLUS)", "mailbox", pair.DestinationPath, "messages", len(list))
		return p.keepCopies(list)
	}
	found, err := flagsAt(ctx, editor, list, func(v vanished) mail.UID { return v.Destination })
	if err != nil {
		return err
	}
	var keep []vanished
	var removals []store
	change := mail.Change{}
	touched := make(map[mail.PairID][]mail.Receipt)
	for _, v := range list {
		has, there := found[v.Destination]
		if !there {
			keep = append(keep, v)
			continue
		}
		if !plan.Between(v.Flags, v.Flags, has) {
			v.Touched = true
			touched[v.pair] = append(touched[v.pair], v.Receipt)
			keep = append(keep, v)
			continue
		}
		p.lastID++
		i := mail.Intent{
			ID: p.lastID, Kind: mail.IntentRemove, Pair: v.pair, Source: v.Source, Fingerprint: v.Fingerprint,
			Flags: has, Mailbox: at.Name, UIDValidity: at.UIDValidity, Destination: v.Destination,
		}
		change.Intents = append(change.Intents, i)
		removals = append(removals, store{i, v.Receipt})
	}
	change.Receipts = sorted(touched)
	if err := p.commit(change); err != nil {
		return err
	}
	if err := p.keepCopies(keep); err != nil {
		return err
	}
	return p.removeBy(ctx, editor, found, removals)
}

// removeBy does what intents to remove say, for copies that are as they were,
// or marked \Deleted by an attempt that was broken off.
func (p *Pass) removeBy(ctx context.Context, editor mail.Editor, found map[mail.UID]mail.Flags, removals []store) error {
	var edits []mail.Edit
	for _, r := range removals {
		has, there := found[r.Destination]
		if there && plan.Between(r.Flags, r.Flags.With(mail.Flags{System: mail.Deleted}), has) {
			edits = append(edits, mail.Edit{UID: r.Destination, From: has})
		}
	}
	var changed []mail.UID
	var err error
	if len(edits) > 0 {
		changed, err = editor.Remove(ctx, edits)
	}
	var refused *mail.Refused
	if errors.As(err, &refused) && !passes(refused) {
		p.Logger.Warn("copies of deleted messages could not be removed and are kept", "messages", len(edits), "error", err)
		edits = nil
	} else if err != nil {
		return fmt.Errorf("remove copies: %w", err)
	}
	attempted := make(map[mail.UID]bool, len(edits))
	for _, e := range edits {
		attempted[e.UID] = !slices.Contains(changed, e.UID)
	}
	change := mail.Change{}
	touched := make(map[mail.PairID][]mail.Receipt)
	dropped := make(map[mail.PairID][]mail.UID)
	ended := make(map[mail.PairID][]mail.UID)
	for _, r := range removals {
		change.Settle = append(change.Settle, r.ID)
		ended[r.Pair] = append(ended[r.Pair], r.Source)
		if _, there := found[r.Destination]; attempted[r.Destination] || !there {
			dropped[r.Pair] = append(dropped[r.Pair], r.Source)
			continue
		}
		r.receipt.Touched = true
		touched[r.Pair] = append(touched[r.Pair], r.receipt)
	}
	now, done := time.Now().UTC(), 0
	for pair, uids := range ended {
		a := p.without(pair, uids)
		if n := len(dropped[pair]); n > 0 {
			change.Drop = append(change.Drop, mail.PairUIDs{Pair: pair, UIDs: dropped[pair]})
			a.Removed = append(slices.Clone(a.Removed), mail.Removal{At: now, Messages: n})
			done += n
		}
		a.Removed = slices.DeleteFunc(a.Removed, func(r mail.Removal) bool { return now.Sub(r.At) >= 24*time.Hour })
		change.Absences = append(change.Absences, a)
	}
	change.Receipts = sorted(touched)
	p.result.Removed += done
	p.Observer.Removed(done)
	return p.commit(change)
}

// resolveRemovals ends removals that were broken off.
func (p *Pass) resolveRemovals(ctx context.Context, ref mail.Ref, intents []mail.Intent) error {
	if len(intents) == 0 {
		return nil
	}
	removals, err := p.withReceipts(intents)
	if err != nil || len(removals) == 0 {
		return err
	}
	if p.Policy.Draining {
		return p.settleStores(removals)
	}
	editor, err := p.edit(ctx, ref)
	if err != nil && !errors.Is(err, mail.ErrUIDValidity) {
		return err
	}
	if editor == nil {
		return p.settleStores(removals)
	}
	defer editor.Close()
	found, err := flagsAt(ctx, editor, removals, func(s store) mail.UID { return s.Destination })
	if err != nil {
		return err
	}
	return p.removeBy(ctx, editor, found, removals)
}
