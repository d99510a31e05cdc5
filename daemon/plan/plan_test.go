package plan

import (
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func receiptsOf(uids ...mail.UID) iter.Seq2[mail.Receipt, error] {
	return func(yield func(mail.Receipt, error) bool) {
		for _, uid := range uids {
			if !yield(mail.Receipt{Source: uid}, nil) {
				return
			}
		}
	}
}

func TestUncarried(t *testing.T) {
	for _, c := range []struct {
		name           string
		uids, receipts []mail.UID
		held           map[mail.UID]bool
		want           []mail.UID
	}{
		{"nothing", nil, []mail.UID{1}, nil, nil},
		{"all new", []mail.UID{1, 2, 3}, nil, nil, []mail.UID{1, 2, 3}},
		{"all carried", []mail.UID{1, 2, 3}, []mail.UID{1, 2, 3}, nil, nil},
		{"vanished receipts are passed over", []mail.UID{5, 9}, []mail.UID{0, 0, 1, 5, 6}, nil, []mail.UID{9}},
		{"holes", []mail.UID{1, 3, 5, 7}, []mail.UID{3, 4, 7}, nil, []mail.UID{1, 5}},
		{"held", []mail.UID{1, 2, 3}, []mail.UID{1}, map[mail.UID]bool{3: true}, []mail.UID{2}},
		{"held to be retried", []mail.UID{1, 2}, nil, map[mail.UID]bool{1: false, 2: true}, []mail.UID{1}},
	} {
		got, err := Uncarried(c.uids, receiptsOf(c.receipts...), c.held)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
	}
	broken := errors.New("broken")
	_, err := Uncarried([]mail.UID{1}, func(yield func(mail.Receipt, error) bool) { yield(mail.Receipt{}, broken) }, nil)
	if !errors.Is(err, broken) {
		t.Errorf("an error of the receipts is lost: %v", err)
	}
}

// TestUncarriedAgainstSets compares the merge with the set arithmetic that it
// stands for.
func TestUncarriedAgainstSets(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func() []mail.UID {
		var uids []mail.UID
		for uid := mail.UID(1); uid < 12; uid++ {
			if rng.IntN(2) == 0 {
				uids = append(uids, uid)
			}
		}
		return uids
	}
	for range 20_000 {
		uids, receipts, heldList := draw(), draw(), draw()
		held := make(map[mail.UID]bool)
		for _, uid := range heldList {
			held[uid] = true
		}
		var want []mail.UID
		for _, uid := range uids {
			if !slices.Contains(receipts, uid) && !held[uid] {
				want = append(want, uid)
			}
		}
		got, err := Uncarried(uids, receiptsOf(receipts...), held)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("Uncarried(%v, %v, %v) = %v, %v; want %v", uids, receipts, heldList, got, err, want)
		}
	}
}

func TestRecognise(t *testing.T) {
	item := func(fp mail.Fingerprint, box uint32, uid mail.UID) Item {
		return Item{Fingerprint: fp, Mailbox: box, UID: uid}
	}
	for _, c := range []struct {
		name          string
		wanted, found []Item
		anywhere      bool
		matches       []Match
		missing       int
		unwanted      int
	}{
		{name: "nothing"},
		{name: "own mailbox first", anywhere: true,
			wanted: []Item{item(7, 1, 10), item(7, 2, 20)}, found: []Item{item(7, 2, 1), item(7, 1, 2)},
			matches: []Match{{item(7, 1, 10), item(7, 1, 2)}, {item(7, 2, 20), item(7, 2, 1)}}},
		{name: "moved by its user", anywhere: true,
			wanted: []Item{item(7, 1, 10)}, found: []Item{item(7, 9, 1)},
			matches: []Match{{item(7, 1, 10), item(7, 9, 1)}}},
		{name: "elsewhere does not count", wanted: []Item{item(7, 1, 10)}, found: []Item{item(7, 9, 1)}, missing: 1, unwanted: 1},
		{name: "twins are counted, lowest with lowest",
			wanted: []Item{item(7, 1, 12), item(7, 1, 11), item(7, 1, 10)}, found: []Item{item(7, 1, 2), item(7, 1, 1)},
			matches: []Match{{item(7, 1, 10), item(7, 1, 1)}, {item(7, 1, 11), item(7, 1, 2)}}, missing: 1},
		{name: "surplus", wanted: []Item{item(7, 1, 10)}, found: []Item{item(7, 1, 1), item(7, 1, 2)},
			matches: []Match{{item(7, 1, 10), item(7, 1, 1)}}, unwanted: 1},
		{name: "no fingerprint matches nothing", anywhere: true, wanted: []Item{item(0, 1, 1)}, found: []Item{item(0, 1, 1)}, missing: 1, unwanted: 1},
	} {
		matches, unwanted, missing := Recognise(slices.Clone(c.wanted), slices.Clone(c.found), c.anywhere)
		if !slices.Equal(slices.Collect(matches.All()), c.matches) || len(missing) != c.missing || len(unwanted) != c.unwanted {
			t.Errorf("%s: %v, missing %v, unwanted %v", c.name, matches, missing, unwanted)
		}
	}
}

// TestRecogniseIsAMultisetMatch checks on random worlds that nothing is lost
// or used twice, and that as much is matched as can be.
func TestRecogniseIsAMultisetMatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	draw := func() []Item {
		items := make([]Item, rng.IntN(8))
		for i := range items {
			items[i] = Item{Fingerprint: mail.Fingerprint(1 + rng.IntN(3)), Mailbox: uint32(rng.IntN(3)), UID: mail.UID(i + 1), Tag: uint32(i)}
		}
		return items
	}
	type key struct {
		fp  mail.Fingerprint
		box uint32
	}
	for range 20_000 {
		wanted, found := draw(), draw()
		for _, anywhere := range []bool{false, true} {
			matches, unwanted, missing := Recognise(slices.Clone(wanted), slices.Clone(found), anywhere)
			if matches.Len()+len(missing) != len(wanted) || matches.Len()+len(unwanted) != len(found) {
				t.Fatalf("%v against %v: %v, missing %v, unwanted %v", wanted, found, matches, missing, unwanted)
			}
			count := make(map[key][2]int)
			all := make(map[mail.Fingerprint][2]int)
			for side, items := range [][]Item{wanted, found} {
				for _, i := range items {
					n, m := count[key{i.Fingerprint, i.Mailbox}], all[i.Fingerprint]
					n[side]++
					m[side]++
					count[key{i.Fingerprint, i.Mailbox}], all[i.Fingerprint] = n, m
				}
			}
			own, most := 0, 0
			for _, n := range count {
				own += min(n[0], n[1])
			}
			for _, n := range all {
				most += min(n[0], n[1])
			}
			gotOwn := 0
			for m := range matches.All() {
				if m.Wanted.Fingerprint != m.Found.Fingerprint {
					t.Fatalf("matched %v with %v", m.Wanted, m.Found)
				}
				if m.Wanted.Mailbox == m.Found.Mailbox {
					gotOwn++
				} else if !anywhere {
					t.Fatalf("matched across mailboxes: %v", m)
				}
			}
			if gotOwn < own || anywhere && matches.Len() != most {
				t.Fatalf("%v against %v (anywhere %v): %d own of %d, %d of %d", wanted, found, anywhere, gotOwn, own, matches.Len(), most)
			}
		}
	}
}

func TestUnexplained(t *testing.T) {
	for _, c := range []struct {
		floor, next mail.UID
		present     []mail.UID
		named       map[mail.UID]bool
		want        int
	}{
		{10, 10, nil, nil, 0},
		{10, 9, nil, nil, 0},
		{10, 13, []mail.UID{10, 11, 12}, nil, 0},
		{10, 13, []mail.UID{9, 10, 12, 13}, nil, 1},
		{10, 13, []mail.UID{10}, map[mail.UID]bool{11: true}, 1},
		{10, 13, []mail.UID{10, 11}, map[mail.UID]bool{11: true, 12: true, 99: true}, 0},
	} {
		if got := Unexplained(c.floor, c.next, c.present, c.named); got != c.want {
			t.Errorf("Unexplained(%d, %d, %v, %v) = %d, want %d", c.floor, c.next, c.present, c.named, got, c.want)
		}
	}
}
