package plan

import (
	"slices"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// items makes four items of three octets each: few fingerprints, few mailboxes,
// so that there are twins.
func items(data []byte) (list []Item) {
	for i := 0; i+1 < len(data); i += 2 {
		list = append(list, Item{Fingerprint: mail.Fingerprint(data[i] % 5), Mailbox: uint32(data[i] / 5 % 3), UID: mail.UID(data[i+1]), Tag: uint32(i)})
	}
	return list
}

// FuzzRecognise: of k intents and c candidates of one fingerprint min(k, c)
// become receipts, first within one mailbox; nothing is matched twice, and
// nothing is lost.
func FuzzRecognise(f *testing.F) {
	f.Add([]byte{}, []byte{1, 1}, true)
	f.Add([]byte{1, 1, 1, 2, 1, 3}, []byte{1, 9, 1, 8}, false)
	f.Add([]byte{1, 1, 6, 1, 0, 0}, []byte{6, 1, 6, 2, 11, 1, 0, 0}, true)
	f.Fuzz(func(t *testing.T, a, b []byte, anywhere bool) {
		wanted, found := items(a), items(b)
		matches, unwanted, missing := Recognise(slices.Clone(wanted), slices.Clone(found), anywhere)
		left, right := slices.Clone(missing), slices.Clone(unwanted)
		type place struct {
			print   mail.Fingerprint
			mailbox uint32
		}
		matched, near := make(map[mail.Fingerprint]int), make(map[place]int)
		for m := range matches.All() {
			switch {
			case m.Wanted.Fingerprint != m.Found.Fingerprint || m.Found.Fingerprint == 0:
				t.Errorf("%+v is taken for %+v", m.Found, m.Wanted)
			case m.Wanted.Mailbox == m.Found.Mailbox:
				near[place{m.Found.Fingerprint, m.Found.Mailbox}]++
			case !anywhere:
				t.Errorf("%+v is taken for %+v in another mailbox", m.Found, m.Wanted)
			}
			matched[m.Found.Fingerprint]++
			left, right = append(left, m.Wanted), append(right, m.Found)
		}
		if !same(left, wanted) || !same(right, found) {
			t.Errorf("something is lost, or matched twice:\n%v\n%v\n%v\n%v", wanted, left, found, right)
		}
		k, c := make(map[place]int), make(map[place]int)
		for _, item := range wanted {
			k[place{item.Fingerprint, item.Mailbox}]++
		}
		for _, item := range found {
			c[place{item.Fingerprint, item.Mailbox}]++
		}
		for print := mail.Fingerprint(1); print < 5; print++ {
			sumK, sumC, here := 0, 0, 0
			for mailbox := range uint32(20) {
				at := place{print, mailbox}
				sumK, sumC, here = sumK+k[at], sumC+c[at], here+min(k[at], c[at])
				if near[at] != min(k[at], c[at]) {
					t.Errorf("%d of %d and %d are matched within mailbox %d", near[at], k[at], c[at], mailbox)
				}
			}
			if anywhere {
				here = min(sumK, sumC)
			}
			if matched[print] != here {
				t.Errorf("%d of %d and %d are matched, not %d", matched[print], sumK, sumC, here)
			}
		}
	})
}

func same(a, b []Item) bool {
	order := func(list []Item) []Item {
		return slices.SortedFunc(slices.Values(list), func(a, b Item) int { return int(a.Tag) - int(b.Tag) })
	}
	return slices.Equal(order(a), order(b))
}

func uids(data []byte) (list []mail.UID) {
	for _, c := range data {
		list = append(list, mail.UID(c))
	}
	return list
}

// FuzzUnexplained: the gaps of a mailbox, against set arithmetic.
func FuzzUnexplained(f *testing.F) {
	f.Add(byte(1), byte(9), []byte{1, 2, 5}, []byte{3, 5, 20})
	f.Add(byte(9), byte(1), []byte{1}, []byte{})
	f.Fuzz(func(t *testing.T, floor, next byte, present, named []byte) {
		names, explained := make(map[mail.UID]bool), make(map[mail.UID]bool)
		for _, uid := range uids(named) {
			names[uid], explained[uid] = true, true
		}
		// A server shows each UID once, in order.
		there := slices.Compact(slices.Sorted(slices.Values(uids(present))))
		for _, uid := range there {
			explained[uid] = true
		}
		want := 0
		for uid := mail.UID(floor); uid < mail.UID(next); uid++ {
			if !explained[uid] {
				want++
			}
		}
		if got := Unexplained(mail.UID(floor), mail.UID(next), there, names); got != want {
			t.Errorf("%d, not %d", got, want)
		}
	})
}

// FuzzReflag: what is decided about the flags of a copy is decided once, never
// takes a keyword from it that only its user gave it, and leaves what he has
// changed.
func FuzzReflag(f *testing.F) {
	f.Add(byte(0), byte(0), byte(0), byte(0), byte(0), byte(0))
	f.Add(byte(1), byte(3), byte(1), byte(2), byte(7), byte(9))
	keywords := []string{"Work", "NonJunk", "$HasAttachment", "mine", "WORK"}
	flags := func(system, mask byte) mail.Flags {
		var names []string
		for i, k := range keywords {
			if mask>>i&1 != 0 {
				names = append(names, k)
			}
		}
		return mail.Flags{System: mail.System(system & 31)}.With(mail.ParseFlags(names))
	}
	f.Fuzz(func(t *testing.T, a, b, c, x, y, z byte) {
		left, source, found := flags(a, x), flags(b, y), flags(c, z)
		what, to := Reflag(left, source, found)
		for _, k := range found.KeywordList() {
			if !to.Has(k) && !left.Has(k) && !source.Has(k) {
				t.Errorf("%v loses %s", found, k)
			}
		}
		switch again, _ := Reflag(source, source, to); {
		case what == TouchFlags && !to.Equal(found):
			t.Errorf("%v is his, and would get %v", found, to)
		case what != TouchFlags && again != LeaveFlags:
			t.Errorf("%v %v %v: %v is not left alone", left, source, found, to)
		case what == SetFlags && !Between(left, left, found):
			t.Errorf("%v is set to %v, which is not as it was left: %v", found, to, left)
		}
	})
}
