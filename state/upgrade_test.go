package state

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestUpgrade opens testdata/version1.db, which the first release wrote.
func TestUpgrade(t *testing.T) {
	data, err := os.ReadFile("testdata/version1.db")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	whose := Identity{SourceHost: "old.example.org", SourceUser: "foo", DestinationHost: "new.example.org", DestinationUser: "foo@example.org"}
	kept := func(s *Store) {
		t.Helper()
		var receipts []mail.Receipt
		for r, err := range s.Receipts(1) {
			if err != nil {
				t.Fatal(err)
			}
			receipts = append(receipts, r)
		}
		elsewhere := mail.Receipt{
			Source: 10, Destination: 23, Mailbox: "Kept", UIDValidity: 9, Fingerprint: 86,
			Flags: mail.Flags{System: 9, Keywords: "Work"},
		}
		if len(receipts) != 301 || receipts[0] != (mail.Receipt{Destination: 3, Fingerprint: 5}) || receipts[10] != elsewhere || !receipts[1].Touched {
			t.Errorf("%d receipts, %+v, %+v", len(receipts), receipts[0], receipts[10])
		}
		pairs, err1 := s.Pairs()
		intents, err2 := s.Intents()
		holds, err3 := s.Holds()
		absences, err4 := s.Absences()
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
			t.Fatal(err1, err2, err3, err4)
		}
		if len(pairs) != 1 || pairs[0].SourceAnchor.UIDNext != 301 || len(intents) != 1 || intents[0].Floor != 700 || len(holds) != 1 || len(absences) != 0 {
			t.Errorf("%+v %+v %+v %+v", pairs, intents, holds, absences)
		}
		if err := s.Check(); err != nil {
			t.Error(err)
		}
	}
	s, err := Open(path, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	kept(s)
	s.Close()
	if after, _ := os.ReadFile(path); !slices.Equal(after, data) {
		t.Error("reading has changed the file")
	}
	if s, err = Open(path, Options{Identity: whose}); err != nil || s.Fresh() != (Fresh{}) {
		t.Fatal(err, s.Fresh())
	}
	kept(s)
	gone := mail.Receipt{Source: 2, Destination: 7, Fingerprint: 78, Gone: true}
	absence := mail.Absence{Pair: 1, Missing: []mail.Missing{{Since: time.Unix(1, 0).UTC(), UIDs: []mail.UID{2}}}}
	if err := s.Commit(mail.Change{Receipts: []mail.PairReceipts{{Pair: 1, Receipts: []mail.Receipt{gone}}}, Absences: []mail.Absence{absence}}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s, err = Open(path, Options{Identity: whose}); err != nil || s.outdated {
		t.Fatal(err, "the file is in format 1 still")
	}
	defer s.Close()
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	if got, err := s.Absences(); err != nil || len(got) != 1 || !slices.Equal(got[0].Missing[0].UIDs, absence.Missing[0].UIDs) {
		t.Errorf("%+v %v", got, err)
	}
}
