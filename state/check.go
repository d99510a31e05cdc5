package state

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Check looks at every invariant of a state and returns what does not hold,
// joined.
func (s *Store) Check() error {
	var errs []error
	complain := func(format string, args ...any) {
		if len(errs) < 100 {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	pairs, err := s.Pairs()
	if err != nil {
		return err
	}
	known := make(map[mail.PairID]mail.Pair, len(pairs))
	places := make(map[string]mail.PairID)
	for _, p := range pairs {
		known[p.ID] = p
		if p.ID == 0 {
			complain("a pair has no ID")
		}
		if other, taken := places[p.Destination]; taken {
			complain("pairs %d and %d share the destination %q", other, p.ID, p.Destination)
		}
		places[p.Destination] = p.ID
	}
	if err := s.checkReceipts(known, complain); err != nil {
		return err
	}
	intents, err := s.Intents()
	if err != nil {
		return err
	}
	for _, i := range intents {
		if _, ok := known[i.Pair]; !ok || i.ID == 0 || i.Kind != mail.IntentAppend && i.Kind != mail.IntentStore {
			complain("intent %d: pair %d, kind %d", i.ID, i.Pair, i.Kind)
		}
	}
	holds, err := s.Holds()
	if err != nil {
		return err
	}
	for _, h := range holds {
		if _, ok := known[h.Pair]; !ok && h.Pair != 0 {
			complain("hold %s: there is no such pair", h.ID())
		}
	}
	if _, err := s.DestinationAnchors(); err != nil {
		return err
	}
	return errors.Join(errs...)
}

// checkReceipts looks at the receipts of every pair: ascending, none without a
// pair, and no destination message in two.
func (s *Store) checkReceipts(known map[mail.PairID]mail.Pair, complain func(string, ...any)) error {
	var ids []mail.PairID
	if err := s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketReceipts).ForEachBucket(func(key []byte) error {
			ids = append(ids, mail.PairID(number(key, 4)))
			return nil
		})
	}); err != nil {
		return err
	}
	type place struct {
		mail.Ref
		uid mail.UID
	}
	copies := make(map[place]mail.PairID)
	for _, id := range ids {
		pair, ok := known[id]
		if !ok {
			complain("receipts of pair %d, which does not exist", id)
		}
		var last mail.UID
		for r, err := range s.Receipts(id) {
			if err != nil {
				return err
			}
			if r.Source != 0 && r.Source <= last {
				complain("pair %d: source UID %d after %d", id, r.Source, last)
			}
			last = r.Source
			if r.Destination == 0 {
				continue
			}
			at := place{mail.Ref{Name: pair.Destination, UIDValidity: pair.DestinationValidity}, r.Destination}
			if r.Mailbox != "" {
				at.Ref = mail.Ref{Name: r.Mailbox, UIDValidity: r.UIDValidity}
			}
			if other, taken := copies[at]; taken {
				complain("pairs %d and %d: both have a receipt for UID %d of %q", other, id, at.uid, at.Name)
			}
			copies[at] = id
		}
	}
	return nil
}
