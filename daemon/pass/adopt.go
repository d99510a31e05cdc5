package pass

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// adoptedAtOnce bounds how many adoptions one commit and one STORE hold.
const adoptedAtOnce = 1000

// adopt matches the messages to be carried with what has grown on the
// destination since our anchors, over the whole account. Mailboxes that refuse
// to be read meanwhile are left out: of those of the source nothing is carried
// in this run, and to those of the destination nothing.
func (p *Pass) adopt(ctx context.Context, work []*job) error {
	for {
		work = slices.DeleteFunc(work, func(j *job) bool { return j.sidelined })
		err := p.adoptAll(ctx, work)
		var unread errUnread
		if !errors.As(err, &unread) {
			return err
		}
		if unread.side == onDestination {
			p.unseen(unread.ref.Name, unread.refused)
			continue
		}
		i := slices.IndexFunc(work, func(j *job) bool { return j.source.Name == unread.ref.Name })
		if i < 0 {
			return err
		}
		if err := p.sideline(work[i], unread); err != nil {
			return err
		}
	}
}

func (p *Pass) adoptAll(ctx context.Context, work []*job) error {
	grown, err := p.grown(ctx)
	if err != nil {
		return err
	}
	numbers := make(map[string]uint32, len(grown))
	for i, g := range grown {
		numbers[g.ref.Name] = uint32(i)
	}
	s := sourceReading{work: work, numbers: make([]uint32, len(work)), left: make([][]mail.UID, len(work)), errs: make([]error, len(work))}
	jobs := make(map[uint32]*job, len(work))
	for i, job := range work {
		number, ok := numbers[job.Pair.Destination]
		if !ok {
			number = uint32(len(grown) + i)
		}
		jobs[number], s.numbers[i] = job, number
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	stoppable, stop := context.WithCancel(ctx)
	defer stop()
	var flags flagTable
	found, err := p.unnamed(ctx, grown, &flags, func() {
		reading.Go(func() { s.read(stoppable, p.Source, &flags) })
	})
	if err != nil {
		return err
	}
	looked := mail.Change{DestinationAnchors: make(map[string]mail.Anchor)}
	for _, g := range grown {
		if p.unresolved[g.ref.Name] == nil {
			looked.DestinationAnchors[g.ref.Name] = mail.Anchor{UIDValidity: g.ref.UIDValidity, UIDNext: g.end}
		}
	}
	done := func() error {
		// What cannot be read now has its copies recognised later.
		for _, h := range p.holds {
			if unknown(h) {
				p.blind[p.pairs[h.Pair].Destination] = true
			}
		}
		maps.DeleteFunc(looked.DestinationAnchors, func(name string, _ mail.Anchor) bool { return p.blind[name] })
		return p.commit(looked)
	}
	if len(found) == 0 {
		return done()
	}
	reading.Wait()
	wanted := s.items
	for i, job := range work {
		if err := p.sideline(job, s.errs[i]); err != nil {
			return fmt.Errorf("read %q: %w", job.source.DisplayName(), err)
		}
		if !job.sidelined {
			if err := p.sideline(job, p.account(ctx, job, s.left[i])); err != nil {
				return err
			}
		}
		if job.sidelined {
			wanted = slices.DeleteFunc(wanted, func(item plan.Item) bool { return item.Mailbox == s.numbers[i] })
		}
	}
	matches, unwanted, missing := plan.Recognise(wanted, found, false)
	origin := func(item plan.Item) place { return place{onSource, jobs[item.Mailbox].ref(), item.UID} }
	if unwanted, err = p.movedCopies(ctx, missing, unwanted, grown, &flags, origin); err != nil {
		return err
	}
	elsewhere, unwanted, missing := plan.Recognise(missing, unwanted, true)
	altered, _, _, err := p.matchAltered(ctx, missing, unwanted, origin,
		func(item plan.Item) place { return place{onDestination, grown[item.Mailbox].ref, item.UID} })
	if err != nil {
		return err
	}
	for _, all := range []plan.Matches{matches, elsewhere, altered} {
		all.Sort() // one batch after the other has its receipts side by side
		for batch := range all.Chunks(adoptedAtOnce) {
			if err := p.adoptBatch(ctx, batch, grown, jobs, &flags); err != nil {
				return err
			}
		}
	}
	for _, job := range work {
		if job.uids, err = p.uncarried(job); err != nil {
			return err
		}
	}
	return done()
}

// sourceReading reads the messages to be carried, which goes on while the destination
// is read: of each job the messages, those that did not come, and why it ended.
type sourceReading struct {
	work    []*job
	numbers []uint32 // what the items of each have for their Mailbox

	items []plan.Item
	left  [][]mail.UID
	errs  []error
}

// read reads one mailbox after the other, but for what is not refused and fails.
func (s *sourceReading) read(ctx context.Context, source Reader, flags *flagTable) {
	all := 0
	for _, job := range s.work {
		all += len(job.uids)
	}
	s.items = make([]plan.Item, 0, all)
	for i, job := range s.work {
		called := callRoll(job.uids)
		for m, err := range source.Messages(ctx, job.ref(), job.uids, true) {
			if s.errs[i] = err; err != nil {
				break
			}
			called.mark(m.UID)
			s.items = append(s.items, plan.Item{Fingerprint: m.Fingerprint, Opening: m.Opening, Mailbox: s.numbers[i], UID: m.UID, Tag: flags.index(m.Flags)})
		}
		if err := s.errs[i]; err != nil && !errors.As(err, new(*mail.Refused)) {
			return
		}
		s.left[i] = called.left()
	}
}

// movedCopies finds among unwanted the copies that their users have moved out
// of where a receipt names them, binds their receipts to the new place, and
// returns the rest. Without this a twin of such a message would be taken for
// it and never be copied. It looks only where a missing message might be
// mistaken for one of them; origin is where that message is.
func (p *Pass) movedCopies(ctx context.Context, missing, unwanted []plan.Item, grown []growth, flags *flagTable, origin func(plan.Item) place) ([]plan.Item, error) {
	twins := make(map[mail.Fingerprint]plan.Item) // a missing message of each kind
	openings := make(map[mail.Fingerprint]bool)
	for _, item := range missing {
		twins[item.Fingerprint] = item
		openings[item.Opening] = true
	}
	if !slices.ContainsFunc(unwanted, func(i plan.Item) bool { return openings[i.Opening] }) {
		return unwanted, nil
	}
	var receipts []vanished
	var claims []plan.Item
	present := make(map[string]map[mail.UID]bool)
	for _, pair := range p.storedPairs() {
		for r, err := range p.Journal.Receipts(pair.ID) {
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrJournal, err)
			}
			twin, doubtful := twins[r.Fingerprint]
			if !doubtful {
				continue
			}
			there, err := p.isPresent(ctx, pair, r, present)
			if err != nil {
				return nil, err
			}
			if !there {
				claims = append(claims, plan.Item{Fingerprint: r.Fingerprint, Opening: twin.Opening, UID: r.Source, Tag: uint32(len(receipts))})
				receipts = append(receipts, vanished{pair.ID, r})
			}
		}
	}
	matches, rest, lost := plan.Recognise(claims, unwanted, true)
	altered, rest, _, err := p.matchAltered(ctx, lost, rest,
		func(claim plan.Item) place { return origin(twins[claim.Fingerprint]) },
		func(item plan.Item) place { return place{onDestination, grown[item.Mailbox].ref, item.UID} })
	if err != nil {
		return nil, err
	}
	byPair := make(map[mail.PairID][]mail.Receipt)
	matches.Add(altered)
	for m := range matches.All() {
		r, at := receipts[m.Wanted.Tag], grown[m.Found.Mailbox].ref
		if r.Source == 0 {
			continue // its source has vanished too: nothing of it is carried again
		}
		r.Destination, r.Touched, r.Flags = m.Found.UID, true, flags.list[m.Found.Tag]
		r.Mailbox, r.UIDValidity = at.Name, at.UIDValidity
		if pair := p.pairs[r.pair]; at.Name == pair.Destination && at.UIDValidity == pair.DestinationValidity {
			r.Mailbox, r.UIDValidity = "", 0
		}
		byPair[r.pair] = append(byPair[r.pair], r.Receipt)
	}
	return rest, p.commit(mail.Change{Receipts: sorted(byPair)})
}

// isPresent tells whether the copy that a receipt names is where it names it.
func (p *Pass) isPresent(ctx context.Context, pair mail.Pair, r mail.Receipt, present map[string]map[mail.UID]bool) (bool, error) {
	name, validity := whereabouts(pair, r)
	there, err := p.isAt(ctx, mail.Ref{Name: name, UIDValidity: validity}, r.Destination, present)
	if errors.As(err, new(*mail.Refused)) {
		present[name] = make(map[mail.UID]bool)
		return false, nil
	}
	return there, err
}

// isAt tells whether there is a message of that UID; a mailbox that is listed and
// refused tells nothing. present remembers the UIDs of the mailboxes that were
// asked.
func (p *Pass) isAt(ctx context.Context, ref mail.Ref, uid mail.UID, present map[string]map[mail.UID]bool) (bool, error) {
	box, ok := p.destination[ref.Name]
	if v := box.Status.UIDValidity; !ok || uid == 0 || v != 0 && v != ref.UIDValidity {
		return false, nil
	}
	if present[ref.Name] == nil {
		uids, err := p.Destination.UIDs(ctx, ref, 1)
		if err != nil && !errors.Is(err, mail.ErrUIDValidity) {
			return false, fmt.Errorf("look at %q on the new server: %w", p.destination[ref.Name].DisplayName(), err)
		}
		present[ref.Name] = make(map[mail.UID]bool, len(uids))
		for _, uid := range uids {
			present[ref.Name][uid] = true
		}
	}
	return present[ref.Name][uid], nil
}

// adoptBatch makes receipts of matches. A copy whose flags differ is its
// user's, and is born touched; what was read, answered or flagged on the
// source and not here is added, once, after the receipt is durable, unless its
// user works here already (I8).
func (p *Pass) adoptBatch(ctx context.Context, matches plan.Matches, grown []growth, jobs map[uint32]*job, flags *flagTable) error {
	change := mail.Change{}
	byPair := make(map[mail.PairID][]mail.Receipt)
	stores := make(map[mail.Ref][]store)
	fixed := make(map[mail.PairID]bool) // those whose first receipts these are
	for m := range matches.All() {
		job, at := jobs[m.Wanted.Mailbox], grown[m.Found.Mailbox].ref
		r := mail.Receipt{Source: m.Wanted.UID, Destination: m.Found.UID, Fingerprint: m.Wanted.Fingerprint, Flags: flags.list[m.Found.Tag]}
		if at.Name != job.Pair.Destination {
			r.Mailbox, r.UIDValidity, r.Touched = at.Name, at.UIDValidity, true
		} else if id := job.Pair.ID; p.pairs[id].DestinationValidity == 0 && !fixed[id] {
			fixed[id], job.Pair.DestinationValidity = true, at.UIDValidity
			change.Pairs = append(change.Pairs, job.Pair)
		}
		if theirs := flags.list[m.Wanted.Tag]; !theirs.WithoutNoise().Equal(r.Flags.WithoutNoise()) {
			r.Touched = true
			if add := theirs.System & (mail.Seen | mail.Answered | mail.Flagged) &^ r.Flags.System; add != 0 && !p.Policy.Draining {
				p.lastID++
				i := mail.Intent{
					ID: p.lastID, Kind: mail.IntentStore, Pair: job.Pair.ID, Source: r.Source, Fingerprint: r.Fingerprint,
					Flags: r.Flags.With(mail.Flags{System: add}), Mailbox: at.Name, UIDValidity: at.UIDValidity, Destination: r.Destination,
				}
				change.Intents = append(change.Intents, i)
				stores[at] = append(stores[at], store{i, r})
			}
		}
		byPair[job.Pair.ID] = append(byPair[job.Pair.ID], r)
	}
	for pair, receipts := range byPair {
		slices.SortFunc(receipts, bySource)
		change.Receipts = append(change.Receipts, mail.PairReceipts{Pair: pair, Receipts: receipts})
	}
	if err := p.commit(change); err != nil {
		return err
	}
	p.result.Recognised += matches.Len()
	p.Observer.Recognised(matches.Len())
	for at, list := range stores {
		if err := p.store(ctx, at, list); err != nil {
			return err
		}
	}
	return nil
}

// flagTable numbers the sets of flags that occur; there are few.
type flagTable struct {
	mu      sync.Mutex
	list    []mail.Flags
	numbers map[mail.Flags]uint32
}

func (t *flagTable) index(f mail.Flags) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok := t.numbers[f]
	if !ok {
		if t.numbers == nil {
			t.numbers = make(map[mail.Flags]uint32)
		}
		n = uint32(len(t.list))
		t.numbers[f] = n
		t.list = append(t.list, f)
	}
	return n
}
