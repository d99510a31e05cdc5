package pass

import (
	"context"
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
	if len(s.uids) > 0 { // of a mailbox where nothing was ever removed it is known where
		if i := int64(uid) - int64(s.uids[0]); i >= 0 && i < int64(len(s.uids)) && s.uids[i] == uid {
			return int64(s.size[i])
		}
	}
	if i, ok := slices.BinarySearch(s.uids, uid); ok {
		return int64(s.size[i])
	}
	return 0
}

// weight is how long it takes to carry messages, roughly, in messages: one of 16 KB takes
// as long as two without content.
func (s sizes) weight(uids []mail.UID) int {
	sum := len(uids)
	for _, uid := range uids {
		sum += int(s.of(uid) >> 14)
	}
	return sum
}

// weigh asks how big those messages are of which the look at their mailbox has
// not told, and tells the observer. A mailbox that cannot be asked is left to
// the carrying.
func (p *Pass) weigh(ctx context.Context, work []*job) error {
	messages, bytes := 0, int64(0)
	for _, job := range work {
		messages += len(job.uids)
		err := p.weighJob(ctx, job)
		if err != nil && !isOutOfReach(err) {
			return fmt.Errorf("mailbox %q: %w", job.source.DisplayName(), err)
		}
		for _, uid := range job.uids {
			bytes += job.sizes.of(uid)
		}
	}
	p.Observer.Pending(messages, bytes)
	return nil
}

func (p *Pass) weighJob(ctx context.Context, job *job) error {
	var unknown []mail.UID
	for _, uid := range job.uids {
		if job.sizes.of(uid) == 0 {
			unknown = append(unknown, uid)
		}
	}
	if job.sidelined || len(unknown) == 0 {
		return nil
	}
	known := job.sizes
	job.sizes = sizes{uids: job.uids, size: make([]uint32, len(job.uids))}
	for i, uid := range job.uids {
		job.sizes.size[i] = uint32(known.of(uid))
	}
	for part := range slices.Chunk(unknown, weighedAtOnce) {
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
