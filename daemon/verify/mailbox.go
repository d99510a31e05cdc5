package verify

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// match is a source message with its copy: small, since a deep comparison
// remembers all of them.
type match struct {
	source, copied mail.UID
	octets         uint32 // of the source message, as far as they fit
	class          uint8  // index in Classes, by date and flags
	resized        bool   // the servers give different sizes
	place          *pile  // where the copy is; nil: in the place of the mailbox
}

// unpaired is a source message without a copy where it should be.
type unpaired struct {
	item
	box   *box
	class Class // Missing, Removed or Pending, unless it is found elsewhere
	why   string
	// away is where a receipt saw the copy last, when that is another mailbox.
	away    mail.Ref
	awayUID mail.UID
	receipt *mail.Receipt
}

// mailbox compares a source mailbox with its place, as far as metadata go.
func (c *comparison) mailbox(ctx context.Context, b *box) error {
	hold, held := c.holds[mail.HoldKey{Pair: b.pair.ID, Path: onlyWithout(b.pair, b.source)}]
	if held {
		d := Difference{Class: Held, Mailbox: b.source.DisplayName(), What: "the mailbox: " + string(hold.Reason) + ": " + hold.Text}
		if hold.Skipped {
			d.Class, d.What = Skipped, "the mailbox, because: "+hold.Because
			c.note(b, d, int64(b.source.Status.Messages))
			return nil
		}
		c.note(b, d, 1)
	}
	copies, err := c.copies(ctx, b)
	if err != nil {
		return err
	}
	var uids []mail.UID
	if !b.gone && !isEmpty(b.source) {
		if uids, err = c.Source.UIDs(ctx, b.ref(), 1); err != nil {
			return err
		}
	}
	pairing := c.byFingerprint
	if b.proven {
		pairing = c.byReceipt
	}
	find, close := pairing(b, copies)
	err = c.messages(ctx, b, uids, held, find)
	if err := errors.Join(err, close()); err != nil {
		return err
	}
	c.leftOver(b, copies)
	return nil
}

// messages pairs the source messages of a mailbox.
func (c *comparison) messages(ctx context.Context, b *box, uids []mail.UID, held bool, find finder) error {
	for part := range slices.Chunk(uids, readAtOnce) {
		items, err := c.readOld(ctx, b, part)
		if err != nil {
			return err
		}
		var unserved []Difference
		for _, uid := range part {
			i, served := slices.BinarySearchFunc(items, uid, byUID)
			s := item{uid: uid, date: undated}
			if served {
				s = items[i]
			}
			copied, receipt, u := find(s, served)
			switch {
			case copied == nil && u == nil:
			case !served && copied != nil:
				unserved = append(unserved, Difference{Class: Unread, Mailbox: b.source.DisplayName(), UID: uid, Destination: b.place.DisplayName(), Copy: copied.uid, What: "the old server lists the message but does not serve it; its copy is there"})
			case !served:
				unserved = append(unserved, Difference{Class: Missing, Mailbox: b.source.DisplayName(), UID: uid, What: "the old server lists the message but does not serve it"})
			case copied != nil:
				c.pair(b, s, copied, receipt, nil)
			case held && u.class == Pending:
				c.count(b, Held) // with its mailbox
			default:
				c.unpaired = append(c.unpaired, u)
			}
		}
		if len(unserved) == 0 {
			continue
		}
		again, err := c.Source.UIDs(ctx, b.ref(), part[0])
		if err != nil {
			return err
		}
		for _, d := range unserved {
			if _, still := slices.BinarySearch(again, d.UID); still {
				c.note(b, d, 1)
			}
		}
	}
	return nil
}

// readOld reads messages of a source mailbox. Where it comes to grief, those that
// are held are left out: one of them may be what ends the connection.
func (c *comparison) readOld(ctx context.Context, b *box, uids []mail.UID) ([]item, error) {
	items, err := read(ctx, c.Source, b.ref(), uids, !b.proven)
	if err == nil || ctx.Err() != nil {
		return items, err
	}
	rest := slices.DeleteFunc(slices.Clone(uids), func(uid mail.UID) bool {
		_, held := c.holds[mail.HoldKey{Pair: b.pair.ID, UID: uid}]
		return held
	})
	if len(rest) == len(uids) {
		return nil, err
	}
	return read(ctx, c.Source, b.ref(), rest, !b.proven)
}

// undated is the date of a message that was not served: none that people see.
var undated = time.Time{}.Unix()

// count counts a message that has no line of its own.
func (c *comparison) count(b *box, class Class) {
	c.report.Counts[class]++
	c.report.ByMailbox[b.out].Counts[class]++
}

// onlyWithout is the path that names the hold of a mailbox without a pair.
func onlyWithout(pair mail.Pair, m mail.Mailbox) string {
	if pair.ID != 0 {
		return ""
	}
	return m.DisplayName()
}

// copies reads the place of a source mailbox, but for what another one has
// there.
func (c *comparison) copies(ctx context.Context, b *box) (*pile, error) {
	if b.place.Name == "" || isEmpty(b.place) {
		return &pile{}, nil
	}
	known := c.left[b.place.Name]
	if known != nil && b.proven {
		return known, nil
	}
	p := &pile{Mailbox: b.place}
	uids, err := c.Destination.UIDs(ctx, p.ref(), 1)
	if err != nil {
		return nil, err
	}
	if known != nil {
		uids = slices.DeleteFunc(uids, func(uid mail.UID) bool { return known.at(uid) == nil })
	}
	p.items, err = read(ctx, c.Destination, p.ref(), uids, !b.proven)
	return p, err
}

// isEmpty tells whether there is nothing to open a mailbox for. Courier has no
// UIDVALIDITY that lasts before one is first opened.
func isEmpty(m mail.Mailbox) bool { return m.Status.MessagesKnown && m.Status.Messages == 0 }

// finder finds the copy of a source message, which the source may not have
// served. Without a copy it returns what the message is then, or nil when it has
// been noted.
type finder func(s item, served bool) (copied *item, receipt *mail.Receipt, u *unpaired)

// byReceipt follows the receipts, which come in the order of the source UIDs:
// so must the calls. close takes in what is left of them.
func (c *comparison) byReceipt(b *box, copies *pile) (find finder, close func() error) {
	next, stop := iter.Pull2(c.Journal.Receipts(b.pair.ID))
	var receipt mail.Receipt
	var failed error
	have := false
	// advance goes on to the receipt of a source UID.
	advance := func(to mail.UID, end bool) bool {
		for failed == nil {
			if !have {
				var err error
				if receipt, err, have = next(); err != nil || !have {
					failed, have = err, false
					return false
				}
				b.receipts++
			}
			if !end && receipt.Source >= to {
				return receipt.Source == to
			}
			have = false
			c.kept(b, receipt, copies)
		}
		return false
	}
	find = func(s item, served bool) (*item, *mail.Receipt, *unpaired) {
		found := advance(s.uid, false)
		u := &unpaired{item: s, box: b, class: Missing}
		if !found {
			h, held := c.holds[mail.HoldKey{Pair: b.pair.ID, UID: s.uid}]
			switch {
			case held:
				c.noteHold(b, s, h)
				return nil, nil, nil
			case s.uid >= b.pair.SourceAnchor.UIDNext:
				u.class, u.why = Pending, "not copied yet"
			default:
				u.why = "never copied"
			}
			return nil, nil, u
		}
		r := receipt
		have = false
		u.receipt = &r
		switch {
		case r.Mailbox != "":
			u.class, u.why = Removed, "its copy was last seen in another mailbox, and is gone"
			u.away, u.awayUID = mail.Ref{Name: r.Mailbox, UIDValidity: r.UIDValidity}, r.Destination
			return nil, nil, u
		case r.Destination == 0:
			u.class, u.why = Removed, "its mailbox on the new server was rebuilt, and it is not there any more"
			return nil, nil, u
		}
		copied := copies.at(r.Destination)
		switch {
		case copied == nil:
			u.class, u.why = Removed, fmt.Sprintf("its copy, UID %d, is gone", r.Destination)
			return nil, nil, u
		case copied.named:
			u.why = fmt.Sprintf("its receipt names UID %d, which is the copy of another message", r.Destination)
			return nil, nil, u
		}
		copied.named = true
		return copied, &r, nil
	}
	return find, func() error {
		defer stop()
		advance(0, true)
		if failed != nil {
			return fmt.Errorf("state: %w", failed)
		}
		return nil
	}
}

// byFingerprint pairs source messages with copies as multisets, in the order of
// their UIDs.
func (c *comparison) byFingerprint(b *box, copies *pile) (find finder, close func() error) {
	free := make(map[mail.Fingerprint][]int32)
	for i, x := range copies.items {
		free[x.fingerprint] = append(free[x.fingerprint], int32(i))
	}
	find = func(s item, served bool) (*item, *mail.Receipt, *unpaired) {
		if at := free[s.fingerprint]; served && len(at) > 0 {
			free[s.fingerprint] = at[1:]
			copied := &copies.items[at[0]]
			copied.named = true
			return copied, nil, nil
		}
		if h, held := c.holds[mail.HoldKey{Pair: b.pair.ID, UID: s.uid}]; held && b.pair.ID != 0 && b.pair.SourceAnchor.UIDValidity == b.source.Status.UIDValidity {
			c.noteHold(b, s, h)
			return nil, nil, nil
		}
		u := &unpaired{item: s, box: b, class: Missing, why: "there is no message like it"}
		if b.pair.ID == 0 && b.begun {
			u.class, u.why = Pending, "its mailbox has not been copied yet"
		}
		return nil, nil, u
	}
	return find, func() error { return nil }
}

// noteHold notes a message that is held.
func (c *comparison) noteHold(b *box, s item, h mail.Hold) {
	d := Difference{Class: Held, Mailbox: b.source.DisplayName(), UID: s.uid, What: string(h.Reason) + ": " + h.Text}
	if h.Skipped {
		d.Class, d.What = Skipped, "because: "+h.Because
	}
	c.note(b, describe(d, s), 1)
}

// kept takes in a receipt whose source message is not in its mailbox any more.
func (c *comparison) kept(b *box, r mail.Receipt, copies *pile) {
	if r.Mailbox != "" || r.Destination == 0 {
		return // wherever the copy is, it is found there as one of no source message
	}
	if copied := copies.at(r.Destination); copied != nil && !copied.named {
		copied.named = true
		c.note(b, describe(Difference{Class: Kept, Mailbox: b.place.DisplayName(), Destination: b.place.DisplayName(), Copy: copied.uid,
			What: "its original is no longer in " + b.source.DisplayName()}, *copied), 1)
	}
}

// leftOver keeps what no source message was paired with, and looks among it for
// messages that are there twice.
func (c *comparison) leftOver(b *box, copies *pile) {
	if b.place.Name == "" {
		return
	}
	left := &pile{Mailbox: b.place}
	alike := make(map[look]bool) // of what is left
	for _, x := range copies.items {
		if !x.named {
			left.items = append(left.items, x)
			alike[look{x.size, x.date}] = true
		}
	}
	c.left[b.place.Name] = left
	if len(alike) == 0 {
		return
	}
	for _, x := range copies.items {
		if x.named && alike[look{x.size, x.date}] {
			left.twins = append(left.twins, x)
		}
	}
}

// describe adds what people know a message by.
func describe(d Difference, x item) Difference {
	d.Size = x.size
	if t := x.time(); t.Year() > 1 && t.Year() < 10000 {
		d.InternalDate = t
	}
	return d
}
