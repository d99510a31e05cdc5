package plan

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const million = 1_000_000

func upTo(n int) []mail.UID {
	uids := make([]mail.UID, n)
	for i := range uids {
		uids[i] = mail.UID(i + 1)
	}
	return uids
}

// BenchmarkUncarried looks for a thousand new messages among a million.
func BenchmarkUncarried(b *testing.B) {
	uids := upTo(million)
	receipts := receiptsOf(uids[:million-1000]...)
	b.ReportAllocs()
	for b.Loop() {
		if rest, err := Uncarried(uids, receipts, nil); err != nil || len(rest) != 1000 {
			b.Fatal(len(rest), err)
		}
	}
}

// BenchmarkMissing looks for a thousand vanished messages among a million.
func BenchmarkMissing(b *testing.B) {
	uids := upTo(million)
	receipts := receiptsOf(uids...)
	there := uids[:million-1000]
	b.ReportAllocs()
	for b.Loop() {
		if lost, _, err := Missing(there, receipts); err != nil || len(lost) != 1000 {
			b.Fatal(len(lost), err)
		}
	}
}

// BenchmarkRecognise matches a million messages with their copies.
func BenchmarkRecognise(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	items := make([]Item, million)
	for i := range items {
		print := mail.Fingerprint(rng.Uint64())
		items[i] = Item{Fingerprint: print, Opening: print, Mailbox: uint32(i % 20), UID: mail.UID(i + 1)}
	}
	wanted, found := make([]Item, million), make([]Item, million)
	b.ReportAllocs()
	for b.Loop() {
		copy(wanted, items)
		copy(found, items)
		slices.Reverse(found)
		if matches, _, _ := Recognise(wanted, found, false); matches.Len() != million {
			b.Fatal(matches.Len())
		}
	}
}
