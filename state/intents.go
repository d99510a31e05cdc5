package state

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Intents are written many at once, before a command, and settled many at once, when it
// has been answered. So they lie in lists, each under the ID of its first one.

// listMost is how many intents a list holds at most.
const listMost = 256

// What an intent has beside what each of them has.
const (
	hasPlace     = 1 << iota // another one than the intent before
	hasSize                  // not 0
	hasWords                 // keywords
	hasCopy                  // the UID of a copy that is there
	hasLooks                 // it was sent again, or looked for
	hasOrigin                // where it comes from
	hasFixups                // it was altered
	intentFields = 1<<iota - 1
)

// encodeIntents writes intents, ascending by ID, as
//
//	uvarint count
//	count × { uvarint ID − previous, octet kind, octet of what there is besides,
//	          [uvarint pair, text mailbox, uvarint UIDVALIDITY, uvarint floor],
//	          uvarint source UID, [varint size], time of INTERNALDATE,
//	          8 octets fingerprint, octet of system flags, [text keywords],
//	          [uvarint destination UID], [time, octet of looks],
//	          [uvarint pair, uvarint source UID, text mailbox, uvarint UIDVALIDITY],
//	          [8 octets fingerprint of the original, octet of fixups] }
//
// where a text is uvarint length and octets, and a time varint seconds since 1970 and
// uvarint nanoseconds. The first ID counts from the key.
func encodeIntents(intents []mail.Intent) []byte {
	out := binary.AppendUvarint(make([]byte, 0, 64+40*len(intents)), uint64(len(intents)))
	before := mail.Intent{ID: intents[0].ID}
	for _, i := range intents {
		fields := byte(0)
		has := func(field byte, there bool) {
			if there {
				fields |= field
			}
		}
		has(hasPlace, i.Pair != before.Pair || i.Mailbox != before.Mailbox || i.UIDValidity != before.UIDValidity || i.Floor != before.Floor)
		has(hasSize, i.Size != 0)
		has(hasWords, i.Flags.Keywords != "")
		has(hasCopy, i.Destination != 0)
		has(hasLooks, i.Looks != 0 || !i.Resent.IsZero())
		has(hasOrigin, i.FromPair != 0 || i.FromSource != 0 || i.FromMailbox != "" || i.FromValidity != 0)
		has(hasFixups, i.Original != 0 || i.Mended != 0)
		out = append(binary.AppendUvarint(out, i.ID-before.ID), byte(i.Kind), fields)
		if fields&hasPlace != 0 {
			out = appendText(binary.AppendUvarint(out, uint64(i.Pair)), i.Mailbox)
			out = binary.AppendUvarint(binary.AppendUvarint(out, uint64(i.UIDValidity)), uint64(i.Floor))
		}
		out = binary.AppendUvarint(out, uint64(i.Source))
		if fields&hasSize != 0 {
			out = binary.AppendVarint(out, i.Size)
		}
		out = binary.BigEndian.AppendUint64(appendTime(out, i.InternalDate), uint64(i.Fingerprint))
		out = append(out, byte(i.Flags.System))
		if fields&hasWords != 0 {
			out = appendText(out, i.Flags.Keywords)
		}
		if fields&hasCopy != 0 {
			out = binary.AppendUvarint(out, uint64(i.Destination))
		}
		if fields&hasLooks != 0 {
			out = append(appendTime(out, i.Resent), i.Looks)
		}
		if fields&hasOrigin != 0 {
			out = binary.AppendUvarint(binary.AppendUvarint(out, uint64(i.FromPair)), uint64(i.FromSource))
			out = binary.AppendUvarint(appendText(out, i.FromMailbox), uint64(i.FromValidity))
		}
		if fields&hasFixups != 0 {
			out = append(binary.BigEndian.AppendUint64(out, uint64(i.Original)), byte(i.Mended))
		}
		before = i
	}
	return out
}

func appendText(out []byte, text string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(text))), text...)
}

func appendTime(out []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(out, t.Unix()), uint64(t.Nanosecond()))
}

var errIntents = fmt.Errorf("%w: a list of intents makes no sense", ErrDamaged)

// decodeIntents is the reverse of encodeIntents. It appends to a list.
func decodeIntents(list []mail.Intent, key uint64, data []byte) ([]mail.Intent, error) {
	d := decoder{data: data}
	count := d.uvarint()
	if d.failed || count == 0 || count > listMost {
		return nil, errIntents
	}
	list = slices.Grow(list, int(count))
	i := mail.Intent{ID: key}
	for n := range count {
		step := d.uvarint()
		if (n == 0) != (step == 0) || step > math.MaxUint64-i.ID {
			return nil, errIntents
		}
		i = mail.Intent{ID: i.ID + step, Pair: i.Pair, Mailbox: i.Mailbox, UIDValidity: i.UIDValidity, Floor: i.Floor}
		i.Kind = mail.IntentKind(d.octet())
		fields := d.octet()
		if fields > intentFields {
			return nil, errIntents
		}
		if fields&hasPlace != 0 {
			i.Pair, i.Mailbox = mail.PairID(d.uint32()), d.text()
			i.UIDValidity, i.Floor = mail.UIDValidity(d.uint32()), mail.UID(d.uint32())
		}
		i.Source = mail.UID(d.uint32())
		if fields&hasSize != 0 {
			i.Size = d.varint()
		}
		i.InternalDate, i.Fingerprint = d.time(), mail.Fingerprint(d.uint64())
		i.Flags.System = mail.System(d.octet())
		if fields&hasWords != 0 {
			i.Flags.Keywords = d.text()
		}
		if fields&hasCopy != 0 {
			i.Destination = mail.UID(d.uint32())
		}
		if fields&hasLooks != 0 {
			i.Resent, i.Looks = d.time(), d.octet()
		}
		if fields&hasOrigin != 0 {
			i.FromPair, i.FromSource = mail.PairID(d.uint32()), mail.UID(d.uint32())
			i.FromMailbox, i.FromValidity = d.text(), mail.UIDValidity(d.uint32())
		}
		if fields&hasFixups != 0 {
			i.Original, i.Mended = mail.Fingerprint(d.uint64()), mail.Fixups(d.octet())
		}
		if d.failed {
			return nil, errIntents
		}
		list = append(list, i)
	}
	if len(d.data) != 0 {
		return nil, errIntents
	}
	return list, nil
}

// Intents returns all intents by ascending ID.
func (s *Store) Intents() (intents []mail.Intent, err error) {
	if s.outdated {
		err = each(s, bucketIntents, func(key []byte, i storedIntent) { intents = append(intents, i.mail(number(key, 8))) })
		return intents, err
	}
	err = s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketIntents).ForEach(func(key, sealed []byte) error {
			data, err := unseal(bucketIntents, key, sealed)
			if err != nil {
				return err
			}
			if len(key) != 8 {
				return errIntents
			}
			known := len(intents)
			if intents, err = decodeIntents(intents, number(key, 8), data); err != nil {
				return err
			}
			if known > 0 && intents[known].ID <= intents[known-1].ID {
				return errIntents
			}
			return nil
		})
	})
	return intents, err
}

// changeIntents settles intents, those that there are, and puts others.
func (w *writer) changeIntents(settle []uint64, put []mail.Intent) error {
	if len(settle)+len(put) == 0 {
		return nil
	}
	put = ascending(put)
	ids := slices.Grow(slices.Clone(settle), len(put))
	for _, i := range put {
		ids = append(ids, i.ID)
	}
	slices.Sort(ids)
	sh := w.shelf(bucketIntents)
	for ids = slices.Compact(ids); len(ids) > 0; {
		key, list, next, err := w.listAt(sh, ids[0])
		if err != nil {
			return err
		}
		within, beyond := 0, 0 // how many are of that list, and before the next
		for beyond < len(ids) && (next == nil || ids[beyond] < number(next, 8)) {
			if beyond++; len(list) > 0 && ids[beyond-1] <= list[len(list)-1].ID {
				within = beyond
			}
		}
		var those []mail.Intent
		if within > 0 {
			if err := sh.remove(key); err != nil {
				return err
			}
			list = slices.DeleteFunc(list, func(i mail.Intent) bool { _, changed := slices.BinarySearch(ids[:within], i.ID); return changed })
			those, put = upTo(put, ids[within-1])
			list = append(list, those...)
			slices.SortFunc(list, byID)
			if err := putIntents(sh, list); err != nil {
				return err
			}
		}
		those, put = upTo(put, ids[beyond-1])
		if err := putIntents(sh, those); err != nil {
			return err
		}
		ids = ids[beyond:]
	}
	return nil
}

// ascending returns intents by ID, as nearly all come. Of one that is there more than
// once the last counts.
func ascending(intents []mail.Intent) []mail.Intent {
	for n := 1; n < len(intents); n++ {
		if intents[n].ID <= intents[n-1].ID {
			sorted := slices.Clone(intents)
			slices.Reverse(sorted)
			slices.SortStableFunc(sorted, byID)
			return slices.CompactFunc(sorted, func(a, b mail.Intent) bool { return a.ID == b.ID })
		}
	}
	return intents
}

// upTo cuts ascending intents behind an ID.
func upTo(intents []mail.Intent, id uint64) (those, rest []mail.Intent) {
	n, found := slices.BinarySearchFunc(intents, mail.Intent{ID: id}, byID)
	if found {
		n++
	}
	return intents[:n], intents[n:]
}

// listAt returns the list into which an intent falls, and its key, nil where it lies
// before all of them; next is the key of the one after it. The list is good until the next
// call.
func (w *writer) listAt(sh *shelf, id uint64) (key []byte, list []mail.Intent, next []byte, err error) {
	c := sh.Cursor()
	key, sealed := c.Seek(u64(id))
	switch {
	case key == nil:
		key, sealed = c.Last()
	case number(key, 8) == id:
		next, _ = c.Next()
	default:
		next = key
		key, sealed = c.Prev()
	}
	if key, next = slices.Clone(key), slices.Clone(next); key == nil {
		return nil, nil, next, nil
	}
	data, err := unseal(sh.name, key, sealed)
	if err == nil {
		list, err = decodeIntents(w.list[:0], number(key, 8), data)
		w.list = list
	}
	return key, list, next, err
}

func byID(a, b mail.Intent) int { return cmp.Compare(a.ID, b.ID) }

// putIntents puts intents, ascending by ID, as lists.
func putIntents(sh *shelf, intents []mail.Intent) error {
	for list := range slices.Chunk(intents, listMost) {
		if err := sh.put(u64(list[0].ID), encodeIntents(list)); err != nil {
			return err
		}
	}
	return nil
}
