package pass

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// census returns all UIDs of a source mailbox on a fresh selection, ascending.
// agree is false when the counts contradict one another, be it that somebody
// is at work in it: then nothing may be concluded from what is not there.
func (p *Pass) census(ctx context.Context, job *job) (uids []mail.UID, agree bool, err error) {
	status, err := p.Source.Status(ctx, job.ref())
	if err != nil {
		return nil, false, err
	}
	if uids, err = p.Source.UIDs(ctx, job.ref(), 1); err != nil {
		return nil, false, err
	}
	known := len(uids)
	if status.UIDNext != 0 {
		known, _ = slices.BinarySearch(uids, status.UIDNext) // what arrived since is not counted
	}
	return uids, status.MessagesKnown && known == int(status.Messages), nil
}

// noteMissing compares all UIDs of a source mailbox with the receipts of its
// pair and makes durable what has vanished, and what is back. Receipts that
// were found missing long enough ago are confirmed.
func (p *Pass) noteMissing(pair mail.PairID, uids []mail.UID) error {
	lost, back, err := plan.Missing(uids, p.Journal.Receipts(pair))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	now := time.Now().UTC()
	change := mail.Change{}
	var moved []mail.Receipt
	for _, r := range lost {
		r.Gone = true
		moved = append(moved, r)
	}
	returned := make(map[mail.UID]bool, len(back))
	for _, r := range back {
		r.Gone = false
		moved = append(moved, r)
		returned[r.Source] = true
	}
	absence, confirmed := mail.Absence{Pair: pair, Removed: p.absences[pair].Removed}, []mail.UID(nil)
	for _, m := range p.absences[pair].Missing {
		m.UIDs = slices.DeleteFunc(slices.Clone(m.UIDs), func(uid mail.UID) bool { return returned[uid] })
		if len(m.UIDs) == 0 {
			continue
		}
		absence.Missing = append(absence.Missing, m)
		if p.due(m, now) {
			confirmed = append(confirmed, m.UIDs...)
		}
	}
	if len(lost) > 0 {
		m := mail.Missing{Since: now, UIDs: make([]mail.UID, len(lost))}
		for i, r := range lost {
			m.UIDs[i] = r.Source
		}
		absence.Missing = append(absence.Missing, m)
	}
	if len(moved) > 0 {
		slices.SortFunc(moved, bySource)
		change.Receipts = []mail.PairReceipts{{Pair: pair, Receipts: moved}}
		change.Absences = []mail.Absence{absence}
	}
	for key := range p.holds {
		if _, there := slices.BinarySearch(uids, key.UID); key.Pair == pair && key.UID != 0 && !there {
			change.Unhold = append(change.Unhold, key)
		}
	}
	slices.Sort(confirmed)
	p.confirmed[pair] = confirmed
	return p.commit(change)
}

// due tells whether missing messages have to be looked for again.
func (p *Pass) due(m mail.Missing, now time.Time) bool {
	return (!m.Guarded || m.Apply) && now.Sub(m.Since) >= p.LookAgain
}

func (p *Pass) lookDue(pair mail.PairID) bool {
	now := time.Now()
	return slices.ContainsFunc(p.absences[pair].Missing, func(m mail.Missing) bool { return p.due(m, now) })
}

// nextLook is when messages that are missing have to be looked for again; zero
// when none are. Where that is due and could not be done now, it is tried again
// after a while.
func (p *Pass) nextLook() (next time.Time) {
	now := time.Now()
	for _, a := range p.absences {
		for _, m := range a.Missing {
			at := m.Since.Add(p.LookAgain)
			if p.due(m, now) {
				at = now.Add(p.LookAgain / 15)
			}
			if (!m.Guarded || m.Apply) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	return next
}

// noteUnlisted does what noteMissing does for pairs whose source mailbox is no
// longer listed. A list without INBOX proves nothing.
func (p *Pass) noteUnlisted(source mail.Listing) error {
	listed := make(map[string]bool, len(source.Mailboxes))
	shown := make(map[string]bool, len(source.Mailboxes))
	for _, m := range source.Mailboxes {
		listed[m.Name], shown[m.DisplayName()] = !m.NoSelect, true
	}
	if !slices.ContainsFunc(source.Mailboxes, func(m mail.Mailbox) bool { return strings.EqualFold(m.Name, "INBOX") }) {
		return nil
	}
	if err := p.unholdMailboxes(listed, shown); err != nil {
		return err
	}
	for _, pair := range p.storedPairs() {
		if listed[pair.Source] {
			delete(p.unlisted, pair.ID)
			continue
		}
		if !source.Covers(pair.Source) {
			continue // nobody asks for it any more
		}
		if p.inDoubt(pair.ID) || p.unlisted[pair.ID] && !p.lookDue(pair.ID) {
			continue
		}
		if err := p.noteMissing(pair.ID, nil); err != nil {
			return err
		}
		if pair.SourceAnchor.Messages != 0 {
			p.Logger.Info("source mailbox is no longer there", "mailbox", pair.SourcePath)
			pair.SourceAnchor.Messages = 0 // should it come back, it is counted
			if err := p.commit(mail.Change{Pairs: []mail.Pair{pair}}); err != nil {
				return err
			}
		}
		p.unlisted[pair.ID] = true
	}
	return nil
}

// unholdMailboxes lifts the holds of mailboxes that are no longer listed, with
// or without a pair: those are known by their names.
func (p *Pass) unholdMailboxes(listed, shown map[string]bool) error {
	change := mail.Change{}
	for key := range p.holds {
		switch {
		case key.UID != 0:
		case key.Pair == 0 && !shown[key.Path], key.Pair != 0 && !listed[p.pairs[key.Pair].Source]:
			change.Unhold = append(change.Unhold, key)
		}
	}
	return p.commit(change)
}
