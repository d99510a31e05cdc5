package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func TestCheck(t *testing.T) {
	receipts := func(pair mail.PairID, list ...mail.Receipt) mail.Change {
		return mail.Change{Receipts: []mail.PairReceipts{{Pair: pair, Receipts: list}}}
	}
	good := receipts(1, mail.Receipt{Source: 1, Destination: 1}, mail.Receipt{Source: 2, Destination: 2})
	good.Pairs = []mail.Pair{
		{ID: 1, Source: "a", Destination: "a", DestinationValidity: 5},
		{ID: 2, Source: "b", Destination: "b", DestinationValidity: 5},
	}
	good.Replace = []mail.PairReceipts{{Pair: 2, Receipts: []mail.Receipt{
		{}, {}, {Destination: 1}, // the sources of three have vanished
		{Source: 1}, {Source: 2, Destination: 2}, {Source: 3, Destination: 2, Mailbox: "a", UIDValidity: 4},
	}}}
	good.Intents = []mail.Intent{{ID: 1, Kind: mail.IntentAppend, Pair: 2}}
	good.Holds = []mail.Hold{{HoldKey: mail.HoldKey{Path: "x"}}, {HoldKey: mail.HoldKey{Pair: 1}}}
	// write puts what Commit never would.
	write := func(f func(*writer) error) func(*Store) error {
		return func(s *Store) error { return s.update(f) }
	}
	change := func(c mail.Change) func(*Store) error {
		return func(s *Store) error { return s.Commit(c) }
	}
	for _, c := range []struct {
		name    string
		spoil   func(*Store) error
		problem string // empty: none
	}{
		{"nothing", change(mail.Change{}), ""},
		{"one copy in two receipts", change(receipts(1, mail.Receipt{Source: 9, Destination: 2})), `UID 2 of "a" (UIDVALIDITY 5) has more than one receipt`},
		{"one copy in receipts of two pairs", change(receipts(2, mail.Receipt{Source: 9, Destination: 2, Mailbox: "a", UIDValidity: 5})), `UID 2 of "a"`},
		{"one copy of a vanished and another", change(receipts(2, mail.Receipt{Source: 9, Destination: 1})), `UID 1 of "b"`},
		{"one place for two pairs", change(mail.Change{Pairs: []mail.Pair{{ID: 3, Source: "c", Destination: "a"}}}), `share the destination "a"`},
		{"a pair without ID", change(mail.Change{Pairs: []mail.Pair{{Destination: "c"}}}), "no ID"},
		{"receipts without pair", change(receipts(8, mail.Receipt{Source: 1})), "pair 8, which does not exist"},
		{"an intent without pair", change(mail.Change{Intents: []mail.Intent{{ID: 1, Kind: mail.IntentStore, Pair: 8}}}), "no pair 8"},
		{"an intent of no kind", change(mail.Change{Intents: []mail.Intent{{ID: 1, Pair: 1}}}), "no known kind"},
		{"an intent without ID", change(mail.Change{Intents: []mail.Intent{{Kind: mail.IntentStore, Pair: 1}}}), "intent 0"},
		{"a hold without pair", change(mail.Change{Holds: []mail.Hold{{HoldKey: mail.HoldKey{Pair: 8, UID: 4}}}}), "hold 8.4"},
		{"blocks that overlap", write(func(w *writer) error {
			sh, err := w.receipts(1)
			return errors.Join(err, sh.put(blockKey(kindPresent, 2), encodeBlock([]mail.Receipt{{Source: 2, Destination: 9}}, w.intern)))
		}), "makes no sense"},
		{"a block out of order", write(func(w *writer) error {
			sh, err := w.receipts(1)
			return errors.Join(err, sh.put(blockKey(kindPresent, 5), encodeBlock([]mail.Receipt{{Source: 5}, {Source: 5}}, w.intern)))
		}), "makes no sense"},
		{"a block under another key", write(func(w *writer) error {
			sh, err := w.receipts(1)
			return errors.Join(err, sh.put(blockKey(kindPresent, 5), encodeBlock([]mail.Receipt{{Source: 6}}, w.intern)))
		}), "makes no sense"},
		{"an unknown keyword", write(func(w *writer) error {
			sh, err := w.receipts(1)
			number := func(string) uint32 { return 77 }
			return errors.Join(err, sh.put(blockKey(kindPresent, 5), encodeBlock([]mail.Receipt{{Source: 5, Flags: mail.Flags{Keywords: "x"}}}, number)))
		}), "string 77"},
		{"a value no one knows how to read", write(func(w *writer) error { return w.shelf(bucketHolds).put([]byte("x"), []byte("{")) }), "holds/78"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.db")
			s := open(t, path)
			commit(t, s, good)
			if err := c.spoil(s); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(); (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("open: %v", err)
			}
			s.Close()
			problems, err := look(path)
			if err != nil || len(problems) > 1 || (len(problems) == 0) != (c.problem == "") || len(problems) == 1 && !strings.Contains(problems[0].Error(), c.problem) {
				t.Errorf("closed: %q, %v", problems, err)
			}
		})
	}
}

// look opens a file to read it only, and lists its problems; damage is one.
func look(path string) ([]Problem, error) {
	s, err := Open(path, Options{ReadOnly: true})
	if errors.Is(err, ErrDamaged) {
		return []Problem{Problem(err.Error())}, nil
	} else if err != nil {
		return nil, err
	}
	problems, err := s.Problems()
	return problems, errors.Join(err, s.Close())
}

// TestCheckFiles: a look tells of files that Open would set aside, and leaves
// them alone.
func TestCheckFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	if _, err := look(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if problems, err := look(path); len(problems) != 1 || err != nil {
		t.Errorf("empty: %v, %v", problems, err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("%v, %v", info, err)
	}
}
