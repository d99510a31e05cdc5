package pass

import (
	"context"
	"maps"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// A first copy of an account does not make all its mailboxes before the first message is
// sent: over a distance, and with a server that takes a while for each, that would be
// much of the time that a small account takes. Each is made by the lane that carries it,
// by the same round trip that opens it, and its pair is recorded with the first intents.
// What is left then, mailboxes without mail and subscriptions, comes at the end.

// laterMost is how many messages a first copy has at most that puts its mailboxes off. One
// that takes longer than minutes shows them all from the beginning.
const laterMost = 50_000

// later is a pair whose mailbox is put off.
type later struct {
	plan.Pairing
	recorded bool // the journal knows it
	refused  bool // its mailbox, when it was to be made aside
	// subscribed tells that its mailbox has been subscribed to aside.
	subscribed bool
}

// putOff puts off, in a first copy, the mailboxes that can be made one by one, and what is
// to be recorded of all.
func (p *Pass) putOff(pairings []plan.Pairing) {
	p.later = nil
	if len(p.pairs) > 0 || p.Policy.Draining || p.Policy.TakenBack || !p.Policy.HoldBefore.IsZero() || p.result.SourceMessages > laterMost {
		return
	}
	for _, box := range p.destination {
		if !box.Status.MessagesKnown || box.Status.Messages > 0 {
			return // what is there has to be looked at, and may be adopted
		}
	}
	if slices.ContainsFunc(pairings, func(pairing plan.Pairing) bool { return !pairing.Source.Status.MessagesKnown }) {
		return
	}
	var now []plan.Pairing
	for _, pairing := range pairings {
		_, held := p.holds[mail.HoldKey{Path: pairing.Source.DisplayName()}]
		below := func(other plan.Pairing) bool { return isBelow(other.Path, pairing.Path) }
		if held || pairing.Source.Rest || !p.Destination.Personal(pairing.Pair.Destination) ||
			pairing.Role != "" && slices.ContainsFunc(pairings, below) { // made before what is below it, it gets its role
			now = append(now, pairing)
		}
	}
	p.later = make(map[mail.PairID]*later)
	for i := range pairings {
		pairing := &pairings[i]
		if slices.ContainsFunc(now, func(other plan.Pairing) bool {
			return other.Source.Name == pairing.Source.Name || isBelow(other.Path, pairing.Path)
		}) {
			continue
		}
		p.lastPair++
		pairing.Pair.ID, pairing.Pair.OwesSubscription = p.lastPair, pairing.Source.Subscribed
		p.keep(pairing.Pair)
		p.later[pairing.Pair.ID] = &later{Pairing: *pairing}
	}
}

// isUnrecorded tells whether the journal does not know a pair yet.
func (p *Pass) isUnrecorded(id mail.PairID) bool { l := p.later[id]; return l != nil && !l.recorded }

// note adds a pair to what is to be durable, unless it is not recorded yet.
func (p *Pass) note(pair mail.Pair, change *mail.Change) {
	if p.isUnrecorded(pair.ID) {
		p.keep(pair)
		return
	}
	change.Pairs = append(change.Pairs, pair)
}

// recordNamed adds the pairs to a change that it names and that are not recorded yet, and
// those that have been subscribed to. What a lane knows of a pair may be older than that,
// and newer in all else: of a pair that the change has, it is that which counts.
func (p *Pass) recordNamed(c *mail.Change) {
	owes := func(pair mail.Pair) bool {
		l := p.later[pair.ID]
		return pair.OwesSubscription && !(l != nil && l.subscribed)
	}
	has := make(map[mail.PairID]bool, len(c.Pairs))
	for i := range c.Pairs {
		has[c.Pairs[i].ID], c.Pairs[i].OwesSubscription = true, owes(c.Pairs[i])
	}
	add := func(pair mail.Pair) {
		if !has[pair.ID] {
			has[pair.ID], pair.OwesSubscription = true, owes(pair)
			c.Pairs = append(c.Pairs, pair)
		}
	}
	named := func(id mail.PairID) {
		if p.isUnrecorded(id) {
			add(p.pairs[id])
		}
	}
	for _, i := range c.Intents {
		named(i.Pair)
	}
	for _, r := range c.Receipts {
		named(r.Pair)
	}
	for _, h := range c.Holds {
		named(h.Pair)
	}
	for id, l := range p.later {
		if l.subscribed && p.pairs[id].OwesSubscription {
			add(p.pairs[id])
		}
	}
}

// creation is how the mailbox is to be made; nil: it is there.
func (t *task) creation() *mail.Creation {
	if !t.make {
		return nil
	}
	return &mail.Creation{Name: t.to.Name, Role: t.Role}
}

// errUnmade: the server has refused to make a mailbox.
type errUnmade struct{ err error }

func (e errUnmade) Error() string { return e.err.Error() }
func (e errUnmade) Unwrap() error { return e.err }

// makeNow makes a mailbox that was put off, under a plainer name where that has to be; one
// that cannot be made is left out of this run. placed tells that it has a place. Those above
// it go before: a server may have refused it to a lane for want of them.
func (p *Pass) makeNow(ctx context.Context, job *job) (placed bool, err error) {
	id := job.Pair.ID
	if _, made := p.destination[job.Pair.Destination]; made || p.later[id] == nil {
		return true, nil
	}
	for _, above := range p.unmadeAbove(job.Path) {
		if _, err := p.makeOne(ctx, above); err != nil {
			return false, err
		}
	}
	refused, err := p.makeOne(ctx, &job.Pairing)
	if err != nil || refused == nil {
		return err == nil, err
	}
	delete(p.pairs, id)
	delete(p.later, id)
	p.ordered, job.sidelined, job.Pair.ID = nil, true, 0
	return false, p.holdUnplaced(&job.Pairing, refused)
}

// makeOne makes the mailbox of a pair that was put off, and records where it is.
func (p *Pass) makeOne(ctx context.Context, pairing *plan.Pairing) (refused, err error) {
	pairing.Pair = p.pairs[pairing.Pair.ID] // what is known of its source by now
	all, err := p.create(ctx, []*plan.Pairing{pairing})
	if err != nil {
		return nil, err
	}
	if refused = all[0]; refused != nil {
		if refused, err = p.createPlainer(ctx, pairing, refused); err != nil || refused != nil {
			return refused, err
		}
	}
	p.later[pairing.Pair.ID].Pairing = *pairing
	return nil, p.commit(mail.Change{Pairs: []mail.Pair{pairing.Pair}})
}

// unmadeAbove are the mailboxes above a path that were put off, the uppermost first.
func (p *Pass) unmadeAbove(path []string) (list []*plan.Pairing) {
	for _, l := range p.later {
		if _, there := p.destination[l.Pair.Destination]; !there && isBelow(path, l.Path) {
			list = append(list, &l.Pairing)
		}
	}
	slices.SortFunc(list, func(a, b *plan.Pairing) int { return len(a.Path) - len(b.Path) })
	return list
}

// isBelow tells whether a path is below another.
func isBelow(path, other []string) bool {
	return len(path) > len(other) && slices.Equal(path[:len(other)], other)
}

// aside does what settleRest would have to, as far as it can be done by now, while other
// lanes are still at work, so that nobody waits for it.
func (c *carriage) aside(ctx context.Context, lane *Lane) {
	idle := func() bool { return c.others() && c.interrupted(lane) == nil }
	var empty []*plan.Pairing
	if !idle() || c.own(func(*mail.Change) { empty = c.unmadeEmpty() }, nil) != nil {
		return
	}
	if len(empty) > 0 {
		refused, err := c.Destination.Create(ctx, creations(empty))
		if err != nil || c.own(func(*mail.Change) { c.haveMadeAside(empty, refused) }, nil) != nil {
			return
		}
	}
	var list []*later
	var names []string
	if !idle() || c.own(func(*mail.Change) { list, names = c.unsubscribed() }, nil) != nil || len(list) == 0 {
		return
	}
	if refused, err := c.Destination.Subscribe(ctx, names); err == nil {
		_ = c.own(func(*mail.Change) {
			for i, l := range list {
				l.subscribed = refused[i] == nil
			}
		}, nil)
	}
}

// others tells whether other lanes are at work.
func (c *carriage) others() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lanes > 0
}

func (p *Pass) haveMadeAside(pairings []*plan.Pairing, refused []error) {
	p.haveMade(pairings, refused)
	for i, pairing := range pairings {
		p.later[pairing.Pair.ID].refused = refused[i] != nil
	}
}

// unmadeEmpty are the mailboxes that no lane makes, for want of mail.
func (p *Pass) unmadeEmpty() (list []*plan.Pairing) {
	for _, id := range slices.Sorted(maps.Keys(p.later)) {
		l := p.later[id]
		_, there := p.destination[l.Pair.Destination]
		if s := l.Source.Status; !there && s.Messages == 0 && p.isUnrecorded(id) && !l.refused {
			list = append(list, &l.Pairing)
		}
	}
	return list
}

// unsubscribed are the mailboxes that are there and are to be subscribed to, and their names.
func (p *Pass) unsubscribed() (list []*later, names []string) {
	for _, id := range slices.Sorted(maps.Keys(p.later)) {
		l := p.later[id]
		if box, there := p.destination[l.Pair.Destination]; there && l.Source.Subscribed && !box.Subscribed && !l.subscribed {
			list, names = append(list, l), append(names, box.Name)
		}
	}
	return list, names
}

// settleRest makes what no lane has made, and subscribes.
func (p *Pass) settleRest(ctx context.Context, pairings []plan.Pairing) ([]plan.Pairing, error) {
	if p.later == nil {
		return pairings, nil
	}
	put := p.later
	p.later = nil
	rest := make([]plan.Pairing, 0, len(pairings))
	for _, pairing := range pairings {
		pair, there := p.pairs[pairing.Pair.ID]
		if !there {
			continue // it has no place
		}
		if l := put[pair.ID]; l != nil && !l.recorded {
			delete(p.pairs, pair.ID)
			pair.ID = 0
		}
		pairing.Pair, pairing.Destination = pair, p.destination[pair.Destination]
		rest = append(rest, pairing)
	}
	p.ordered = nil
	return p.settle(ctx, rest)
}
