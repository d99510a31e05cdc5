package pass

import (
	"context"
	"fmt"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// twinLooks are the ages of a resent intent at which a late twin is looked for.
var twinLooks = [...]time.Duration{2 * time.Minute, 10 * time.Minute, 60 * time.Minute}

// receipted returns the fingerprints for which a pair has receipts.
func (p *Pass) receipted(pair mail.PairID) (map[mail.Fingerprint]bool, error) {
	prints := make(map[mail.Fingerprint]bool)
	for r, err := range p.Journal.Receipts(pair) {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJournal, err)
		}
		prints[r.Fingerprint] = true
	}
	return prints, nil
}

// lateTwins looks whether the first of two attempts has appeared after all. A
// twin is reported as a hold and never removed without the operator's word.
func (p *Pass) lateTwins(ctx context.Context) error {
	now := time.Now()
	due := p.intentsWhere(func(i mail.Intent) bool {
		return !i.Open() && now.Sub(i.Resent) >= twinLooks[min(int(i.Looks), len(twinLooks)-1)]
	})
	byMailbox := make(map[mail.Ref][]mail.Intent)
	for _, i := range due {
		ref := mail.Ref{Name: i.Mailbox, UIDValidity: i.UIDValidity}
		byMailbox[ref] = append(byMailbox[ref], i)
	}
	for ref, intents := range byMailbox {
		if err := p.lookForTwins(ctx, ref, intents); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pass) lookForTwins(ctx context.Context, ref mail.Ref, intents []mail.Intent) error {
	change := mail.Change{}
	wanted := make([]plan.Item, len(intents))
	floor := intents[0].Floor
	for n, i := range intents {
		wanted[n] = plan.Item{Fingerprint: i.Fingerprint, UID: i.Source, Tag: uint32(n)}
		floor = min(floor, i.Floor)
	}
	twins := make(map[uint32]mail.UID)
	if box, ok := p.destination[ref.Name]; ok && box.Status.UIDValidity == ref.UIDValidity {
		var flags flagTable
		found, err := p.unnamed(ctx, []growth{{ref: ref, from: floor}}, &flags, nil)
		if err != nil {
			return err
		}
		matches, _, _ := plan.Recognise(wanted, found, true)
		for m := range matches.All() {
			twins[m.Wanted.Tag] = m.Found.UID
		}
	}
	reopened := false
	for n, i := range intents {
		uid, twin := twins[uint32(n)]
		if twin {
			prints, err := p.receipted(i.Pair)
			if err != nil {
				return err
			}
			if !prints[i.Print()] {
				// It was never sent again: this is the copy, not a twin of it.
				i.Resent, i.Looks = time.Time{}, 0
				change.Intents = append(change.Intents, i)
				reopened = true
				continue
			}
		}
		if twin {
			h := p.hold(&job{Pairing: plan.Pairing{Pair: p.pairs[i.Pair]}}, i.Source, i.Size, mail.ReasonLateTwin,
				fmt.Sprintf("a copy that was taken for lost appeared after it had been sent again: UID %d in %q on the new server is one too many", uid, p.pairs[i.Pair].DestinationPath))
			h.Mailbox = p.pairs[i.Pair].SourcePath
			change.Holds = append(change.Holds, h)
			change.Settle = append(change.Settle, i.ID)
			continue
		}
		if i.Looks++; int(i.Looks) >= len(twinLooks) {
			change.Settle = append(change.Settle, i.ID)
		} else {
			change.Intents = append(change.Intents, i)
		}
	}
	if err := p.commit(change); err != nil || !reopened {
		return err
	}
	return p.resolve(ctx)
}
