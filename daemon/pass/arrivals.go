package pass

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Arrivals are the messages that have lately reached the destination by
// themselves: by dual delivery, or forwarded by the old server. A new source
// message of the same Message-ID and Date is such a message, one to one. They
// are looked for once a mailbox has been copied, where mail has come that no
// receipt names.
//
// The other way may be the slower one: then the message was copied and is there
// twice. Where that is seen, or any message came both ways lately, new mail waits
// a moment for its twin.
type Arrivals struct {
	looked  map[string]mail.Anchor // destination mailboxes, as far as they were looked at
	byKey   map[mail.Fingerprint][]arrival
	carried map[mail.Fingerprint]original // what was copied lately
	twins   time.Time                     // when a message was last seen to come both ways
	warned  time.Time
	count   int       // since then
	doubled time.Time // when the operator was last told of mail that is there twice
}

// arrival is one of them.
type arrival struct {
	ref   mail.Ref
	uid   mail.UID
	flags mail.Flags
	date  time.Time
}

// original is a source message that was copied.
type original struct {
	size     int64
	date, at time.Time // INTERNALDATE, and of the copy
}

// twinOf tells whether a message of the destination with the same key has come
// another way: it has other trace fields, or came at another time. What its user
// makes of our copy, by COPY or MOVE, keeps its date.
func (o original) twinOf(m mail.Message) bool {
	return !o.date.Equal(m.InternalDate) || max(o.size-m.Size, m.Size-o.size) > traceLeast
}

// arrived is a source message in hand with what it is on the destination.
type arrived struct {
	mail.Message
	key mail.Fingerprint
	at  arrival
}

const (
	// arrivalKept is how long the two ways of one message may lie apart.
	arrivalKept = 48 * time.Hour
	// arrivalsLooked is how many of the newest UIDs of a mailbox are looked at
	// when it is looked at first, and of new mail.
	arrivalsLooked = 500
	// arrivalsHint is how many within an hour the operator should know about.
	arrivalsHint = 5
	// carriedMost bounds what is remembered of what was copied.
	carriedMost = 4096
	// traceLeast is less than a Received field has (RFC 5321 §4.4), and more than
	// servers add at the end of what they store.
	traceLeast = 16
	// twinWait is Options.TwinWait by default: a server that forwards hands over
	// within seconds.
	twinWait = 30 * time.Second
)

// ours moves on over a copy of ours that follows what was looked at.
func (a *Arrivals) ours(at mail.Ref, uid mail.UID) {
	if seen, ok := a.looked[at.Name]; ok && seen.UIDValidity == at.UIDValidity && seen.UIDNext == uid {
		seen.UIDNext++
		a.looked[at.Name] = seen
	}
}

// lookForArrivals reads what has come to the destination by itself, before
// anything new is carried into a mailbox that was copied before.
func (p *Pass) lookForArrivals(ctx context.Context, work []*job) error {
	if p.Policy.CopyAgain || !slices.ContainsFunc(work, func(j *job) bool { return j.established && !j.sidelined && len(j.uids) > 0 }) {
		return nil
	}
	a, now := p.Arrivals, time.Now()
	if a.looked == nil {
		a.looked, a.byKey = make(map[string]mail.Anchor), make(map[mail.Fingerprint][]arrival)
	}
	maps.DeleteFunc(a.carried, func(_ mail.Fingerprint, o original) bool { return now.Sub(o.at) > arrivalKept })
	for key, list := range a.byKey {
		if list = slices.DeleteFunc(list, func(at arrival) bool { return now.Sub(at.date) > arrivalKept }); len(list) == 0 {
			delete(a.byKey, key)
		} else {
			a.byKey[key] = list
		}
	}
	boxes, from := p.unlooked()
	if len(boxes) == 0 {
		return p.awaitTwins(ctx, work)
	}
	named, err := p.named(from)
	if err != nil {
		return err
	}
	for _, box := range boxes {
		if err := p.lookInto(ctx, box, from[box.Name], named[box.Name]); isOutOfReach(err) {
			p.Logger.Debug("mailbox on the new server cannot be looked at", "mailbox", box.DisplayName(), "error", err)
		} else if err != nil {
			return err
		}
	}
	return p.awaitTwins(ctx, work)
}

// awaitTwins leaves young mail to a later pass where mail comes both ways.
func (p *Pass) awaitTwins(ctx context.Context, work []*job) error {
	work = slices.DeleteFunc(slices.Clone(work), func(j *job) bool { return !j.established || j.sidelined || len(j.uids) == 0 })
	a, now := p.Arrivals, time.Now()
	if now.Sub(a.twins) > arrivalKept && len(a.byKey) > 0 {
		for _, job := range work {
			for m, err := range p.Source.Headers(ctx, job.ref(), job.uids[max(0, len(job.uids)-arrivalsLooked):]) {
				if err != nil {
					return err
				}
				if len(a.byKey[m.Key]) > 0 {
					a.twins = now
				}
			}
		}
	}
	if now.Sub(a.twins) > arrivalKept {
		return nil
	}
	for _, job := range work {
		if err := p.deferYoung(ctx, job, cmp.Or(p.TwinWait, twinWait)); err != nil {
			return err
		}
	}
	return nil
}

// unlooked are the destination mailboxes that have grown since they were looked
// at, by name, and from where on.
func (p *Pass) unlooked() (boxes []mail.Mailbox, from map[string]mail.Anchor) {
	from = make(map[string]mail.Anchor)
	for _, name := range slices.Sorted(maps.Keys(p.destination)) {
		box := p.destination[name]
		if box.IsView() || p.made[name] || p.waiting[name] || p.unresolved[name] != nil || box.Status.UIDValidity == 0 || box.Status.UIDNext == 0 {
			continue
		}
		at := mail.Anchor{UIDValidity: box.Status.UIDValidity, UIDNext: box.Status.UIDNext - min(box.Status.UIDNext-1, arrivalsLooked)}
		if seen := p.Arrivals.looked[name]; seen.UIDValidity == at.UIDValidity {
			at = seen
		}
		if at.UIDNext < box.Status.UIDNext {
			boxes = append(boxes, box)
			from[name] = at
		}
	}
	return boxes, from
}

// lookInto reads the arrivals of one mailbox from a UID on. named are those that
// have receipts: where all have, the server need not be asked.
func (p *Pass) lookInto(ctx context.Context, box mail.Mailbox, from mail.Anchor, named map[mail.UID]bool) error {
	ref := mail.Ref{Name: box.Name, UIDValidity: from.UIDValidity}
	next, known := box.Status.UIDNext, mail.UID(0)
	for uid := range named {
		if uid < next {
			known++
		}
	}
	if known == next-from.UIDNext {
		p.Arrivals.looked[box.Name] = mail.Anchor{UIDValidity: ref.UIDValidity, UIDNext: next}
		return nil
	}
	uids, err := p.Destination.UIDs(ctx, ref, from.UIDNext)
	if err != nil {
		return err
	}
	if len(uids) > 0 {
		next = max(next, uids[len(uids)-1]+1)
	}
	uids = slices.DeleteFunc(uids, func(uid mail.UID) bool { return named[uid] })
	now := time.Now()
	var recent []mail.UID
	sizes := make(map[mail.UID]int64)
	for m, err := range p.Destination.Messages(ctx, ref, uids, false) {
		if err != nil {
			return err
		}
		if now.Sub(m.InternalDate) <= arrivalKept {
			recent = append(recent, m.UID)
			sizes[m.UID] = m.Size
		}
	}
	slices.Sort(recent)
	for m, err := range p.Destination.Headers(ctx, ref, recent) {
		if err != nil {
			return err
		}
		copied, known := p.Arrivals.carried[m.Key]
		if m.Size = sizes[m.UID]; known && copied.twinOf(m) {
			p.doubled(box, m.Key)
		} else if m.Key != 0 {
			p.Arrivals.byKey[m.Key] = append(p.Arrivals.byKey[m.Key], arrival{ref, m.UID, m.Flags, m.InternalDate})
		}
	}
	p.Arrivals.looked[box.Name] = mail.Anchor{UIDValidity: ref.UIDValidity, UIDNext: next}
	return nil
}

// doubled notes that a message which was copied has come by itself as well.
func (p *Pass) doubled(box mail.Mailbox, key mail.Fingerprint) {
	a, now := p.Arrivals, time.Now()
	delete(a.carried, key)
	a.twins = now
	if now.Sub(a.doubled) >= time.Hour {
		a.doubled = now
		p.Logger.Warn("mail reaches the new server by itself as well, after it was copied, and is there twice: by dual delivery or forwarding; end that, or bear that new mail waits for it from now on",
			"mailbox", box.DisplayName(), "waits", cmp.Or(p.TwinWait, twinWait))
	}
}

// takeArrival finds the arrival that a message in hand is, and takes it. What is
// none is about to be copied.
func (p *Pass) takeArrival(job *job, m piece) (arrived, bool) {
	if !job.established || p.Policy.CopyAgain {
		return arrived{}, false
	}
	header := make([]byte, min(m.Size, 64<<10))
	if n, err := m.content.ReadAt(header, 0); err != nil && err != io.EOF {
		header = header[:n]
	}
	key := mail.HeaderKey(header)
	list := p.Arrivals.byKey[key]
	if key == 0 {
		return arrived{}, false
	}
	if len(list) == 0 {
		if p.Arrivals.carried == nil {
			p.Arrivals.carried = make(map[mail.Fingerprint]original)
		}
		if len(p.Arrivals.carried) < carriedMost {
			p.Arrivals.carried[key] = original{m.Size, m.InternalDate, time.Now()}
		}
		return arrived{}, false
	}
	at := slices.IndexFunc(list, func(a arrival) bool { return a.ref.Name == job.Pair.Destination })
	at = max(at, 0)
	taken := list[at]
	p.Arrivals.byKey[key] = slices.Delete(list, at, at+1)
	return arrived{m.Message, key, taken}, true
}

// putBack gives back what was taken for messages that have no receipts yet.
func (a *Arrivals) putBack(list []arrived) {
	for _, m := range list {
		a.byKey[m.key] = append(a.byKey[m.key], m.at)
	}
}

// adoptArrivals makes receipts of messages that are there already. They are
// their user's: nothing of them is changed. One that has a receipt by now is
// none of them.
func (p *Pass) adoptArrivals(job *job, list []arrived) error {
	if len(list) == 0 {
		return nil
	}
	from := make(map[string]mail.Anchor)
	for _, m := range list {
		from[m.at.ref.Name] = mail.Anchor{UIDValidity: m.at.ref.UIDValidity}
	}
	named, err := p.named(from)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(m arrived) bool { return named[m.at.ref.Name][m.at.uid] })
	receipts := make([]mail.Receipt, len(list))
	for i, m := range list {
		r := mail.Receipt{Source: m.UID, Destination: m.at.uid, Fingerprint: m.Fingerprint, Flags: m.at.flags, Touched: true}
		if m.at.ref.Name != job.Pair.Destination || m.at.ref.UIDValidity != job.Pair.DestinationValidity {
			r.Mailbox, r.UIDValidity = m.at.ref.Name, m.at.ref.UIDValidity
		}
		receipts[i] = r
	}
	slices.SortFunc(receipts, bySource)
	if err := p.commit(mail.Change{Receipts: []mail.PairReceipts{{Pair: job.Pair.ID, Receipts: receipts}}}); err != nil {
		return err
	}
	p.result.Recognised += len(list)
	p.Observer.Recognised(len(list))
	now := time.Now()
	if len(list) > 0 {
		p.Arrivals.twins = now
	}
	if p.Arrivals.count += len(list); now.Sub(p.Arrivals.warned) >= time.Hour {
		if p.Arrivals.count > arrivalsHint {
			p.Logger.Warn(fmt.Sprintf("mail reaches the new server by itself as well, by dual delivery or forwarding: %d messages were not copied again", p.Arrivals.count))
		}
		p.Arrivals.warned, p.Arrivals.count = now, 0
	}
	return nil
}
