package simtest

import (
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// anchored looks after every commit whether the anchors of the source are where
// they may be (I3).
type anchored struct {
	JournalView
	w *world
}

func (j anchored) Commit(c mail.Change) error {
	before := make([]mail.Anchor, len(c.Pairs))
	for i, p := range c.Pairs {
		before[i] = j.pairs[p.ID].SourceAnchor
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
	return err
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
