package pass

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// A server with labels shows one message in several mailboxes. It is carried into
// the first of them; into the others the new server copies that copy by itself
// (copy.go), so that it is fetched and sent once. In each mailbox the order stays
// that of the source (I9): what is to be sent after such a message waits for it.

// same is a message that is carried already, or before, out of another mailbox.
type same struct {
	uid   mail.UID
	first mail.UID // in the other mailbox; 0: it has to be sent all the same
	home  int32    // which that is, of the homes of the job
}

// home is a mailbox that has messages of others.
type home struct {
	pair mail.PairID
	job  *job // that carries it in this run; nil: it was carried before
}

const (
	// identityOctets is about how long the answer for one message is, when the source
	// is asked which messages are one.
	identityOctets = 100
	// runsMost bounds how often the carrying of a mailbox is interrupted for copies on
	// the new server, each time for a few round trips. The lightest are sent.
	runsMost = 1000
)

// identity is one entry of the index of messages: 16 octets.
type identity struct {
	id   uint64
	home int32
	uid  mail.UID
}

// findSame notes which messages need not be sent. What was carried by earlier runs
// is asked about where that costs less than it may save.
func (p *Pass) findSame(ctx context.Context, work []*job) error {
	if p.Policy.Draining || !p.Destination.CanCopy() {
		return nil
	}
	var asked []*job
	octets := int64(0)
	for _, job := range work {
		job.same, job.homes = nil, nil
		if len(job.uids) == 0 || job.source.Rest || job.source.View {
			continue
		}
		asked = append(asked, job)
		for _, uid := range job.uids {
			octets += job.sizes.of(uid)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	if ids, err := p.Source.Identities(ctx, asked[0].ref(), nil); ids == nil {
		return err
	}
	var homes []home
	var all []identity
	ask := func(at mail.Ref, h home, uids []mail.UID) error {
		ids, err := p.Source.Identities(ctx, at, uids)
		if err != nil && !isOutOfReach(err) {
			return fmt.Errorf("ask for identities: %w", err)
		}
		for _, uid := range uids {
			if id := ids[uid]; id != 0 {
				all = append(all, identity{id, int32(len(homes)), uid})
			}
		}
		homes = append(homes, h)
		return nil
	}
	if boxes, messages := p.carriedBoxes(); identityOctets*messages < octets {
		for _, box := range boxes {
			uids, err := p.copiesOf(box.pair)
			if err != nil {
				return err
			}
			if err := ask(box.Ref, home{pair: box.pair}, uids); err != nil {
				return err
			}
		}
	}
	if len(homes) == 0 && len(asked) < 2 {
		return nil
	}
	for _, job := range asked {
		if err := ask(job.ref(), home{job.Pair.ID, job}, job.uids); err != nil {
			return err
		}
	}
	slices.SortFunc(all, func(a, b identity) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.home, b.home), cmp.Compare(a.uid, b.uid))
	})
	for i := 0; i < len(all); {
		first, last := all[i], all[i].home
		for i++; i < len(all) && all[i].id == first.id; i++ {
			other := all[i]
			to := homes[other.home]
			if other.home == last || to.job == nil || to.pair == homes[first.home].pair {
				continue
			}
			last = other.home
			to.job.same = append(to.job.same, same{other.uid, first.uid, first.home})
		}
	}
	for _, job := range asked {
		slices.SortFunc(job.same, func(a, b same) int { return cmp.Compare(a.uid, b.uid) })
		job.homes = homes
		job.lighten()
	}
	return nil
}

// carriedBox is a source mailbox of which something has been carried.
type carriedBox struct {
	mail.Ref
	pair mail.PairID
}

// carriedBoxes are those that are listed, and how many messages they have.
func (p *Pass) carriedBoxes() (boxes []carriedBox, messages int64) {
	for _, m := range p.source.Mailboxes {
		if m.NoSelect || m.View || m.Rest {
			continue
		}
		for _, pair := range p.storedPairs() {
			if pair.Source == m.Name && pair.SourceAnchor.UIDNext > 1 && pair.SourceAnchor.UIDValidity == m.Status.UIDValidity {
				boxes = append(boxes, carriedBox{mail.Ref{Name: m.Name, UIDValidity: m.Status.UIDValidity}, pair.ID})
				messages += int64(m.Status.Messages)
			}
		}
	}
	return boxes, messages
}

// copiesOf are the source UIDs of a pair whose copies are where they were put.
func (p *Pass) copiesOf(pair mail.PairID) (uids []mail.UID, err error) {
	for r, err := range p.Journal.Receipts(pair) {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJournal, err)
		}
		if !r.Vanished() && r.Mailbox == "" && r.Destination != 0 {
			uids = append(uids, r.Source)
		}
	}
	return uids, nil
}

// sameAs is what is noted of a message; nil: it has to be sent.
func (j *job) sameAs(uid mail.UID) *same {
	i, ok := slices.BinarySearchFunc(j.same, uid, func(s same, uid mail.UID) int { return cmp.Compare(s.uid, uid) })
	if !ok || j.same[i].first == 0 {
		return nil
	}
	return &j.same[i]
}

// toSend are the messages that can be sent now: up to the first that is to be copied.
func (j *job) toSend() []mail.UID {
	if len(j.same) == 0 {
		return j.uids
	}
	if n := slices.IndexFunc(j.uids, func(uid mail.UID) bool { return j.sameAs(uid) != nil }); n >= 0 {
		return j.uids[:n]
	}
	return j.uids
}

// lighten has the lightest runs of messages sent where there are too many.
func (j *job) lighten() {
	type run struct {
		from, to int // of uids
		octets   int64
	}
	var runs []run
	inside := false
	for i, uid := range j.uids {
		if j.sameAs(uid) == nil {
			inside = false
			continue
		}
		if !inside {
			runs, inside = append(runs, run{from: i}), true
		}
		last := &runs[len(runs)-1]
		last.to, last.octets = i+1, last.octets+j.sizes.of(uid)
	}
	if len(runs) <= runsMost {
		return
	}
	slices.SortStableFunc(runs, func(a, b run) int { return cmp.Compare(b.octets, a.octets) })
	for _, r := range runs[runsMost:] {
		for _, uid := range j.uids[r.from:r.to] {
			j.sameAs(uid).first = 0
		}
	}
}

// carryWaiting carries until nothing is left: what can be sent, then what can be
// copied of that, and again. A mailbox waits for those before it only.
func (p *Pass) carryWaiting(ctx context.Context, lanes *lanes, work []*job) error {
	if err := p.findSame(ctx, work); err != nil {
		return err
	}
	for len(work) > 0 {
		if err := p.copySame(ctx, work); err != nil {
			return err
		}
		var tasks []*task
		waits := make(map[*job]bool)
		for _, job := range work {
			if uids := job.toSend(); len(uids) > 0 || len(job.uids) == 0 {
				tasks = append(tasks, &task{job: job, uids: uids})
			} else {
				waits[job] = true
			}
		}
		left, err := p.round(ctx, lanes, tasks)
		if err != nil {
			return err
		}
		work = slices.DeleteFunc(slices.Clone(work), func(job *job) bool { return !waits[job] && !slices.Contains(left, job) })
	}
	return nil
}

// copySame has the new server copy what stands at the beginning of the mailboxes,
// as far as it can be copied now. Where it cannot be, or the server does not want
// to, it is sent.
func (p *Pass) copySame(ctx context.Context, work []*job) error {
	for _, job := range work {
		for more := len(job.same) > 0; more; {
			if err := p.stopped(); err != nil {
				return err
			}
			var err error
			more, err = p.copyBeginning(ctx, job, work)
			var refused *mail.Refused
			switch {
			case err == nil:
			case errors.As(err, &refused), errors.Is(err, mail.ErrUIDValidity):
				p.Logger.Debug("messages are sent, since the new server cannot copy them", "mailbox", job.source.DisplayName(), "error", err)
				job.same, more = nil, false
			default:
				return fmt.Errorf("copy within the new server for %q: %w", job.source.DisplayName(), err)
			}
		}
	}
	return nil
}
