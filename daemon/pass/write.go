package pass

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// writer is the destination side of one carry.
type writer struct {
	*Pass
	job      *job
	appender Appender
	status   mail.Status
	floor    mail.UID
	gone     map[mail.Fingerprint][]vanished
	change   mail.Change // what the next commit makes durable
	done     []done      // told to the observer once it is
}

type done struct {
	bytes   int64
	arrived time.Time
}

// left returns the messages of the parcel that were asked for and not served,
// or served without content although a size was announced.
func (w *writer) left(next parcel) []mail.UID {
	served := make(map[mail.UID]bool, len(next.pieces))
	for _, m := range next.pieces {
		if m.Size == 0 && m.claimed > 0 {
			if w.job.hollow == nil {
				w.job.hollow = make(map[mail.UID]int64)
			}
			w.job.hollow[m.UID] = m.claimed
			continue
		}
		served[m.UID] = true
	}
	return slices.DeleteFunc(slices.Clone(next.asked), func(uid mail.UID) bool { return served[uid] })
}

// send carries one parcel: intents durable, APPEND, then receipts and holds,
// which become durable with the intents of the next parcel or by flush.
// anchor allows the source anchor to follow.
func (w *writer) send(ctx context.Context, next parcel, anchor bool) error {
	pieces, seenBefore := w.untilSeenBefore(next.pieces)
	if seenBefore != nil && !errors.Is(seenBefore, errSeenBefore) {
		return seenBefore
	}
	pieces = slices.DeleteFunc(slices.Clone(pieces), func(m piece) bool {
		if _, hollow := w.job.hollow[m.UID]; hollow {
			return true
		}
		if len(w.gone[m.Fingerprint]) > 0 {
			// It was carried before: its receipt is to have this UID.
			w.job.claimed = append(w.job.claimed, plan.Item{Fingerprint: m.Fingerprint, UID: m.UID})
			return true
		}
		if at, ok := w.takeArrival(w.job, m); ok {
			w.job.arrived = append(w.job.arrived, at)
			return true
		}
		return false
	})
	uploads := make([]mail.Upload, len(pieces))
	intents := make([]mail.Intent, len(pieces))
	for i, m := range pieces {
		uploads[i] = mail.Upload{Size: m.Size, Date: m.InternalDate, Flags: w.appender.Storable(m.Flags), Content: m.content}
		w.lastID++
		intents[i] = mail.Intent{
			ID: w.lastID, Kind: mail.IntentAppend, Pair: w.job.Pair.ID, Source: m.UID,
			Size: m.Size, InternalDate: m.InternalDate, Fingerprint: m.Fingerprint, Flags: uploads[i].Flags,
			Mailbox: w.job.Pair.Destination, UIDValidity: w.status.UIDValidity, Floor: w.floor,
		}
	}
	w.change.Intents = append(w.change.Intents, intents...)
	if err := w.flush(nil); err != nil {
		return err
	}
	if len(pieces) == 0 {
		return seenBefore
	}
	if err := w.append(ctx, pieces, uploads, intents); err != nil {
		return err
	}
	if seenBefore != nil {
		return seenBefore
	}
	if anchor && len(w.job.claimed)+len(w.job.arrived) == 0 {
		pair := w.job.anchored(next.asked[len(next.asked)-1] + 1)
		w.change.Pairs = []mail.Pair{pair}
	}
	return nil
}

// append sends the messages and turns the outcomes into receipts and holds.
func (w *writer) append(ctx context.Context, pieces []piece, uploads []mail.Upload, intents []mail.Intent) error {
	if len(pieces) == 0 {
		return nil
	}
	start := time.Now()
	outcomes, connErr := w.appender.Append(ctx, uploads)
	took := time.Since(start)
	w.latency = max(w.latency, took)
	w.Observer.Appended(len(pieces), took)

	var stop error
	receipts := make([]mail.Receipt, 0, len(pieces))
	for i, m := range pieces {
		outcome := mail.Appended{Err: mail.ErrInDoubt}
		if i < len(outcomes) {
			outcome = outcomes[i]
		}
		var refused *mail.Refused
		switch {
		case outcome.Err == nil && outcome.UID >= w.floor && outcome.UIDValidity == w.status.UIDValidity && outcome.UID != 0:
			receipts = append(receipts, mail.Receipt{Source: m.UID, Destination: outcome.UID, Fingerprint: m.Fingerprint, Flags: uploads[i].Flags})
			w.settled(intents[i])
			w.floor = outcome.UID + 1
			w.advance(outcome.UID)
			w.done = append(w.done, done{m.Size, m.InternalDate})
		case outcome.Err == nil:
			// Stored, but where? The intent stays open and is resolved (I2).
			stop = errors.Join(stop, mail.ErrInDoubt)
		case errors.As(outcome.Err, &refused):
			w.settled(intents[i])
			stop = errors.Join(stop, w.refused(ctx, m, refused))
		case errors.Is(outcome.Err, mail.ErrNotSent):
			w.unsent(intents[i : i+1])
			stop = errors.Join(stop, mail.ErrInDoubt)
		default:
			stop = errors.Join(stop, mail.ErrInDoubt)
		}
	}
	if len(receipts) > 0 {
		w.change.Receipts = append(w.change.Receipts, mail.PairReceipts{Pair: w.job.Pair.ID, Receipts: receipts})
		w.change.Pairs = []mail.Pair{w.job.Pair} // the first receipts fix DestinationValidity
	}
	if connErr != nil && stop == nil {
		stop = errors.Join(connErr, mail.ErrInDoubt)
	}
	return stop
}

// refused decides what a refusal means: wait, stop, or hold this message.
func (w *writer) refused(ctx context.Context, m piece, r *mail.Refused) error {
	reason := mail.ReasonRefused
	switch {
	case r.Code == "OVERQUOTA":
		return fmt.Errorf("%w: %w", ErrOverQuota, r)
	case r.Code == "TRYCREATE":
		delete(w.destination, w.job.Pair.Destination)
		return fmt.Errorf("%w: %w", mail.ErrUIDValidity, r)
	case transient(r):
		return r
	case r.Code == "NOPERM" || r.Code == "NONEXISTENT" || r.Code == "SERVERBUG" || r.Code == "INUSE":
		return errMailbox{r}
	case r.Code == "TOOBIG" || r.Code == "LIMIT" && strings.Contains(strings.ToLower(r.Text), "size"):
		reason = mail.ReasonTooBig
	case r.Code == "FLAGS":
		reason = mail.ReasonFlags
	}
	w.change.Holds = append(w.change.Holds, w.hold(w.job, m.UID, m.Size, reason, r.Error()))
	return nil
}

func (w *writer) settled(i mail.Intent) { w.change.Settle = append(w.change.Settle, i.ID) }

// unsent takes back intents of which nothing was sent.
func (w *writer) unsent(intents []mail.Intent) {
	for _, i := range intents {
		w.settled(i)
	}
}

// advance moves the destination anchor over a copy of ours that follows it
// without a gap. A gap is somebody else's mail, to be looked at by the next
// recognition.
func (w *writer) advance(uid mail.UID) {
	name := w.job.Pair.Destination
	w.Arrivals.ours(mail.Ref{Name: name, UIDValidity: w.status.UIDValidity}, uid)
	a := w.anchors[name]
	if a.UIDValidity != w.status.UIDValidity || a.UIDNext != uid {
		return
	}
	a.UIDNext++
	if w.change.DestinationAnchors == nil {
		w.change.DestinationAnchors = make(map[string]mail.Anchor, 1)
	}
	w.change.DestinationAnchors[name] = a
	w.anchors[name] = a
}

// flush commits what has been gathered. After cause, an error of the carry
// itself, it still commits the receipts that were earned before.
func (w *writer) flush(cause error) error {
	if errors.Is(cause, ErrJournal) {
		return cause
	}
	change, finished := w.change, w.done
	w.change, w.done = mail.Change{}, nil
	for _, r := range change.Receipts {
		for _, receipt := range r.Receipts {
			key := mail.HoldKey{Pair: r.Pair, UID: receipt.Source}
			if _, held := w.holds[key]; held {
				change.Unhold = append(change.Unhold, key)
			}
		}
	}
	if err := w.commit(change); err != nil {
		return err
	}
	for _, d := range finished {
		w.copied(w.job.source.DisplayName(), d.bytes, d.arrived)
	}
	return nil
}

// copied counts a message that has its receipt.
func (p *Pass) copied(mailbox string, bytes int64, arrived time.Time) {
	p.result.Copied++
	p.result.Bytes += bytes
	p.Observer.Copied(mailbox, bytes, arrived)
}
