package verify_test

import (
	"context"
	"iter"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

// wide is a server with one mailbox of so many messages, and what is remembered
// of them.
type wide mail.UID

func (w wide) Mailboxes(context.Context) (mail.Listing, error) {
	status := mail.Status{UIDValidity: 1, UIDNext: mail.UID(w) + 1, Messages: uint32(w)}
	return mail.Listing{Mailboxes: []mail.Mailbox{{Name: "INBOX", Path: []string{"INBOX"}, Status: status}}}, nil
}

func (w wide) UIDs(context.Context, mail.Ref, mail.UID) ([]mail.UID, error) {
	uids := make([]mail.UID, w)
	for i := range uids {
		uids[i] = mail.UID(i + 1)
	}
	return uids, nil
}

func (w wide) Messages(_ context.Context, _ mail.Ref, uids []mail.UID, _ bool) iter.Seq2[mail.Message, error] {
	return func(yield func(mail.Message, error) bool) {
		for _, uid := range uids {
			if !yield(mail.Message{UID: uid, Size: int64(uid), InternalDate: day, Flags: mail.Flags{System: mail.Seen}}, nil) {
				return
			}
		}
	}
}

func (w wide) Headers(context.Context, mail.Ref, []mail.UID) iter.Seq2[mail.Message, error] {
	return func(func(mail.Message, error) bool) {}
}

func (w wide) Bodies(context.Context, mail.Ref, []mail.UID) iter.Seq2[mail.Body, error] {
	return func(func(mail.Body, error) bool) {}
}

func (w wide) Pairs() ([]mail.Pair, error) {
	return []mail.Pair{{
		ID: 1, Source: "INBOX", Destination: "INBOX", SourcePath: "INBOX", DestinationPath: "INBOX",
		SourceAnchor: mail.Anchor{UIDValidity: 1, UIDNext: mail.UID(w) + 1}, DestinationValidity: 1,
	}}, nil
}

func (w wide) Receipts(mail.PairID) iter.Seq2[mail.Receipt, error] {
	return func(yield func(mail.Receipt, error) bool) {
		for uid := mail.UID(1); uid <= mail.UID(w); uid++ {
			if !yield(mail.Receipt{Source: uid, Destination: uid, Flags: mail.Flags{System: mail.Seen}}, nil) {
				return
			}
		}
	}
}

func (w wide) Holds() ([]mail.Hold, error) { return nil, nil }

// BenchmarkQuick compares the metadata of a million messages in one mailbox, and
// tells how large the heap has become.
func BenchmarkQuick(b *testing.B) {
	const messages = 1_000_000
	var largest uint64
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				largest = max(largest, m.HeapInuse)
			}
		}
	})
	for b.Loop() {
		r, err := verify.Account(context.Background(), verify.Options{
			Account: "a", Mode: verify.Quick, Source: wide(messages), Destination: wide(messages), Journal: wide(messages),
		})
		if err != nil || r.Counts[verify.Equal] != messages {
			b.Fatalf("%v %v", err, r.Counts)
		}
	}
	close(stop)
	watch.Wait()
	b.ReportMetric(float64(largest)/messages, "B/message")
}
