package pass

import (
	"context"
	"errors"
	"fmt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// holdEarlier holds what arrived before Policy.HoldBefore instead of copying it:
// the state was lost after the handover, and what is not on the destination may
// have been deleted there by its user. The operator's word to try again copies
// it.
func (p *Pass) holdEarlier(ctx context.Context, work []*job) error {
	if p.Policy.HoldBefore.IsZero() {
		return nil
	}
	for _, job := range work {
		if job.sidelined || len(job.uids) == 0 {
			continue
		}
		var change mail.Change
		for m, err := range p.Source.Messages(ctx, job.ref(), job.uids, false) {
			if errors.Is(err, mail.ErrUIDValidity) {
				break // the carrying sees it too
			}
			if err := p.sideline(job, err); err != nil {
				return fmt.Errorf("look at %q: %w", job.source.DisplayName(), err)
			}
			if job.sidelined {
				break
			}
			if p.holds[mail.HoldKey{Pair: job.Pair.ID, UID: m.UID}].Retry || !m.InternalDate.Before(p.Policy.HoldBefore) {
				continue
			}
			change.Holds = append(change.Holds, p.hold(job, m.UID, m.Size, mail.ReasonStateLost,
				"the state was lost after the handover: it arrived before that and is not on the new server, where its user may have deleted it; 'imapsyncd hold retry' copies it"))
		}
		if err := p.commit(change); err != nil {
			return err
		}
		left, err := p.uncarried(job)
		if err != nil {
			return err
		}
		job.uids = left
	}
	return nil
}
