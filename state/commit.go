package state

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Commit makes a change durable, all or nothing. After an error its outcome is
// unknown, and the store refuses everything until it is opened again (I6).
func (s *Store) Commit(c mail.Change) error {
	return s.update(func(w *writer) error {
		for _, p := range c.Pairs {
			if err := w.put(bucketPairs, u32(uint32(p.ID)), pairOf(p)); err != nil {
				return err
			}
		}
		for _, r := range c.Replace {
			if err := w.replaceReceipts(r); err != nil {
				return err
			}
		}
		for _, d := range c.Drop {
			if err := w.dropReceipts(d); err != nil {
				return err
			}
		}
		for _, r := range c.Receipts {
			if err := w.putReceipts(r); err != nil {
				return err
			}
		}
		if err := w.changeIntents(c.Settle, c.Intents); err != nil {
			return err
		}
		for _, h := range c.Holds {
			if err := w.put(bucketHolds, holdKey(h.HoldKey), holdOf(h)); err != nil {
				return err
			}
		}
		for _, k := range c.Unhold {
			if err := w.shelf(bucketHolds).remove(holdKey(k)); err != nil {
				return err
			}
		}
		for _, a := range c.Absences {
			if err := w.putAbsence(a); err != nil {
				return err
			}
		}
		for name, a := range c.DestinationAnchors {
			if err := w.put(bucketAnchors, []byte(name), anchorOf(a)); err != nil {
				return err
			}
		}
		return nil
	})
}

// putAbsence puts what is missing of a pair, or removes it when nothing is.
func (w *writer) putAbsence(a mail.Absence) error {
	if key := u32(uint32(a.Pair)); len(a.Missing)+len(a.Removed) == 0 {
		return w.shelf(bucketAbsences).remove(key)
	} else {
		return w.put(bucketAbsences, key, absenceOf(a))
	}
}

func holdKey(k mail.HoldKey) []byte {
	return append(append(u32(uint32(k.Pair)), u32(uint32(k.UID))...), k.Path...)
}

// update runs one write transaction and syncs it to disk. The totals and the
// strings that the store keeps may be ahead of the file when it fails, which
// harms nobody: a store that has failed once is of no further use.
func (s *Store) update(f func(*writer) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			w := &writer{Store: s, tx: tx, shelves: make(map[string]*shelf), strings: len(s.strings)}
			if err := f(w); err != nil {
				return err
			}
			return w.finish()
		})
	})
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.failed == nil {
			s.failed = fmt.Errorf("an earlier commit failed and its outcome is not known: %w", err)
		}
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// writer is one write transaction.
type writer struct {
	*Store
	tx      *bolt.Tx
	shelves map[string]*shelf
	strings int // how many there were before
}

// shelf is a bucket that is written to. It keeps the bucket's total.
type shelf struct {
	*bolt.Bucket
	name  []byte
	total total
}

func (w *writer) shelf(name []byte) *shelf {
	return w.open(name, func() *bolt.Bucket { return w.tx.Bucket(name) })
}

// open returns the shelf of a name; bucket finds it the first time.
func (w *writer) open(name []byte, bucket func() *bolt.Bucket) *shelf {
	sh, ok := w.shelves[string(name)]
	if !ok {
		sh = &shelf{bucket(), name, w.totals[string(name)]}
		w.shelves[string(name)] = sh
	}
	return sh
}

// put seals a value and puts it, in the place of the old one if there is one.
func (sh *shelf) put(key, payload []byte) error {
	if old := sh.Get(key); old != nil {
		if _, err := unseal(sh.name, key, old); err != nil {
			return err
		}
		sh.total.subtract(old)
	}
	sealed := seal(sh.name, key, payload)
	sh.total.add(sealed)
	return sh.Put(key, sealed)
}

// remove removes a value if it is there.
func (sh *shelf) remove(key []byte) error {
	old := sh.Get(key)
	if old == nil {
		return nil
	}
	if _, err := unseal(sh.name, key, old); err != nil {
		return err
	}
	sh.total.subtract(old)
	return sh.Delete(key)
}

// put puts a value as JSON.
func (w *writer) put(bucket, key []byte, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return w.shelf(bucket).put(key, data)
}

// finish writes what the transaction has changed besides: strings, totals and
// the mark of the commit.
func (w *writer) finish() error {
	w.mu.Lock()
	gained := slices.Clone(w.Store.strings[w.strings:])
	w.mu.Unlock()
	for i, text := range gained {
		if err := w.shelf(bucketStrings).put(u32(uint32(w.strings+i)), []byte(text)); err != nil {
			return err
		}
	}
	totals := &shelf{w.tx.Bucket(bucketTotals), bucketTotals, w.all}
	for _, name := range slices.Sorted(maps.Keys(w.shelves)) {
		if sh := w.shelves[name]; sh.total != w.totals[name] {
			if err := totals.put(sh.name, sh.total.encode()); err != nil {
				return err
			}
			w.totals[name] = sh.total
		}
	}
	w.all = totals.total
	return w.tx.Bucket(bucketMeta).Put(keyCommit, seal(bucketMeta, keyCommit, encodeCommit(w.tx, w.all)))
}
