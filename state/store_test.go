package state

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

var _ pass.Journal = (*Store)(nil)

var me = Identity{SourceHost: "old", SourceUser: "u", DestinationHost: "new", DestinationUser: "v"}

// open opens a state that must be sound.
func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{Identity: me})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// reopen closes a state and opens it again, which must find it as it was.
func reopen(t testing.TB, path string, s *Store) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	if s.Fresh() != (Fresh{}) {
		t.Fatalf("opened afresh: %+v", s.Fresh())
	}
	return s
}

func commit(t testing.TB, s *Store, c mail.Change) {
	t.Helper()
	if err := s.Commit(c); err != nil {
		t.Fatal(err)
	}
}

// quickDir is a directory where a sync costs nothing, if there is one: for
// loops that open hundreds of files.
func quickDir(t testing.TB) string {
	if dir, err := os.MkdirTemp("/dev/shm", "imapsyncd-state-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// TestAgainstModel applies random changes to a store and to plain maps.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(15) {
		rng := rand.New(rand.NewPCG(seed, 0))
		path := filepath.Join(quickDir(t), "a.db")
		s, m := open(t, path), newModel()
		for step := range 25 {
			c := randomChange(rng)
			if err := s.Commit(c); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			m.apply(c)
			if step%5 == 0 {
				m.compare(t, s)
				s = reopen(t, path, s)
			}
		}
		m.compare(t, s)
		if _, err := auditFile(s.file); err != nil {
			t.Error(err)
		}
		s.Close()
	}
}

// TestReceiptsWhileCommitting: whatever a commit changes between two parts of
// a read, what was there all the time is yielded once, in order.
func TestReceiptsWhileCommitting(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := open(t, filepath.Join(quickDir(t), "a.db"))
		var list []mail.Receipt
		for n := range mail.UID(150) {
			list = append(list, mail.Receipt{Destination: n + 1})
		}
		for uid := mail.UID(1); uid <= 30_000; uid++ {
			list = append(list, mail.Receipt{Source: uid * 2, Destination: uid})
		}
		commit(t, s, mail.Change{Replace: []mail.PairReceipts{{Pair: 1, Receipts: list}}})
		var last mail.UID
		vanished, present := 0, 0
		for r, err := range s.Receipts(1) {
			switch {
			case err != nil:
				t.Fatal(err)
			case r.Source == 0 && last == 0:
				vanished++
			case r.Source <= last:
				t.Fatalf("source UID %d after %d", r.Source, last)
			case r.Source%2 == 0:
				present++
			}
			last = r.Source
			if rng.IntN(500) == 0 {
				// Odd UIDs all around split the blocks that are read.
				var more []mail.Receipt
				for uid := max(last, 400) - 400; uid < last+400; uid += 2 {
					more = append(more, mail.Receipt{Source: uid | 1, Destination: 1})
				}
				commit(t, s, mail.Change{Receipts: []mail.PairReceipts{{Pair: 1, Receipts: more}}})
			}
		}
		if vanished != 150 || present != 30_000 {
			t.Fatalf("seed %d: %d of 150 vanished, %d of 30000 present", seed, vanished, present)
		}
	}
}

// TestBlocksStayFull: neither mail that arrives one by one nor receipts in any
// order leave the blocks nearly empty.
func TestBlocksStayFull(t *testing.T) {
	for name, order := range map[string]func(*rand.Rand, []mail.Receipt){
		"in order":  func(*rand.Rand, []mail.Receipt) {},
		"backwards": func(_ *rand.Rand, list []mail.Receipt) { slices.Reverse(list) },
		"in a jumble": func(rng *rand.Rand, list []mail.Receipt) {
			rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		},
	} {
		s := open(t, filepath.Join(quickDir(t), "a.db"))
		var list []mail.Receipt
		for uid := mail.UID(1); uid <= 1_500; uid++ {
			list = append(list, mail.Receipt{Source: uid, Destination: uid})
		}
		rng := rand.New(rand.NewPCG(3, 3))
		order(rng, list)
		for len(list) > 0 {
			n := min(1+rng.IntN(5), len(list))
			commit(t, s, mail.Change{Receipts: []mail.PairReceipts{{Pair: 1, Receipts: list[:n]}}})
			list = list[n:]
		}
		c, err := auditFile(s.file)
		if err != nil {
			t.Fatal(err)
		}
		if blocks := c.totals[string(receiptsName(1))].count; blocks > 1_500/blockMost*5/2 {
			t.Errorf("%s: %d blocks for 1500 receipts", name, blocks)
		}
	}
}

// TestFailedCommitEndsTheStore: after a failed commit nothing is read or
// written until the file is opened again, and then it is as it was (I6).
func TestFailedCommitEndsTheStore(t *testing.T) {
	broken := errors.New("broken")
	for name, fail := range map[string]func(*Store) error{
		"inside": func(s *Store) error {
			return s.update(func(w *writer) error {
				return errors.Join(w.put(bucketPairs, u32(1), storedPair{Destination: "lost"}), broken)
			})
		},
		"no room": func(s *Store) error {
			s.db.MaxSize = 1 << 16
			return s.Commit(mail.Change{Holds: []mail.Hold{{HoldKey: mail.HoldKey{Path: "p"}, Text: string(make([]byte, 1<<20))}}})
		},
		"no disk": func(s *Store) error {
			s.file.Close()
			return s.Commit(mail.Change{Pairs: []mail.Pair{{ID: 1, Destination: "lost"}}})
		},
		"not by Replace": func(s *Store) error {
			return s.Commit(mail.Change{Receipts: []mail.PairReceipts{{Pair: 1, Receipts: []mail.Receipt{{}}}}})
		},
		"a fault": func(s *Store) error {
			return s.update(func(w *writer) error { return w.shelf([]byte("no such")).put([]byte("k"), nil) })
		},
	} {
		path := filepath.Join(t.TempDir(), "a.db")
		s, m := open(t, path), newModel()
		c := mail.Change{Pairs: []mail.Pair{{ID: 1, Source: "s", Destination: "d"}}}
		commit(t, s, c)
		m.apply(c)
		if fail(s) == nil {
			t.Errorf("%s: no error", name)
		}
		if err := s.Commit(c); err == nil {
			t.Errorf("%s: a commit after a failed one succeeds", name)
		}
		if _, err := s.Pairs(); err == nil {
			t.Errorf("%s: a read after a failed commit succeeds", name)
		}
		for _, err := range s.Receipts(1) {
			if err == nil {
				t.Errorf("%s: a receipt after a failed commit", name)
			}
		}
		s.Close()
		s = open(t, path)
		if s.Fresh() != (Fresh{}) {
			t.Errorf("%s: opened afresh: %+v", name, s.Fresh())
		}
		m.compare(t, s)
	}
}

func TestUpdateIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	s := open(t, path)
	if s.Identity() != me {
		t.Errorf("%+v", s.Identity())
	}
	more := me
	more.SourceCertificate, more.SourceID = "ab12", `("name" "Dovecot")`
	if err := s.UpdateIdentity(more); err != nil {
		t.Fatal(err)
	}
	if s = reopen(t, path, s); s.Identity() != more {
		t.Errorf("%+v", s.Identity())
	}
	more.SourceHost = "OLD" // as somebody came to spell it
	if err := s.UpdateIdentity(more); err != nil {
		t.Fatal(err)
	}
	if s = reopen(t, path, s); s.Identity() != more {
		t.Errorf("%+v", s.Identity())
	}
	other := more
	other.DestinationUser = "somebody"
	if err := s.UpdateIdentity(other); err == nil || s.Identity() != more {
		t.Error("a state became another account's")
	}
}

// TestIdentityIsReadable: the record can be read with any bbolt tool.
func TestIdentityIsReadable(t *testing.T) {
	data, err := json.Marshal(me)
	if want := `{"SourceHost":"old","SourceUser":"u","DestinationHost":"new","DestinationUser":"v"}`; string(data) != want || err != nil {
		t.Errorf("%s, %v", data, err)
	}
}
