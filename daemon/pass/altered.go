package pass

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// Some servers alter what they store: they add a last line end, mend bare line
// feeds, set a date in the future to now; and some tell wrong sizes. Then no
// fingerprint matches, and what is left over on both sides is compared by
// content, as far as it begins alike.

// place is where the message of an item can be read.
type place struct {
	side side
	ref  mail.Ref
	uid  mail.UID
}

// side is one of the two servers.
type side uint8

const (
	onSource side = iota
	onDestination
)

func (p *Pass) reader(s side) Reader {
	if s == onSource {
		return p.Source
	}
	return p.Destination
}

// matchAltered matches what was wanted and what was found by content and date,
// and then by content alone what has a date that servers are known to replace
// by now: one in the future, or the first of 1970. Of
// items without an opening nothing is read. What it cannot match is returned.
func (p *Pass) matchAltered(ctx context.Context, wanted, found []plan.Item, wantedAt, foundAt func(plan.Item) place) (matches plan.Matches, unwanted, missing []plan.Item, err error) {
	common := make(map[mail.Fingerprint]int)
	for _, item := range wanted {
		common[item.Opening] |= 1
	}
	for _, item := range found {
		common[item.Opening] |= 2
	}
	begins := func(item plan.Item) bool { return item.Opening != 0 && common[item.Opening] == 3 }
	if !slices.ContainsFunc(wanted, begins) {
		return matches, found, wanted, nil
	}
	w, err := p.contents(ctx, wanted, begins, wantedAt)
	if err != nil {
		return matches, nil, nil, err
	}
	f, err := p.contents(ctx, found, begins, foundAt)
	if err != nil {
		return matches, nil, nil, err
	}
	now := time.Now()
	for _, key := range []func(content) mail.Fingerprint{
		func(c content) mail.Fingerprint { return mail.NewFingerprint(int64(c.text), c.date, nil) },
		func(c content) mail.Fingerprint { return c.text },
	} {
		same, surplus, rest := plan.Recognise(keyed(w, key), keyed(f, key), true)
		for m := range same.All() {
			matches.Wanted = append(matches.Wanted, w[m.Wanted.Tag].Item)
			matches.Found = append(matches.Found, f[m.Found.Tag].Item)
		}
		w, f = remaining(w, rest), remaining(f, surplus)
		for i := range w {
			if d := w[i].date; !d.After(now) && d.Unix() > 24*60*60 {
				w[i].text = 0 // its date should have been kept
			}
		}
		for i := range f {
			if now.Sub(f[i].date) > recently {
				f[i].text = 0 // its date is its own
			}
		}
	}
	for _, c := range f {
		unwanted = append(unwanted, c.Item)
	}
	for _, c := range w {
		missing = append(missing, c.Item)
	}
	if matches.Len() > 0 {
		p.Logger.Info("recognised messages in the form that the new server gave them", "messages", matches.Len())
	}
	return matches, unwanted, missing, nil
}

// recently is how long ago a copy may have been stored whose date the server has
// set to that moment: longer than a migration takes.
const recently = 90 * 24 * time.Hour

// content is an item with what its message holds; text is 0 when that is not
// known.
type content struct {
	plan.Item
	text mail.Fingerprint
	date time.Time
}

// keyed are items by what key makes of their contents; their tags say which.
func keyed(list []content, key func(content) mail.Fingerprint) []plan.Item {
	items := make([]plan.Item, len(list))
	for i, c := range list {
		items[i] = plan.Item{Mailbox: c.Mailbox, UID: c.UID, Tag: uint32(i)}
		if c.text != 0 {
			items[i].Fingerprint = key(c)
		}
	}
	return items
}

func remaining(list []content, items []plan.Item) []content {
	left := make([]content, len(items))
	for i, item := range items {
		left[i] = list[item.Tag]
	}
	return left
}

// contents reads those messages that are to be read.
func (p *Pass) contents(ctx context.Context, items []plan.Item, read func(plan.Item) bool, at func(plan.Item) place) ([]content, error) {
	out := make([]content, len(items))
	var indices []int
	for i, item := range items {
		if out[i].Item = item; read(item) {
			indices = append(indices, i)
		}
	}
	text := bufio.NewReaderSize(nil, mail.PrefixLen)
	for box, of := range group(indices, func(i int) place { return at(items[i]) }) {
		called, gone := callRoll(slices.Sorted(maps.Keys(of))), false
		for body, err := range p.reader(box.side).Bodies(ctx, box.ref, called.uids) {
			if err != nil {
				if err = p.unread(box, err); err != nil {
					return nil, fmt.Errorf("compare contents: %w", err)
				}
				gone = true
				break
			}
			if body.Refused != nil {
				continue
			}
			called.mark(body.UID)
			text.Reset(body.Content)
			prefix, _ := text.Peek(mail.PrefixLen) // what fails here fails below
			date := mail.StorableDate(body.InternalDate, prefix)
			is, err := mail.Content(text)
			if err != nil {
				return nil, fmt.Errorf("compare contents: %w", err)
			}
			for _, i := range of[body.UID] {
				out[i].text, out[i].date = is, date
			}
		}
		if gone {
			continue
		}
		if err := p.allRead(ctx, box, called); err != nil {
			return nil, fmt.Errorf("compare contents: %w", err)
		}
	}
	return out, nil
}

// openings gives items the openings of their messages, as far as they are
// there.
func (p *Pass) openings(ctx context.Context, items []plan.Item, at func(plan.Item) place) error {
	all := make([]int, len(items))
	for i := range items {
		all[i] = i
	}
	for box, of := range group(all, func(i int) place { return at(items[i]) }) {
		called, gone := callRoll(slices.Sorted(maps.Keys(of))), false
		for m, err := range p.reader(box.side).Messages(ctx, box.ref, called.uids, true) {
			if err != nil {
				if err = p.unread(box, err); err != nil {
					return fmt.Errorf("read openings: %w", err)
				}
				gone = true
				break
			}
			called.mark(m.UID)
			for _, i := range of[m.UID] {
				items[i].Opening = m.Opening
			}
		}
		if gone {
			continue
		}
		if err := p.allRead(ctx, box, called); err != nil {
			return fmt.Errorf("read openings: %w", err)
		}
	}
	return nil
}

// errUnread: a mailbox that is there refuses to be read, so that it is not known
// what is alike.
type errUnread struct {
	mailbox
	refused *mail.Refused
}

func (e errUnread) Error() string { return e.refused.Error() }
func (e errUnread) Unwrap() error { return e.refused }

// unread is what follows from an error of reading a mailbox: nothing, if it is
// not there any more. Then nothing of it is recognised.
func (p *Pass) unread(box mailbox, err error) error {
	var refused *mail.Refused
	switch {
	case errors.Is(err, mail.ErrUIDValidity):
		return nil
	case !errors.As(err, &refused):
		return err
	}
	_, there := p.destination[box.ref.Name]
	if box.side == onSource {
		there = slices.ContainsFunc(p.source.Mailboxes, func(m mail.Mailbox) bool { return m.Name == box.ref.Name && !m.NoSelect })
	}
	if there {
		return errUnread{box, refused}
	}
	return nil
}

// allRead fails when a mailbox has not served messages that are there still.
func (p *Pass) allRead(ctx context.Context, box mailbox, called roll) error {
	if err := allServed(ctx, p.reader(box.side), box.ref, called); err != nil {
		return p.unread(box, err)
	}
	return nil
}

// isOutOfReach tells whether a mailbox cannot be read now.
func isOutOfReach(err error) bool {
	var refused *mail.Refused
	return errors.As(err, &refused) || errors.Is(err, mail.ErrUIDValidity)
}

// mailbox is a mailbox of either server.
type mailbox struct {
	side side
	ref  mail.Ref
}

// group sorts places by mailbox and UID; those without UID are left out. Several
// items may have one place: of twins one may have to stand for all.
func group(indices []int, at func(int) place) map[mailbox]map[mail.UID][]int {
	groups := make(map[mailbox]map[mail.UID][]int)
	for _, i := range indices {
		where := at(i)
		if where.uid == 0 {
			continue
		}
		box := mailbox{where.side, where.ref}
		if groups[box] == nil {
			groups[box] = make(map[mail.UID][]int)
		}
		groups[box][where.uid] = append(groups[box][where.uid], i)
	}
	return groups
}
