package state

import (
	"bytes"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Commit makes a change durable, all or nothing. After an error its outcome is
// unknown, and the store refuses everything until it is opened again (I6).
func (s *Store) Commit(c mail.Change) error {
	return s.update(func(tx *bolt.Tx) error {
		for _, p := range c.Pairs {
			if err := put(tx, bucketPairs, u32(uint32(p.ID)), pairOf(p)); err != nil {
				return err
			}
		}
		for _, r := range c.Replace {
			if err := s.replaceReceipts(tx, r); err != nil {
				return err
			}
		}
		for _, r := range c.Receipts {
			if err := s.putReceipts(tx, r); err != nil {
				return err
			}
		}
		for _, id := range c.Settle {
			if err := tx.Bucket(bucketIntents).Delete(u64(id)); err != nil {
				return err
			}
		}
		for _, i := range c.Intents {
			if err := put(tx, bucketIntents, u64(i.ID), intentOf(i)); err != nil {
				return err
			}
		}
		for _, h := range c.Holds {
			if err := put(tx, bucketHolds, holdKey(h.HoldKey), holdOf(h)); err != nil {
				return err
			}
		}
		for _, k := range c.Unhold {
			if err := tx.Bucket(bucketHolds).Delete(holdKey(k)); err != nil {
				return err
			}
		}
		for name, a := range c.DestinationAnchors {
			if err := put(tx, bucketAnchors, []byte(name), anchorOf(a)); err != nil {
				return err
			}
		}
		return nil
	})
}

// update runs one write transaction. The strings that it adds to the table
// count only once it is committed.
func (s *Store) update(f func(*bolt.Tx) error) error {
	s.mu.Lock()
	failed, known := s.failed, len(s.strings)
	s.mu.Unlock()
	if failed != nil {
		return failed
	}
	err := guarded(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			if err := f(tx); err != nil {
				return err
			}
			return s.putStrings(tx, known)
		})
	})
	if err != nil {
		s.mu.Lock()
		s.failed = fmt.Errorf("an earlier commit failed and its outcome is not known: %w", err)
		s.mu.Unlock()
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// putStrings stores what the table has gained.
func (s *Store) putStrings(tx *bolt.Tx, known int) error {
	s.mu.Lock()
	gained := slices.Clone(s.strings[known:])
	s.mu.Unlock()
	for i, text := range gained {
		key := u32(uint32(known + i))
		if err := tx.Bucket(bucketStrings).Put(key, seal(bucketStrings, key, []byte(text))); err != nil {
			return err
		}
	}
	return nil
}

// intern returns the number of a string, which it gives it if it has none.
func (s *Store) intern(text string) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.numbers[text]
	if !ok {
		n = uint32(len(s.strings))
		s.strings = append(s.strings, text)
		s.numbers[text] = n
	}
	return n
}

func holdKey(k mail.HoldKey) []byte {
	return append(append(u32(uint32(k.Pair)), u32(uint32(k.UID))...), k.Path...)
}

const (
	kindVanished = 0
	kindPresent  = 1
)

func blockKey(kind byte, first uint32) []byte { return append([]byte{kind}, u32(first)...) }

func (s *Store) pairBucket(tx *bolt.Tx, pair mail.PairID) (*bolt.Bucket, error) {
	b, err := tx.Bucket(bucketReceipts).CreateBucketIfNotExists(u32(uint32(pair)))
	if err == nil {
		b.FillPercent = 0.95 // blocks arrive in ascending order
	}
	return b, err
}

func (s *Store) replaceReceipts(tx *bolt.Tx, r mail.PairReceipts) error {
	key := u32(uint32(r.Pair))
	if tx.Bucket(bucketReceipts).Bucket(key) != nil {
		if err := tx.Bucket(bucketReceipts).DeleteBucket(key); err != nil {
			return err
		}
	}
	b, err := s.pairBucket(tx, r.Pair)
	if err != nil {
		return err
	}
	var vanished, present []mail.Receipt
	for _, receipt := range r.Receipts {
		if receipt.Source == 0 {
			vanished = append(vanished, receipt)
		} else {
			present = append(present, receipt)
		}
	}
	slices.SortFunc(present, bySource)
	n := uint32(0)
	for block := range slices.Chunk(vanished, blockMost) {
		if err := s.putBlock(b, r.Pair, blockKey(kindVanished, n), block); err != nil {
			return err
		}
		n++
	}
	return s.putBlocks(b, r.Pair, present)
}

func bySource(a, b mail.Receipt) int {
	switch {
	case a.Source < b.Source:
		return -1
	case a.Source > b.Source:
		return 1
	}
	return 0
}

func (s *Store) putBlock(b *bolt.Bucket, pair mail.PairID, key []byte, block []mail.Receipt) error {
	return b.Put(key, seal(blockBucket(pair), key, encodeBlock(block, s.intern)))
}

// putBlocks writes receipts, ascending by source UID, in blocks of their own.
func (s *Store) putBlocks(b *bolt.Bucket, pair mail.PairID, receipts []mail.Receipt) error {
	for block := range slices.Chunk(receipts, blockMost) {
		if err := s.putBlock(b, pair, blockKey(kindPresent, uint32(block[0].Source)), block); err != nil {
			return err
		}
	}
	return nil
}

// putReceipts inserts or replaces receipts by source UID. Each block that they
// fall into is read, merged and written once; receipts of new mail fall into
// the last block only.
func (s *Store) putReceipts(tx *bolt.Tx, r mail.PairReceipts) error {
	b, err := s.pairBucket(tx, r.Pair)
	if err != nil {
		return err
	}
	rest := slices.Clone(r.Receipts)
	slices.SortStableFunc(rest, bySource)
	if len(rest) > 0 && rest[0].Source == 0 {
		return fmt.Errorf("put receipts: a receipt without source UID comes by Replace only")
	}
	for len(rest) > 0 {
		key, next := blockAround(b, uint32(rest[0].Source))
		here := rest
		if next != nil {
			n, _ := slices.BinarySearchFunc(rest, mail.Receipt{Source: mail.UID(number(next[1:], 4))}, bySource)
			here = rest[:n]
		}
		rest = rest[len(here):]
		var block []mail.Receipt
		if key != nil {
			if block, err = s.readBlock(r.Pair, key, b.Get(key)); err != nil {
				return err
			}
			if err := b.Delete(key); err != nil {
				return err
			}
		}
		if err := s.putBlocks(b, r.Pair, mergeReceipts(block, here)); err != nil {
			return err
		}
	}
	return nil
}

// blockAround returns the key of the block that a source UID falls into, or of
// the first one when it lies before them all (nil when there is none), and
// that of the block after it.
func blockAround(b *bolt.Bucket, uid uint32) (key, next []byte) {
	c := b.Cursor()
	at, _ := c.Seek(blockKey(kindPresent, uid))
	switch {
	case at == nil:
		if at, _ = c.Last(); at == nil || at[0] != kindPresent {
			return nil, nil
		}
		return slices.Clone(at), nil
	case !bytes.Equal(at, blockKey(kindPresent, uid)):
		if before, _ := c.Prev(); before != nil && before[0] == kindPresent {
			return slices.Clone(before), slices.Clone(at)
		}
		c.Seek(at)
	}
	key = slices.Clone(at)
	next, _ = c.Next()
	return key, slices.Clone(next)
}

// mergeReceipts merges two runs by source UID; where both have one, the newer
// counts.
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
