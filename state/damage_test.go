package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// history is a file as it was after each of some commits, with what it held.
type history struct {
	files  [][]byte
	models []*model
	used   []uint64 // the pages of the last file that are in use, meta pages apart
	page   int      // size of one
}

func newHistory(t testing.TB, commits int) *history {
	path := filepath.Join(quickDir(t), "a.db")
	s := open(t, path)
	rng := rand.New(rand.NewPCG(7, 7))
	h := &history{page: os.Getpagesize()}
	var changes []mail.Change
	for range commits {
		c := randomChange(rng)
		if len(changes) == 0 {
			many := mail.PairReceipts{Pair: 3}
			for range 1_000 {
				many.Receipts = append(many.Receipts, randomReceipt(rng, math.MaxUint32))
			}
			c.Receipts = append(c.Receipts, many)
		}
		changes = append(changes, c)
		commit(t, s, changes[len(changes)-1])
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// What lies beyond the last page is empty.
		data = data[:h.page*int(max(u64At(data, pageHeaderLen+40), u64At(data, h.page+pageHeaderLen+40)))]
		m := newModel()
		for _, c := range changes {
			m.apply(c)
		}
		h.files, h.models = append(h.files, data), append(h.models, m)
	}
	h.used = usedPages(t, h.last())
	return h
}

func (h *history) last() []byte { return h.files[len(h.files)-1] }

// of returns a page of a file.
func (h *history) of(file []byte, page uint64) []byte {
	return file[int(page)*h.page:][:h.page]
}

type nobody struct{}

func (nobody) bucket([]byte)        {}
func (nobody) value(_, _, _ []byte) {}

func usedPages(t testing.TB, file []byte) (used []uint64) {
	r := &pageReader{file: bytes.NewReader(file), visitor: nobody{}}
	if err := r.readMeta(); err != nil {
		t.Fatal(err)
	}
	r.seen = make([]bool, r.pages)
	if err := r.tree(nil, r.root); err != nil {
		t.Fatal(err)
	}
	if _, err := r.page(r.freelist); err != nil {
		t.Fatal(err)
	}
	for id, seen := range r.seen {
		if seen {
			used = append(used, uint64(id))
		}
	}
	return used
}

// verdict opens what has become of the last file. Whatever happens is an
// error, the very same data, or those of the commit before; never a panic,
// never other data.
func (h *history) verdict(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	if _, err := audit(bytes.NewReader(data), int64(len(data))); err != nil {
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s: %v", name, err)
		}
		return "damaged"
	}
	path := filepath.Join(dir, "mutant.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	defer s.Close()
	if s.Fresh() != (Fresh{}) {
		t.Fatalf("%s: sound, but set aside: %+v", name, s.Fresh())
	}
	for ago, verdict := range []string{"same", "older"} {
		if what, err := h.models[len(h.models)-1-ago].differs(s); err != nil {
			t.Fatalf("%s: sound, but %v", name, err)
		} else if what == "" {
			return verdict
		}
	}
	t.Fatalf("%s: neither damaged nor what was written", name)
	return ""
}

// TestDamage damages a file in thousands of ways.
func TestDamage(t *testing.T) {
	dir, h, rng := quickDir(t), newHistory(t, 16), rand.New(rand.NewPCG(1, 1))
	newestMeta := u64At(h.last(), pageHeaderLen+48) < u64At(h.last(), h.page+pageHeaderLen+48)
	counts := make(map[string]int)
	// judge looks at a damaged file; the verdict must be one of those allowed.
	judge := func(name string, file []byte, allowed ...string) {
		t.Helper()
		verdict := h.verdict(t, dir, name, file)
		counts[verdict]++
		if !slices.Contains(allowed, verdict) {
			t.Fatalf("%s: %s, must be one of %v", name, verdict, allowed)
		}
	}
	work := slices.Clone(h.last())
	// try damages a page of the last file for a moment.
	try := func(name string, id uint64, damage func(page []byte), allowed ...string) {
		t.Helper()
		page := h.of(work, id)
		sound := slices.Clone(page)
		if damage(page); !bytes.Equal(page, sound) {
			judge(fmt.Sprintf("page %d: %s", id, name), work, allowed...)
		}
		copy(page, sound)
	}
	flip := func(name string, id uint64, bit int, allowed ...string) {
		t.Helper()
		try(fmt.Sprintf("%s bit %d", name, bit), id, func(page []byte) { page[bit/8] ^= 1 << (bit % 8) }, allowed...)
	}

	judge("empty", nil, "damaged")
	for range 150 {
		n := rng.IntN(len(work))
		judge(fmt.Sprint("cut at ", n), work[:n], "damaged")
	}
	for _, id := range h.used {
		try("zeros", id, func(page []byte) { clear(page) }, "damaged")
		try("ones", id, func(page []byte) { copy(page, bytes.Repeat([]byte{0xff}, h.page)) }, "damaged")
		for range 8 {
			other := h.of(h.last(), h.used[rng.IntN(len(h.used))])
			try("another page", id, func(page []byte) { copy(page, other) }, "damaged")
			try("another page that claims to be this", id, func(page []byte) {
				copy(page, other)
				binary.NativeEndian.PutUint64(page, id)
			}, "damaged")
		}
		for n, file := range h.files {
			if int(id+1)*h.page <= len(file) {
				try(fmt.Sprintf("as %d commits ago", len(h.files)-1-n), id, func(page []byte) { copy(page, h.of(file, id)) }, "damaged")
			}
		}
		header := []string{"damaged"}
		if u16At(h.of(h.last(), id), 8) == freelistPage {
			header = append(header, "same") // a free page that is forgotten does no harm
		}
		for range 16 {
			flip("number, kind and count", id, rng.IntN(12*8), header...)
			flip("first elements", id, pageHeaderLen*8+rng.IntN(64*8), "damaged", "same")
		}
		for range 8 {
			flip("anywhere", id, rng.IntN(h.page*8), "damaged", "same") // some octets mean nothing
		}
	}
	for meta, newest := range []bool{!newestMeta, newestMeta} {
		allowed := map[bool]string{true: "older", false: "same"}[newest]
		for range 60 {
			flip("meta page", uint64(meta), pageHeaderLen*8+rng.IntN(metaLen*8), allowed)
		}
	}
	clear(work[:2*h.page])
	judge("no meta page", work, "damaged")
	t.Log(counts, len(h.used), "pages")
	if counts["damaged"] < 1000 || counts["same"] == 0 || counts["older"] == 0 {
		t.Errorf("the mutations do not reach all there is: %v", counts)
	}
}

// TestBrokenTrees: what would make bbolt recurse without end, or give away
// pages in use, is found before it sees the file.
func TestBrokenTrees(t *testing.T) {
	h := newHistory(t, 16)
	freelist := uint64(0)
	branches := 0
	for _, id := range h.used {
		switch page := h.of(h.last(), id); u16At(page, 8) {
		case freelistPage:
			freelist = id
		case branchPage:
			branches++
			for child := range h.used {
				file := slices.Clone(h.last())
				binary.NativeEndian.PutUint64(h.of(file, id)[pageHeaderLen+8:], h.used[child])
				if u64At(page, pageHeaderLen+8) == h.used[child] {
					continue
				}
				if _, err := audit(bytes.NewReader(file), int64(len(file))); !errors.Is(err, ErrDamaged) {
					t.Errorf("page %d below page %d: %v", h.used[child], id, err)
				}
			}
		}
	}
	if branches == 0 || u16At(h.of(h.last(), freelist), 10) == 0 {
		t.Fatalf("%d branch pages, free list on page %d: the file is too small for this test", branches, freelist)
	}
	for _, id := range append([]uint64{0, 1, 1 << 40}, h.used...) {
		file := slices.Clone(h.last())
		binary.NativeEndian.PutUint64(h.of(file, freelist)[pageHeaderLen:], id)
		if _, err := audit(bytes.NewReader(file), int64(len(file))); !errors.Is(err, ErrDamaged) {
			t.Errorf("page %d free: %v", id, err)
		}
	}
	file := slices.Clone(h.last())
	page := h.of(file, freelist)
	binary.NativeEndian.PutUint16(page[10:], freelistCountMax)
	binary.NativeEndian.PutUint64(page[pageHeaderLen:], 1<<40)
	if _, err := audit(bytes.NewReader(file), int64(len(file))); !errors.Is(err, ErrDamaged) {
		t.Errorf("a list of free pages without end: %v", err)
	}
}

// TestPowerCut: of the pages that a commit writes any may reach the disk
// before its meta page does, which is written last, and may be torn.
func TestPowerCut(t *testing.T) {
	dir, h, rng := quickDir(t), newHistory(t, 8), rand.New(rand.NewPCG(2, 2))
	for n := 1; n < len(h.files); n++ {
		before, after := h.files[n-1], h.files[n]
		at := &history{files: h.files[:n+1], models: h.models[:n+1], page: h.page}
		for try := range 8 {
			file := make([]byte, len(after))
			copy(file, before)
			for id := 2; id < len(after)/h.page; id++ {
				if try == 0 || rng.IntN(2) == 0 {
					copy(at.of(file, uint64(id)), at.of(after, uint64(id)))
				}
			}
			if verdict := at.verdict(t, dir, "pages only", file); verdict != "older" {
				t.Fatalf("commit %d: %s", n, verdict)
			}
		}
		for torn := 0; torn <= pageHeaderLen+metaLen; torn += 8 {
			file := slices.Clone(after)
			for meta := range uint64(2) {
				copy(at.of(file, meta)[torn:], at.of(before, meta)[torn:])
			}
			if verdict := at.verdict(t, dir, "torn meta page", file); verdict == "damaged" {
				t.Fatalf("commit %d, meta page written to octet %d: %s", n, torn, verdict)
			}
		}
	}
}

// TestDamageWhileOpen: damage that comes while a file is open is an error, or
// not to be seen; the file can still be closed and set aside.
func TestDamageWhileOpen(t *testing.T) {
	h, rng := newHistory(t, 16), rand.New(rand.NewPCG(3, 3))
	for name, damage := range map[string]func(path string) error{
		"cut short":      func(path string) error { return os.Truncate(path, 3*int64(h.page)) },
		"cut to nothing": func(path string) error { return os.Truncate(path, 0) },
		"zeros":          func(path string) error { return os.WriteFile(path, make([]byte, len(h.last())), 0o600) },
		"zeros but for the meta pages": func(path string) error {
			return os.WriteFile(path, append(slices.Clone(h.last()[:2*h.page]), make([]byte, len(h.last())-2*h.page)...), 0o600)
		},
		"values": func(path string) error {
			file := slices.Clone(h.last())
			for _, id := range h.used {
				if page := h.of(file, id); u16At(page, 8) == leafPage {
					page[h.page/2+rng.IntN(h.page/2)] ^= 0x10
				}
			}
			return os.WriteFile(path, file, 0o600)
		},
	} {
		for first, use := range map[string]func(*Store) error{
			"read": func(s *Store) error {
				what, err := h.models[len(h.models)-1].differs(s)
				if what != "" {
					t.Errorf("%s: other data", name)
				}
				return err
			},
			"commit": func(s *Store) error {
				return errors.Join(s.Commit(randomChange(rng)), s.Commit(randomChange(rng)), s.Commit(randomChange(rng)))
			},
		} {
			path := filepath.Join(quickDir(t), "a.db")
			if err := os.WriteFile(path, h.last(), 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, path)
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			err := use(s)
			if err != nil && !errors.Is(err, ErrDamaged) {
				t.Logf("%s, %s: %v", name, first, err)
			}
			if err == nil && first == "read" {
				t.Errorf("%s: nothing noticed", name)
			}
			if err := s.Check(); err == nil {
				t.Errorf("%s, %s: Check notices nothing", name, first)
			}
			s.Close()
			if _, err := Quarantine(path, "damaged while open"); err != nil {
				t.Errorf("%s, %s: %v", name, first, err)
			}
			s = open(t, path)
			if s.Fresh().Quarantined == "" {
				t.Errorf("%s, %s: %+v", name, first, s.Fresh())
			}
			if took := time.Since(begun); took > time.Minute {
				t.Errorf("%s, %s: took %v", name, first, took)
			}
		}
	}
}

// FuzzAudit: whatever is written over a part of a file, it is damaged or holds
// what it held.
func FuzzAudit(f *testing.F) {
	h := newHistory(f, 4)
	dir := quickDir(f)
	f.Add(uint32(0), []byte{1})
	f.Add(uint32(h.page), make([]byte, 80))
	for _, id := range h.used {
		f.Add(uint32(int(id)*h.page+10), []byte{1, 0})
		f.Add(uint32(int(id)*h.page+pageHeaderLen), []byte{0xff, 0xff, 0xff, 0xff})
		f.Add(uint32(int(id)*h.page+pageHeaderLen+8), binary.NativeEndian.AppendUint64(nil, id))
	}
	f.Fuzz(func(t *testing.T, at uint32, over []byte) {
		file := slices.Clone(h.last())
		copy(file[int(at)%len(file):], over)
		h.verdict(t, dir, fmt.Sprintf("%x at %d", over, at), file)
	})
}
