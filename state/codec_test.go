package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

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

// FuzzValues: any octets with a right checksum are an error, or a value that
// survives being written again.
func FuzzValues(f *testing.F) {
	date := time.Date(2026, 11, 25, 10, 0, 0, 5, time.UTC)
	for kind, value := range []any{
		pairOf(mail.Pair{ID: 1, Source: "a\xff", Destination: "b", SourcePath: "a", DestinationPath: "b", SourceAnchor: mail.Anchor{UIDValidity: 1, UIDNext: 2, HighestModSeq: math.MaxUint64, Messages: math.MaxUint32}}),
		storedIntent{Kind: uint8(mail.IntentMove), Pair: 1, Source: 5, Size: 9, InternalDate: instant(date), Fingerprint: 7, System: 31, Keywords: "x y", Mailbox: "b", FromMailbox: "c", Resent: instant(date)},
		holdOf(mail.Hold{HoldKey: mail.HoldKey{Path: "p"}, Reason: mail.ReasonName, Text: "words", Since: date, Skipped: true, Because: "so"}),
		absenceOf(mail.Absence{Missing: []mail.Missing{{Since: date, UIDs: []mail.UID{1, 2, 3, 9}, Guarded: true}}, Removed: []mail.Removal{{At: date, Messages: 3}}}),
		storedAbsence{Missing: []storedMissing{{Runs: [][2]uint32{{1, math.MaxUint32}}}, {Runs: [][2]uint32{{9, 3}, {3, 9}}}}},
	} {
		data, err := json.Marshal(value)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(kind), data)
	}
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		switch kind % 4 {
		case 0:
			survives(t, data, func(p storedPair) (mail.Pair, error) { return p.mail(1), nil }, pairOf)
		case 1:
			var old storedIntent
			if json.Unmarshal(data, &old) == nil { // by an upgrade it becomes one of today
				want := []mail.Intent{old.mail(1)}
				if got, err := decodeIntents(nil, 1, encodeIntents(want)); err != nil || !slices.Equal(got, want) {
					t.Errorf("%+v\nbecame %+v, %v", want, got, err)
				}
			}
		case 2:
			survives(t, data, func(h storedHold) (mail.Hold, error) { return h.mail(), nil }, holdOf)
		case 3:
			survives(t, data, func(a storedAbsence) (mail.Absence, error) { return a.mail(1) }, absenceOf)
		}
	})
}

// survives writes a value again, and compares what both mean.
func survives[Stored, Noun any](t *testing.T, data []byte, noun func(Stored) (Noun, error), stored func(Noun) Stored) {
	t.Helper()
	var value Stored
	if json.Unmarshal(data, &value) != nil {
		return
	}
	before, err := noun(value)
	if err != nil {
		if !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
		return
	}
	written, err := json.Marshal(stored(before))
	if err != nil {
		t.Fatal(err)
	}
	var again Stored
	if err := json.Unmarshal(written, &again); err != nil {
		t.Fatal(err)
	}
	if after, err := noun(again); err != nil || fmt.Sprintf("%+v", after) != fmt.Sprintf("%+v", before) {
		t.Errorf("%s\nbecame %s: %v", data, written, err)
	}
}
