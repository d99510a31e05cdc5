package pass

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// observe looks at all mailboxes of both sides, gives each wanted source
// mailbox its place in the order of copying, and makes on the destination what
// a new pair needs.
func (p *Pass) observe(ctx context.Context) ([]plan.Pairing, error) {
	if moved := p.changedRules(); len(moved) > 0 {
		return nil, RuleChanged(p.Account, moved)
	}
	l, err := p.places(ctx, func(source mail.Listing) {
		if len(p.pairs) == 0 {
			p.openAhead(ctx, source.Mailboxes)
		}
	})
	if err != nil {
		return nil, err
	}
	p.made = make(map[string]bool)
	p.unresolved = make(map[string]error)
	p.destination = make(map[string]mail.Mailbox, len(l.destination.Mailboxes))
	for _, m := range l.destination.Mailboxes {
		if !m.NoSelect {
			p.destination[m.Name] = m
		}
	}
	if err := p.holdConflicts(l.pairings, l.conflicts); err != nil {
		return nil, err
	}
	p.source = l.source
	p.result.Mailboxes = len(l.pairings)
	for _, pairing := range l.pairings {
		p.result.SourceMessages += int(messages(pairing))
	}
	if err := p.stay(l.pairings); err != nil {
		return nil, err
	}
	var anew []mail.Mailbox
	for _, pairing := range l.pairings {
		if pairing.New() {
			anew = append(anew, pairing.Source)
		}
	}
	p.openAhead(ctx, anew)
	told := p.lookAhead(ctx, l.pairings)
	p.putOff(l.pairings)
	pairings, err := p.settle(ctx, l.pairings)
	answers, lerr := told()
	if err == nil && lerr != nil {
		err = fmt.Errorf("look at mailboxes: %w", lerr)
	}
	if p.told = answers; err != nil {
		p.told = nil
	}
	return pairings, err
}

// messages is how many messages a source mailbox has, as far as it is known: of one
// that shows the rest of others that is how many there were.
func messages(pairing plan.Pairing) uint32 {
	if n := pairing.Pair.SourceAnchor.Messages; pairing.Source.Rest && n != uncounted {
		return n
	}
	return pairing.Source.Status.Messages
}

// list lists the mailboxes of both sides at once. listed is told those of the source
// while the destination may still be at it; nil: nobody is.
func (p *Pass) list(ctx context.Context, listed func(source mail.Listing)) (source, destination mail.Listing, err error) {
	p.foresee()
	answered := make(chan error, 1)
	go func() {
		var err error
		destination, err = p.Destination.Mailboxes(ctx)
		answered <- err
	}()
	if source, err = p.Source.Mailboxes(ctx); err != nil {
		err = fmt.Errorf("list source mailboxes: %w", err)
	} else if listed != nil {
		listed(source)
	}
	if derr := <-answered; derr != nil && err == nil {
		err = fmt.Errorf("list destination mailboxes: %w", derr)
	}
	return source, destination, err
}

// foresee tells both sides which mailbox is going to have news.
func (p *Pass) foresee() {
	name := p.expected
	p.expected = ""
	source, can := p.Source.(Foreseer)
	if !can || name == "" || p.full {
		return
	}
	for _, pair := range p.storedPairs() {
		a := pair.SourceAnchor
		if anew := a.UIDNext == 0 || a.UIDNext == 1 && a.HighestModSeq == compareAll; pair.Source != name || a.UIDValidity == 0 || anew {
			continue
		}
		if role, _ := mail.RoleOfName(pair.SourcePath); role == `\Drafts` {
			continue // young ones are left to a later pass
		}
		source.Foresee(mail.Question{Ref: mail.Ref{Name: name, UIDValidity: a.UIDValidity}, From: a.UIDNext})
		if destination, can := p.Destination.(Preparer); can {
			destination.Prepare(pair.Destination)
		}
	}
}

// news returns the jobs of those mailboxes that have something to carry, in
// the order of copying.
func (p *Pass) news(ctx context.Context, pairings []plan.Pairing) ([]*job, error) {
	if err := p.noteUnlisted(p.source); err != nil {
		return nil, err
	}
	var work []*job
	var settled mail.Change
	looked := make([]*look, 0, len(pairings))
	for _, pairing := range pairings {
		pairing.Pair = p.pairs[pairing.Pair.ID] // as resolving left it
		if !p.holds[mail.HoldKey{Pair: pairing.Pair.ID}].Skipped {
			looked = append(looked, &look{job: &job{Pairing: pairing, source: pairing.Source}})
		}
	}
	if err := p.look(ctx, looked); err != nil {
		return nil, err
	}
	for _, l := range looked {
		job := l.job
		key := mail.HoldKey{Pair: job.Pair.ID}
		_, isHeld := p.holds[key]
		var refused *mail.Refused
		switch {
		case errors.Is(l.err, mail.ErrUIDValidity):
			p.result.Changed, p.blind[job.Pair.Destination] = true, true
			continue
		case errors.As(l.err, &refused):
			if placed, err := p.makeNow(ctx, job); err != nil {
				return nil, err
			} else if !placed {
				continue
			}
			if err := p.sideline(job, refused); err != nil {
				return nil, err
			}
			continue
		}
		settled.Unhold = append(settled.Unhold, job.lifted...)
		if anchor := &job.Pair.SourceAnchor; anchor.UIDValidity == 0 && job.source.Status.UIDValidity != 0 {
			// Durable before the first receipt or intent names a UID under it (I5).
			anchor.UIDValidity = job.source.Status.UIDValidity
			p.note(job.Pair, &settled)
		}
		switch {
		case job.rebind && p.inDoubt(job.Pair.ID):
			// Its open intents name source UIDs of the old numbering: they have
			// to be resolved under it first.
			if err := p.holdMailbox(job, errUnresolved); err != nil {
				return nil, err
			}
			continue
		case len(job.uids) > 0 || job.rebind:
			if err := p.unresolved[job.Pair.Destination]; err != nil {
				// Whatever is there may be ours, and is not to be taken for another's.
				job.sidelined = true
				if err := p.holdMailbox(job, err); err != nil {
					return nil, err
				}
			}
			work = append(work, job)
			continue
		case job.end > job.Pair.SourceAnchor.UIDNext || job.count(job.end) != job.Pair.SourceAnchor.Messages:
			p.note(job.anchored(job.end), &settled)
		}
		if isHeld {
			settled.Unhold = append(settled.Unhold, key)
		}
	}
	return work, p.commit(settled)
}

// settle makes the destination mailboxes of pairs that are new, or that move, and
// carries subscriptions, once. A pair whose mailbox cannot be made is held.
func (p *Pass) settle(ctx context.Context, pairings []plan.Pairing) ([]plan.Pairing, error) {
	var missing []*plan.Pairing
	for i := range pairings {
		if unsettled(pairings[i]) && pairings[i].Destination.Name == "" {
			missing = append(missing, &pairings[i])
		}
	}
	refused, err := p.create(ctx, missing)
	if err != nil {
		return nil, err
	}
	unmade := make(map[string]bool)
	for i, pairing := range missing {
		if refused[i] == nil {
			continue
		}
		if refused[i], err = p.createPlainer(ctx, pairing, refused[i]); err != nil {
			return nil, err
		}
		if refused[i] != nil {
			unmade[pairing.Source.Name] = true
			if err := p.holdUnplaced(pairing, refused[i]); err != nil {
				return nil, err
			}
		}
	}
	pairings = slices.DeleteFunc(pairings, func(pairing plan.Pairing) bool { return unmade[pairing.Source.Name] })
	if err := p.subscribe(ctx, pairings); err != nil {
		return nil, err
	}
	var made mail.Change
	for i := range pairings {
		pairing := &pairings[i]
		settles := p.settlesSubscription(*pairing)
		if pairing.Pair.Moves {
			if err := p.leave(pairing, &made); err != nil {
				return nil, err
			}
			continue
		}
		if !pairing.New() {
			if pair := p.pairs[pairing.Pair.ID]; settles {
				pair.OwesSubscription, pairing.Pair.OwesSubscription = false, false
				made.Pairs = append(made.Pairs, pair)
			}
			continue
		}
		pairing.Pair.OwesSubscription = pairing.Source.Subscribed && !settles
		p.lastPair++
		pairing.Pair.ID = p.lastPair
		made.Pairs = append(made.Pairs, pairing.Pair)
		if key := (mail.HoldKey{Path: pairing.Source.DisplayName()}); p.holds[key].Path != "" {
			made.Unhold = append(made.Unhold, key)
		}
	}
	return pairings, p.commit(made)
}

// unsettled tells whether the place of a pairing is new.
func unsettled(pairing plan.Pairing) bool { return pairing.New() || pairing.Pair.Moves }

// settlesSubscription tells whether it is now that the subscription of a source mailbox is
// carried, if there is one. In a first copy that is when all mailboxes are there.
func (p *Pass) settlesSubscription(pairing plan.Pairing) bool {
	return p.later == nil && (unsettled(pairing) || pairing.Pair.OwesSubscription && pairing.Destination.Name != "")
}

// subscribe carries subscriptions that have not been carried.
func (p *Pass) subscribe(ctx context.Context, pairings []plan.Pairing) error {
	var names []string
	for _, pairing := range pairings {
		if p.settlesSubscription(pairing) && pairing.Source.Subscribed && !pairing.Destination.Subscribed {
			names = append(names, pairing.Pair.Destination)
		}
	}
	if len(names) == 0 {
		return nil
	}
	refused, err := p.Destination.Subscribe(ctx, names)
	for i, err := range refused {
		if err != nil {
			p.Logger.Warn("subscription could not be carried", "mailbox", p.destination[names[i]].DisplayName(), "error", err)
		}
	}
	return err
}

// create makes destination mailboxes, and returns why one cannot be made. They
// are empty, so that there is nothing to recognise in them.
func (p *Pass) create(ctx context.Context, pairings []*plan.Pairing) (refused []error, err error) {
	if len(pairings) == 0 {
		return nil, nil
	}
	if refused, err = p.Destination.Create(ctx, creations(pairings)); err != nil {
		return nil, err
	}
	p.haveMade(pairings, refused)
	return refused, nil
}

func creations(pairings []*plan.Pairing) []mail.Creation {
	boxes := make([]mail.Creation, len(pairings))
	for i, pairing := range pairings {
		boxes[i] = mail.Creation{Name: pairing.Pair.Destination, Role: pairing.Role}
	}
	return boxes
}

// haveMade notes the mailboxes that were not refused.
func (p *Pass) haveMade(pairings []*plan.Pairing, refused []error) {
	for i, pairing := range pairings {
		if refused[i] == nil {
			name := pairing.Pair.Destination
			p.destination[name] = mail.Mailbox{Name: name, Path: pairing.Path}
			p.made[name] = true
		}
	}
}

// createFor makes the destination mailbox of a job, which its user has removed.
func (p *Pass) createFor(ctx context.Context, job *job) error {
	refused, err := p.create(ctx, []*plan.Pairing{&job.Pairing})
	if err != nil {
		return fmt.Errorf("create %q: %w", job.Pair.DestinationPath, err)
	}
	return refused[0]
}
