// Package plan decides what has to be done. It is pure: observations and
// receipts go in, decisions come out; no I/O, no clock, no IMAP.
//
// The invariants of the whole program, which this package and pass keep and
// which the simulation checks:
//
//	I1   Every command whose loss or repetition would show (APPEND, MOVE/COPY,
//	     STORE) is sent only after its intent is durable.
//	I2   A receipt is written only after tagged OK with an APPENDUID/COPYUID
//	     that fits (UIDVALIDITY as planned, UID at or above the floor, in no
//	     other receipt, right count), or after a resolve.
//	I3   An anchor moves past UID u or MODSEQ m only with or after a receipt, a
//	     hold, an exclusion, or an absence confirmed by UID SEARCH for
//	     everything at or below u, m.
//	I4   A destination message is re-flagged, moved or removed only if a
//	     receipt names it. The destination never sees CLOSE or a plain EXPUNGE.
//	I5   Every call names the UIDVALIDITY it was planned for and fails if
//	     EXAMINE/SELECT shows another. A change voids UIDs, never
//	     fingerprints: what has a receipt is rebound, not copied again.
//	I6   After a failed commit the store is closed and read again before
//	     anything is sent.
//	I7   Before the first copy into a mailbox after each start, every
//	     destination UID at or above the destination anchor that no receipt
//	     names is matched by fingerprint, first in its own mailbox, then what
//	     is left over the whole account, as a multiset. An adopted copy whose
//	     flags differ is born touched; only \Seen, \Answered and \Flagged that
//	     the source has are added, once.
//	I8   From the handover on nothing on the destination is changed or removed.
//	I9   In one mailbox the order of destination UIDs is the order of source
//	     UIDs; a message refused at its first attempt comes after those
//	     already sent.
//	I10  Source and destination are never the same mailbox.
//	I11  A pair's destination name is stored when first used and wins over
//	     later rules; a changed rule is refused until the operator has what was
//	     copied moved, or kept.
package plan

import (
	"cmp"
	"iter"
	"slices"
	"sort"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Uncarried returns those of uids (ascending) that have neither a receipt nor
// a hold: what remains to be copied of one mailbox. The receipts are those of
// its pair by ascending source UID.
func Uncarried(uids []mail.UID, receipts iter.Seq2[mail.Receipt, error], held map[mail.UID]bool) ([]mail.UID, error) {
	if len(uids) == 0 {
		return nil, nil
	}
	var rest []mail.UID
	i := 0
	keep := func(uid mail.UID) {
		if !held[uid] {
			rest = append(rest, uid)
		}
	}
	for r, err := range receipts {
		if err != nil {
			return nil, err
		}
		for i < len(uids) && uids[i] < r.Source {
			keep(uids[i])
			i++
		}
		if i == len(uids) {
			break
		}
		if uids[i] == r.Source {
			i++
		}
	}
	for ; i < len(uids); i++ {
		keep(uids[i])
	}
	return rest, nil
}

// Item is one message, or one receipt, as far as recognising it goes: 32
// octets, because there may be one for every message of an account.
type Item struct {
	Fingerprint mail.Fingerprint
	Opening     mail.Fingerprint // of its beginning alone; 0: not known
	Mailbox     uint32           // the destination mailbox it is in, or belongs in; numbered by the caller
	UID         mail.UID
	Tag         uint32 // the caller's own, not looked at
}

func compareItems(a, b Item) int {
	return cmp.Or(cmp.Compare(a.Fingerprint, b.Fingerprint), cmp.Compare(a.Mailbox, b.Mailbox), cmp.Compare(a.UID, b.UID))
}

// Match is one message that was recognised.
type Match struct{ Wanted, Found Item }

// Matches are the messages that were recognised: the i-th wanted one is the i-th that
// was found.
type Matches struct{ Wanted, Found []Item }

// Len is how many there are.
func (m Matches) Len() int { return len(m.Wanted) }

// All yields one after the other.
func (m Matches) All() iter.Seq[Match] {
	return func(yield func(Match) bool) {
		for i := range m.Wanted {
			if !yield(Match{m.Wanted[i], m.Found[i]}) {
				return
			}
		}
	}
}

// Add adds more of them.
func (m *Matches) Add(more Matches) {
	m.Wanted, m.Found = append(m.Wanted, more.Wanted...), append(m.Found, more.Found...)
}

// Chunks yields n after n of them.
func (m Matches) Chunks(n int) iter.Seq[Matches] {
	return func(yield func(Matches) bool) {
		for from := 0; from < m.Len(); from += n {
			to := min(from+n, m.Len())
			if !yield(Matches{m.Wanted[from:to], m.Found[from:to]}) {
				return
			}
		}
	}
}

// Sort sorts them by the mailbox and the UID of what was wanted.
func (m Matches) Sort() { sort.Sort(byWanted{m}) }

type byWanted struct{ Matches }

func (m byWanted) Less(i, j int) bool {
	a, b := m.Wanted[i], m.Wanted[j]
	return cmp.Or(cmp.Compare(a.Mailbox, b.Mailbox), cmp.Compare(a.UID, b.UID)) < 0
}

func (m byWanted) Swap(i, j int) { swap(m.Wanted, i, j); swap(m.Found, i, j) }

func swap(items []Item, i, j int) { items[i], items[j] = items[j], items[i] }

// Recognise matches what is wanted with what was found, as multisets by
// fingerprint: first within one mailbox, lowest UID with lowest UID, then,
// when anywhere is true, what is left over all mailboxes. Items without a
// fingerprint match nothing. What it returns are parts of both slices, which it has
// sorted, since there may be no room for a second time: the matches, and what was not
// matched, by fingerprint, mailbox and UID (I7, and the core of resolving).
func Recognise(wanted, found []Item, anywhere bool) (matches Matches, unwanted, missing []Item) {
	slices.SortFunc(wanted, compareItems)
	slices.SortFunc(found, compareItems)
	n := pairOff(wanted, found, compareMailbox)
	if anywhere {
		n += pairOff(wanted[n:], found[n:], compareFingerprint)
	}
	return Matches{wanted[:n:n], found[:n:n]}, found[n:], wanted[n:]
}

func compareFingerprint(a, b Item) int { return cmp.Compare(a.Fingerprint, b.Fingerprint) }

func compareMailbox(a, b Item) int {
	return cmp.Or(compareFingerprint(a, b), cmp.Compare(a.Mailbox, b.Mailbox))
}

// pairOff moves items that compare equal to the beginnings of both slices, in order, and
// returns how many. What is left stays sorted.
func pairOff(wanted, found []Item, compare func(a, b Item) int) (n int) {
	for i, j := 0, 0; i < len(wanted) && j < len(found); {
		switch c := compare(wanted[i], found[j]); {
		case c < 0 || wanted[i].Fingerprint == 0:
			i++
		case c > 0:
			j++
		default:
			swap(wanted, n, i)
			swap(found, n, j)
			n, i, j = n+1, i+1, j+1
		}
	}
	slices.SortFunc(wanted[n:], compareItems)
	slices.SortFunc(found[n:], compareItems)
	return n
}

// Unexplained counts the UIDs in [floor, next) that neither a present message
// nor a receipt accounts for: messages that were there and are gone. present
// holds every UID that is there, named every UID that a receipt names.
func Unexplained(floor, next mail.UID, present []mail.UID, named map[mail.UID]bool) int {
	if next <= floor {
		return 0
	}
	gap := int(next - floor)
	seen := make(map[mail.UID]bool, len(present))
	for _, uid := range present {
		if uid >= floor && uid < next {
			seen[uid] = true
			gap--
		}
	}
	for uid := range named {
		if uid >= floor && uid < next && !seen[uid] {
			gap--
		}
	}
	return gap
}
