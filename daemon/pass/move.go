package pass

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// relocate finds messages that have only changed their place on the source,
// before anything of them is fetched. It looks while something has vanished
// lately, and before anything on the destination is recognised; what was gone
// for longer is recognised once it is in hand.
func (p *Pass) relocate(ctx context.Context, work []*job) error {
	if p.recognised && !slices.ContainsFunc(p.storedPairs(), func(pair mail.Pair) bool { return len(p.absences[pair.ID].Missing) > 0 }) {
		return nil
	}
	gone, err := p.vanished()
	if err != nil {
		return err
	}
	for _, job := range work {
		if job.sidelined || len(gone) == 0 {
			continue
		}
		var found []plan.Item
		for m, err := range p.Source.Messages(ctx, job.ref(), job.uids, true) {
			if err := p.sideline(job, err); err != nil {
				return fmt.Errorf("read %q: %w", job.source.DisplayName(), err)
			}
			if _, ok := gone[m.Fingerprint]; ok && !job.sidelined {
				found = append(found, plan.Item{Fingerprint: m.Fingerprint, UID: m.UID})
			}
		}
		err := p.claim(ctx, job, found)
		var only errMailbox
		switch {
		case errors.Is(err, mail.ErrUIDValidity):
			job.sidelined, p.result.Changed = true, true
		case errors.As(err, &only):
			job.sidelined = true
			err = p.holdMailbox(job, only.err)
		}
		if err != nil && !job.sidelined || errors.Is(err, ErrJournal) {
			return err
		}
	}
	return nil
}

// relocation is a receipt with the source message that it is for now.
type relocation struct {
	vanished
	job *job
	uid mail.UID
}

// claim gives the receipts of messages that have vanished to new messages of
// the same fingerprint: one each, those of their own mailbox first. They are
// not to be copied again.
func (p *Pass) claim(ctx context.Context, job *job, found []plan.Item) error {
	gone, err := p.vanished()
	if err != nil || len(found) == 0 {
		return err
	}
	doubtful := p.doubtful()
	var receipts []vanished
	var wanted []plan.Item
	for _, print := range prints(found) {
		for _, v := range gone[print] {
			if doubtful[goneKey{v.pair, v.Source}] {
				return errMailbox{errUnresolved}
			}
			item := plan.Item{Fingerprint: print, UID: v.Destination, Tag: uint32(len(receipts))}
			if v.pair != job.Pair.ID {
				item.Mailbox = 1
			}
			wanted, receipts = append(wanted, item), append(receipts, v)
		}
	}
	matches, _, _ := plan.Recognise(wanted, found, true)
	if matches.Len() == 0 {
		return nil
	}
	list := make([]relocation, 0, matches.Len())
	for m := range matches.All() {
		list = append(list, relocation{receipts[m.Wanted.Tag], job, m.Found.UID})
	}
	for batch := range slices.Chunk(list, adoptedAtOnce) {
		if err := p.moveCopies(ctx, batch); err != nil {
			return err
		}
	}
	p.refresh(job)
	job.uids, err = p.uncarried(job)
	return err
}

// prints are the fingerprints of items, each once.
func prints(items []plan.Item) []mail.Fingerprint {
	list := make([]mail.Fingerprint, len(items))
	for i, item := range items {
		list[i] = item.Fingerprint
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// moveCopies moves copies after their source messages, where they are still
// where we left them; the others are left alone, and only their receipts are
// bound to the new source UIDs.
func (p *Pass) moveCopies(ctx context.Context, list []relocation) error {
	var bind []relocation
	from := make(map[mail.Ref][]relocation)
	for _, r := range list {
		pair := p.pairs[r.pair]
		ref := mail.Ref{Name: pair.Destination, UIDValidity: pair.DestinationValidity}
		if p.Policy.Draining || r.Mailbox != "" || r.Destination == 0 || ref.Name == r.job.Pair.Destination {
			bind = append(bind, r)
		} else {
			from[ref] = append(from[ref], r)
		}
	}
	for ref, movable := range from {
		left, err := p.moveFrom(ctx, ref, movable)
		if err != nil {
			return err
		}
		bind = append(bind, left...)
	}
	return p.bind(bind, nil, nil)
}

// bind gives receipts their new source UIDs, and makes durable with it what
// became of the copies that have been moved.
func (p *Pass) bind(list []relocation, moved map[mail.UID]mail.UID, settle []uint64) error {
	change := mail.Change{Settle: settle}
	replaced := make(map[mail.PairID][]mail.Receipt)
	dropped := make(map[mail.PairID][]mail.UID)
	bound := make(map[mail.PairID][]mail.Receipt)
	for _, r := range list {
		to, receipt := p.pairs[r.job.Pair.ID], r.Receipt
		inPlace := r.pair == to.ID && r.Source == r.uid // its copy alone moves
		receipt.Source, receipt.Gone = r.uid, inPlace && r.Gone
		if uid, ok := moved[r.Destination]; ok {
			receipt.Destination, receipt.Mailbox, receipt.UIDValidity = uid, "", 0
		} else if name, validity := whereabouts(p.pairs[r.pair], r.Receipt); name == to.Destination && validity == to.DestinationValidity {
			receipt.Mailbox, receipt.UIDValidity = "", 0
		} else {
			receipt.Mailbox, receipt.UIDValidity = name, validity
		}
		bound[to.ID] = append(bound[to.ID], receipt)
		if inPlace {
			continue
		}
		if r.Source != 0 {
			dropped[r.pair] = append(dropped[r.pair], r.Source)
			continue
		}
		// A receipt without UID can only go with the whole list.
		if _, ok := replaced[r.pair]; !ok {
			all, err := p.receipts(r.pair)
			if err != nil {
				return err
			}
			replaced[r.pair] = all
		}
		if i := slices.Index(replaced[r.pair], r.Receipt); i >= 0 {
			replaced[r.pair] = slices.Delete(replaced[r.pair], i, i+1)
		}
	}
	for pair, receipts := range replaced {
		change.Replace = append(change.Replace, mail.PairReceipts{Pair: pair, Receipts: receipts})
	}
	for pair, uids := range dropped {
		change.Drop = append(change.Drop, mail.PairUIDs{Pair: pair, UIDs: uids})
		change.Absences = append(change.Absences, p.without(pair, uids))
	}
	for pair, receipts := range bound {
		if to := p.pairs[pair]; to.SourceAnchor.HighestModSeq == 0 {
			to.SourceAnchor.HighestModSeq = compareAll
			change.Pairs = append(change.Pairs, to)
		}
		slices.SortFunc(receipts, bySource)
		change.Receipts = append(change.Receipts, mail.PairReceipts{Pair: pair, Receipts: receipts})
	}
	p.result.Recognised += len(list) - len(moved)
	p.result.Moved += len(moved)
	p.Observer.Moved(len(moved))
	return p.commit(change)
}

// without is what is missing of a pair but for some UIDs.
func (p *Pass) without(pair mail.PairID, uids []mail.UID) mail.Absence {
	a := mail.Absence{Pair: pair, Removed: p.absences[pair].Removed}
	for _, m := range p.absences[pair].Missing {
		m.UIDs = slices.DeleteFunc(slices.Clone(m.UIDs), func(uid mail.UID) bool { return slices.Contains(uids, uid) })
		if len(m.UIDs) > 0 {
			a.Missing = append(a.Missing, m)
		}
	}
	return a
}

// moveFrom moves copies out of one mailbox into the places of their jobs, and
// returns those that are not there, or cannot be moved.
func (p *Pass) moveFrom(ctx context.Context, from mail.Ref, list []relocation) (left []relocation, err error) {
	job := list[0].job // they are all of one
	to := job.Pair.Destination
	if _, ok := p.destination[to]; !ok {
		if err := p.createFor(ctx, job); err != nil {
			return nil, err
		}
	}
	status, err := p.Destination.Status(ctx, mail.Ref{Name: to, UIDValidity: job.Pair.DestinationValidity})
	if err != nil {
		return nil, fmt.Errorf("look at %q on the new server: %w", job.Pair.DestinationPath, err)
	}
	if p.pairs[job.Pair.ID].DestinationValidity == 0 { // whatever a lane has seen, which may have sent nothing
		job.Pair.DestinationValidity = status.UIDValidity
		if err := p.commit(mail.Change{Pairs: []mail.Pair{job.Pair}}); err != nil {
			return nil, err
		}
	}
	editor, err := p.edit(ctx, from)
	if err != nil {
		return nil, lasting(err)
	}
	if editor == nil || !editor.CanMove() {
		return list, nil
	}
	defer editor.Close()
	present, err := editor.Flags(ctx, destinations(list))
	if err != nil {
		return nil, fmt.Errorf("look at what is to be moved: %w", err)
	}
	var uids []mail.UID
	for _, m := range present {
		uids = append(uids, m.UID)
	}
	slices.Sort(uids)
	var movable []relocation
	change, settle := mail.Change{}, []uint64(nil)
	for _, r := range list {
		if _, there := slices.BinarySearch(uids, r.Destination); !there {
			left = append(left, r)
			continue
		}
		movable = append(movable, r)
		p.lastID++
		settle = append(settle, p.lastID)
		change.Intents = append(change.Intents, mail.Intent{
			ID: p.lastID, Kind: mail.IntentMove, Pair: job.Pair.ID, Source: r.uid, Fingerprint: r.Fingerprint, Destination: r.Destination,
			FromPair: r.pair, FromSource: r.Source, FromMailbox: from.Name, FromValidity: from.UIDValidity,
			Mailbox: to, UIDValidity: status.UIDValidity, Floor: max(status.UIDNext, 1),
		})
	}
	if len(movable) == 0 {
		return left, nil
	}
	if err := p.commit(change); err != nil {
		return nil, err
	}
	moved, validity, err := editor.Move(ctx, uids, to)
	var refused *mail.Refused
	switch {
	case err == nil:
	case !errors.As(err, &refused) || passes(refused):
		return nil, lasting(err)
	case len(moved) > 0:
		// Some have moved, or were copied and not removed: the server has to tell.
		return left, p.resolve(ctx)
	default:
		p.Logger.Warn("messages could not be moved after their originals", "to", job.Pair.DestinationPath, "messages", len(uids), "error", err)
		return append(left, movable...), p.commit(mail.Change{Settle: settle})
	}
	var done []relocation
	var settled []uint64
	for i, r := range movable {
		if uid := moved[r.Destination]; uid >= max(status.UIDNext, 1) && validity == status.UIDValidity {
			done, settled = append(done, r), append(settled, settle[i])
		}
	}
	if err := p.bind(done, moved, settled); err != nil || len(done) == len(movable) {
		return left, err
	}
	return left, p.resolve(ctx) // where are the others? (I2)
}

// edit opens a mailbox for changes to what is in it. It is nil where there is
// none any more, or none that can be changed.
func (p *Pass) edit(ctx context.Context, box mail.Ref) (mail.Editor, error) {
	if _, ok := p.destination[box.Name]; !ok {
		return nil, nil // its user has removed it
	}
	editor, err := p.Destination.Editor(ctx, box)
	if errors.Is(err, mail.ErrReadOnly) {
		p.Logger.Warn("mailbox on the new server cannot be changed", "mailbox", p.destination[box.Name].DisplayName(), "error", err)
		return nil, nil
	}
	return editor, err
}

func destinations(list []relocation) []mail.UID {
	uids := make([]mail.UID, len(list))
	for i, r := range list {
		uids[i] = r.Destination
	}
	slices.Sort(uids)
	return uids
}

// resolveMoves finds out which moves into one mailbox were done. A copy that is
// still where it was is moved by the pass that follows; one that is in neither
// place is its user's.
func (p *Pass) resolveMoves(ctx context.Context, to mail.Ref, intents []mail.Intent) error {
	moves, err := p.withReceipts(intents)
	if err != nil || len(moves) == 0 {
		return err
	}
	present := make(map[string]map[mail.UID]bool)
	there := make([]bool, len(moves))
	wanted := make([]plan.Item, len(moves))
	floor := moves[0].Floor
	for n, i := range moves {
		if there[n], err = p.isAt(ctx, mail.Ref{Name: i.FromMailbox, UIDValidity: i.FromValidity}, i.Destination, present); err != nil {
			return err
		}
		wanted[n] = plan.Item{Fingerprint: i.Fingerprint, UID: i.Destination, Tag: uint32(n)}
		floor = min(floor, i.Floor)
	}
	arrived := make(map[uint32]mail.UID)
	if box, ok := p.destination[to.Name]; ok && (box.Status.UIDValidity == 0 || box.Status.UIDValidity == to.UIDValidity) {
		_, matches, _, err := p.untilQuiet(ctx, to, floor, wanted, func(item plan.Item) place { return p.origin(moves[item.Tag].Intent) })
		if err != nil {
			return err
		}
		for m := range matches.All() {
			arrived[m.Wanted.Tag] = m.Found.UID
		}
	}
	for n, s := range moves {
		uid, ok := arrived[uint32(n)]
		switch {
		case ok && there[n]:
			// Copied, but not yet removed where it was.
			if err := p.removeMoved(ctx, s.Intent); err != nil {
				return err
			}
		case !ok && there[n]:
			if err := p.commit(mail.Change{Settle: []uint64{s.ID}}); err != nil {
				return err
			}
			continue
		}
		moved := make(map[mail.UID]mail.UID, 1)
		if ok {
			moved[s.Destination] = uid
		}
		r := relocation{vanished{s.FromPair, s.receipt}, &job{Pairing: plan.Pairing{Pair: p.pairs[s.Pair]}}, s.Source}
		if err := p.bind([]relocation{r}, moved, []uint64{s.ID}); err != nil {
			return err
		}
	}
	return nil
}

// removeMoved ends a move that was broken off between COPY and UID EXPUNGE.
func (p *Pass) removeMoved(ctx context.Context, i mail.Intent) error {
	if p.Policy.Draining {
		return nil
	}
	editor, err := p.edit(ctx, mail.Ref{Name: i.FromMailbox, UIDValidity: i.FromValidity})
	if errors.Is(err, mail.ErrUIDValidity) {
		return nil
	}
	if err != nil || editor == nil || !editor.CanRemove() {
		return err
	}
	defer editor.Close()
	found, err := editor.Flags(ctx, []mail.UID{i.Destination})
	if err != nil || len(found) == 0 {
		return err
	}
	_, err = editor.Remove(ctx, []mail.Edit{{UID: i.Destination, From: found[0].Flags}})
	var refused *mail.Refused
	if errors.As(err, &refused) && !passes(refused) {
		p.Logger.Warn("a moved message is still where it was as well", "mailbox", p.destination[i.FromMailbox].DisplayName(), "uid", i.Destination, "error", err)
		return nil
	}
	return err
}
