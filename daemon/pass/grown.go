package pass

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// growth is a destination mailbox that may have grown since it was looked at.
type growth struct {
	ref   mail.Ref
	from  mail.UID // our anchor
	end   mail.UID // what will have been looked at
	empty bool
}

func (p *Pass) grown(ctx context.Context) ([]growth, error) {
	var list []growth
	for _, name := range slices.Sorted(maps.Keys(p.destination)) {
		if p.made[name] || p.waiting[name] || p.unresolved[name] != nil || p.destination[name].IsView() {
			continue
		}
		status := p.destination[name].Status
		if status.UIDValidity == 0 || status.UIDNext == 0 {
			opened, err := p.Destination.Status(ctx, mail.Ref{Name: name})
			var refused *mail.Refused
			if errors.As(err, &refused) {
				p.unseen(name, refused)
				continue
			} else if err != nil {
				return nil, fmt.Errorf("open %q on the new server: %w", p.destination[name].DisplayName(), err)
			}
			status = opened
		}
		g := growth{
			ref:  mail.Ref{Name: name, UIDValidity: status.UIDValidity},
			from: 1, end: max(status.UIDNext, 1),
			empty: status.MessagesKnown && status.Messages == 0,
		}
		anchor := p.anchors[name]
		if p.Policy.TakenBack {
			anchor = mail.Anchor{}
		}
		if anchor.UIDValidity == status.UIDValidity {
			g.from = max(anchor.UIDNext, 1)
		}
		if status.UIDNext == 0 || g.end > g.from || anchor.UIDNext == 0 {
			list = append(list, g)
		}
	}
	return list, nil
}

// unseen notes a mailbox of the destination that it refuses to show: nothing
// is sent there before it has been looked at.
func (p *Pass) unseen(name string, refused *mail.Refused) {
	p.unresolved[name] = refused
	p.Logger.Warn("mailbox on the new server cannot be looked at", "mailbox", p.destination[name].DisplayName(), "error", refused)
}

// unnamed reads the messages that have grown and that no receipt names; begun,
// which may be nil, is called when the first has come. An item's Mailbox is its place in
// grown, its Tag its flags.
func (p *Pass) unnamed(ctx context.Context, grown []growth, flags *flagTable, begun func()) ([]plan.Item, error) {
	from := make(map[string]mail.Anchor, len(grown))
	for _, g := range grown {
		from[g.ref.Name] = mail.Anchor{UIDValidity: g.ref.UIDValidity, UIDNext: g.from}
	}
	named, err := p.named(from)
	if err != nil {
		return nil, err
	}
	var found []plan.Item
	for i := range grown {
		g := &grown[i]
		if g.empty {
			continue
		}
		uids, err := p.Destination.UIDs(ctx, g.ref, g.from)
		var refused *mail.Refused
		if errors.As(err, &refused) {
			p.unseen(g.ref.Name, refused)
			continue
		} else if err != nil {
			return nil, fmt.Errorf("look at %q on the new server: %w", p.destination[g.ref.Name].DisplayName(), err)
		}
		if len(uids) > 0 {
			g.end = max(g.end, uids[len(uids)-1]+1)
		}
		uids = slices.DeleteFunc(uids, func(uid mail.UID) bool { return named[g.ref.Name][uid] })
		called := callRoll(uids)
		found = slices.Grow(found, len(uids))
		for m, err := range p.Destination.Messages(ctx, g.ref, uids, true) {
			if err != nil {
				return nil, fmt.Errorf("look at %q on the new server: %w", p.destination[g.ref.Name].DisplayName(), err)
			}
			called.mark(m.UID)
			if len(found) == 0 && begun != nil {
				begun()
			}
			found = append(found, plan.Item{Fingerprint: m.Fingerprint, Opening: m.Opening, Mailbox: uint32(i), UID: m.UID, Tag: flags.index(m.Flags)})
		}
		if err := allServed(ctx, p.Destination, g.ref, called); errors.As(err, &refused) {
			p.unseen(g.ref.Name, refused)
		} else if err != nil {
			return nil, fmt.Errorf("look at %q on the new server: %w", p.destination[g.ref.Name].DisplayName(), err)
		}
	}
	return found, nil
}
