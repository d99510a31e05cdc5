package state

import (
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// intentOf is an intent with all that one may have, by chance.
func intentOf(id uint64, rng *rand.Rand) mail.Intent {
	i := mail.Intent{ID: id, Kind: mail.IntentAppend, Pair: mail.PairID(rng.IntN(2)), Mailbox: []string{"", "a", "b\xff\x00"}[rng.IntN(3)]}
	maybe := func(set func()) {
		if rng.IntN(2) == 0 {
			set()
		}
	}
	maybe(func() { i.Source = math.MaxUint32 })
	maybe(func() { i.Size = []int64{-1, 1, math.MaxInt64}[rng.IntN(3)] })
	maybe(func() { i.InternalDate = time.Unix(-1<<40+rng.Int64N(1<<41), rng.Int64N(1e9)).UTC() })
	maybe(func() { i.Fingerprint = mail.Fingerprint(rng.Uint64()) })
	maybe(func() { i.Flags = mail.Flags{System: mail.System(rng.IntN(32)), Keywords: "x y"} })
	maybe(func() { i.UIDValidity, i.Floor = math.MaxUint32, mail.UID(rng.Uint32()) })
	maybe(func() { i.Destination = mail.UID(rng.Uint32()) })
	maybe(func() { i.Looks = uint8(rng.IntN(256)) })
	maybe(func() { i.Resent = time.Unix(1e9, 1).UTC() })
	maybe(func() { i.FromPair, i.FromSource, i.FromMailbox, i.FromValidity = 3, 4, "from", 5 })
	maybe(func() { i.Original, i.Mended = mail.Fingerprint(rng.Uint64()), mail.Fixups(rng.IntN(256)) })
	return i
}

// TestIntents: whatever is put, put again and settled, in whatever order of IDs, what is
// there is what it should be; and a parcel lies in one value, which goes with the last
// of it.
func TestIntents(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		path := filepath.Join(t.TempDir(), "a.db")
		s := open(t, path)
		there := make(map[uint64]mail.Intent)
		most := []uint64{30, 3000}[seed%2]
		for step := range 60 {
			var c mail.Change
			for range rng.IntN(4) {
				c.Settle = append(c.Settle, rng.Uint64N(most))
			}
			if rng.IntN(4) == 0 {
				for id := range there {
					c.Settle = append(c.Settle, id)
				}
			}
			first := 1 + rng.Uint64N(most)
			for n := range rng.Uint64N(most / 5) {
				c.Intents = append(c.Intents, intentOf(first+n*(1+rng.Uint64N(2)), rng))
			}
			for _, id := range c.Settle {
				delete(there, id)
			}
			for _, i := range c.Intents {
				there[i.ID] = i
			}
			commit(t, s, c)
			if step%20 == 19 {
				s.Close()
				s = open(t, path)
			}
			if got, err := s.Intents(); err != nil || !slices.Equal(got, byKey(there)) {
				t.Fatalf("seed %d, step %d: %v, %d intents, want %d", seed, step, err, len(got), len(there))
			}
		}
		s.Close()
	}
	s := open(t, filepath.Join(t.TempDir(), "a.db"))
	defer s.Close()
	values := func() (n int) {
		s.view(func(tx *bolt.Tx) error {
			n = tx.Bucket(bucketIntents).Stats().KeyN
			return nil
		})
		return n
	}
	var parcel mail.Change
	for id := range uint64(200) {
		parcel.Intents = append(parcel.Intents, mail.Intent{ID: id + 1, Kind: mail.IntentAppend, Pair: 1})
	}
	commit(t, s, parcel)
	for id := range uint64(200) {
		if values() != 1 {
			t.Fatalf("%d values once %d of 200 are settled", values(), id)
		}
		commit(t, s, mail.Change{Settle: []uint64{id + 1}})
	}
	if values() != 0 {
		t.Errorf("%d values are left", values())
	}
}

// FuzzDecodeIntents: any octets are an error, or intents that survive being written again.
func FuzzDecodeIntents(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 10 {
		var list []mail.Intent
		for id := range uint64(1 + rng.IntN(5)) {
			list = append(list, intentOf(id*7+1, rng))
		}
		f.Add(uint64(1), encodeIntents(list))
	}
	f.Add(uint64(math.MaxUint64), encodeIntents([]mail.Intent{{ID: 1}, {ID: 2}}))
	f.Add(uint64(1), []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80})
	f.Fuzz(func(t *testing.T, key uint64, data []byte) {
		list, err := decodeIntents(nil, key, data)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if len(list) == 0 || len(list) > listMost || list[0].ID != key || !slices.IsSortedFunc(list, byID) {
			t.Fatalf("%+v", list)
		}
		again, err := decodeIntents(nil, key, encodeIntents(list))
		if err != nil || !slices.Equal(again, list) {
			t.Fatalf("%+v\nbecame %+v, %v", list, again, err)
		}
	})
}
