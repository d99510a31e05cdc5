package state

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

var _ pass.Journal = (*Store)(nil)

var me = Identity{SourceHost: "old", SourceUser: "u", DestinationHost: "new", DestinationUser: "v"}

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{Identity: me})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func receiptsOf(t testing.TB, s *Store, pair mail.PairID) []mail.Receipt {
	t.Helper()
	var list []mail.Receipt
	for r, err := range s.Receipts(pair) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// model is what a store should hold, in plain maps.
type model struct {
	pairs    map[mail.PairID]mail.Pair
	vanished map[mail.PairID][]mail.Receipt
	receipts map[mail.PairID]map[mail.UID]mail.Receipt
	intents  map[uint64]mail.Intent
	holds    map[mail.HoldKey]mail.Hold
	anchors  map[string]mail.Anchor
}

func newModel() *model {
	return &model{map[mail.PairID]mail.Pair{}, map[mail.PairID][]mail.Receipt{}, map[mail.PairID]map[mail.UID]mail.Receipt{},
		map[uint64]mail.Intent{}, map[mail.HoldKey]mail.Hold{}, map[string]mail.Anchor{}}
}

func (m *model) apply(c mail.Change) {
	for _, p := range c.Pairs {
		m.pairs[p.ID] = p
	}
	for _, r := range c.Replace {
		m.vanished[r.Pair], m.receipts[r.Pair] = nil, map[mail.UID]mail.Receipt{}
		for _, x := range r.Receipts {
			if x.Source == 0 {
				m.vanished[r.Pair] = append(m.vanished[r.Pair], x)
			} else {
				m.receipts[r.Pair][x.Source] = x
			}
		}
	}
	for _, r := range c.Receipts {
		if m.receipts[r.Pair] == nil {
			m.receipts[r.Pair] = map[mail.UID]mail.Receipt{}
		}
		for _, x := range r.Receipts {
			m.receipts[r.Pair][x.Source] = x
		}
	}
	for _, id := range c.Settle {
		delete(m.intents, id)
	}
	for _, i := range c.Intents {
		m.intents[i.ID] = i
	}
	for _, h := range c.Holds {
		m.holds[h.HoldKey] = h
	}
	for _, k := range c.Unhold {
		delete(m.holds, k)
	}
	maps.Copy(m.anchors, c.DestinationAnchors)
}

// list is what Receipts should yield.
func (m *model) list(pair mail.PairID) []mail.Receipt {
	return append(slices.Clone(m.vanished[pair]),
		slices.SortedFunc(maps.Values(m.receipts[pair]), func(a, b mail.Receipt) int { return cmp.Compare(a.Source, b.Source) })...)
}

func (m *model) compare(t *testing.T, s *Store) {
	t.Helper()
	for pair := range mail.PairID(4) {
		want := m.list(pair)
		if got := receiptsOf(t, s, pair); !slices.Equal(got, want) {
			t.Fatalf("pair %d: receipts %v\nwant %v", pair, got, want)
		}
	}
	pairs, err1 := s.Pairs()
	intents, err2 := s.Intents()
	holds, err3 := s.Holds()
	anchors, err4 := s.DestinationAnchors()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	wantPairs := slices.SortedFunc(maps.Values(m.pairs), func(a, b mail.Pair) int { return cmp.Compare(a.ID, b.ID) })
	wantIntents := slices.SortedFunc(maps.Values(m.intents), func(a, b mail.Intent) int { return cmp.Compare(a.ID, b.ID) })
	held := make(map[mail.HoldKey]mail.Hold)
	for _, h := range holds {
		held[h.HoldKey] = h
	}
	for name, same := range map[string]bool{
		"pairs": slices.Equal(pairs, wantPairs), "intents": slices.Equal(intents, wantIntents),
		"holds": reflect.DeepEqual(held, m.holds), "anchors": reflect.DeepEqual(anchors, m.anchors),
	} {
		if !same {
			t.Fatalf("%s differ", name)
		}
	}
}

var odd = []string{"", "Work", "a b", "\xff\xfe", "INBOX.Entw&APw-rfe", "\x00"}

func randomReceipt(rng *rand.Rand) mail.Receipt {
	r := mail.Receipt{
		Source: mail.UID(1 + rng.Uint32N(400)), Destination: mail.UID(rng.Uint32()), Fingerprint: mail.Fingerprint(rng.Uint64()),
		Flags: mail.Flags{System: mail.System(rng.UintN(32)), Keywords: odd[rng.IntN(len(odd))]}, Touched: rng.IntN(2) == 0,
	}
	if rng.IntN(10) == 0 {
		r.Mailbox, r.UIDValidity = odd[1+rng.IntN(len(odd)-1)], mail.UIDValidity(rng.Uint32())
	}
	return r
}

func randomChange(rng *rand.Rand) mail.Change {
	var c mail.Change
	pair := mail.PairID(1 + rng.Uint32N(3))
	at := time.Unix(int64(rng.Int32()), 0).UTC()
	if rng.IntN(3) == 0 {
		c.Pairs = []mail.Pair{{ID: pair, Source: odd[rng.IntN(len(odd))], Destination: fmt.Sprint(pair, "\xff"), SourcePath: "é",
			SourceAnchor: mail.Anchor{UIDValidity: 1, UIDNext: mail.UID(rng.Uint32()), HighestModSeq: mail.ModSeq(rng.Uint64())}, DestinationValidity: 9, Subscribed: true}}
	}
	var list []mail.Receipt
	for range rng.IntN(300) {
		list = append(list, randomReceipt(rng))
	}
	if rng.IntN(8) == 0 {
		seen := map[mail.UID]bool{}
		list = slices.DeleteFunc(list, func(r mail.Receipt) bool { dup := seen[r.Source]; seen[r.Source] = true; return dup })
		for range rng.IntN(200) {
			r := randomReceipt(rng)
			r.Source = 0
			list = append(list, r)
		}
		c.Replace = []mail.PairReceipts{{Pair: pair, Receipts: list}}
	} else {
		c.Receipts = []mail.PairReceipts{{Pair: pair, Receipts: list}}
	}
	c.Settle = []uint64{rng.Uint64N(20)}
	c.Intents = []mail.Intent{{ID: 1 + rng.Uint64N(20), Kind: mail.IntentAppend, Pair: pair, Source: 3, Size: 1 << 40, InternalDate: at,
		Fingerprint: mail.Fingerprint(rng.Uint64()), Flags: mail.Flags{System: mail.Seen, Keywords: "\xff"}, Mailbox: "\xfe", UIDValidity: 4, Floor: 5, Destination: 6, Resent: at, Looks: 2}}
	key := mail.HoldKey{Pair: pair, UID: mail.UID(rng.Uint32N(9))}
	if rng.IntN(4) == 0 {
		key = mail.HoldKey{Path: odd[1+rng.IntN(5)]}
	}
	c.Holds = []mail.Hold{{HoldKey: key, Reason: mail.ReasonRefused, Text: "no \xff", Mailbox: "b", Size: 7, Since: at, Skipped: true, Because: "so", SkippedAt: at, Retry: true}}
	if rng.IntN(2) == 0 {
		c.Unhold = []mail.HoldKey{{Pair: pair, UID: mail.UID(rng.Uint32N(9))}}
	}
	c.DestinationAnchors = map[string]mail.Anchor{odd[1+rng.IntN(5)]: {UIDValidity: 1, UIDNext: mail.UID(rng.Uint32())}}
	return c
}

// TestAgainstModel applies random changes to a store and to plain maps.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 0))
		path := filepath.Join(t.TempDir(), "a.db")
		s, m := open(t, path), newModel()
		for step := range 25 {
			c := randomChange(rng)
			if err := s.Commit(c); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			m.apply(c)
			if step%5 == 0 {
				s.Close()
				s = open(t, path)
				if s.Fresh() != (Fresh{}) {
					t.Fatalf("seed %d: opened afresh: %+v", seed, s.Fresh())
				}
			}
		}
		m.compare(t, s)
	}
}

// TestReceiptsWhileCommitting: a commit may come between the parts of a read.
func TestReceiptsWhileCommitting(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "a.db"))
	var list []mail.Receipt
	for uid := mail.UID(1); uid <= 30_000; uid++ {
		list = append(list, mail.Receipt{Source: uid * 2, Destination: uid, Fingerprint: 1})
	}
	if err := s.Commit(mail.Change{Receipts: []mail.PairReceipts{{Pair: 1, Receipts: list}}}); err != nil {
		t.Fatal(err)
	}
	var last mail.UID
	n := 0
	for r, err := range s.Receipts(1) {
		if err != nil || r.Source <= last {
			t.Fatalf("%d after %d: %v", r.Source, last, err)
		}
		last = r.Source
		if n++; n%5_000 == 0 {
			c := mail.Change{Receipts: []mail.PairReceipts{{Pair: 1, Receipts: []mail.Receipt{{Source: last + 1, Destination: 1}}}}}
			if err := s.Commit(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n < 30_000 {
		t.Fatalf("%d receipts", n)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	s := open(t, path)
	if !s.Fresh().New {
		t.Error("a new store does not say so")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() > 128<<10 {
		t.Errorf("%v, %v", info, err)
	}
	if err := s.Commit(mail.Change{Pairs: []mail.Pair{{ID: 1, Destination: "d"}}}); err != nil {
		t.Fatal(err)
	}
	s.Close()

	other := me
	other.SourceUser = "somebody"
	s2, err := Open(path, Options{Identity: other})
	if err != nil || s2.Fresh().Quarantined == "" || s2.Fresh().New {
		t.Fatalf("another account's state: %+v, %v", s2.Fresh(), err)
	}
	s2.Close()
	if pairs, err := s2.Pairs(); err == nil && len(pairs) > 0 {
		t.Error("another account's pairs are still there")
	}
	// What was set aside is whole.
	kept, err := load(s2.Fresh().Quarantined, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if pairs, err := kept.Pairs(); err != nil || len(pairs) != 1 {
		t.Errorf("%v, %v", pairs, err)
	}
	kept.Close()
}

func TestFutureVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	s := open(t, path)
	if err := s.update(func(w *writer) error {
		return w.tx.Bucket(bucketMeta).Put(keyVersion, seal(bucketMeta, keyVersion, []byte("2")))
	}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	before, _ := os.ReadFile(path)
	if _, err := Open(path, Options{Identity: me}); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
	if after, _ := os.ReadFile(path); !slices.Equal(before, after) {
		t.Error("the file was changed")
	}
}

func TestFailedCommitClosesTheStore(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "a.db"))
	broken := errors.New("no space")
	if err := s.update(func(*writer) error { return broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if err := s.Commit(mail.Change{Pairs: []mail.Pair{{ID: 1}}}); !errors.Is(err, broken) {
		t.Errorf("a commit after a failed one: %v", err)
	}
	if _, err := s.Pairs(); !errors.Is(err, broken) {
		t.Errorf("a read after a failed commit: %v", err)
	}
}

// TestMutations damages a file in a thousand ways. Whatever happens is an
// error, a quarantine, the very same data, or those of the commit before (when
// the newest meta page is damaged, bbolt falls back to the one before it; that
// is an old state, which recognition heals); never a panic, never other data.
func TestMutations(t *testing.T) {
	dir := t.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if shm, err := os.MkdirTemp("/dev/shm", "imapsyncd"); err == nil {
			dir = shm
			t.Cleanup(func() { os.RemoveAll(shm) })
		}
	}
	original := filepath.Join(dir, "original.db")
	s, now, before := open(t, original), newModel(), newModel()
	rng := rand.New(rand.NewPCG(7, 7))
	for n := range 12 {
		c := randomChange(rng)
		if err := s.Commit(c); err != nil {
			t.Fatal(err)
		}
		now.apply(c)
		if n < 11 {
			before.apply(c)
		}
	}
	s.Close()
	whole, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for n := range 1000 {
		data := slices.Clone(whole)
		switch n % 5 {
		case 0: // cut short
			data = data[:rng.IntN(len(data))]
		case 1: // a page of zeros
			clear(data[rng.IntN(len(data)/4096)*4096:][:4096])
		case 2, 3: // bits flipped
			for range 1 + rng.IntN(3) {
				data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
			}
		case 4: // a page in the wrong place
			copy(data[rng.IntN(len(data)/4096)*4096:][:4096], data[rng.IntN(len(data)/4096)*4096:][:4096])
		}
		if n == 0 {
			data = nil
		}
		path := filepath.Join(dir, "mutant.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		counts[outcome(t, path, now, before, n)]++
		aside, _ := filepath.Glob(path + "*")
		for _, f := range aside {
			os.Remove(f)
		}
	}
	t.Log(counts)
	if counts["quarantined"] == 0 || counts["the same"] == 0 {
		t.Errorf("the mutations do not reach all there is: %v", counts)
	}
}

// outcome opens a mutant and says what came of it; what it reads without an
// error must be what was written.
func outcome(t *testing.T, path string, now, before *model, n int) string {
	s, err := Open(path, Options{Identity: me})
	if err != nil {
		t.Fatalf("mutation %d: %v", n, err)
	}
	defer s.Close()
	if s.Fresh().Quarantined != "" {
		return "quarantined"
	}
	same, older := true, true
	for pair := range mail.PairID(4) {
		var got []mail.Receipt
		for r, err := range s.Receipts(pair) {
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatalf("mutation %d: %v", n, err)
				}
				return "found while reading"
			}
			got = append(got, r)
		}
		same = same && slices.Equal(got, now.list(pair))
		older = older && slices.Equal(got, before.list(pair))
	}
	switch {
	case same:
		return "the same"
	case older:
		return "one commit older"
	}
	t.Errorf("mutation %d: what is read is neither an error nor what was written", n)
	return "other"
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	l, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	var held *LockedError
	if _, err := Lock(dir); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("%v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestCheck(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "a.db"))
	good := mail.Change{
		Pairs:    []mail.Pair{{ID: 1, Source: "a", Destination: "a", DestinationValidity: 5}, {ID: 2, Source: "b", Destination: "b", DestinationValidity: 5}},
		Receipts: []mail.PairReceipts{{Pair: 1, Receipts: []mail.Receipt{{Source: 1, Destination: 1}, {Source: 2, Destination: 2}}}, {Pair: 2, Receipts: []mail.Receipt{{Source: 1, Destination: 1}}}},
	}
	if err := s.Commit(good); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]mail.Change{
		"one copy in two receipts": {Receipts: []mail.PairReceipts{{Pair: 2, Receipts: []mail.Receipt{{Source: 9, Destination: 2, Mailbox: "a", UIDValidity: 5}}}}},
		"one place for two pairs":  {Pairs: []mail.Pair{{ID: 3, Source: "c", Destination: "a"}}},
		"receipts without a pair":  {Receipts: []mail.PairReceipts{{Pair: 8, Receipts: []mail.Receipt{{Source: 1}}}}},
		"an intent without a pair": {Intents: []mail.Intent{{ID: 1, Kind: mail.IntentAppend, Pair: 8}}},
	} {
		s := open(t, filepath.Join(t.TempDir(), "b.db"))
		if err := errors.Join(s.Commit(good), s.Commit(bad)); err != nil {
			t.Fatal(err)
		}
		if s.Check() == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// BenchmarkCommit carries a mailbox in batches and reports octets a message.
func BenchmarkCommit(b *testing.B) {
	const messages, batch = 1_000_000, 256
	for b.Loop() {
		path := filepath.Join(b.TempDir(), "a.db")
		s := open(b, path)
		rng := rand.New(rand.NewPCG(1, 1))
		start := time.Now()
		for first := mail.UID(1); first <= messages; first += batch {
			list := make([]mail.Receipt, 0, batch)
			for uid := first; uid < first+batch; uid++ {
				list = append(list, mail.Receipt{Source: uid, Destination: uid + 7, Fingerprint: mail.Fingerprint(rng.Uint64())})
			}
			if err := s.Commit(mail.Change{Receipts: []mail.PairReceipts{{Pair: 1, Receipts: list}}}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(time.Since(start).Microseconds())/(messages/batch), "µs/commit")
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/messages, "B/message")
		s.Close()
	}
}
