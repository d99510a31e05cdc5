package pass

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// writer is the destination side of one task. It belongs to the lane; what
// stands in prepare and then is done by the owner of the pass.
type writer struct {
	*carriage
	*task
	open     func() (Appender, error)
	appender Appender // nil: not open yet
	opened   time.Time
	used     bool // something has been sent
	status   mail.Status
	floor    mail.UID
	flight   []flight
	taken    uidSet // what the answers have named
	err      error  // why nothing more is sent
	left     int    // messages that nothing is known of yet

	// What the next commit makes durable.
	before *errand // of the mailbox before, or of this one once it has ended
	change mail.Change
	stored []mail.UID // the UIDs of receipts in change
	tell   []done     // what the observer is told then
	anchor mail.UID   // how far the source is processed then; 0: as far as before
	took   time.Duration
}

// flight is a parcel that is on its way.
type flight struct {
	parcel
	sent    []piece
	uploads []mail.Upload
	intents []mail.Intent
	since   time.Time
	answer  <-chan mail.Answer
	whole   bool // up to its end the source has served everything
}

// flightMost is how many parcels of a mailbox await their answers at most. The
// new server should never run out of work.
const flightMost = 3

type done struct {
	bytes   int64
	arrived time.Time
	mended  mail.Fixups
}

func (c *carriage) writer(ctx context.Context, lane *Lane, t *task, before *errand) *writer {
	return &writer{carriage: c, task: t, before: before, left: len(t.uids), open: func() (Appender, error) {
		if anew := t.creation(); anew != nil {
			return lane.Destination.Make(ctx, *anew)
		}
		return lane.Destination.Appender(ctx, t.to)
	}}
}

// receive waits for the next parcel, and takes the answers that come before it.
func (w *writer) receive(parcels <-chan parcel) (next parcel, ok bool) {
	for len(w.flight) > 0 {
		waiting := parcels
		if len(w.flight) == flightMost {
			waiting = nil
		}
		select {
		case next, ok = <-waiting:
			return next, ok
		case answer := <-w.flight[0].answer:
			w.landed(answer)
		}
	}
	select {
	case next, ok = <-parcels:
		return next, ok
	default:
	}
	w.flush() // there is time for that
	next, ok = <-parcels
	return next, ok
}

// take sends one parcel: intents durable, APPEND. Receipts and holds become
// durable with the intents of a later parcel, or when there is time for it.
func (w *writer) take(ctx context.Context, next parcel) {
	if w.err == nil && !next.last {
		w.fail(w.begin())
	}
	if w.err == nil && !next.last && !next.first {
		w.fail(w.send(ctx, next))
	} else {
		next.release()
	}
}

// fail notes why nothing more of the mailbox is sent.
func (w *writer) fail(err error) {
	if err == nil {
		return
	}
	if w.err == nil {
		close(w.failed)
	}
	w.err = also(w.err, err)
}

// also joins errors but for the doubts and the refusals beyond the first.
func also(err, more error) error {
	switch {
	case err == nil:
		return more
	case more == nil || errors.Is(err, mail.ErrInDoubt) == errors.Is(more, mail.ErrInDoubt):
		return err
	}
	return errors.Join(err, more)
}

// openMost is how long a mailbox may be open before the first message is sent: a
// server may have closed the connection since, and of an APPEND that it has not
// read nobody knows that.
const openMost = 10 * time.Second

// begin selects the destination mailbox for writing.
func (w *writer) begin() error {
	if w.appender != nil && (w.used || time.Since(w.opened) < openMost) {
		return nil
	}
	appender, err := w.open()
	if refused := new(mail.Refused); w.make && errors.As(err, &refused) && refused.Command == "CREATE" {
		return errMailbox{errUnmade{err}}
	} else if errors.Is(err, mail.ErrReadOnly) {
		return errMailbox{fmt.Errorf("%q on the new server: %w", w.Pair.DestinationPath, err)}
	} else if err != nil {
		return mailboxError(fmt.Errorf("open %q on the new server: %w", w.Pair.DestinationPath, err))
	}
	w.appender, w.status, w.opened = appender, appender.Status(), time.Now()
	if w.floor = w.status.UIDNext; w.floor == 0 {
		// Courier's SELECT does not tell; what STATUS told earlier is a floor too.
		w.floor = max(w.task.floor, 1)
	}
	anew := false
	if err := w.carriage.own(func(*mail.Change) {
		if w.make {
			w.make = false
			w.haveMade([]*plan.Pairing{&w.Pairing}, []error{nil})
		}
		if w.Pair.DestinationValidity == 0 {
			w.Pair.DestinationValidity = w.status.UIDValidity
		}
		anew = w.status.UIDValidity != w.Pair.DestinationValidity
		if name := w.to.Name; w.to.UIDValidity == 0 && w.anchors[name].UIDValidity != w.status.UIDValidity {
			w.anchors[name] = mail.Anchor{UIDValidity: w.status.UIDValidity, UIDNext: w.status.UIDNext}
		}
	}, nil); err != nil {
		return err
	}
	if anew {
		return mail.ErrUIDValidity // made anew since the listing: the receipts' UIDs are void (I5)
	}
	return nil
}

// send sends one parcel.
func (w *writer) send(ctx context.Context, next parcel) error {
	next.pieces = w.served(next)
	if err := w.dress(&next); err != nil {
		next.release()
		return err
	}
	f := flight{parcel: next}
	var cut error // before the end of the parcel
	err := w.own(func(change *mail.Change) {
		w.earned(change)
		f.sent, cut = w.untilSeenBefore(next.pieces)
		f.sent = w.admitted(f.sent)
		f.uploads, f.intents = w.intend(f.sent)
		change.Intents = append(change.Intents, f.intents...)
		w.withhold(f.sent, change)
	}, w.told)
	if err != nil || len(f.sent) == 0 {
		next.release()
		return cmp.Or(err, cut)
	}
	f.whole = cut == nil && len(w.missing) == 0
	f.since, w.used = time.Now(), true
	f.answer = w.appender.Append(ctx, f.uploads)
	w.flight = append(w.flight, f)
	return cut
}

// served are the messages of the parcel that could be had. The others that were
// asked for are noted.
func (w *writer) served(next parcel) []piece {
	called := callRoll(next.asked)
	served := slices.DeleteFunc(next.pieces, func(m piece) bool {
		if m.unserved == nil {
			called.mark(m.UID)
			return false
		}
		if w.job.unserved == nil {
			w.job.unserved = make(map[mail.UID]unserved)
		}
		w.job.unserved[m.UID] = *m.unserved
		return true
	})
	w.missing = append(w.missing, called.left()...)
	return served
}

// admitted are the messages that are to be sent: the others were carried before,
// or are there already.
func (w *writer) admitted(pieces []piece) []piece {
	gone := w.gone.byPrint
	return slices.DeleteFunc(pieces, func(m piece) bool {
		if len(gone[m.Fingerprint]) > 0 {
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
}

// intend notes what is about to be sent.
func (w *writer) intend(pieces []piece) ([]mail.Upload, []mail.Intent) {
	uploads := make([]mail.Upload, len(pieces))
	intents := make([]mail.Intent, len(pieces))
	for i, m := range pieces {
		uploads[i] = mail.Upload{Size: m.form.size, Date: m.InternalDate, Flags: m.form.flags, Content: m.form.content}
		w.lastID++
		intents[i] = mail.Intent{
			ID: w.lastID, Kind: mail.IntentAppend, Pair: w.Pair.ID, Source: m.UID,
			Size: m.form.size, InternalDate: m.InternalDate, Fingerprint: m.form.print, Mended: m.form.mended, Flags: m.form.flags,
			Mailbox: w.to.Name, UIDValidity: w.status.UIDValidity, Floor: w.floor,
		}
		if m.form.print != m.Fingerprint {
			intents[i].Original = m.Fingerprint
		}
	}
	return uploads, intents
}

// landed turns the outcomes of the parcel that was sent first into receipts and
// holds.
func (w *writer) landed(answer mail.Answer) {
	f := w.flight[0]
	w.flight = w.flight[1:]
	defer f.release()
	took := time.Since(f.since)
	w.took = max(w.took, took)
	w.Observer.Appended(len(f.sent), took)

	var stop error
	receipts := make([]mail.Receipt, 0, len(f.sent))
	for i, m := range f.sent {
		outcome := mail.Appended{Err: mail.ErrInDoubt}
		if i < len(answer.Outcomes) {
			outcome = answer.Outcomes[i]
		}
		var refused *mail.Refused
		switch {
		case outcome.Err == nil && outcome.UIDValidity == w.status.UIDValidity && outcome.UID >= f.intents[i].Floor && w.taken.add(outcome.UID):
			receipts = append(receipts, mail.Receipt{Source: m.UID, Destination: outcome.UID, Fingerprint: m.Fingerprint, Flags: f.uploads[i].Flags})
			w.settled(f.intents[i])
			w.floor = max(w.floor, outcome.UID+1)
			w.stored = append(w.stored, outcome.UID)
			w.tell = append(w.tell, done{m.form.size, m.InternalDate, m.form.mended})
			w.accepted(m)
			w.left--
		case outcome.Err == nil:
			// Stored, but where? The intent stays open and is resolved (I2).
			stop = also(stop, mail.ErrInDoubt)
		case errors.As(outcome.Err, &refused):
			w.settled(f.intents[i])
			stop = also(stop, w.refused(m, refused))
		case errors.Is(outcome.Err, mail.ErrNotSent):
			w.settled(f.intents[i])
			stop = also(stop, mail.ErrInDoubt)
		default:
			stop = also(stop, mail.ErrInDoubt)
		}
	}
	if len(receipts) > 0 {
		w.change.Receipts = append(w.change.Receipts, mail.PairReceipts{Pair: w.Pair.ID, Receipts: receipts})
	}
	if answer.Err != nil && (stop == nil || stop == mail.ErrInDoubt) {
		stop = fmt.Errorf("%w: %w", mail.ErrInDoubt, answer.Err)
	}
	if stop == nil && w.err == nil && f.whole && !w.again {
		w.anchor = f.asked[len(f.asked)-1] + 1
	}
	w.fail(stop)
}

// refused decides what a refusal means: wait, stop, or hold this message.
func (w *writer) refused(m piece, r *mail.Refused) error {
	reason := mail.ReasonRefused
	switch {
	case isOverQuota(r):
		return fmt.Errorf("%w: %w", ErrOverQuota, r)
	case r.Code == "TRYCREATE":
		// The next listing tells whether it has gone; what was sent besides may
		// have been stored.
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
	if reason != mail.ReasonTooBig {
		if again, err := w.otherForm(m, r, reason); again || err != nil {
			return err
		}
	}
	if tried, ok := w.job.refused[m.UID]; ok {
		r, reason = tried.first, tried.reason // what it said of the message as it is
	}
	w.change.Holds = append(w.change.Holds, w.hold(w.job, m.UID, m.Size, reason, r.Error()))
	w.left--
	return nil
}
