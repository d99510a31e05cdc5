package pass

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// ErrRuleChanged: the rules have changed that gave mailboxes their places, and
// mail of these has been copied (I11).
var ErrRuleChanged = errors.New("[mailboxes] puts mailboxes elsewhere that have been copied already")

// RuleChanged is [ErrRuleChanged] of these pairs, with the ways out.
func RuleChanged(account string, moved []plan.Moved) error {
	var list []string
	for _, m := range moved[:min(len(moved), 5)] {
		list = append(list, fmt.Sprintf("%q is in %q and would go into %q", m.Pair.SourcePath, m.Pair.DestinationPath, m.Now))
	}
	if more := len(moved) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("%w: %s; take that back, or say what is to become of what has been copied: 'imapsyncd mailboxes move --account %s' moves it there, 'imapsyncd mailboxes keep --account %s' leaves it where it is, and what comes goes there too",
		ErrRuleChanged, strings.Join(list, ", "), account, account)
}

// places are what both servers list, and what goes where.
type places struct {
	source, destination mail.Listing
	pairings            []plan.Pairing
	conflicts           []plan.Conflict
}

// places lists both sides and gives every wanted source mailbox its place.
// Whether the new server tells names apart by case is asked only where it
// matters. listed is as for list.
func (p *Pass) places(ctx context.Context, listed func(source mail.Listing)) (l places, err error) {
	if l.source, l.destination, err = p.list(ctx, listed); err != nil {
		return l, err
	}
	give := func() {
		l.pairings, l.conflicts = plan.Mailboxes(l.source, l.destination, p.storedPairs(), p.Rules, p.Destination.Name)
	}
	if give(); plan.Alike(l.pairings, l.destination) {
		if l.destination.Folds, err = p.Destination.Folds(ctx, l.destination); err != nil {
			return l, fmt.Errorf("look whether the new server tells names apart: %w", err)
		}
		give()
	}
	return l, nil
}

// changedRules are the stored pairs that the rules would have elsewhere than
// the rules of their first copy did.
func (p *Pass) changedRules() (moved []plan.Moved) {
	for _, pair := range p.storedPairs() {
		if m, changed := p.Rules.Changed(pair); changed {
			moved = append(moved, m)
		}
	}
	return moved
}

// holdConflicts holds mailboxes that have no place of their own, and lifts the
// holds of those that are not waiting for one any more.
func (p *Pass) holdConflicts(pairings []plan.Pairing, conflicts []plan.Conflict) error {
	waiting := make(map[string]bool, len(pairings)+len(conflicts))
	for _, pairing := range pairings {
		waiting[pairing.Source.DisplayName()] = pairing.New()
	}
	for _, c := range conflicts {
		waiting[c.Source.DisplayName()] = true
		h := p.hold(&job{source: c.Source}, 0, 0, mail.ReasonName, c.String())
		h.Path = c.Source.DisplayName()
		if err := p.keepHold(h); err != nil {
			return err
		}
	}
	var lifted mail.Change
	for key := range p.holds {
		if key.Pair == 0 && !waiting[key.Path] {
			lifted.Unhold = append(lifted.Unhold, key)
		}
	}
	return p.commit(lifted)
}

// holdUnplaced holds a mailbox whose place could not be made.
func (p *Pass) holdUnplaced(pairing *plan.Pairing, cause error) error {
	reason := mail.ReasonMailbox
	if errors.Is(cause, mail.ErrOtherMailbox) {
		reason = mail.ReasonName
	}
	h := p.hold(&job{Pairing: *pairing, source: pairing.Source}, 0, 0, reason, cause.Error())
	if pairing.New() {
		h.Path = pairing.Source.DisplayName()
	}
	return p.keepHold(h)
}

// createPlainer makes the destination mailbox of a new pair whose name the server
// has refused under a plainer name, unless that is another's.
func (p *Pass) createPlainer(ctx context.Context, pairing *plan.Pairing, refusal error) (refused, err error) {
	for _, path := range plan.Plainer(pairing.Path) {
		if !refusesName(refusal) {
			break
		}
		plainer := *pairing
		plainer.Path, plainer.Pair.Destination, plainer.Pair.DestinationPath = path, p.Destination.Name(path), strings.Join(path, "/")
		if p.isTaken(plainer.Pair) {
			return fmt.Errorf("%w; %q is taken; give it another name in [mailboxes] rename", refusal, plainer.Pair.DestinationPath), nil
		}
		refused, err := p.create(ctx, []*plan.Pairing{&plainer})
		if err != nil {
			return nil, err
		}
		if refused[0] == nil {
			p.Logger.Warn("the new server refuses the name of a mailbox, which gets another", "mailbox", pairing.Pair.SourcePath, "name", plainer.Pair.DestinationPath, "refused", refusal)
			*pairing = plainer
			return nil, nil
		}
	}
	return refusal, nil
}

// refusesName tells whether a server has refused a CREATE, perhaps for the name:
// other reasons have codes of their own (RFC 5530).
func refusesName(err error) bool {
	var refused *mail.Refused
	return errors.As(err, &refused) && !errors.Is(err, mail.ErrOtherMailbox) && (refused.Code == "" || refused.Code == "CANNOT")
}

// isTaken tells whether the place of a pair is another's, or a mailbox that is
// there already: what is in that has not been looked at.
func (p *Pass) isTaken(pair mail.Pair) bool {
	if _, there := p.destination[pair.Destination]; there {
		return true
	}
	for _, other := range p.pairs {
		if other.ID != pair.ID && other.Destination == pair.Destination {
			return true
		}
	}
	return false
}
