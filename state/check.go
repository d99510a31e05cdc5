package state

import (
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Problem is something in a state that must not be.
type Problem string

func (p Problem) Error() string { return string(p) }

// mostProblems is how many problems a check lists: enough to see the pattern.
const mostProblems = 100

// Check is Problems as one error.
func (s *Store) Check() error {
	problems, err := s.Problems()
	for _, p := range problems {
		err = errors.Join(err, p)
	}
	return err
}

type checker struct {
	*Store
	problems []Problem
	pairs    map[mail.PairID]mail.Pair
}

func (c *checker) complain(format string, args ...any) {
	if len(c.problems) < mostProblems {
		c.problems = append(c.problems, Problem(fmt.Sprintf(format, args...)))
	}
}

// Problems looks at every invariant of the state and lists what does not hold.
// The error says why it could not look.
func (s *Store) Problems() ([]Problem, error) {
	c := &checker{Store: s, pairs: make(map[mail.PairID]mail.Pair)}
	for _, look := range []func() error{c.file, c.checkPairs, c.checkReceipts, c.checkIntents, c.checkHolds, c.checkAbsences} {
		if err := look(); errors.Is(err, ErrDamaged) {
			c.complain("%v", err)
			return c.problems, nil
		} else if err != nil {
			return c.problems, err
		}
	}
	return c.problems, nil
}

// file audits the file. No commit may change it meanwhile.
func (c *checker) file() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := auditFile(c.Store.file)
	return err
}

func (c *checker) checkPairs() error {
	pairs, err := c.Pairs()
	places := make(map[string]mail.PairID)
	for _, p := range pairs {
		c.pairs[p.ID] = p
		if p.ID == 0 {
			c.complain("a pair has no ID")
		}
		if other, taken := places[p.Destination]; taken {
			c.complain("pairs %d and %d share the destination %q", other, p.ID, p.Destination)
		}
		places[p.Destination] = p.ID
	}
	return err
}

// checkReceipts looks at the receipts of every pair: none without a pair, and
// no destination message in two. That none stands out of order or twice is
// seen by reading them. It keeps 4 octets a message.
func (c *checker) checkReceipts() error {
	var ids []mail.PairID
	if err := c.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketReceipts).ForEachBucket(func(key []byte) error {
			ids = append(ids, mail.PairID(number(key, 4)))
			return nil
		})
	}); err != nil {
		return err
	}
	copies := make(map[mail.Ref][]mail.UID)
	for _, id := range ids {
		pair, ok := c.pairs[id]
		if !ok {
			c.complain("there are receipts of pair %d, which does not exist", id)
		}
		for r, err := range c.Receipts(id) {
			if err != nil {
				return err
			}
			at := mail.Ref{Name: pair.Destination, UIDValidity: pair.DestinationValidity}
			if r.Mailbox != "" {
				at = mail.Ref{Name: r.Mailbox, UIDValidity: r.UIDValidity}
			}
			if r.Destination != 0 {
				copies[at] = append(copies[at], r.Destination)
			}
		}
	}
	for at, uids := range copies {
		slices.Sort(uids)
		for i := 1; i < len(uids); i++ {
			if uids[i] == uids[i-1] {
				c.complain("UID %d of %q (UIDVALIDITY %d) has more than one receipt", uids[i], at.Name, at.UIDValidity)
			}
		}
	}
	return nil
}

func (c *checker) checkIntents() error {
	intents, err := c.Intents()
	for _, i := range intents {
		if _, ok := c.pairs[i.Pair]; !ok {
			c.complain("intent %d: there is no pair %d", i.ID, i.Pair)
		}
		if i.ID == 0 || i.Kind < mail.IntentAppend || i.Kind > mail.IntentRemove {
			c.complain("intent %d is of no known kind (%d)", i.ID, i.Kind)
		}
	}
	return err
}

func (c *checker) checkHolds() error {
	holds, err := c.Holds()
	for _, h := range holds {
		if _, ok := c.pairs[h.Pair]; !ok && h.Pair != 0 {
			c.complain("hold %s: there is no such pair", h.ID())
		}
	}
	return err
}

// checkAbsences: what is missing has receipts that say so.
func (c *checker) checkAbsences() error {
	absences, err := c.Absences()
	if err != nil {
		return err
	}
	for _, a := range absences {
		gone := make(map[mail.UID]bool)
		for r, err := range c.Receipts(a.Pair) {
			if err != nil {
				return err
			}
			if r.Gone {
				gone[r.Source] = true
			}
		}
		for _, m := range a.Missing {
			for _, uid := range m.UIDs {
				if !gone[uid] {
					c.complain("pair %d: source UID %d is noted as missing, but no receipt says so", a.Pair, uid)
				}
			}
		}
	}
	return nil
}
