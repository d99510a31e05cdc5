package pass

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// carry copies the messages of one mailbox that have to be copied. Where an
// answer is lost it resolves what is in doubt and goes on with what is left.
func (p *Pass) carry(ctx context.Context, job *job) error {
	if err := p.unresolved[job.Pair.Destination]; err != nil {
		return mailboxError(err) // sending now might send twice
	}
	p.refresh(job)
	probed := !alike(job)
	for len(job.uids) > 0 {
		before, uids := len(job.uids), job.uids
		if !probed {
			// One message tells whether both names lead to one mailbox.
			uids = uids[:1]
		}
		err := p.carryOnce(ctx, job, uids)
		seenBefore := errors.Is(err, errSeenBefore)
		if seenBefore {
			err = p.recount(ctx, job)
		}
		if !errors.Is(err, ErrJournal) && ctx.Err() == nil {
			if rerr := p.resolve(ctx); rerr != nil {
				return errors.Join(err, rerr)
			}
		}
		p.refresh(job)
		claimed, there := job.claimed, job.arrived
		if job.claimed, job.arrived = nil, nil; err == nil {
			if err := p.claim(ctx, job, claimed); err != nil {
				return err
			}
			if err := p.adoptArrivals(job, there); err != nil {
				return err
			}
		} else {
			p.Arrivals.putBack(there)
		}
		left, uerr := p.uncarried(job)
		if uerr != nil {
			return uerr
		}
		job.uids = left
		var only errMailbox
		switch {
		case errors.Is(err, ErrOverQuota) || errors.As(err, &only) || err != nil && !errors.Is(err, mail.ErrInDoubt):
			return err
		case len(left) == before && !seenBefore:
			return fmt.Errorf("carry: no progress: %w", errors.Join(err, mail.ErrInDoubt))
		}
		if err == nil && !probed && !seenBefore {
			if err := p.probe(ctx, job, uids[0]); err != nil {
				return err
			}
			probed = true
		}
	}
	finished := mail.Change{Pairs: []mail.Pair{job.anchored(job.end)}}
	if key := (mail.HoldKey{Pair: job.Pair.ID}); p.holds[key].Pair != 0 {
		finished.Unhold = append(finished.Unhold, key)
	}
	return p.commit(finished)
}

// refresh gives the job its pair as commits of others have left it.
func (p *Pass) refresh(job *job) {
	stored := p.pairs[job.Pair.ID]
	if stored.DestinationValidity == 0 {
		stored.DestinationValidity = job.Pair.DestinationValidity // not in use yet
	}
	job.Pair = stored
}

// uncarried returns what is left of the job.
func (p *Pass) uncarried(job *job) ([]mail.UID, error) {
	held := make(map[mail.UID]bool)
	for key, h := range p.holds {
		if key.Pair == job.Pair.ID && !h.Retry {
			held[key.UID] = true
		}
	}
	uids, err := plan.Uncarried(job.uids, p.Journal.Receipts(job.Pair.ID), held)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return slices.DeleteFunc(uids, func(uid mail.UID) bool { return job.absent[uid] }), nil
}

// carryOnce runs the two sides at once: parcels are fetched while earlier ones
// are appended. It ends with nothing in flight; when it is to stop, what has
// been fetched is still sent, so that no message is fetched again.
func (p *Pass) carryOnce(ctx context.Context, job *job, uids []mail.UID) error {
	gone, err := p.vanished()
	if err != nil {
		return err
	}
	if err := p.readCarried(); err != nil {
		return err
	}
	appender, err := p.open(ctx, job)
	if err != nil {
		return err
	}
	defer appender.Close()

	parcels := make(chan parcel, 1)
	done := make(chan struct{})
	fetched := make(chan error, 1)
	go func() {
		defer close(parcels)
		fetched <- p.fetch(ctx, job, uids, parcels, done)
	}()

	w := &writer{Pass: p, job: job, appender: appender, status: appender.Status(), gone: gone}
	if w.floor = w.status.UIDNext; w.floor == 0 {
		// Courier's SELECT does not tell; what STATUS told earlier is a floor too.
		w.floor = max(p.destination[job.Pair.Destination].Status.UIDNext, 1)
	}
	var missing []mail.UID
	var sendErr error
	for next := range parcels {
		if sendErr == nil {
			absent := w.left(next)
			missing = append(missing, absent...)
			if sendErr = w.send(ctx, next, len(missing) == 0); sendErr != nil {
				close(done)
			}
		}
		next.release()
	}
	fetchErr := <-fetched
	if err := w.flush(sendErr); err != nil {
		return err
	}
	if sendErr != nil {
		return sendErr
	}
	if fetchErr != nil {
		return mailboxError(fetchErr)
	}
	return p.account(ctx, job, missing)
}

func (p *Pass) stopped() error {
	select {
	case <-p.Stopping:
		return ErrStopped
	default:
		return nil
	}
}

// open selects the destination mailbox for writing, making it when its user
// has removed it.
func (p *Pass) open(ctx context.Context, job *job) (Appender, error) {
	name := job.Pair.Destination
	box, exists := p.destination[name]
	if !exists {
		if err := p.create(ctx, job.Pair, job.source); err != nil {
			return nil, mailboxError(err)
		}
		box = p.destination[name]
	}
	appender, err := p.Destination.Appender(ctx, mail.Ref{Name: name, UIDValidity: box.Status.UIDValidity})
	if err != nil {
		if errors.Is(err, mail.ErrReadOnly) {
			return nil, errMailbox{fmt.Errorf("%q on the new server: %w", job.Pair.DestinationPath, err)}
		}
		return nil, mailboxError(fmt.Errorf("open %q on the new server: %w", job.Pair.DestinationPath, err))
	}
	status := appender.Status()
	if job.Pair.DestinationValidity == 0 {
		job.Pair.DestinationValidity = status.UIDValidity
	}
	if status.UIDValidity != job.Pair.DestinationValidity {
		// Made anew since the listing: the receipts' UIDs are void (I5).
		appender.Close()
		return nil, mail.ErrUIDValidity
	}
	if box.Status.UIDValidity == 0 && p.anchors[name].UIDValidity != status.UIDValidity {
		p.anchors[name] = mail.Anchor{UIDValidity: status.UIDValidity, UIDNext: status.UIDNext}
	}
	return appender, nil
}

// account explains the messages that were asked for and not served: gone
// meanwhile, as UID SEARCH confirms, or held.
func (p *Pass) account(ctx context.Context, job *job, missing []mail.UID) error {
	if len(missing) == 0 {
		return nil
	}
	present, err := p.Source.UIDs(ctx, job.ref(), missing[0])
	if err != nil {
		return fmt.Errorf("confirm absence: %w", err)
	}
	var change mail.Change
	for _, uid := range missing {
		_, there := slices.BinarySearch(present, uid)
		size, hollow := job.hollow[uid]
		switch {
		case there && hollow:
			change.Holds = append(change.Holds, p.hold(job, uid, size, mail.ReasonEmpty, "the old server announces a size but serves no content"))
		case there:
			change.Holds = append(change.Holds, p.hold(job, uid, 0, mail.ReasonMissing, "the old server lists the message but does not serve it"))
		default:
			if job.absent == nil {
				job.absent = make(map[mail.UID]bool)
			}
			job.absent[uid] = true
			change.Unhold = append(change.Unhold, mail.HoldKey{Pair: job.Pair.ID, UID: uid})
		}
	}
	return p.commit(change)
}

// mailboxError marks a refusal as one that concerns the mailbox only: it is
// held, and tried again by the next pass, while the others go on.
func mailboxError(err error) error {
	var refused *mail.Refused
	if errors.As(err, &refused) && refused.Code != "OVERQUOTA" {
		return errMailbox{err}
	}
	return err
}

// transient tells whether the server may well take the command later (RFC
// 5530), so that waiting, not holding, is the answer.
func transient(r *mail.Refused) bool {
	switch r.Code {
	case "LIMIT":
		// Of a log-in or of a rate; else, as RFC 5530 has it, of what the
		// command carries.
		text := strings.ToLower(r.Text)
		return strings.Contains(text, "rate") || strings.Contains(text, "too many") || strings.Contains(text, "later")
	case "UNAVAILABLE", "THROTTLED", "EXPIRED", "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "PRIVACYREQUIRED", "CONTACTADMIN":
		return true
	}
	return false
}

// alike tells whether both sides of a pair number alike, which one mailbox
// under two names would. Two servers may also do so by chance.
func alike(job *job) bool {
	s, d := job.source.Status, job.Destination.Status
	return s.UIDValidity != 0 && s.UIDValidity == d.UIDValidity && s.UIDNext == d.UIDNext
}

// probe looks whether the copy of a message has appeared on the source (I10).
func (p *Pass) probe(ctx context.Context, job *job, carried mail.UID) error {
	var sent mail.Fingerprint
	for r, err := range p.Journal.Receipts(job.Pair.ID) {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrJournal, err)
		}
		if r.Source == carried {
			sent = r.Fingerprint
		}
	}
	uids, err := p.Source.UIDs(ctx, job.ref(), job.end)
	if err != nil {
		return fmt.Errorf("probe source: %w", err)
	}
	for m, err := range p.Source.Messages(ctx, job.ref(), uids, true) {
		if err != nil {
			return fmt.Errorf("probe source: %w", err)
		}
		if sent != 0 && m.Fingerprint == sent {
			return ErrSameMailbox
		}
	}
	return nil
}
