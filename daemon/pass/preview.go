package pass

import (
	"context"
	"fmt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// Preview is what a pass would do.
type Preview struct {
	Rows      []PreviewRow
	Conflicts []plan.Conflict
}

// PreviewRow is what a pass would do for one source mailbox.
type PreviewRow struct {
	Source      string // display names
	Destination string
	Create      bool // the destination mailbox would be made
	Messages    uint32
	// New are the messages that have no receipt. Those that are on the
	// destination already would be recognised, not sent.
	New int
	// Octets are what these have together, Largest the most that one of them has, as
	// the old server tells it.
	Octets, Largest int64
	InDoubt         int // sent, the answer was lost: to be resolved first
	Held            int
	Rebind          bool // UIDVALIDITY has changed: to be recognised by content
}

// Preview looks at both sides as Run does and changes nothing, neither there
// nor in the journal.
func (p *Pass) Preview(ctx context.Context) (Preview, error) {
	if err := p.load(); err != nil {
		return Preview{}, err
	}
	if moved := p.changedRules(); len(moved) > 0 {
		return Preview{}, RuleChanged(p.Account, moved)
	}
	placed, err := p.places(ctx, nil)
	if err != nil {
		return Preview{}, err
	}
	out := Preview{Conflicts: placed.conflicts}
	looks := make([]*look, len(placed.pairings))
	for i, pairing := range placed.pairings {
		looks[i] = &look{job: &job{Pairing: pairing, source: pairing.Source}}
	}
	if err := p.look(ctx, looks); err != nil {
		return Preview{}, err
	}
	for i, pairing := range placed.pairings {
		job := looks[i].job
		if err := looks[i].err; err != nil {
			return Preview{}, fmt.Errorf("look at mailbox %q: %w", job.source.DisplayName(), err)
		}
		row := PreviewRow{
			Source: job.source.DisplayName(), Destination: job.Pair.DestinationPath, Create: pairing.Destination.Name == "",
			Messages: job.source.Status.Messages, New: len(job.uids), Rebind: job.rebind,
		}
		for _, uid := range job.uids {
			size := job.sizes.of(uid)
			row.Octets, row.Largest = row.Octets+size, max(row.Largest, size)
		}
		if job.source.Rest {
			row.Messages = job.count(job.end)
		}
		if !pairing.New() {
			row.InDoubt = len(p.intentsWhere(func(i mail.Intent) bool { return i.Open() && i.Pair == job.Pair.ID }))
			for key := range p.holds {
				if key.Pair == job.Pair.ID {
					row.Held++
				}
			}
		}
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}
