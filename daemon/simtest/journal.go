package simtest

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Journal is a model of the durable memory of an account. What has been
// committed outlives the pass that committed it.
type Journal struct {
	mu       sync.Mutex // of the maps: the servers look while a pass commits
	pairs    map[mail.PairID]mail.Pair
	receipts map[mail.PairID][]mail.Receipt // read without lock: a list is replaced, not changed
	intents  map[uint64]mail.Intent
	holds    map[mail.HoldKey]mail.Hold
	anchors  map[string]mail.Anchor
	absences map[mail.PairID]mail.Absence
}

// NewJournal returns an empty journal.
func NewJournal() *Journal {
	return &Journal{
		pairs: make(map[mail.PairID]mail.Pair), receipts: make(map[mail.PairID][]mail.Receipt),
		intents: make(map[uint64]mail.Intent), holds: make(map[mail.HoldKey]mail.Hold), anchors: make(map[string]mail.Anchor),
		absences: make(map[mail.PairID]mail.Absence),
	}
}

// Clone is a backup.
func (j *Journal) Clone() *Journal {
	c := &Journal{
		pairs: maps.Clone(j.pairs), receipts: make(map[mail.PairID][]mail.Receipt),
		intents: maps.Clone(j.intents), holds: maps.Clone(j.holds), anchors: maps.Clone(j.anchors), absences: maps.Clone(j.absences),
	}
	for id, list := range j.receipts {
		c.receipts[id] = slices.Clone(list)
	}
	return c
}

func (j *Journal) apply(c mail.Change) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range c.Pairs {
		j.pairs[p.ID] = p
	}
	for _, r := range c.Replace {
		j.receipts[r.Pair] = slices.Clone(r.Receipts)
	}
	for _, d := range c.Drop {
		j.receipts[d.Pair] = slices.DeleteFunc(slices.Clone(j.receipts[d.Pair]), func(r mail.Receipt) bool { return slices.Contains(d.UIDs, r.Source) })
	}
	for _, r := range c.Receipts {
		list := slices.Clone(j.receipts[r.Pair])
		for _, x := range r.Receipts {
			list = append(slices.DeleteFunc(list, func(y mail.Receipt) bool { return y.Source == x.Source }), x)
			slices.SortStableFunc(list, func(a, b mail.Receipt) int { return cmp.Compare(a.Source, b.Source) })
		}
		j.receipts[r.Pair] = list
	}
	for _, id := range c.Settle {
		delete(j.intents, id)
	}
	for _, i := range c.Intents {
		j.intents[i.ID] = i
	}
	for _, h := range c.Holds {
		j.holds[h.HoldKey] = h
	}
	for _, k := range c.Unhold {
		delete(j.holds, k)
	}
	for _, a := range c.Absences {
		if j.absences[a.Pair] = a; len(a.Missing)+len(a.Removed) == 0 {
			delete(j.absences, a.Pair)
		}
	}
	maps.Copy(j.anchors, c.DestinationAnchors)
}

// JournalView is a journal as one incarnation of a pass sees it. After a
// commit that failed it is of no use (I6).
type JournalView struct {
	*Journal
	*Faults
	failed *error
}

// View returns a journal for one incarnation.
func (j *Journal) View(f *Faults) JournalView { return JournalView{j, f, new(error)} }

func (v JournalView) usable() error {
	if v.Dead() {
		return errCrash
	}
	return *v.failed
}

// sorted are the values of a map by ascending key.
func sorted[K cmp.Ordered, V any](of map[K]V) []V {
	values := make([]V, 0, len(of))
	for _, key := range slices.Sorted(maps.Keys(of)) {
		values = append(values, of[key])
	}
	return values
}

func (v JournalView) Pairs() ([]mail.Pair, error) {
	return sorted(v.pairs), v.usable()
}

func (v JournalView) Intents() ([]mail.Intent, error) {
	return sorted(v.intents), v.usable()
}

func (v JournalView) Holds() ([]mail.Hold, error) {
	return slices.Collect(maps.Values(v.holds)), v.usable()
}

func (v JournalView) Absences() ([]mail.Absence, error) {
	return slices.SortedFunc(maps.Values(v.absences), func(a, b mail.Absence) int { return cmp.Compare(a.Pair, b.Pair) }), v.usable()
}

func (v JournalView) DestinationAnchors() (map[string]mail.Anchor, error) {
	return maps.Clone(v.anchors), v.usable()
}

func (v JournalView) Receipts(pair mail.PairID) iter.Seq2[mail.Receipt, error] {
	return func(yield func(mail.Receipt, error) bool) {
		if err := v.usable(); err != nil {
			yield(mail.Receipt{}, err)
			return
		}
		for _, r := range v.receipts[pair] {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (v JournalView) Commit(c mail.Change) error {
	if err := v.usable(); err != nil {
		return err
	}
	err := v.ask(step{what: "commit"})
	if err == nil {
		v.apply(c)
		err = v.ask(step{what: "commit"})
	}
	*v.failed = err
	return err
}

// intended tells whether an open intent for such a message is durable.
func (j *Journal) intended(box string, size int64, print mail.Fingerprint) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, i := range j.intents {
		if i.Kind == mail.IntentAppend && i.Open() && i.Mailbox == box && i.Size == size && i.Fingerprint == print {
			return true
		}
	}
	return false
}

// changing tells whether a durable intent of that kind is about a copy, and
// whether a receipt names it.
func (j *Journal) changing(kind mail.IntentKind, box mail.Ref, uid mail.UID) (intended, named bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, i := range j.intents {
		at := mail.Ref{Name: i.Mailbox, UIDValidity: i.UIDValidity}
		if i.Kind == mail.IntentMove {
			at = mail.Ref{Name: i.FromMailbox, UIDValidity: i.FromValidity}
		}
		if (i.Kind == kind || i.Kind == mail.IntentMove && kind == mail.IntentRemove) && at == box && i.Destination == uid {
			intended = true
		}
	}
	for id, list := range j.receipts {
		pair := j.pairs[id]
		for _, r := range list {
			at := mail.Ref{Name: pair.Destination, UIDValidity: pair.DestinationValidity}
			if r.Mailbox != "" {
				at = mail.Ref{Name: r.Mailbox, UIDValidity: r.UIDValidity}
			}
			named = named || at == box && r.Destination == uid
		}
	}
	return intended, named
}

// Forget loses the receipt of a source message, as no crash may.
func (j *Journal) Forget(mailbox string, source mail.UID) {
	for id, p := range j.pairs {
		if p.Source == mailbox {
			j.receipts[id] = slices.DeleteFunc(slices.Clone(j.receipts[id]), func(r mail.Receipt) bool { return r.Source == source })
		}
	}
}
