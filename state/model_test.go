package state

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// model is what a store should hold, in plain maps.
type model struct {
	pairs    map[mail.PairID]mail.Pair
	vanished map[mail.PairID][]mail.Receipt
	receipts map[mail.PairID]map[mail.UID]mail.Receipt
	intents  map[uint64]mail.Intent
	holds    map[mail.HoldKey]mail.Hold
	anchors  map[string]mail.Anchor
	absences map[mail.PairID]mail.Absence
}

func newModel() *model {
	return &model{map[mail.PairID]mail.Pair{}, map[mail.PairID][]mail.Receipt{}, map[mail.PairID]map[mail.UID]mail.Receipt{},
		map[uint64]mail.Intent{}, map[mail.HoldKey]mail.Hold{}, map[string]mail.Anchor{}, map[mail.PairID]mail.Absence{}}
}

func (m *model) apply(c mail.Change) {
	for _, p := range c.Pairs {
		m.pairs[p.ID] = p
	}
	for _, r := range c.Replace {
		m.vanished[r.Pair], m.receipts[r.Pair] = nil, map[mail.UID]mail.Receipt{}
		for _, x := range r.Receipts {
			if x.Source == 0 {
				m.vanished[r.Pair] = append(m.vanished[r.Pair], x)
			} else {
				m.receipts[r.Pair][x.Source] = x
			}
		}
	}
	for _, d := range c.Drop {
		for _, uid := range d.UIDs {
			delete(m.receipts[d.Pair], uid)
		}
	}
	for _, r := range c.Receipts {
		if m.receipts[r.Pair] == nil {
			m.receipts[r.Pair] = map[mail.UID]mail.Receipt{}
		}
		for _, x := range r.Receipts {
			m.receipts[r.Pair][x.Source] = x
		}
	}
	for _, id := range c.Settle {
		delete(m.intents, id)
	}
	for _, i := range c.Intents {
		m.intents[i.ID] = i
	}
	for _, h := range c.Holds {
		m.holds[h.HoldKey] = h
	}
	for _, k := range c.Unhold {
		delete(m.holds, k)
	}
	for _, a := range c.Absences {
		if m.absences[a.Pair] = a; len(a.Missing)+len(a.Removed) == 0 {
			delete(m.absences, a.Pair)
		}
	}
	maps.Copy(m.anchors, c.DestinationAnchors)
}

// list is what Receipts should yield.
func (m *model) list(pair mail.PairID) []mail.Receipt {
	return append(slices.Clone(m.vanished[pair]), byKey(m.receipts[pair])...)
}

// differs tells in what a store holds something else; the error is the
// store's own.
func (m *model) differs(s *Store) (what string, err error) {
	for pair := range mail.PairID(4) {
		var got []mail.Receipt
		for r, err := range s.Receipts(pair) {
			if err != nil {
				return "", err
			}
			got = append(got, r)
		}
		if want := m.list(pair); !slices.Equal(got, want) {
			n := 0
			for n < min(len(got), len(want)) && got[n] == want[n] {
				n++
			}
			return fmt.Sprintf("pair %d: %d receipts instead of %d, others from number %d on", pair, len(got), len(want), n), nil
		}
	}
	pairs, err1 := s.Pairs()
	intents, err2 := s.Intents()
	holds, err3 := s.Holds()
	anchors, err4 := s.DestinationAnchors()
	absences, err5 := s.Absences()
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return "", err
	}
	held := make(map[mail.HoldKey]mail.Hold)
	for _, h := range holds {
		held[h.HoldKey] = h
	}
	switch {
	case !slices.Equal(pairs, byKey(m.pairs)):
		return "pairs", nil
	case !slices.Equal(intents, byKey(m.intents)):
		return "intents", nil
	case !maps.Equal(held, m.holds):
		return "holds", nil
	case !maps.Equal(anchors, m.anchors):
		return "anchors", nil
	case !reflect.DeepEqual(absences, byKey(m.absences)):
		return "absences", nil
	}
	return "", nil
}

func (m *model) compare(t *testing.T, s *Store) {
	t.Helper()
	if what, err := m.differs(s); what != "" || err != nil {
		t.Fatal(what, err)
	}
}

// byKey returns the values of a map in the order of its keys.
func byKey[K cmp.Ordered, V any](m map[K]V) []V {
	var list []V
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[k])
	}
	return list
}

var odd = []string{"", "Work", "a b", "\xff\xfe", "INBOX.Entw&APw-rfe", "\x00"}

func randomReceipt(rng *rand.Rand, uids uint32) mail.Receipt {
	r := mail.Receipt{
		Source: mail.UID(math.MaxUint32 - rng.Uint32N(uids)), Destination: mail.UID(rng.Uint32()), Fingerprint: mail.Fingerprint(rng.Uint64()),
		Flags: mail.Flags{System: mail.System(rng.UintN(32)), Keywords: odd[rng.IntN(len(odd))]}, Touched: rng.IntN(2) == 0,
		Gone: rng.IntN(5) == 0,
	}
	if rng.IntN(10) == 0 {
		r.Mailbox, r.UIDValidity = odd[1+rng.IntN(len(odd)-1)], mail.UIDValidity(rng.Uint32())
	}
	return r
}

func randomChange(rng *rand.Rand) mail.Change {
	var c mail.Change
	pair := mail.PairID(1 + rng.Uint32N(3))
	uids := []uint32{40, 400, 4_000, math.MaxUint32}[rng.IntN(4)]
	at := []time.Time{{}, time.Unix(int64(rng.Int32()), 5).UTC(), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}[rng.IntN(3)]
	if rng.IntN(3) == 0 {
		c.Pairs = []mail.Pair{{ID: pair, Source: odd[rng.IntN(len(odd))], Destination: fmt.Sprint(pair, "\xff"), SourcePath: "é",
			SourceAnchor: mail.Anchor{UIDValidity: 1, UIDNext: mail.UID(rng.Uint32()), HighestModSeq: mail.ModSeq(rng.Uint64()), Messages: rng.Uint32()}, DestinationValidity: 9, OwesSubscription: true}}
	}
	var list []mail.Receipt
	for range rng.IntN(300) {
		list = append(list, randomReceipt(rng, uids))
	}
	if rng.IntN(8) == 0 {
		for range rng.IntN(200) {
			r := randomReceipt(rng, uids)
			r.Source = 0
			list = append(list, r)
		}
		c.Replace = []mail.PairReceipts{{Pair: pair, Receipts: list}}
	} else {
		c.Receipts = []mail.PairReceipts{{Pair: pair, Receipts: list}}
	}
	if rng.IntN(2) == 0 {
		d := mail.PairUIDs{Pair: pair}
		for range rng.IntN(200) {
			d.UIDs = append(d.UIDs, randomReceipt(rng, uids).Source)
		}
		c.Drop = []mail.PairUIDs{d}
	}
	c.Absences = []mail.Absence{{Pair: mail.PairID(1 + rng.Uint32N(3))}}
	for a := &c.Absences[0]; rng.IntN(3) > 0; {
		a.Missing = append(a.Missing, mail.Missing{Since: time.Unix(int64(rng.Int32()), 0).UTC(), UIDs: []mail.UID{1, 2, 4, mail.UID(5 + rng.Uint32N(9)), math.MaxUint32}, Guarded: rng.IntN(2) == 0, Apply: rng.IntN(2) == 0})
		a.Removed = append(a.Removed, mail.Removal{At: time.Unix(int64(rng.Int32()), 0).UTC(), Messages: 3})
	}
	c.Settle = []uint64{rng.Uint64N(20)}
	c.Intents = []mail.Intent{{ID: 1 + rng.Uint64N(20), Kind: mail.IntentAppend, Pair: pair, Source: 3, Size: 1 << 40, InternalDate: at,
		Fingerprint: mail.Fingerprint(rng.Uint64()), Flags: mail.Flags{System: mail.Seen, Keywords: "\xff"}, Mailbox: "\xfe", UIDValidity: 4, Floor: 5, Destination: 6, Resent: at, Looks: 2,
		FromPair: 7, FromSource: 8, FromMailbox: "\xfd", FromValidity: 9, Original: mail.Fingerprint(rng.Uint64()), Mended: mail.NUL}}
	key := mail.HoldKey{Pair: pair, UID: mail.UID(rng.Uint32N(9))}
	if rng.IntN(4) == 0 {
		key = mail.HoldKey{Path: odd[1+rng.IntN(5)]}
	}
	c.Holds = []mail.Hold{{HoldKey: key, Reason: mail.ReasonRefused, Text: "no \xff", Mailbox: "b", Size: 7, Since: at, Skipped: true, Because: "so", SkippedAt: at, Retry: true}}
	if rng.IntN(2) == 0 {
		c.Unhold = []mail.HoldKey{{Pair: pair, UID: mail.UID(rng.Uint32N(9))}}
	}
	c.DestinationAnchors = map[string]mail.Anchor{odd[1+rng.IntN(5)]: {UIDValidity: 1, UIDNext: mail.UID(rng.Uint32())}}
	return c
}
