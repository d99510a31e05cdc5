// Package state is the durable memory of one account: a bbolt file that holds
// pairs, receipts, intents, holds and anchors. It implements pass.Journal and
// is the only package that knows bbolt.
//
// Layout, format version 3:
//
//	meta      version → decimal digits; identity → JSON; commit → number of the
//	          last one (8 octets), and the total of the totals
//	totals    name of a bucket → how many values it holds, and the sum of
//	          their checksums, 8 octets each
//	strings   number → keywords of a message, or a raw mailbox name
//	pairs     pair ID → JSON
//	receipts  pair ID → bucket: kind, first source UID → block of ≤ 128 receipts
//	          (kind 0: source vanished, numbered in order; kind 1: by source UID)
//	intents   first intent ID → list of ≤ 256 intents
//	holds     pair ID, UID, path → JSON
//	absences  pair ID → JSON
//	anchors   raw destination mailbox name → JSON
//
// Numbers in keys are big-endian, so that bbolt's order is theirs. The name of
// a pair's bucket of receipts is "receipts" and the pair ID.
//
// Invariants:
//   - Every value begins with a CRC32C of its bucket, its key and itself, since
//     bbolt does not check its data pages; totals tell when one is missing or
//     not the newest.
//   - Open reads the whole file, without bbolt, and checks every page, checksum
//     and total: what it lets through is what was committed. (When the newest
//     meta page is lost that is the commit before, as after a power cut in the
//     middle of a commit; an old state is what recognition heals.)
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
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	bolt "go.etcd.io/bbolt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// formatVersion is what this program writes, and Open makes of what others have written.
// Format 1 had no absences, and no receipts of messages that are gone; it and format 2 had
// each intent as JSON under its ID.
const formatVersion = "3"

var (
	bucketMeta     = []byte("meta")
	bucketTotals   = []byte("totals")
	bucketStrings  = []byte("strings")
	bucketPairs    = []byte("pairs")
	bucketReceipts = []byte("receipts")
	bucketIntents  = []byte("intents")
	bucketHolds    = []byte("holds")
	bucketAnchors  = []byte("anchors")
	bucketAbsences = []byte("absences")
	buckets        = [][]byte{bucketMeta, bucketTotals, bucketStrings, bucketPairs, bucketReceipts, bucketIntents, bucketHolds, bucketAnchors, bucketAbsences}

	keyVersion  = []byte("version")
	keyIdentity = []byte("identity")
	keyCommit   = []byte("commit")
)

// Identity says whose state a file holds. SourceCertificate and SourceID are
// those of the first log-in.
type Identity struct {
	SourceHost, SourceUser           string
	DestinationHost, DestinationUser string
	SourceCertificate                string `json:",omitempty"` // SHA-256, hexadecimal
	SourceID                         string `json:",omitempty"` // the answer to ID (RFC 2971)
}

// Same tells whether both are the same account. Hosts are compared as DNS does,
// without regard to case.
func (i Identity) Same(other Identity) bool {
	return strings.EqualFold(i.SourceHost, other.SourceHost) && i.SourceUser == other.SourceUser &&
		strings.EqualFold(i.DestinationHost, other.DestinationHost) && i.DestinationUser == other.DestinationUser
}

// Options says how [Open] opens a file.
type Options struct {
	// Identity is whose state it must be. With ReadOnly, zero takes any.
	Identity Identity
	Logger   *slog.Logger
	// ReadOnly makes no file, sets none aside, and has Commit fail.
	ReadOnly bool
}

// Store is the open state of one account. It may be used by several
// goroutines.
type Store struct {
	db       *bolt.DB
	file     *os.File // that of db, locked
	fresh    Fresh
	outdated bool // the file is in an older format

	writing sync.Mutex // held by the one that writes, and by Check
	totals  map[string]total
	all     total         // what the totals add up to
	list    []mail.Intent // memory for one

	mu       sync.Mutex
	identity Identity
	failed   error // set by a failed commit
	wrecked  bool  // bbolt panicked: its locks may be held for ever
	strings  []string
	numbers  map[string]uint32
}

// Fresh tells why a store holds nothing; it is zero when there was a state.
type Fresh struct {
	New bool // there was no file, and none had been set aside before
	// Quarantined is where a file of no use was moved to, and Reason why.
	Quarantined string
	Reason      string
}

// Fresh tells whether Open had to begin afresh.
func (s *Store) Fresh() Fresh { return s.fresh }

// Identity says whose state this is.
func (s *Store) Identity() Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity
}

// Close closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	wrecked := s.wrecked
	s.mu.Unlock()
	if wrecked {
		return s.abandon()
	}
	return s.db.Close()
}

// abandon lets go of a file that bbolt may be unable to close. Its mapping
// stays until the process ends, and would keep the lock with it.
func (s *Store) abandon() error {
	return errors.Join(syscall.Flock(int(s.file.Fd()), syscall.LOCK_UN), s.file.Close())
}

// Size is the length of the file in octets.
func (s *Store) Size() (int64, error) {
	info, err := s.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// WriteTo writes a file that holds the state as it is now, while others go on
// using the store.
func (s *Store) WriteTo(w io.Writer) (n int64, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		n, err = tx.WriteTo(w)
		return err
	})
	return n, err
}

// guard runs f and turns what a file that was damaged while it was open makes
// bbolt do, a panic or a fault of its mapping, into an error.
func (s *Store) guard(f func() error) (err error) {
	s.mu.Lock()
	failed := s.failed
	s.mu.Unlock()
	if failed != nil {
		return failed
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, v)
			s.mu.Lock()
			s.failed, s.wrecked = err, true
			s.mu.Unlock()
		}
	}()
	return f()
}

func (s *Store) view(f func(*bolt.Tx) error) error {
	return s.guard(func() error { return s.db.View(f) })
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// each unseals and decodes every value of a bucket.
func each[T any](s *Store, bucket []byte, use func(key []byte, value T)) error {
	return s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		if b == nil {
			return nil // format 1, read only
		}
		return b.ForEach(func(key, sealed []byte) error {
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

// Holds returns everything that is held, by pair and UID.
func (s *Store) Holds() (holds []mail.Hold, err error) {
	err = each(s, bucketHolds, func(_ []byte, h storedHold) { holds = append(holds, h.mail()) })
	return holds, err
}

// Absences returns what is missing on the source, by pair.
func (s *Store) Absences() (absences []mail.Absence, err error) {
	var damage error
	err = each(s, bucketAbsences, func(key []byte, a storedAbsence) {
		absence, err := a.mail(mail.PairID(number(key, 4)))
		absences, damage = append(absences, absence), errors.Join(damage, err)
	})
	return absences, errors.Join(err, damage)
}

// DestinationAnchors returns the anchors of destination mailboxes by raw name.
func (s *Store) DestinationAnchors() (map[string]mail.Anchor, error) {
	anchors := make(map[string]mail.Anchor)
	err := each(s, bucketAnchors, func(key []byte, a storedAnchor) { anchors[string(key)] = a.mail() })
	return anchors, err
}

// text returns a string of the table.
func (s *Store) text(n uint64) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n >= uint64(len(s.strings)) {
		return "", fmt.Errorf("%w: string %d is not in the table", ErrDamaged, n)
	}
	return s.strings[n], nil
}

// intern returns the number of a string, which it gives it if it has none.
// The writer puts what is gained into the table.
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

// UpdateIdentity records what the first log-in showed of the source.
func (s *Store) UpdateIdentity(i Identity) error {
	if !i.Same(s.Identity()) {
		return errors.New("update identity: this is another account's")
	}
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	err = s.update(func(w *writer) error {
		return w.tx.Bucket(bucketMeta).Put(keyIdentity, seal(bucketMeta, keyIdentity, data))
	})
	if err == nil {
		s.mu.Lock()
		s.identity = i
		s.mu.Unlock()
	}
	return err
}
