package state

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// table numbers the strings of tests.
type table []string

func (t *table) number(text string) uint32 {
	if i := slices.Index(*t, text); i >= 0 {
		return uint32(i)
	}
	*t = append(*t, text)
	return uint32(len(*t) - 1)
}

func (t *table) text(n uint64) (string, error) {
	if n >= uint64(len(*t)) {
		return "", fmt.Errorf("%w: string %d", ErrDamaged, n)
	}
	return (*t)[n], nil
}

// blocks are receipts at the bounds of what a block can hold.
func blocks() map[string][]mail.Receipt {
	var full []mail.Receipt
	rng := rand.New(rand.NewPCG(5, 5))
	for range blockMost {
		full = append(full, randomReceipt(rng, math.MaxUint32))
	}
	slices.SortFunc(full, bySource)
	return map[string][]mail.Receipt{
		"one":      {{Source: 1, Destination: 1, Fingerprint: 1}},
		"full":     full,
		"vanished": {{Destination: 5}, {Destination: 5}, {Touched: true}},
		"bounds": {
			{Source: 1, Destination: math.MaxUint32, Fingerprint: math.MaxUint64},
			{Source: math.MaxUint32 - 1, Flags: mail.Flags{System: mail.Seen | mail.Draft, Keywords: "a b"}},
			{Source: math.MaxUint32, Destination: math.MaxUint32, Mailbox: "Sent", UIDValidity: math.MaxUint32, Touched: true},
		},
	}
}

func TestBlockRoundTrip(t *testing.T) {
	for name, receipts := range blocks() {
		var strings table
		got, err := decodeBlock(nil, encodeBlock(receipts, strings.number), strings.text)
		if err != nil || !slices.Equal(got, receipts) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestBlockLength keeps the layout small: new mail in one mailbox, fetched and
// appended in order, takes 11 octets a message.
func TestBlockLength(t *testing.T) {
	var receipts []mail.Receipt
	for uid := range mail.UID(blockMost) {
		receipts = append(receipts, mail.Receipt{Source: 5000 + uid, Destination: 300 + uid, Fingerprint: math.MaxUint64})
	}
	if n := len(encodeBlock(receipts, nil)); n > blockMost*11+8 {
		t.Errorf("%d octets for %d receipts", n, blockMost)
	}
}

// FuzzDecodeBlock: any octets are an error, or receipts that survive being
// written again.
func FuzzDecodeBlock(f *testing.F) {
	strings := table{"a", "b", "Sent"}
	for _, receipts := range blocks() {
		f.Add(encodeBlock(receipts, strings.number))
	}
	f.Add([]byte{})
	f.Add([]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80})
	f.Fuzz(func(t *testing.T, data []byte) {
		strings := slices.Clone(strings)
		receipts, err := decodeBlock(nil, data, strings.text)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if len(receipts) == 0 || len(receipts) > blockMost {
			t.Fatalf("%d receipts", len(receipts))
		}
		again, err := decodeBlock(nil, encodeBlock(receipts, strings.number), strings.text)
		if err != nil || !slices.Equal(again, receipts) {
			t.Fatalf("%v\nbecame %v, %v", receipts, again, err)
		}
	})
}

// TestSeal: a value in another place is no value.
func TestSeal(t *testing.T) {
	sealed := seal([]byte("pairs"), []byte{1, 2}, []byte("payload"))
	if data, err := unseal([]byte("pairs"), []byte{1, 2}, sealed); string(data) != "payload" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	for _, c := range []struct{ bucket, key, sealed []byte }{
		{[]byte("holds"), []byte{1, 2}, sealed},
		{[]byte("pairs"), []byte{1, 3}, sealed},
		{[]byte("pairs"), []byte{1, 2}, sealed[:len(sealed)-1]},
		{[]byte("pairs"), []byte{1, 2}, sealed[:3]},
		{[]byte("pairs"), []byte{1, 2}, nil},
	} {
		if _, err := unseal(c.bucket, c.key, c.sealed); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s/%x: %v", c.bucket, c.key, err)
		}
	}
}
