package pass

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// weighedAtOnce is how many messages are asked about between two looks at
// whether the pass is to stop.
const weighedAtOnce = 10_000

// sizes are the sizes that the source announces of the messages of one job,
// which lie now and then: 4 octets a message, because there may be one for
// every message of an account.
type sizes struct {
	uids []mail.UID // ascending
	size []uint32
}

// of returns the size of a message, 0 when the source did not tell.
func (s sizes) of(uid mail.UID) int64 {
	if i, ok := slices.BinarySearch(s.uids, uid); ok {
		return int64(s.size[i])
	}
	return 0
}

// weigh asks how big the messages are that are to be carried, and tells the
// observer. A mailbox that cannot be asked is left to the carrying.
func (p *Pass) weigh(ctx context.Context, work []*job) error {
	messages, bytes := 0, int64(0)
	for _, job := range work {
		messages += len(job.uids)
		job.sizes = sizes{uids: job.uids, size: make([]uint32, len(job.uids))}
		err := p.weighJob(ctx, job)
		var refused *mail.Refused
		if err != nil && !errors.As(err, &refused) && !errors.Is(err, mail.ErrUIDValidity) {
			return fmt.Errorf("mailbox %q: %w", job.source.DisplayName(), err)
		}
		for _, n := range job.sizes.size {
			bytes += int64(n)
		}
	}
	p.Observer.Pending(messages, bytes)
	return nil
}

func (p *Pass) weighJob(ctx context.Context, job *job) error {
	if job.sidelined {
		return nil
	}
	for part := range slices.Chunk(job.uids, weighedAtOnce) {
		if err := p.stopped(); err != nil {
			return err
		}
		for m, err := range p.Source.Messages(ctx, job.ref(), part, false) {
			if err != nil {
				return err
			}
			if i, ok := slices.BinarySearch(job.uids, m.UID); ok {
				job.sizes.size[i] = uint32(min(max(m.Size, 0), math.MaxUint32))
			}
		}
	}
	return nil
}
