package state

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// whose the files in testdata are.
var whose = Identity{SourceHost: "old.example.org", SourceUser: "foo", DestinationHost: "new.example.org", DestinationUser: "foo@example.org"}

// copied is a copy of a file, and what is in it.
func copied(t *testing.T, file string) (path string, data []byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	path = filepath.Join(t.TempDir(), "a.db")
	if err := errors.Join(err, os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path, data
}

// TestUpgrade opens testdata/version1.db, which the first release wrote.
func TestUpgrade(t *testing.T) {
	path, data := copied(t, "testdata/version1.db")
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

// TestUpgradeOfIntents opens testdata/version2.db, in which each intent is JSON.
func TestUpgradeOfIntents(t *testing.T) {
	path, data := copied(t, "testdata/version2.db")
	at := time.Date(2026, 11, 25, 10, 0, 0, 5, time.UTC)
	want := []mail.Intent{{
		ID: 4, Kind: mail.IntentMove, Pair: 1, Source: 5, Fingerprint: 7, Mailbox: "INBOX", UIDValidity: 8, Floor: 700,
		FromPair: 1, FromSource: 6, FromMailbox: "a\xff", FromValidity: 3, Destination: 9, Looks: 2, Resent: at,
	}}
	for n := range uint64(12) {
		want = append(want, mail.Intent{
			ID: 10 + 2*n, Kind: mail.IntentAppend, Pair: 1, Source: mail.UID(400 + n), Size: 1 << 40, InternalDate: at.AddDate(-2000, 0, int(n)), Fingerprint: mail.Fingerprint(n) << 50,
			Flags: mail.Flags{System: 31, Keywords: "Work $x"}, Mailbox: "INBOX", UIDValidity: 8, Floor: 701, Original: 12, Mended: 3,
		})
	}
	for _, o := range []Options{{ReadOnly: true}, {Identity: whose}, {Identity: whose}, {ReadOnly: true}} {
		s, err := Open(path, o)
		if err != nil || s.Fresh() != (Fresh{}) {
			t.Fatal(err, s.Fresh())
		}
		pairs, err1 := s.Pairs()
		holds, err2 := s.Holds()
		absences, err3 := s.Absences()
		got, err4 := s.Intents()
		if err := errors.Join(err1, err2, err3, err4, s.Check()); err != nil || len(pairs) != 1 || len(holds) != 1 || len(absences) != 1 {
			t.Fatal(err, pairs, holds, absences)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v\nwant %+v", got, want)
		}
		if !o.ReadOnly {
			commit(t, s, mail.Change{Settle: []uint64{want[1].ID}})
			want = slices.Delete(want, 1, 2)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if after, _ := os.ReadFile(path); o.ReadOnly && len(want) == 13 && !slices.Equal(after, data) {
			t.Error("reading has changed the file")
		}
	}
}
