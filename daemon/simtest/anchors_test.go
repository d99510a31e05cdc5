package simtest

import (
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// anchored looks after every commit whether the anchors of the source are where
// they may be (I3), and whether the journal knows the pairs that are named.
type anchored struct {
	JournalView
	w *world
}

func (j anchored) Commit(c mail.Change) error {
	before := make([]mail.Anchor, len(c.Pairs))
	for i, p := range c.Pairs {
		before[i] = j.pairs[p.ID].SourceAnchor
	}
	var errs []error
	for i, p := range c.Pairs {
		for _, later := range c.Pairs[i+1:] {
			if a, b := p.SourceAnchor, later.SourceAnchor; p.ID == later.ID && (a.UIDValidity == b.UIDValidity && a.UIDNext > b.UIDNext || later.DestinationValidity == 0 && p.DestinationValidity != 0 && later.Left == p.Left) {
				errs = append(errs, fmt.Errorf("a change has a pair twice, and what is older is what counts: %+v, %+v", p, later))
			}
		}
	}
	err := j.JournalView.Commit(c)
	for i, p := range c.Pairs {
		if after, ok := j.pairs[p.ID]; ok && !j.Dead() {
			errs := j.w.checkAnchor(before[i], after)
			j.w.mu.Lock()
			j.w.errs = append(j.w.errs, errs...)
			j.w.mu.Unlock()
		}
	}
	if !j.Dead() && err == nil {
		j.w.mu.Lock()
		defer j.w.mu.Unlock()
		j.w.errs = append(j.w.errs, errs...)
		for _, of := range c.Receipts {
			if p := j.pairs[of.Pair]; p.DestinationValidity == 0 && slices.ContainsFunc(of.Receipts, func(r mail.Receipt) bool { return r.Mailbox == "" && r.Destination != 0 }) {
				j.w.errs = append(j.w.errs, fmt.Errorf("I5: receipts of a pair whose destination has no UIDVALIDITY: %+v", p))
			}
		}
		for _, i := range c.Intents {
			if p := j.pairs[i.Pair]; p.SourceAnchor.UIDValidity == 0 {
				j.w.errs = append(j.w.errs, fmt.Errorf("I5: an intent of a pair whose source has no UIDVALIDITY: %+v", p))
			}
		}
		for _, id := range named(c) {
			if _, known := j.pairs[id]; !known {
				j.w.errs = append(j.w.errs, fmt.Errorf("a change names pair %d, which the journal does not know: %+v", id, c))
			}
		}
	}
	return err
}

// named are the pairs that a change names.
func named(c mail.Change) (ids []mail.PairID) {
	for _, i := range c.Intents {
		ids = append(ids, i.Pair)
	}
	for _, r := range slices.Concat(c.Receipts, c.Replace) {
		ids = append(ids, r.Pair)
	}
	for _, h := range c.Holds {
		if h.Pair != 0 {
			ids = append(ids, h.Pair)
		}
	}
	for _, a := range c.Absences {
		ids = append(ids, a.Pair)
	}
	return ids
}

// checkAnchor: an anchor never goes back under one UIDVALIDITY, and whatever is
// below it has a receipt or a hold.
func (w *world) checkAnchor(before mail.Anchor, pair mail.Pair) (errs []error) {
	after := pair.SourceAnchor
	if before.UIDValidity == after.UIDValidity && after.UIDNext < before.UIDNext {
		errs = append(errs, fmt.Errorf("I3: the anchor of %s went back from %d to %d", pair.Source, before.UIDNext, after.UIDNext))
	}
	w.old.mu.Lock()
	defer w.old.mu.Unlock()
	b := w.old.Boxes[pair.Source]
	if b == nil || b.Validity != after.UIDValidity {
		return errs
	}
	for _, m := range b.Messages {
		if m.UID >= after.UIDNext {
			break
		}
		_, held := w.journal.holds[mail.HoldKey{Pair: pair.ID, UID: m.UID}]
		if !held && !slices.ContainsFunc(w.journal.receipts[pair.ID], func(r mail.Receipt) bool { return r.Source == m.UID }) {
			errs = append(errs, fmt.Errorf("I3: the anchor of %s is at %d, and UID %d has neither receipt nor hold", pair.Source, after.UIDNext, m.UID))
		}
	}
	return errs
}
