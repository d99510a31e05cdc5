package pass

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func (w *writer) settled(i mail.Intent) { w.change.Settle = append(w.change.Settle, i.ID) }

// end collects the last answers. What they have earned, and what has become of the task,
// is left to be made durable by the next commit, or when there is time for it; an error
// is not. What comes for the next mailbox meanwhile is returned, once that has been asked
// for.
func (w *writer) end(ctx context.Context, fetchErr error, parcels <-chan parcel) (held *parcel) {
	for len(w.flight) > 0 {
		select {
		case answer := <-w.flight[0].answer:
			w.landed(answer)
		case next, ok := <-parcels:
			if parcels = nil; ok {
				held = &next
				w.appender.Next(ctx, next.task.to.Name, next.task.creation())
			}
		}
	}
	if w.appender != nil {
		w.appender.Close()
	}
	switch {
	case w.err != nil:
	case errors.Is(fetchErr, errInterrupted) || errors.Is(fetchErr, ErrStopped):
		w.err = fetchErr
	default:
		w.err = lasting(fetchErr)
	}
	before := w.before
	w.before = &errand{prepare: func(change *mail.Change) {
		before.add(change)
		w.earned(change)
		w.concluded(change)
	}, then: func() {
		before.durable()
		w.told()
		w.task.err = w.err
		w.putBack(w.task)
	}}
	if w.err != nil {
		w.flush()
	}
	return held
}

// own has the owner of the pass do something, and before that what the mailbox before
// has left.
func (w *writer) own(prepare func(*mail.Change), then func()) error {
	before := w.before
	w.before = nil
	return w.carriage.own(func(change *mail.Change) {
		before.add(change)
		prepare(change)
	}, func() {
		before.durable()
		then()
	})
}

// flush makes durable what there is. An error is the journal's, and ends all lanes.
func (w *writer) flush() {
	if len(w.stored) > 0 || w.before != nil {
		w.fail(w.own(w.earned, w.told))
	}
}

// earned adds what the writer has to be made durable. It is the owner's.
func (w *writer) earned(change *mail.Change) {
	w.latency = max(w.latency, w.took)
	change.Receipts = append(change.Receipts, w.change.Receipts...)
	change.Settle = append(change.Settle, w.change.Settle...)
	change.Holds = append(change.Holds, w.change.Holds...)
	slices.Sort(w.stored)
	for _, uid := range w.stored {
		w.advance(mail.Ref{Name: w.to.Name, UIDValidity: w.status.UIDValidity}, uid, change)
	}
	switch {
	case w.anchor != 0 && len(w.job.claimed)+len(w.job.arrived) == 0:
		change.Pairs = append(change.Pairs, w.anchored(w.anchor))
	case len(w.stored) > 0:
		change.Pairs = append(change.Pairs, w.Pair) // the first receipts fix DestinationValidity
	}
	w.change, w.stored, w.anchor = mail.Change{}, nil, 0
}

// told tells the observer what has become durable. It is the owner's.
func (w *writer) told() {
	for _, d := range w.tell {
		w.copied(w.job.source.DisplayName(), d.bytes, d.arrived, d.mended)
	}
	w.tell = nil
}

// concluded decides what the end of the task means for it, and for others. It
// is the owner's.
func (w *writer) concluded(change *mail.Change) {
	left := len(w.missing) + len(w.job.claimed) + len(w.job.arrived)
	switch {
	case w.err == nil && w.left == 0 && left == 0 && len(w.uids) == len(w.job.uids):
		w.finished(w.job, change)
		w.over = true
	case errors.Is(w.err, errSeenBefore), w.err != nil && !concernsOne(w.err):
		w.stop()
	}
}

// advance moves the destination anchor over a copy of ours that follows it
// without a gap. A gap is somebody else's mail, to be looked at by the next
// recognition.
func (p *Pass) advance(at mail.Ref, uid mail.UID, change *mail.Change) {
	p.Arrivals.ours(at, uid)
	a := p.anchors[at.Name]
	if a.UIDValidity != at.UIDValidity || a.UIDNext != uid {
		return
	}
	a.UIDNext++
	if change.DestinationAnchors == nil {
		change.DestinationAnchors = make(map[string]mail.Anchor, 1)
	}
	change.DestinationAnchors[at.Name] = a
	p.anchors[at.Name] = a
}

// copied counts a message that has its receipt.
func (p *Pass) copied(mailbox string, bytes int64, arrived time.Time, mended mail.Fixups) {
	p.result.Copied++
	p.result.Bytes += bytes
	p.Observer.Copied(mailbox, bytes, arrived)
	if mended != 0 {
		p.result.Mended++
		p.Observer.Mended(mended)
	}
}
