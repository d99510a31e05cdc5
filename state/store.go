// Package state is the durable memory of one account: a bbolt file that holds
// pairs, receipts, intents, holds and anchors. It implements pass.Journal and
// is the only package that knows bbolt.
//
// Layout, format version 1:
//
//	meta      version → decimal digits; identity → JSON
//	strings   number → keywords of a message, or a raw mailbox name
//	pairs     pair ID → JSON
//	receipts  pair ID → bucket: kind, first source UID → block of ≤ 128 receipts
//	          (kind 0: source vanished, numbered in order; kind 1: by source UID)
//	intents   intent ID → JSON
//	holds     pair ID, UID, path → JSON
//	anchors   raw destination mailbox name → JSON
//
// Numbers in keys are big-endian, so that bbolt's order is theirs.
//
// Invariants:
//   - Every value begins with a CRC32C of its bucket, its key and itself, since
//     bbolt does not check its data pages.
//   - A file is made whole under another name and renamed into place: a file
//     that is empty or has no identity is damaged, never new.
//   - A change is one transaction. After a failed one nothing is read or
//     written any more, because its outcome is not known (I6).
package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const formatVersion = "1"

// blockMost is how many receipts a block holds at most.
const blockMost = 128

var (
	bucketMeta     = []byte("meta")
	bucketStrings  = []byte("strings")
	bucketPairs    = []byte("pairs")
	bucketReceipts = []byte("receipts")
	bucketIntents  = []byte("intents")
	bucketHolds    = []byte("holds")
	bucketAnchors  = []byte("anchors")
	buckets        = [][]byte{bucketMeta, bucketStrings, bucketPairs, bucketReceipts, bucketIntents, bucketHolds, bucketAnchors}

	keyVersion  = []byte("version")
	keyIdentity = []byte("identity")
)

// Identity says whose state a file holds. SourceCertificate and SourceID are
// those of the first log-in.
type Identity struct {
	SourceHost, SourceUser           string
	DestinationHost, DestinationUser string
	SourceCertificate                string `json:",omitempty"` // SHA-256, hexadecimal
	SourceID                         string `json:",omitempty"` // the answer to ID (RFC 2971)
}

func (i Identity) sameAccount(other Identity) bool {
	return i.SourceHost == other.SourceHost && i.SourceUser == other.SourceUser &&
		i.DestinationHost == other.DestinationHost && i.DestinationUser == other.DestinationUser
}

// Options says how [Open] opens a file.
type Options struct {
	Identity Identity
	Logger   *slog.Logger
}

// Store is the open state of one account. It may be used by several
// goroutines.
type Store struct {
	db       *bolt.DB
	identity Identity
	fresh    Fresh

	mu      sync.Mutex
	failed  error // set by a failed commit
	strings []string
	numbers map[string]uint32
}

// Fresh tells why a store holds nothing.
type Fresh struct {
	New bool // there was no file
	// Quarantined is where a file of no use was moved to, and Reason why.
	Quarantined string
	Reason      string
}

// Fresh tells whether Open had to begin afresh.
func (s *Store) Fresh() Fresh { return s.fresh }

// Identity says whose state this is.
func (s *Store) Identity() Identity { return s.identity }

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Size is the length of the file in octets.
func (s *Store) Size() (n int64, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		n = tx.Size()
		return nil
	})
	return n, err
}

// guarded runs f and turns what a damaged file makes bbolt do, a panic or a
// fault of its mapping, into an error.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, v)
		}
	}()
	return f()
}

func (s *Store) view(f func(*bolt.Tx) error) error {
	s.mu.Lock()
	failed := s.failed
	s.mu.Unlock()
	if failed != nil {
		return failed
	}
	return guarded(func() error { return s.db.View(f) })
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// put seals and stores a value as JSON.
func put(tx *bolt.Tx, bucket, key []byte, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return tx.Bucket(bucket).Put(key, seal(bucket, key, data))
}

// each unseals and decodes every value of a bucket.
func each[T any](s *Store, bucket []byte, use func(key []byte, value T)) error {
	return s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(key, sealed []byte) error {
			data, err := unseal(bucket, key, sealed)
			if err != nil {
				return err
			}
			var value T
			if err := json.Unmarshal(data, &value); err != nil {
				return fmt.Errorf("%w: %s/%x: %w", ErrDamaged, bucket, key, err)
			}
			use(key, value)
			return nil
		})
	})
}

// number reads a key that is a number of size octets.
func number(key []byte, size int) uint64 {
	if len(key) != size {
		return 0
	}
	if size == 4 {
		return uint64(binary.BigEndian.Uint32(key))
	}
	return binary.BigEndian.Uint64(key)
}

// Pairs returns all pairs by ascending ID.
func (s *Store) Pairs() (pairs []mail.Pair, err error) {
	err = each(s, bucketPairs, func(key []byte, p storedPair) { pairs = append(pairs, p.mail(mail.PairID(number(key, 4)))) })
	return pairs, err
}

// Intents returns all intents by ascending ID.
func (s *Store) Intents() (intents []mail.Intent, err error) {
	err = each(s, bucketIntents, func(key []byte, i storedIntent) { intents = append(intents, i.mail(number(key, 8))) })
	return intents, err
}

// Holds returns everything that is held, by pair and UID.
func (s *Store) Holds() (holds []mail.Hold, err error) {
	err = each(s, bucketHolds, func(_ []byte, h storedHold) { holds = append(holds, h.mail()) })
	return holds, err
}

// DestinationAnchors returns the anchors of destination mailboxes by raw name.
func (s *Store) DestinationAnchors() (map[string]mail.Anchor, error) {
	anchors := make(map[string]mail.Anchor)
	err := each(s, bucketAnchors, func(key []byte, a storedAnchor) { anchors[string(key)] = a.mail() })
	return anchors, err
}

// readAtOnce is how many blocks one read transaction of Receipts takes, so
// that a commit may come between.
const readAtOnce = 64

// Receipts yields the receipts of a pair: first those whose source has
// vanished, then by ascending source UID. Commits may happen meanwhile; each
// receipt is yielded as it was when its part was read.
func (s *Store) Receipts(pair mail.PairID) iter.Seq2[mail.Receipt, error] {
	return func(yield func(mail.Receipt, error) bool) {
		var after []byte
		for {
			var blocks [][]mail.Receipt
			err := s.view(func(tx *bolt.Tx) error {
				b := tx.Bucket(bucketReceipts).Bucket(u32(uint32(pair)))
				if b == nil {
					after = nil
					return nil
				}
				c := b.Cursor()
				key, value := c.First()
				if after != nil {
					if key, value = c.Seek(after); slices.Equal(key, after) {
						key, value = c.Next()
					}
				}
				after = nil
				for ; key != nil; key, value = c.Next() {
					block, err := s.readBlock(pair, key, value)
					if err != nil {
						return err
					}
					blocks = append(blocks, block)
					if len(blocks) == readAtOnce {
						after = slices.Clone(key)
						break
					}
				}
				return nil
			})
			if err != nil {
				yield(mail.Receipt{}, err)
				return
			}
			for _, block := range blocks {
				for _, r := range block {
					if !yield(r, nil) {
						return
					}
				}
			}
			if after == nil {
				return
			}
		}
	}
}

func blockBucket(pair mail.PairID) []byte {
	return append(slices.Clone(bucketReceipts), u32(uint32(pair))...)
}

func (s *Store) readBlock(pair mail.PairID, key, sealed []byte) ([]mail.Receipt, error) {
	data, err := unseal(blockBucket(pair), key, sealed)
	if err != nil {
		return nil, err
	}
	return decodeBlock(data, s.text)
}

// text returns a string of the table.
func (s *Store) text(n uint32) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(n) >= len(s.strings) {
		return "", fmt.Errorf("%w: string %d is not in the table", ErrDamaged, n)
	}
	return s.strings[n], nil
}

// readStrings loads the table of strings.
func (s *Store) readStrings() error {
	s.numbers = make(map[string]uint32)
	return s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketStrings).ForEach(func(key, sealed []byte) error {
			data, err := unseal(bucketStrings, key, sealed)
			if err != nil {
				return err
			}
			if number(key, 4) != uint64(len(s.strings)) {
				return fmt.Errorf("%w: the table of strings has a hole", ErrDamaged)
			}
			s.numbers[string(data)] = uint32(len(s.strings))
			s.strings = append(s.strings, string(data))
			return nil
		})
	})
}

// UpdateIdentity records what the first log-in showed of the source.
func (s *Store) UpdateIdentity(i Identity) error {
	if !i.sameAccount(s.identity) {
		return errors.New("update identity: this is another account's")
	}
	err := s.update(func(tx *bolt.Tx) error { return put(tx, bucketMeta, keyIdentity, i) })
	if err == nil {
		s.identity = i
	}
	return err
}

// openTimeout is how long another process may hold the file; nothing ever
// hangs on a lock.
const openTimeout = time.Second
