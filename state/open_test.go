package state

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func TestOpenNew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	s := open(t, path)
	if s.Fresh() != (Fresh{New: true}) {
		t.Errorf("%+v", s.Fresh())
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() < firstSize || info.Size() > 128<<10 {
		t.Errorf("%v, %v", info, err)
	}
	if size, err := s.Size(); err != nil || size == 0 {
		t.Errorf("%d, %v", size, err)
	}
	if entries, err := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if s = reopen(t, path, s); s.Fresh() != (Fresh{}) {
		t.Errorf("%+v", s.Fresh())
	}
}

// TestOpenSetsAside: what is no state of this account is set aside with the
// reason, whole, and a fresh one begun.
func TestOpenSetsAside(t *testing.T) {
	other := me
	other.SourceUser = "somebody"
	otherHost := me
	otherHost.DestinationHost = "newer"
	for _, c := range []struct {
		name   string
		make   func(path string) error
		reason string
	}{
		{"empty", func(path string) error { return os.WriteFile(path, nil, 0o600) }, "too short"},
		{"text", func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("text", 9999)), 0o600) }, "neither meta page"},
		{"half", func(path string) error {
			return errors.Join(create(path, me), os.Truncate(path, 16<<10))
		}, "cut short"},
		{"another user's", func(path string) error { return create(path, other) }, "it belongs to somebody on old and v on new"},
		{"another host's", func(path string) error { return create(path, otherHost) }, "it belongs to u on old and v on newer"},
		{"without identity", func(path string) error {
			return errors.Join(create(path, me), inside(path, func(w *writer) error { return w.tx.Bucket(bucketMeta).Delete(keyIdentity) }))
		}, "whose it is"},
		{"without a bucket", func(path string) error {
			return errors.Join(create(path, me), inside(path, func(w *writer) error { return w.tx.DeleteBucket(bucketHolds) }))
		}, "lacks holds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.db")
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := open(t, path)
			fresh := s.Fresh()
			if fresh.New || !strings.HasPrefix(fresh.Quarantined, path+".damaged-") || !strings.Contains(fresh.Reason, c.reason) {
				t.Errorf("%+v", fresh)
			}
			if pairs, err := s.Pairs(); len(pairs) > 0 || err != nil {
				t.Errorf("%v, %v", pairs, err)
			}
			if after, err := os.ReadFile(fresh.Quarantined); !slices.Equal(before, after) {
				t.Errorf("what was set aside was changed: %v", err)
			}
			if note, err := os.ReadFile(fresh.Quarantined + ".txt"); !strings.Contains(string(note), c.reason) {
				t.Errorf("%q, %v", note, err)
			}
			if s = reopen(t, path, s); s.Identity() != me {
				t.Errorf("%+v", s.Identity())
			}
		})
	}
}

// inside changes a file from within.
func inside(path string, f func(*writer) error) error {
	s, err := load(path, Options{})
	if err != nil {
		return err
	}
	return errors.Join(s.update(f), s.Close())
}

// TestLostIsNotNew: a file that was set aside and not replaced, because the
// process ended in between, is known to be lost; the newest counts, and none
// is overwritten.
func TestLostIsNotNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	var names []string
	for _, reason := range []string{"first", "second", "third"} {
		if err := create(path, me); err != nil {
			t.Fatal(err)
		}
		aside, err := Quarantine(path, reason)
		if err != nil || slices.Contains(names, aside) {
			t.Fatalf("%s among %v: %v", aside, names, err)
		}
		names = append(names, aside)
	}
	if s := open(t, path); s.Fresh() != (Fresh{Quarantined: names[2], Reason: "third"}) {
		t.Errorf("%+v", s.Fresh())
	}
	for _, name := range names {
		if s, err := Open(name, Options{ReadOnly: true}); err != nil || s.Identity() != me {
			t.Errorf("%s: %v", name, err)
		} else {
			s.Close()
		}
	}
	if _, err := Quarantine(path+"x", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestNewerIsRefused: a file of a later version is left as it is, however
// little of it can be understood.
func TestNewerIsRefused(t *testing.T) {
	version := func(w *writer) error {
		return w.tx.Bucket(bucketMeta).Put(keyVersion, seal(bucketMeta, keyVersion, []byte(formatVersion+"1")))
	}
	for name, change := range map[string]func(path string) error{
		"format": func(path string) error { return inside(path, version) },
		"format and layout": func(path string) error {
			return inside(path, func(w *writer) error {
				return errors.Join(version(w), w.tx.DeleteBucket(bucketTotals), w.tx.Bucket(bucketAnchors).Put([]byte("x"), []byte("unsealed")))
			})
		},
		"bbolt": func(path string) error {
			data, err := os.ReadFile(path)
			for page := range 2 {
				meta := data[page*os.Getpagesize()+pageHeaderLen:][:metaLen]
				binary.NativeEndian.PutUint32(meta[4:], boltVersion+1)
				sum := fnv.New64a()
				sum.Write(meta[:56])
				binary.NativeEndian.PutUint64(meta[56:], sum.Sum64())
			}
			return errors.Join(err, os.WriteFile(path, data, 0o600))
		},
	} {
		path := filepath.Join(t.TempDir(), "a.db")
		if err := errors.Join(create(path, me), change(path)); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(path)
		_, err := Open(path, Options{Identity: me})
		if err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "written by a newer imapsyncd") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.ReadFile(path); !slices.Equal(before, after) {
			t.Errorf("%s: the file was changed", name)
		}
		if _, err := look(path); err == nil || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOpenFails: what is no question of damage sets nothing aside.
func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"folder", "missing/a.db"} {
		if _, err := Open(filepath.Join(dir, name), Options{Identity: me}); err == nil || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "a.db"), Options{}); err == nil {
		t.Error("a state that is nobody's")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%v", entries)
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	if _, err := Open(path, Options{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	s := open(t, path)
	commit(t, s, mail.Change{Pairs: []mail.Pair{{ID: 1, Destination: "d"}}})
	s.Close()
	first, err := Open(path, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := Open(path, Options{ReadOnly: true, Identity: me})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if pairs, err := second.Pairs(); len(pairs) != 1 || err != nil || first.Identity() != me {
		t.Errorf("%v, %v", pairs, err)
	}
	if err := second.Commit(mail.Change{}); err == nil {
		t.Error("a commit succeeds")
	}
	other := me
	other.SourceHost = "x"
	if _, err := Open(path, Options{ReadOnly: true, Identity: other}); err == nil {
		t.Error("another account's is opened")
	}
	empty := filepath.Join(dir, "b.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(empty, Options{ReadOnly: true}); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("reading changed the directory: %v", entries)
	}
}
