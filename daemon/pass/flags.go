package pass

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// compareAll in the place of an anchor's HIGHESTMODSEQ has all flags compared:
// receipts of the pair were earned under other UIDs, with flags of that time.
// It is none that a server can have (RFC 7162 §7).
const compareAll mail.ModSeq = math.MaxUint64

// flags carries changed flags of messages that were carried before.
func (p *Pass) flags(ctx context.Context, pairings []plan.Pairing, work []*job) error {
	if p.Policy.Draining {
		return nil
	}
	jobs := make(map[mail.PairID]*job, len(work))
	for _, job := range work {
		jobs[job.Pair.ID] = job
	}
	for _, pairing := range pairings {
		source := pairing.Source
		if job := jobs[pairing.Pair.ID]; job != nil {
			if source = job.source; job.sidelined {
				continue
			}
		}
		err := p.flagsOf(ctx, p.pairs[pairing.Pair.ID], source)
		var refused *mail.Refused
		switch {
		case errors.Is(err, mail.ErrUIDValidity):
			p.result.Changed = true
		case errors.As(err, &refused) && !transient(refused):
			if p.Complaints.isNew(flagsUnknown, pairing.Source.DisplayName(), err.Error()) {
				p.Logger.Warn(flagsUnknown, "mailbox", pairing.Source.DisplayName(), "error", err)
			}
		case err != nil:
			return fmt.Errorf("mailbox %q: %w", pairing.Source.DisplayName(), err)
		}
	}
	return nil
}

// flagsOf carries the changed flags of one mailbox. What the source says is
// read after its HIGHESTMODSEQ, so that no change falls between two passes.
func (p *Pass) flagsOf(ctx context.Context, pair mail.Pair, source mail.Mailbox) error {
	anchor, status := pair.SourceAnchor, source.Status
	since := anchor.HighestModSeq
	switch {
	case p.Policy.KeepFlags && since != compareAll:
		return nil
	case anchor.UIDNext <= 1 || anchor.UIDValidity != status.UIDValidity:
		return nil
	case p.full || p.compare && status.HighestModSeq == 0 || since == compareAll:
		since = 0
	case status.HighestModSeq <= since:
		return nil
	}
	now := make(map[mail.UID]mail.Flags)
	for m, err := range p.Source.Flags(ctx, mail.Ref{Name: source.Name, UIDValidity: anchor.UIDValidity}, anchor.UIDNext, since) {
		if err != nil {
			return err
		}
		now[m.UID] = m.Flags
	}
	p.Complaints.over(flagsUnknown, source.DisplayName())
	doubtful, wait := p.doubtful(), false
	byMailbox := make(map[mail.Ref][]reflagged)
	for r, err := range p.Journal.Receipts(pair.ID) {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrJournal, err)
		}
		flags, ok := now[r.Source]
		if !ok || r.Vanished() || r.Touched || r.Destination == 0 || flags.Equal(r.Flags) {
			continue
		}
		if doubtful[goneKey{pair.ID, r.Source}] {
			wait = true
			continue
		}
		name, validity := whereabouts(pair, r)
		at := mail.Ref{Name: name, UIDValidity: validity}
		byMailbox[at] = append(byMailbox[at], reflagged{pair.ID, r, flags})
	}
	for at, list := range byMailbox {
		for batch := range slices.Chunk(list, adoptedAtOnce) {
			if err := p.reflag(ctx, at, batch); err != nil {
				return err
			}
		}
	}
	if wait {
		return nil
	}
	if status.HighestModSeq > anchor.HighestModSeq || anchor.HighestModSeq == compareAll {
		pair.SourceAnchor.HighestModSeq = status.HighestModSeq
		return p.commit(mail.Change{Pairs: []mail.Pair{pair}})
	}
	return nil
}

// reflagged is a receipt whose source message has other flags now.
type reflagged struct {
	pair mail.PairID
	mail.Receipt
	now mail.Flags
}

// reflag brings copies in one mailbox to the flags of their source messages,
// unless their users have changed them.
func (p *Pass) reflag(ctx context.Context, at mail.Ref, list []reflagged) error {
	editor, err := p.edit(ctx, at)
	if err != nil || editor == nil {
		return err
	}
	defer editor.Close()
	storable := func(r reflagged) mail.Flags { return p.unwanted.from(at.Name, editor.Storable(p.toBe(editor, r))) }
	list = slices.DeleteFunc(slices.Clone(list), func(r reflagged) bool { return storable(r).Equal(r.Flags) })
	found, err := flagsAt(ctx, editor, list, func(r reflagged) mail.UID { return r.Destination })
	if err != nil {
		return err
	}
	change := mail.Change{}
	receipts := make(map[mail.PairID][]mail.Receipt)
	var stores []store
	for _, r := range list {
		has, there := found[r.Destination]
		if !there {
			continue // its user has moved or removed it
		}
		to := storable(r)
		switch decision, _ := plan.Reflag(r.Flags, to, has); decision {
		case plan.LeaveFlags:
			r.Flags = to
			receipts[r.pair] = append(receipts[r.pair], r.Receipt)
		case plan.TouchFlags:
			r.Touched = true
			receipts[r.pair] = append(receipts[r.pair], r.Receipt)
		case plan.SetFlags:
			p.lastID++
			i := mail.Intent{
				ID: p.lastID, Kind: mail.IntentStore, Pair: r.pair, Source: r.Source, Fingerprint: r.Fingerprint,
				Flags: to, Mailbox: at.Name, UIDValidity: at.UIDValidity, Destination: r.Destination,
			}
			change.Intents = append(change.Intents, i)
			stores = append(stores, store{i, r.Receipt})
		}
	}
	change.Receipts = sorted(receipts)
	if err := p.commit(change); err != nil {
		return err
	}
	return p.storeBy(ctx, editor, found, stores)
}

// sorted is receipts by pair as a commit takes them.
func sorted(receipts map[mail.PairID][]mail.Receipt) []mail.PairReceipts {
	var list []mail.PairReceipts
	for pair, of := range receipts {
		slices.SortFunc(of, bySource)
		list = append(list, mail.PairReceipts{Pair: pair, Receipts: of})
	}
	return list
}

// flagsAt reads the flags of copies.
func flagsAt[T any](ctx context.Context, editor mail.Editor, list []T, uid func(T) mail.UID) (map[mail.UID]mail.Flags, error) {
	uids := make([]mail.UID, len(list))
	for i, item := range list {
		uids[i] = uid(item)
	}
	slices.Sort(uids)
	messages, err := editor.Flags(ctx, slices.Compact(uids))
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	found := make(map[mail.UID]mail.Flags, len(messages))
	for _, m := range messages {
		found[m.UID] = m.Flags
	}
	return found, nil
}

// store is a durable intent to change flags, with the receipt of the copy as
// it was.
type store struct {
	mail.Intent
	receipt mail.Receipt
}

// store does what the intents of one mailbox say.
func (p *Pass) store(ctx context.Context, at mail.Ref, stores []store) error {
	if len(stores) == 0 {
		return nil
	}
	editor, err := p.edit(ctx, at)
	if err != nil && !errors.Is(err, mail.ErrUIDValidity) {
		return err
	}
	if editor == nil {
		return p.settleStores(stores) // its user has removed the mailbox, or it was rebuilt
	}
	defer editor.Close()
	found, err := flagsAt(ctx, editor, stores, func(s store) mail.UID { return s.Destination })
	if err != nil {
		return err
	}
	return p.storeBy(ctx, editor, found, stores)
}

// settleStores ends intents whose copies are out of reach.
func (p *Pass) settleStores(stores []store) error {
	change := mail.Change{}
	for _, s := range stores {
		change.Settle = append(change.Settle, s.ID)
	}
	return p.commit(change)
}

// storeBy changes the flags of those copies that have the flags that we left
// or were about to give. Any other copy is its user's from now on.
func (p *Pass) storeBy(ctx context.Context, editor mail.Editor, found map[mail.UID]mail.Flags, stores []store) error {
	change := mail.Change{}
	receipts := make(map[mail.PairID][]mail.Receipt)
	touch := func(s store) {
		s.receipt.Touched = true
		receipts[s.Pair] = append(receipts[s.Pair], s.receipt)
	}
	var edits []mail.Edit
	var edited []store
	for _, s := range stores {
		change.Settle = append(change.Settle, s.ID)
		has, there := found[s.Destination]
		switch {
		case !there:
		case !asWeLeftIt(editor, s, has):
			touch(s)
		default:
			edits = append(edits, mail.Edit{UID: s.Destination, From: has, To: plan.WithForeign(s.Flags, s.receipt.Flags, has)})
			edited = append(edited, s)
		}
	}
	asked := slices.Clone(edits)
	changed, err := p.storeEdits(ctx, editor, edits, edited)
	if err != nil {
		return fmt.Errorf("change flags: %w", err)
	}
	done := 0
	for n, s := range edited {
		switch {
		case slices.Contains(changed, s.Destination):
			touch(s) // while we were at it
			continue
		case edits[n].To == edits[n].From && asked[n].To != asked[n].From:
			continue // refused: the copy has what it had
		}
		s.receipt.Flags = s.Flags.Keep(func(k string) bool { return edits[n].To.Has(k) })
		receipts[s.Pair] = append(receipts[s.Pair], s.receipt)
		done++
	}
	change.Receipts = sorted(receipts)
	p.result.Reflagged += done
	p.Observer.Reflagged(done)
	return p.commit(change)
}

// asWeLeftIt tells whether a copy has the flags that we left or were about to
// give. Without CONDSTORE a change takes two commands, and may have ended
// between them.
func asWeLeftIt(editor mail.Editor, s store, has mail.Flags) bool {
	left := s.receipt.Flags
	if editor.Status().HighestModSeq == 0 {
		return plan.Between(left, s.Flags, has)
	}
	return plan.Between(left, left, has) || plan.Between(s.Flags, s.Flags, has)
}

// storeEdits stores flags. What the server refuses is stored one by one, so
// that one message that cannot have its keywords keeps no other back, and then
// without those that not every server takes. What became of it is in edits.
func (p *Pass) storeEdits(ctx context.Context, editor mail.Editor, edits []mail.Edit, of []store) (changed []mail.UID, err error) {
	if len(edits) == 0 {
		return nil, nil
	}
	changed, err = editor.Store(ctx, edits)
	var refused *mail.Refused
	switch {
	case !errors.As(err, &refused) || passes(refused):
		return changed, err // it says nothing about these flags
	case len(edits) == 1:
		edit := &edits[0]
		all := edit.To
		some := all.Keep(func(k string) bool { return mail.PlainKeyword(k) || edit.From.Has(k) })
		if !some.Equal(all) {
			edit.To = some
			if changed, err = p.storeEdits(ctx, editor, edits, of); err == nil && len(changed) == 0 && edit.To == some {
				p.noteUnwanted(p.destination[of[0].Mailbox], all, some)
				p.Observer.Mended(mail.OddKeywords)
			}
			return changed, err
		}
		edit.To = edit.From
		p.Logger.Warn("flags could not be changed", "uid", edit.UID, "error", err)
		return nil, nil
	}
	changed = nil
	for n := range edits {
		more, err := p.storeEdits(ctx, editor, edits[n:n+1], of[n:n+1])
		if err != nil {
			return nil, err
		}
		changed = append(changed, more...)
	}
	return changed, nil
}

// resolveStores does again what may not have been done. What has changed since
// is its user's.
func (p *Pass) resolveStores(ctx context.Context, ref mail.Ref, intents []mail.Intent) error {
	stores, err := p.withReceipts(intents)
	if err != nil {
		return err
	}
	if p.Policy.Draining {
		return p.settleStores(stores)
	}
	return p.store(ctx, ref, stores)
}

// withReceipts finds the receipts that intents are about, and settles those
// that have none any more.
func (p *Pass) withReceipts(intents []mail.Intent) ([]store, error) {
	type key struct {
		pair                mail.PairID
		source, destination mail.UID
	}
	of := func(i mail.Intent) key {
		if i.Kind == mail.IntentMove {
			return key{i.FromPair, i.FromSource, i.Destination}
		}
		return key{i.Pair, i.Source, i.Destination}
	}
	receipts := make(map[key]*mail.Receipt, len(intents))
	pairs := make(map[mail.PairID]bool)
	for _, i := range intents {
		receipts[of(i)] = nil
		pairs[of(i).pair] = true
	}
	for pair := range pairs {
		for r, err := range p.Journal.Receipts(pair) {
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrJournal, err)
			}
			k := key{pair, r.Source, r.Destination}
			if _, wanted := receipts[k]; wanted {
				receipts[k] = &r
			}
		}
	}
	var found []store
	change := mail.Change{}
	for _, i := range intents {
		if r := receipts[of(i)]; r != nil {
			found = append(found, store{i, *r})
		} else {
			change.Settle = append(change.Settle, i.ID)
		}
	}
	return found, p.commit(change)
}
