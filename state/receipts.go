package state

import (
	"cmp"
	"errors"
	"iter"
	"math"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// blockMost is how many receipts a block holds at most.
const blockMost = 128

// Kinds of blocks, in the order of their keys.
const (
	kindVanished = 0
	kindPresent  = 1
)

func blockKey(kind byte, n uint32) []byte { return append([]byte{kind}, u32(n)...) }

// receiptsName is the name of the bucket of a pair's receipts.
func receiptsName(pair mail.PairID) []byte {
	return append(slices.Clone(bucketReceipts), u32(uint32(pair))...)
}

// readAtOnce is how many blocks one read transaction of Receipts takes.
const readAtOnce = 16

// Receipts yields the receipts of a pair: first those whose source has
// vanished, then by ascending source UID. It reads some at a time, so that
// commits may happen meanwhile, from the same goroutine too; each receipt is
// yielded once, as it was when its part was read.
func (s *Store) Receipts(pair mail.PairID) iter.Seq2[mail.Receipt, error] {
	return func(yield func(mail.Receipt, error) bool) {
		var receipts []mail.Receipt
		for at := (position{}); !at.end; {
			var err error
			if receipts, err = s.readReceipts(receipts[:0], pair, &at); err != nil {
				yield(mail.Receipt{}, err)
				return
			}
			for _, r := range receipts {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// position is where to go on reading.
type position struct {
	kind byte
	next uint32 // number of a block (vanished), or source UID (present)
	end  bool
}

// pass moves the position behind a block.
func (p *position) pass(key []byte, block []mail.Receipt) error {
	if key[0] == kindVanished {
		p.next = uint32(number(key[1:], 4)) + 1
		return nil
	}
	for _, r := range block {
		if p.end || p.kind == kindPresent && uint32(r.Source) < p.next {
			return errBlock
		}
		*p = position{kind: kindPresent, next: uint32(r.Source) + 1, end: r.Source == math.MaxUint32}
	}
	return nil
}

// readReceipts appends some receipts to a list and moves the position behind
// them.
func (s *Store) readReceipts(list []mail.Receipt, pair mail.PairID, at *position) ([]mail.Receipt, error) {
	name := receiptsName(pair)
	err := s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketReceipts).Bucket(u32(uint32(pair)))
		if b == nil {
			at.end = true
			return nil
		}
		c := b.Cursor()
		key, sealed := seekBlock(c, at.kind, at.next)
		for n := 0; n < readAtOnce && key != nil; n++ {
			known := len(list)
			var err error
			if list, err = s.readBlock(list, name, key, sealed); err != nil {
				return err
			}
			if n == 0 && at.kind == kindPresent {
				// The block may have grown, or been split, since what comes
				// before the position was read.
				list = slices.DeleteFunc(list, func(r mail.Receipt) bool { return uint32(r.Source) < at.next })
			}
			if err := at.pass(key, list[known:]); err != nil {
				return err
			}
			key, sealed = c.Next()
		}
		at.end = at.end || key == nil
		return nil
	})
	return list, err
}

// seekBlock finds the block that a source UID (the number of a block of the
// vanished) falls into, else the one after.
func seekBlock(c *bolt.Cursor, kind byte, n uint32) (key, sealed []byte) {
	if key, sealed = c.Seek(blockKey(kind, n)); kind == kindVanished || key != nil && number(key[1:], 4) == uint64(n) {
		return key, sealed
	}
	after := key != nil
	if after {
		key, sealed = c.Prev()
	} else {
		key, sealed = c.Last()
	}
	if key == nil || key[0] != kindPresent {
		// It lies before them all.
		return c.Seek(blockKey(kind, n))
	}
	return key, sealed
}

// readBlock appends the receipts of a block to a list.
func (s *Store) readBlock(list []mail.Receipt, name, key, sealed []byte) ([]mail.Receipt, error) {
	data, err := unseal(name, key, sealed)
	if err != nil {
		return nil, err
	}
	known := len(list)
	list, err = decodeBlock(list, data, s.text)
	if err == nil && key[0] == kindPresent && uint64(list[known].Source) != number(key[1:], 4) {
		err = errBlock
	}
	return list, err
}

// receipts returns the shelf of a pair's receipts.
func (w *writer) receipts(pair mail.PairID) (sh *shelf, err error) {
	sh = w.open(receiptsName(pair), func() *bolt.Bucket {
		var b *bolt.Bucket
		b, err = w.tx.Bucket(bucketReceipts).CreateBucketIfNotExists(u32(uint32(pair)))
		if err == nil {
			b.FillPercent = 0.95 // blocks arrive in ascending order
		}
		return b
	})
	return sh, err
}

// replaceReceipts drops all receipts of a pair and writes others.
func (w *writer) replaceReceipts(r mail.PairReceipts) error {
	key, name := u32(uint32(r.Pair)), receiptsName(r.Pair)
	if w.tx.Bucket(bucketReceipts).Bucket(key) != nil {
		if err := w.tx.Bucket(bucketReceipts).DeleteBucket(key); err != nil {
			return err
		}
	}
	delete(w.shelves, string(name))
	sh, err := w.receipts(r.Pair)
	if err != nil {
		return err
	}
	sh.total = total{}
	var vanished, present []mail.Receipt
	for _, receipt := range r.Receipts {
		if receipt.Source == 0 {
			vanished = append(vanished, receipt)
		} else {
			present = append(present, receipt)
		}
	}
	n := uint32(0)
	for block := range slices.Chunk(vanished, blockMost) {
		if err := sh.put(blockKey(kindVanished, n), encodeBlock(block, w.intern)); err != nil {
			return err
		}
		n++
	}
	slices.SortStableFunc(present, bySource)
	return w.putBlocks(sh, mergeReceipts(nil, present), blockMost)
}

func bySource(a, b mail.Receipt) int { return cmp.Compare(a.Source, b.Source) }

// putReceipts inserts or replaces receipts by source UID. Each block that they
// fall into is read, merged and written once; receipts of new mail fall into
// the last block only.
func (w *writer) putReceipts(r mail.PairReceipts) error {
	sh, err := w.receipts(r.Pair)
	if err != nil {
		return err
	}
	rest := slices.Clone(r.Receipts)
	slices.SortStableFunc(rest, bySource)
	if len(rest) > 0 && rest[0].Source == 0 {
		return errors.New("put receipts: a receipt without source UID comes by Replace only")
	}
	for len(rest) > 0 {
		c := sh.Cursor()
		key, sealed := seekBlock(c, kindPresent, uint32(rest[0].Source))
		if key == nil {
			return w.putBlocks(sh, mergeReceipts(nil, rest), blockMost)
		}
		block, err := w.readBlock(nil, sh.name, key, sealed)
		if err != nil {
			return err
		}
		here, most := rest, blockMost
		if next, _ := c.Next(); next != nil {
			n, _ := slices.BinarySearchFunc(rest, mail.Receipt{Source: mail.UID(number(next[1:], 4))}, bySource)
			here = rest[:n]
			// Among other blocks parts of like size leave room for more;
			// at the end only the last one will grow.
			if n := len(block) + len(here); n > blockMost {
				parts := (n + blockMost - 1) / blockMost
				most = (n + parts - 1) / parts
			}
		}
		rest = rest[len(here):]
		if here[0].Source < block[0].Source {
			if err := sh.remove(slices.Clone(key)); err != nil {
				return err
			}
		}
		if err := w.putBlocks(sh, mergeReceipts(block, here), most); err != nil {
			return err
		}
	}
	return nil
}

// dropReceipts removes receipts by source UID, those that there are. Each block
// that they fall into is written once.
func (w *writer) dropReceipts(d mail.PairUIDs) error {
	sh, err := w.receipts(d.Pair)
	if err != nil {
		return err
	}
	rest := slices.Sorted(slices.Values(d.UIDs))
	if len(rest) > 0 && rest[0] == 0 {
		return errors.New("drop receipts: one without source UID goes by Replace only")
	}
	for len(rest) > 0 {
		c := sh.Cursor()
		key, sealed := seekBlock(c, kindPresent, uint32(rest[0]))
		if key == nil {
			return nil
		}
		block, err := w.readBlock(nil, sh.name, key, sealed)
		if err != nil {
			return err
		}
		here := rest
		if next, _ := c.Next(); next != nil {
			n, _ := slices.BinarySearch(rest, mail.UID(number(next[1:], 4)))
			here = rest[:n]
		}
		rest = rest[len(here):]
		first, count := block[0].Source, len(block)
		block = slices.DeleteFunc(block, func(r mail.Receipt) bool {
			_, drop := slices.BinarySearch(here, r.Source)
			return drop
		})
		if len(block) == count {
			continue
		}
		if len(block) == 0 || block[0].Source != first {
			if err := sh.remove(slices.Clone(key)); err != nil {
				return err
			}
		}
		if err := w.putBlocks(sh, block, blockMost); err != nil {
			return err
		}
	}
	return nil
}

// putBlocks writes receipts, ascending by source UID, in blocks of at most so
// many.
func (w *writer) putBlocks(sh *shelf, receipts []mail.Receipt, most int) error {
	for block := range slices.Chunk(receipts, most) {
		if err := sh.put(blockKey(kindPresent, uint32(block[0].Source)), encodeBlock(block, w.intern)); err != nil {
			return err
		}
	}
	return nil
}

// mergeReceipts merges two runs by source UID; where both have one, the newer
// counts, and in the newer run the last.
func mergeReceipts(old, newer []mail.Receipt) []mail.Receipt {
	out := make([]mail.Receipt, 0, len(old)+len(newer))
	for _, r := range newer {
		for len(old) > 0 && old[0].Source < r.Source {
			out, old = append(out, old[0]), old[1:]
		}
		if len(old) > 0 && old[0].Source == r.Source {
			old = old[1:]
		}
		if n := len(out); n > 0 && out[n-1].Source == r.Source {
			out[n-1] = r
			continue
		}
		out = append(out, r)
	}
	return append(out, old...)
}
