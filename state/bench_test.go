package state

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const million = 1_000_000

// fill commits receipts of new mail in batches.
func fill(b *testing.B, s *Store, messages, batch int) {
	rng := rand.New(rand.NewPCG(1, 1))
	list := make([]mail.Receipt, 0, batch)
	for uid := mail.UID(1); uid <= mail.UID(messages); uid++ {
		r := mail.Receipt{Source: uid, Destination: uid + 7, Fingerprint: mail.Fingerprint(rng.Uint64()), Flags: mail.Flags{System: mail.Seen}}
		if rng.IntN(20) == 0 {
			r.Flags.Keywords = "$Label1 Work"
		}
		if list = append(list, r); len(list) == batch {
			commit(b, s, mail.Change{Receipts: []mail.PairReceipts{{Pair: 1, Receipts: list}}})
			list = list[:0]
		}
	}
}

// BenchmarkCommit carries mail in batches; it reports what a commit takes, and
// the octets on disk a message.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct{ messages, batch int }{{2_000, 1}, {100_000, 32}, {million, 256}} {
		b.Run(fmt.Sprintf("%d by %d", c.messages, c.batch), func(b *testing.B) {
			for b.Loop() {
				s := open(b, filepath.Join(b.TempDir(), "a.db"))
				begun := time.Now()
				fill(b, s, c.messages, c.batch)
				b.ReportMetric(float64(time.Since(begun).Microseconds())/float64(c.messages/c.batch), "µs/commit")
				size, err := s.Size()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(size)/float64(c.messages), "B/message")
				s.Close()
			}
		})
	}
}

// BenchmarkIntents is what a parcel of 200 messages costs the state: its intents, and
// later their receipts.
func BenchmarkIntents(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "a.db"))
	defer s.Close()
	const parcel = 200
	next := uint64(1)
	b.ReportAllocs()
	for b.Loop() {
		change := mail.Change{Receipts: []mail.PairReceipts{{Pair: 1}}}
		for range parcel {
			change.Intents = append(change.Intents, mail.Intent{
				ID: next, Kind: mail.IntentAppend, Pair: 1, Source: mail.UID(next), Size: 3000, InternalDate: time.Unix(1e9+int64(next), 0).UTC(),
				Fingerprint: mail.Fingerprint(next), Flags: mail.Flags{System: mail.Seen}, Mailbox: "INBOX", UIDValidity: 7, Floor: 9,
			})
			change.Settle = append(change.Settle, next)
			change.Receipts[0].Receipts = append(change.Receipts[0].Receipts, mail.Receipt{Source: mail.UID(next), Destination: mail.UID(next), Fingerprint: mail.Fingerprint(next)})
			next++
		}
		commit(b, s, mail.Change{Intents: change.Intents})
		change.Intents = nil
		commit(b, s, change)
	}
}

// BenchmarkMillion opens, reads and checks the state of a million messages.
func BenchmarkMillion(b *testing.B) {
	path := filepath.Join(b.TempDir(), "a.db")
	s := open(b, path)
	fill(b, s, million, 10_000)
	s.Close()
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			s := open(b, path)
			s.Close()
		}
	})
	s = open(b, path)
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for _, err := range s.Receipts(1) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != million {
				b.Fatal(n)
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Problems(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
