package daemon

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/state"
)

// TestReadMailboxes: INBOX comes first, what is held without the operator's word is
// counted where it is, and the newest of it comes first.
func TestReadMailboxes(t *testing.T) {
	store, err := state.Open(filepath.Join(t.TempDir(), "foo.db"), state.Options{
		Identity: state.Identity{SourceHost: "old.example", SourceUser: "foo", DestinationHost: "new.example", DestinationUser: "foo"},
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	at := func(day int) time.Time { return time.Date(2026, 11, day, 12, 0, 0, 0, time.UTC) }
	hold := func(pair mail.PairID, uid mail.UID, path string, since time.Time, skipped bool) mail.Hold {
		return mail.Hold{HoldKey: mail.HoldKey{Pair: pair, UID: uid, Path: path}, Reason: mail.ReasonRefused, Since: since, Skipped: skipped}
	}
	change := mail.Change{
		Pairs: []mail.Pair{
			{ID: 1, Source: "Archive", SourcePath: "Archive", Destination: "Old", DestinationPath: "Old", SourceAnchor: mail.Anchor{UIDValidity: 7, UIDNext: 9, Messages: 5}},
			{ID: 2, Source: "INBOX", SourcePath: "INBOX", Destination: "INBOX", DestinationPath: "INBOX"},
		},
		Holds: []mail.Hold{hold(1, 3, "", at(2), false), hold(1, 4, "", at(4), true), hold(0, 0, "Broken", at(3), false)},
	}
	if err := store.Commit(change); err != nil {
		t.Fatal(err)
	}
	mailboxes, holds, err := readMailboxes(store)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(mailboxes); got != "[{INBOX INBOX 0 0} {Archive Old 5 1}]" {
		t.Errorf("mailboxes %s", got)
	}
	var order []string
	for _, h := range holds {
		order = append(order, h.ID())
	}
	if got := fmt.Sprint(order); got != "[1.4 Broken 1.3]" {
		t.Errorf("held, the newest first: %s", got)
	}
}
