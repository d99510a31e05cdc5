package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/state"
)

// Find implements [Operator]: it asks both servers, and the state what belongs
// together.
func (d *desk) Find(ctx context.Context, account, messageID string) (found []web.Found, err error) {
	if strings.TrimSpace(messageID) == "" {
		return nil, errors.New("find: name a Message-ID, such as '<a1b2@example.org>'")
	}
	chosen, err := d.named([]string{account})
	if err != nil {
		return nil, err
	}
	acct, err := d.open(ctx, chosen[0])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, acct.close()) }()
	old, err := sightings(ctx, acct.source, messageID)
	if err != nil {
		return nil, err
	}
	copies, err := sightings(ctx, acct.destination, messageID)
	if err != nil {
		return nil, err
	}
	return together(acct.store, old, copies)
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

// together brings together what the state knows to belong together.
func together(store *state.Store, old, copies []sighting) ([]web.Found, error) {
	found := []web.Found{}
	paired := make(map[int]bool) // of copies
	for _, s := range old {
		one := web.Found{Source: &s.place}
		if err := known(store, s, copies, paired, &one); err != nil {
			return nil, err
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
