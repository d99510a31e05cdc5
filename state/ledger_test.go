package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func put(t *testing.T, l *Ledger, kind, name, value string) {
	t.Helper()
	e := Entry{Kind: kind, Name: name}
	if value != "" {
		e.Value = json.RawMessage(value)
	}
	if err := l.Put(e); err != nil {
		t.Fatal(err)
	}
}

func shown(list []Entry) string {
	s := ""
	for _, e := range list {
		s += fmt.Sprintf("%s/%s=%s ", e.Kind, e.Name, e.Value)
	}
	return s
}

func TestLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "phases")
	if _, err := ReadLedger(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	l, created, err := OpenLedger(path)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	put(t, l, "d", "b", `1`)
	put(t, l, "d", "a", `{"x":"\n"}`)
	put(t, l, "a", "b", `3`)
	put(t, l, "d", "b", `4`)
	put(t, l, "a", "b", "")
	const want = `d/a={"x":"\n"} d/b=4 `
	if got := shown(l.Entries()); got != want {
		t.Errorf("%s", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := ReadLedger(path)
	if err != nil || shown(list) != want {
		t.Errorf("%s, %v", shown(list), err)
	}
	// It does not grow for ever, open or not.
	if l, created, err = OpenLedger(path); err != nil || created {
		t.Fatal(created, err)
	}
	for range 3000 {
		put(t, l, "d", "b", `4`)
	}
	if l.lines > 1100 {
		t.Errorf("%d lines", l.lines)
	}
	l.lines = 5000 // as an older version may have left it
	l.Close()
	if list, err = ReadLedger(path); err != nil || shown(list) != want {
		t.Errorf("%s, %v", shown(list), err)
	}
}

// TestLedgerCutAnywhere: a file that ends anywhere holds the changes that are
// whole, and takes more.
func TestLedgerCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "whole")
	l, _, err := OpenLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	ends := []int64{l.end}
	for i := range 5 {
		put(t, l, "d", fmt.Sprint(i), fmt.Sprintf(`"%d"`, i))
		ends = append(ends, l.end)
	}
	l.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(text) + 1 {
		path := filepath.Join(dir, "cut")
		if err := os.WriteFile(path, text[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		l, _, err := OpenLedger(path)
		if int64(n) < ends[0] {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("cut at %d: %v", n, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		whole := 0
		for _, end := range ends[1:] {
			if int64(n) >= end {
				whole++
			}
		}
		if len(l.Entries()) != whole {
			t.Fatalf("cut at %d: %d entries, want %d", n, len(l.Entries()), whole)
		}
		put(t, l, "d", "more", `1`)
		l.Close()
		if list, err := ReadLedger(path); err != nil || len(list) != whole+1 {
			t.Fatalf("cut at %d, and one more: %s, %v", n, shown(list), err)
		}
	}
}

// TestLedgerDamage: a changed octet is noticed.
func TestLedgerDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "whole")
	l, _, err := OpenLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		put(t, l, "d", fmt.Sprint(i), `"value"`)
	}
	l.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(text) - 1 { // without its end the last line never was
		for _, bit := range []byte{1, 0x80} {
			damaged := bytes.Clone(text)
			damaged[n] ^= bit
			path := filepath.Join(dir, "damaged")
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := OpenLedger(path); !errors.Is(err, ErrDamaged) {
				t.Fatalf("octet %d: %v", n, err)
			}
		}
	}
}

// TestLedgerFailure: what could not be written is written with the next change.
func TestLedgerFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "phases")
	l, _, err := OpenLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, "d", "a", `1`)
	l.file.Close() // every write fails from now on
	if err := l.Put(Entry{"d", "b", json.RawMessage(`2`)}); err == nil {
		t.Fatal("written to a closed file")
	}
	if got := shown(l.Entries()); got != "d/a=1 " {
		t.Errorf("%s", got)
	}
	put(t, l, "d", "c", `3`)
	l.Close()
	if list, err := ReadLedger(path); err != nil || shown(list) != "d/a=1 d/c=3 " {
		t.Errorf("%s, %v", shown(list), err)
	}
}
