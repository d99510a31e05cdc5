package pass

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// copyMost is how many messages are copied by one command.
const copyMost = 200

// copying is one UID COPY (RFC 3501 §6.4.7): some messages from the beginning of a
// mailbox, in its order, that are in one other mailbox, in the same order.
type copying struct {
	*Pass
	*job
	from mail.Ref // on the destination
	list []copyable
}

// copyable is a message that is to be copied.
type copyable struct {
	*same
	mail.Receipt              // of what is copied
	now          mail.Message // on the source, as it is to be on the destination
}

// keep leaves the messages from the n-th on to a later COPY; the n-th has to be sent
// where that is the first, and nothing is left.
func (c *copying) keep(n int) {
	if n == 0 && len(c.list) > 0 {
		c.list[0].first = 0
	}
	c.list = c.list[:n]
}

// copyBeginning copies the messages at the beginning of a mailbox; more tells that it
// is worth to be tried again. What is copied has to be what would be sent: the same
// message on the source, and a copy of it on the destination that has the flags which
// that has now. So no COPY takes along what its user has made of the copy, but for what
// he does in the round trip before it; that is left alone then like any change of his.
func (p *Pass) copyBeginning(ctx context.Context, job *job, work []*job) (more bool, err error) {
	p.refresh(job)
	if p.unresolved[job.Pair.Destination] != nil || job.established && len(p.Arrivals.byKey) > 0 {
		job.same = nil // what is there has to be looked at first
		return false, nil
	}
	c := &copying{Pass: p, job: job}
	if err := c.choose(work); err != nil || len(c.list) == 0 {
		return false, err
	}
	if again, err := c.count(ctx); err != nil || again {
		return again, err
	}
	if err := c.compare(ctx); err != nil || len(c.list) == 0 {
		return false, err
	}
	return c.copy(ctx)
}

// choose takes the messages of which there is a copy to be copied.
func (c *copying) choose(work []*job) error {
	wanted := make(map[mail.UID]int) // by source UID of the home
	for _, uid := range c.uids[:min(len(c.uids), copyMost)] {
		s := c.sameAs(uid)
		if s == nil || len(c.list) > 0 && s.home != c.list[0].home {
			break
		}
		wanted[s.first] = len(c.list)
		c.list = append(c.list, copyable{same: s})
	}
	if len(c.list) == 0 {
		return nil
	}
	at := c.homes[c.list[0].home]
	pair := c.Pass.pairs[at.pair]
	c.from = mail.Ref{Name: pair.Destination, UIDValidity: pair.DestinationValidity}
	for r, err := range c.Journal.Receipts(at.pair) {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrJournal, err)
		}
		if i, ok := wanted[r.Source]; ok && !r.Vanished() {
			c.list[i].Receipt = r
		}
	}
	last := mail.UID(0)
	for i, m := range c.list {
		switch {
		case m.Destination == 0:
			if _, pending := c.pending(at, m.first, work); pending && i == 0 {
				c.list = nil // it is about to be carried there
				return nil
			}
			c.keep(i)
			return nil
		case m.Mailbox != "" || c.from.UIDValidity == 0 || c.from.Name == c.Pair.Destination:
			c.keep(i)
			return nil
		case m.Destination <= last:
			c.list = c.list[:i] // by another command (I9)
			return nil
		}
		last = m.Destination
	}
	return nil
}

// pending tells whether a message is still to be carried by this run.
func (c *copying) pending(at home, uid mail.UID, work []*job) (int, bool) {
	if at.job == nil || !slices.Contains(work, at.job) {
		return 0, false
	}
	return slices.BinarySearch(at.job.uids, uid)
}

// count has all mailboxes counted that have receipts of these messages, as before one
// that has is sent (again.go): a message that has only moved is not to be there twice.
func (c *copying) count(ctx context.Context) (again bool, err error) {
	prints := make(map[mail.Fingerprint]bool, len(c.list))
	for _, m := range c.list {
		prints[m.Fingerprint] = true
	}
	var uncounted []mail.PairID
	for _, pair := range c.storedPairs() {
		if c.counted[pair.ID] {
			continue
		}
		for r, err := range c.Journal.Receipts(pair.ID) {
			if err != nil {
				return false, fmt.Errorf("%w: %w", ErrJournal, err)
			}
			if prints[r.Fingerprint] && !r.Vanished() {
				uncounted = append(uncounted, pair.ID)
				break
			}
		}
	}
	if len(uncounted) > 0 {
		c.job.seen, c.job.seenIn = c.list[0].uid, uncounted
		return true, c.recount(ctx, c.job)
	}
	gone, err := c.Pass.vanished()
	if err != nil {
		return false, err
	}
	for i, m := range c.list {
		if len(gone[m.Fingerprint]) > 0 {
			c.keep(i) // it was carried before: its receipt is to have this UID
			break
		}
	}
	return false, nil
}

// compare looks at the messages on the source.
func (c *copying) compare(ctx context.Context) error {
	uids := make([]mail.UID, len(c.list))
	for i, m := range c.list {
		uids[i] = m.uid
	}
	now := make(map[mail.UID]mail.Message, len(uids))
	for m, err := range c.Pass.Source.Messages(ctx, c.ref(), uids, true) {
		if err != nil {
			return err
		}
		now[m.UID] = m
	}
	for i := range c.list {
		m := &c.list[i]
		if m.now = now[m.uid]; m.now.UID == 0 || m.now.Fingerprint != m.Fingerprint || !mail.DateStorable(m.now.InternalDate) {
			c.keep(i)
			break
		}
	}
	return nil
}

// unchanged looks at what is to be copied.
func (c *copying) unchanged(ctx context.Context, editor mail.Editor) error {
	found, err := flagsAt(ctx, editor, c.list, func(m copyable) mail.UID { return m.Destination })
	if err != nil {
		return err
	}
	for i := range c.list {
		m := &c.list[i]
		has, there := found[m.Destination]
		is := has.WithoutNoise()
		if !there || is.Keywords != "" || !is.Equal(m.now.Flags.WithoutNoise()) {
			c.keep(i)
			break
		}
		m.now.Flags = has
	}
	return nil
}

// copy sends the command: intents durable, UID COPY, receipts.
func (c *copying) copy(ctx context.Context) (more bool, err error) {
	p, job := c.Pass, c.job
	name := job.Pair.Destination
	box, there := p.destination[name]
	if !there {
		if err := p.createFor(ctx, job); err != nil {
			return false, err
		}
	}
	status, err := p.Destination.Status(ctx, mail.Ref{Name: name, UIDValidity: job.Pair.DestinationValidity})
	if err != nil {
		return false, err
	}
	if status.UIDValidity == 0 {
		return false, mail.ErrUIDValidity
	}
	editor, err := p.edit(ctx, c.from)
	if err != nil {
		return false, err
	}
	if editor == nil {
		c.keep(0)
		return true, nil
	}
	defer editor.Close()
	if err := c.unchanged(ctx, editor); err != nil || len(c.list) == 0 {
		return false, err
	}
	intents, err := c.intend(status, box.Status.UIDValidity == 0)
	if err != nil {
		return false, err
	}
	copied, validity, err := editor.Copy(ctx, c.destinations(), name)
	var refused *mail.Refused
	if err != nil && !errors.As(err, &refused) {
		return false, err
	}
	whole, cerr := c.earned(intents, copied, mail.Ref{Name: name, UIDValidity: validity}, status)
	if cerr != nil {
		return false, cerr
	}
	if !whole {
		// Where are the others? (I2) A refusal should have stored nothing.
		if rerr := p.resolve(ctx); rerr != nil {
			return false, rerr
		}
		for i := range c.list {
			c.list[i].first = 0
		}
	}
	p.refresh(job)
	job.uids, cerr = p.uncarried(job)
	return whole, errors.Join(cerr, err)
}

func (c *copying) destinations() []mail.UID {
	uids := make([]mail.UID, len(c.list))
	for i, m := range c.list {
		uids[i] = m.Destination
	}
	return uids
}

// intend makes durable what is about to be copied. Its intents are those of an
// APPEND: what has become of it is found out in the same way.
func (c *copying) intend(status mail.Status, anew bool) ([]mail.Intent, error) {
	p, name := c.Pass, c.job.Pair.Destination
	change := mail.Change{}
	for _, m := range c.list {
		p.lastID++
		change.Intents = append(change.Intents, mail.Intent{
			ID: p.lastID, Kind: mail.IntentAppend, Pair: c.job.Pair.ID, Source: m.uid,
			Size: m.now.Size, InternalDate: m.now.InternalDate, Fingerprint: m.Fingerprint, Flags: m.now.Flags,
			Mailbox: name, UIDValidity: status.UIDValidity, Floor: max(status.UIDNext, 1),
		})
	}
	if p.pairs[c.job.Pair.ID].DestinationValidity == 0 {
		c.job.Pair.DestinationValidity = status.UIDValidity
		change.Pairs = append(change.Pairs, c.job.Pair)
	}
	if anew && p.anchors[name].UIDValidity != status.UIDValidity {
		p.anchors[name] = mail.Anchor{UIDValidity: status.UIDValidity, UIDNext: status.UIDNext}
	}
	return change.Intents, p.commit(change)
}

// earned makes receipts of what COPYUID names (I2); whole tells that it names all.
func (c *copying) earned(intents []mail.Intent, copied map[mail.UID]mail.UID, at mail.Ref, status mail.Status) (whole bool, err error) {
	p := c.Pass
	change := mail.Change{}
	var receipts []mail.Receipt
	var uids []mail.UID
	for i, m := range c.list {
		uid := copied[m.Destination]
		if uid < intents[i].Floor || at.UIDValidity != status.UIDValidity {
			continue
		}
		receipts = append(receipts, mail.Receipt{Source: m.uid, Destination: uid, Fingerprint: m.Fingerprint, Flags: m.now.Flags})
		change.Settle = append(change.Settle, intents[i].ID)
		uids = append(uids, uid)
	}
	if len(receipts) == 0 {
		return false, nil
	}
	slices.Sort(uids)
	for _, uid := range uids {
		p.advance(at, uid, &change)
	}
	change.Receipts = []mail.PairReceipts{{Pair: c.job.Pair.ID, Receipts: receipts}}
	if err := p.commit(change); err != nil {
		return false, err
	}
	for i, m := range c.list {
		if slices.Contains(change.Settle, intents[i].ID) {
			p.copied(c.job.source.DisplayName(), m.now.Size, m.now.InternalDate, 0)
		}
	}
	return len(receipts) == len(c.list), nil
}
