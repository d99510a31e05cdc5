package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/metrics"
	"github.com/imapsyncd/imapsyncd/state"
)

// Find implements [web.Controller]: it asks both servers, and the state what
// belongs together.
func (r *running) Find(ctx context.Context, account, messageID string) ([]web.Found, error) {
	if strings.TrimSpace(messageID) == "" {
		return nil, errors.New("find: name a Message-ID, such as '<a1b2@example.org>'")
	}
	chosen, err := r.chosen([]string{account}, false)
	if err != nil {
		return nil, err
	}
	f := chosen[0]
	a := f.account
	_, _, release, err := r.slots.acquire(ctx, needOf(a.Source, 1), needOf(a.Destination, 1))
	if err != nil {
		return nil, err
	}
	defer release()
	source := remote.NewSource(remote.SourceOptions{
		Open: f.connections.opener(remote.SideSource, a.Source, metrics.Busy), Logger: f.logger,
	})
	defer source.Close()
	destination := remote.NewDestination(remote.DestinationOptions{
		Open: f.connections.opener(remote.SideDestination, a.Destination, metrics.Busy), Logger: f.logger, MaxConnections: 1,
	})
	defer destination.Close()
	old, err := sightings(ctx, source, messageID)
	if err != nil {
		return nil, err
	}
	copies, err := sightings(ctx, destination, messageID)
	if err != nil {
		return nil, err
	}
	var found []web.Found
	err = f.withStore(func(store *state.Store) (err error) {
		found, err = together(store, old, copies)
		return err
	})
	if found == nil { // there is no state yet
		found, _ = together(nil, old, copies)
	}
	return found, err
}

// sighting is a message that was found on one side.
type sighting struct {
	raw   string // name of its mailbox
	place web.Place
}

// finder is either side.
type finder interface {
	pass.Reader
	WithMessageID(ctx context.Context, box mail.Ref, id string) ([]mail.UID, error)
}

func sightings(ctx context.Context, side finder, id string) ([]sighting, error) {
	listing, err := side.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	var all []sighting
	for _, box := range listing.Mailboxes {
		if box.NoSelect || box.Status.MessagesKnown && box.Status.Messages == 0 {
			continue
		}
		ref := mail.Ref{Name: box.Name, UIDValidity: box.Status.UIDValidity}
		uids, err := side.WithMessageID(ctx, ref, id)
		if err != nil {
			return nil, fmt.Errorf("look into %q: %w", box.DisplayName(), err)
		}
		if len(uids) == 0 {
			continue
		}
		for m, err := range side.Messages(ctx, ref, uids, false) {
			if err != nil {
				return nil, fmt.Errorf("look into %q: %w", box.DisplayName(), err)
			}
			all = append(all, sighting{box.Name, web.Place{
				Mailbox: box.DisplayName(), UID: m.UID, InternalDate: m.InternalDate, Size: m.Size, Flags: m.Flags.Names(),
			}})
		}
	}
	return all, nil
}

// together brings together what the state knows to belong together. store may
// be nil.
func together(store *state.Store, old, copies []sighting) ([]web.Found, error) {
	found := []web.Found{}
	paired := make(map[int]bool) // of copies
	for _, s := range old {
		one := web.Found{Source: &s.place}
		if store != nil {
			if err := known(store, s, copies, paired, &one); err != nil {
				return found, err
			}
		}
		found = append(found, one)
	}
	for i, c := range copies {
		if !paired[i] {
			found = append(found, web.Found{Destination: &c.place})
		}
	}
	return found, nil
}

// known adds what the state knows of a source message.
func known(store *state.Store, s sighting, copies []sighting, paired map[int]bool, one *web.Found) error {
	pairs, err := store.Pairs()
	if err != nil {
		return err
	}
	holds, err := store.Holds()
	if err != nil {
		return err
	}
	for _, pair := range pairs {
		if pair.Source != s.raw {
			continue
		}
		for _, h := range holds {
			if h.Pair == pair.ID && (h.UID == s.place.UID || h.UID == 0) {
				one.Held, one.HeldText = h.Reason, h.Text
			}
		}
		for receipt, err := range store.Receipts(pair.ID) {
			if err != nil {
				return err
			}
			if receipt.Source != s.place.UID {
				continue
			}
			one.Receipt, one.Touched = true, receipt.Touched
			mailbox := pair.Destination
			if receipt.Mailbox != "" {
				mailbox = receipt.Mailbox
			}
			for i, c := range copies {
				if c.raw == mailbox && c.place.UID == receipt.Destination && !paired[i] {
					paired[i], one.Destination = true, &c.place
				}
			}
		}
	}
	return nil
}
