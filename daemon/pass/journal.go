package pass

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// ErrJournal marks an error of the journal. Its last commit is in doubt: it
// has to be opened afresh before anything is sent (I6).
var ErrJournal = errors.New("state")

// load reads what is small; receipts stay in the journal.
func (p *Pass) load() error {
	pairs, err := p.Journal.Pairs()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	p.pairs, p.ordered, p.later = make(map[mail.PairID]mail.Pair, len(pairs)), nil, nil
	for _, pair := range pairs {
		p.pairs[pair.ID] = pair
		p.lastPair = max(p.lastPair, pair.ID)
	}
	intents, err := p.Journal.Intents()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	p.intents = make(map[uint64]*mail.Intent, len(intents))
	for n, i := range intents {
		p.intents[i.ID] = &intents[n]
		p.lastID = max(p.lastID, i.ID)
	}
	holds, err := p.Journal.Holds()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	p.holds = make(map[mail.HoldKey]mail.Hold, len(holds))
	for _, h := range holds {
		p.holds[h.HoldKey] = h
	}
	absences, err := p.Journal.Absences()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	p.absences = make(map[mail.PairID]mail.Absence, len(absences))
	for _, a := range absences {
		p.absences[a.Pair] = a
	}
	p.confirmed = make(map[mail.PairID][]mail.UID)
	if p.anchors, err = p.Journal.DestinationAnchors(); err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	if p.anchors == nil {
		p.anchors = make(map[string]mail.Anchor)
	}
	return nil
}

// commit makes a change durable and only then true for this pass. What has a
// receipt is held no longer.
func (p *Pass) commit(c mail.Change) error {
	if len(p.later) > 0 {
		p.recordNamed(&c)
	}
	if c.Empty() {
		return nil
	}
	for _, of := range c.Receipts {
		if len(p.holds) == 0 {
			break
		}
		for _, r := range of.Receipts {
			key := mail.HoldKey{Pair: of.Pair, UID: r.Source}
			if h, held := p.holds[key]; held && h.Reason != mail.ReasonLateTwin {
				c.Unhold = append(c.Unhold, key)
			}
		}
	}
	if err := p.Journal.Commit(c); err != nil {
		p.gone.known = false
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	for _, pair := range c.Pairs {
		p.keep(pair)
		if l := p.later[pair.ID]; l != nil {
			l.recorded = true
		}
	}
	for _, id := range c.Settle {
		delete(p.intents, id)
	}
	for n, i := range c.Intents {
		p.intents[i.ID] = &c.Intents[n]
	}
	for _, h := range c.Holds {
		p.holds[h.HoldKey] = h
		p.Observer.Held(h)
	}
	for _, key := range c.Unhold {
		delete(p.holds, key)
	}
	for _, a := range c.Absences {
		p.absences[a.Pair] = a
	}
	for name, a := range c.DestinationAnchors {
		p.anchors[name] = a
	}
	p.gone.apply(c)
	return nil
}

// keep takes a pair as it is now.
func (p *Pass) keep(pair mail.Pair) { p.pairs[pair.ID], p.ordered = pair, nil }

// storedPairs returns the stored pairs by ascending ID, as they are now. They are
// not to be changed.
func (p *Pass) storedPairs() []mail.Pair {
	if p.ordered == nil {
		p.ordered = slices.AppendSeq(make([]mail.Pair, 0, len(p.pairs)), maps.Values(p.pairs))
		slices.SortFunc(p.ordered, func(a, b mail.Pair) int { return cmp.Compare(a.ID, b.ID) })
	}
	return p.ordered
}

// intentsWhere returns the intents for which want is true by ascending ID.
func (p *Pass) intentsWhere(want func(mail.Intent) bool) []mail.Intent {
	var list []mail.Intent
	for _, i := range p.intents {
		if want(*i) {
			list = append(list, *i)
		}
	}
	slices.SortFunc(list, func(a, b mail.Intent) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// errUnresolved: what became of a copy is not known.
var errUnresolved = errors.New("answers of the new server were lost and cannot be looked for yet")

// doubtful are the receipts whose copies are being changed, moved or removed by
// a command of which the outcome is not known. Until it is, nothing is
// concluded from how such a copy looks or where it is.
func (p *Pass) doubtful() map[goneKey]bool {
	keys := make(map[goneKey]bool)
	for _, i := range p.intents {
		switch {
		case !i.Open() || i.Kind == mail.IntentAppend:
		case i.Kind == mail.IntentMove:
			keys[goneKey{i.FromPair, i.FromSource}] = true
		default:
			keys[goneKey{i.Pair, i.Source}] = true
		}
	}
	return keys
}

// inDoubt tells whether the outcome of a message of the pair is not known.
func (p *Pass) inDoubt(pair mail.PairID) bool {
	return len(p.intentsWhere(func(i mail.Intent) bool { return i.Open() && i.Pair == pair })) > 0
}

// named returns, for each destination mailbox for which from has an anchor,
// the UIDs at or above its UIDNext that receipts name under its UIDVALIDITY.
func (p *Pass) named(from map[string]mail.Anchor) (map[string]map[mail.UID]bool, error) {
	names := make(map[string]map[mail.UID]bool, len(from))
	for _, pair := range p.pairs {
		for r, err := range p.Journal.Receipts(pair.ID) {
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrJournal, err)
			}
			name, validity := whereabouts(pair, r)
			if a, ok := from[name]; ok && a.UIDValidity == validity && r.Destination >= a.UIDNext && r.Destination != 0 {
				if names[name] == nil {
					names[name] = make(map[mail.UID]bool)
				}
				names[name][r.Destination] = true
			}
		}
	}
	return names, nil
}

// whereabouts is the destination mailbox that a receipt names.
func whereabouts(pair mail.Pair, r mail.Receipt) (name string, validity mail.UIDValidity) {
	if r.Mailbox != "" {
		return r.Mailbox, r.UIDValidity
	}
	return pair.Destination, pair.DestinationValidity
}

// hold makes a hold of a refusal.
func (p *Pass) hold(job *job, uid mail.UID, size int64, reason mail.Reason, text string) mail.Hold {
	if len(text) > 500 {
		text = text[:500]
	}
	return mail.Hold{
		HoldKey: mail.HoldKey{Pair: job.Pair.ID, UID: uid},
		Reason:  reason, Text: text, Mailbox: job.source.DisplayName(), Size: size, Since: time.Now().UTC(),
	}
}

// holdMailbox records that a mailbox cannot be worked on. An operator's word
// on it stands.
func (p *Pass) holdMailbox(job *job, cause error) error {
	h := p.hold(job, 0, 0, mail.ReasonMailbox, cause.Error())
	if job.Pair.ID == 0 {
		h.Path = job.source.DisplayName()
	}
	return p.keepHold(h)
}

func (p *Pass) keepHold(h mail.Hold) error {
	if old, ok := p.holds[h.HoldKey]; ok && !old.Retry && old.Text == h.Text {
		return nil
	}
	return p.commit(mail.Change{Holds: []mail.Hold{h}})
}

// bySource sorts receipts as the journal keeps them.
func bySource(a, b mail.Receipt) int { return cmp.Compare(a.Source, b.Source) }
