package verify

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// elsewhere looks over the whole new server for the copies that are not where
// they should be, and notes what is nowhere.
func (c *comparison) elsewhere(ctx context.Context) error {
	c.whereSeen()
	if err := c.byContent(ctx); err != nil {
		return err
	}
	c.nowhere()
	return nil
}

// found pairs a message with a copy that was looked for.
func (c *comparison) found(u *unpaired, place *pile, copied *item) {
	copied.named = true
	if place.Name == u.box.place.Name {
		place = nil
	}
	c.pair(u.box, u.item, copied, u.receipt, place)
}

// whereSeen looks for copies where their receipts have seen them last.
func (c *comparison) whereSeen() {
	c.unpaired = slices.DeleteFunc(c.unpaired, func(u *unpaired) bool {
		place := c.left[u.away.Name]
		if u.away.Name == "" || place == nil || place.Status.UIDValidity != u.away.UIDValidity {
			return false
		}
		copied := place.at(u.awayUID)
		if copied == nil || copied.named {
			return false
		}
		c.found(u, place, copied)
		return true
	})
}

// look is what two messages with one fingerprint have in common. The date is 0
// when it enters the fingerprint as that of a field of the header.
type look struct{ size, date int64 }

func lookOf(x item) look {
	if !mail.DateStorable(x.time()) {
		return look{size: x.size}
	}
	return look{x.size, x.date}
}

// byContent looks for the others by fingerprint, and then, where the new server
// may have altered what it stores, by contents.
func (c *comparison) byContent(ctx context.Context) error {
	if len(c.unpaired) == 0 {
		return nil
	}
	if err := c.fingerprints(ctx); err != nil {
		return err
	}
	looks, openings := make(map[look]bool), make(map[mail.Fingerprint]bool)
	for _, u := range c.unpaired {
		looks[lookOf(u.item)] = true
		if u.opening != 0 && !u.box.proven {
			openings[u.opening] = true
		}
	}
	var wanted, found []plan.Item
	number := make(map[string]uint32) // of mailboxes of the new server
	var places []*pile
	for _, name := range slices.Sorted(maps.Keys(c.destination)) {
		if c.destination[name].IsView() {
			continue
		}
		place, err := c.fingerprinted(ctx, c.destination[name], looks)
		if isOutOfReach(err) {
			continue
		} else if err != nil {
			return fmt.Errorf("%q: %w", c.destination[name].DisplayName(), err)
		}
		number[name] = uint32(len(places))
		for i, x := range place.items {
			if !x.named && (x.fingerprint != 0 || x.opening != 0) {
				found = append(found, plan.Item{Fingerprint: x.fingerprint, Opening: x.opening, Mailbox: number[name], UID: x.uid, Tag: uint32(i)})
			}
		}
		places = append(places, place)
	}
	for i, u := range c.unpaired {
		at, ok := number[u.box.place.Name]
		if !ok {
			at = uint32(len(places))
		}
		wanted = append(wanted, plan.Item{Fingerprint: u.fingerprint, Opening: u.opening, Mailbox: at, UID: u.uid, Tag: uint32(i)})
	}
	matches, stray, _ := plan.Recognise(wanted, found, true)
	done := make(map[*unpaired]bool)
	for m := range matches.All() {
		u, place := c.unpaired[m.Wanted.Tag], places[m.Found.Mailbox]
		c.found(u, place, &place.items[m.Found.Tag])
		done[u] = true
	}
	stray = slices.DeleteFunc(stray, func(i plan.Item) bool { return !openings[i.Opening] })
	for _, u := range c.unpaired {
		if done[u] || u.box.proven || len(stray) == 0 {
			continue
		}
		i, err := c.altered(ctx, u, stray, places)
		if err != nil {
			return err
		}
		if i >= 0 {
			place := places[stray[i].Mailbox]
			c.found(u, place, &place.items[stray[i].Tag])
			done[u] = true
			stray = slices.Delete(stray, i, i+1)
		}
	}
	c.unpaired = slices.DeleteFunc(c.unpaired, func(u *unpaired) bool { return done[u] })
	return nil
}

// fingerprints reads those of the unpaired messages as far as they are not
// known. One that is gone from the old server meanwhile is none any more.
func (c *comparison) fingerprints(ctx context.Context) error {
	byBox := make(map[*box]map[mail.UID]*unpaired)
	for _, u := range c.unpaired {
		if u.fingerprint == 0 {
			if byBox[u.box] == nil {
				byBox[u.box] = make(map[mail.UID]*unpaired)
			}
			byBox[u.box][u.uid] = u
		}
	}
	for b, list := range byBox {
		items, err := read(ctx, c.Source, b.ref(), slices.Sorted(maps.Keys(list)), true)
		if err != nil {
			return fmt.Errorf("old server: %q: %w", b.source.DisplayName(), err)
		}
		for _, x := range items {
			u := list[x.uid]
			u.item = x
			delete(list, x.uid)
		}
	}
	c.unpaired = slices.DeleteFunc(c.unpaired, func(u *unpaired) bool { return byBox[u.box][u.uid] == u })
	return nil
}

// fingerprinted is a mailbox of the new server with the fingerprints of what is
// not the copy of anything and looks like one of what is looked for.
func (c *comparison) fingerprinted(ctx context.Context, m mail.Mailbox, looks map[look]bool) (*pile, error) {
	place := c.left[m.Name]
	if place == nil {
		place = &pile{Mailbox: m}
		uids, err := c.Destination.UIDs(ctx, place.ref(), 1)
		if err != nil {
			return nil, err
		}
		if place.items, err = read(ctx, c.Destination, place.ref(), uids, false); err != nil {
			return nil, err
		}
		c.left[m.Name] = place
	}
	var ask []mail.UID
	for _, x := range place.items {
		if !x.named && x.fingerprint == 0 && (looks[lookOf(x)] || looks[look{size: x.size}]) {
			ask = append(ask, x.uid)
		}
	}
	items, err := read(ctx, c.Destination, place.ref(), ask, true)
	for _, x := range items {
		known := place.at(x.uid)
		known.fingerprint, known.opening = x.fingerprint, x.opening
	}
	return place, err
}

// altered returns the first message with the opening of u that has its contents
// in another form, or -1: one of its own mailbox, if there is one.
func (c *comparison) altered(ctx context.Context, u *unpaired, stray []plan.Item, places []*pile) (int, error) {
	theirs, err := digests(ctx, c.Source, u.box.ref(), []mail.UID{u.uid})
	if err != nil {
		return -1, err
	}
	mine, served := theirs[u.uid]
	if !served {
		return -1, nil
	}
	order := make([]int, 0, len(stray))
	for i, s := range stray {
		if s.Opening == u.opening {
			order = append(order, i)
		}
	}
	elsewhere := func(i int) int {
		if places[stray[i].Mailbox].Name == u.box.place.Name {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(elsewhere(a), elsewhere(b)) })
	for _, i := range order {
		place := places[stray[i].Mailbox]
		found, err := digests(ctx, c.Destination, place.ref(), []mail.UID{stray[i].UID})
		if isOutOfReach(err) {
			continue
		} else if err != nil {
			return -1, err
		}
		if d, served := found[stray[i].UID]; served && d.lenient == mine.lenient {
			return i, nil
		}
	}
	return -1, nil
}

// nowhere notes what has no copy. Copies that are gone in great number were not
// removed by people, as long as these work on the old server.
func (c *comparison) nowhere() {
	gone := make(map[*box]int)
	for _, u := range c.unpaired {
		if u.class == Removed {
			gone[u.box]++
		}
	}
	for _, u := range c.unpaired {
		n := gone[u.box]
		if u.class == Removed && !c.UsersMoved && (u.box.place.Name == "" || plan.Guarded(u.box.source.Role, u.box.receipts, 0, n)) {
			u.class = Missing
			if u.why += fmt.Sprintf(", as are %d of %d of its mailbox", n, u.box.receipts); u.box.place.Name == "" {
				u.why = "its mailbox is gone from the new server"
			}
		}
		c.note(u.box, describe(Difference{Class: u.class, Mailbox: u.box.source.DisplayName(), UID: u.uid, What: u.why}, u.item), 1)
	}
}

// surplus counts what the new server has besides.
func (c *comparison) surplus(ctx context.Context) error {
	place := make(map[string]int) // by raw name: index in ByMailbox
	for _, b := range c.boxes {
		if b.place.Name != "" {
			place[b.place.Name] = b.out
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.destination)) {
		m := c.destination[name]
		if m.IsView() {
			continue
		}
		at, ok := place[name]
		if !ok {
			at = len(c.report.ByMailbox)
			c.report.ByMailbox = append(c.report.ByMailbox, Mailbox{Destination: m.DisplayName(), Counts: make(map[Class]int64)})
		}
		extra, doubled := int64(m.Status.Messages), int64(0)
		if left := c.left[name]; left != nil {
			var err error
			if extra, doubled, err = c.extra(ctx, left); err != nil {
				return fmt.Errorf("%q: %w", m.DisplayName(), err)
			}
		}
		for class, n := range map[Class]int64{Extra: extra, Doubled: doubled} {
			if c.report.Counts[class] += n; n > 0 {
				c.report.ByMailbox[at].Counts[class] += n
			}
		}
	}
	return nil
}

// extra counts what a mailbox of the new server has besides, and how much of it
// is the same as the copy of a source message.
func (c *comparison) extra(ctx context.Context, left *pile) (extra, doubled int64, err error) {
	twins := make(map[look][]mail.UID)
	for _, x := range left.twins {
		twins[look{x.size, x.date}] = append(twins[look{x.size, x.date}], x.uid)
	}
	ask := make(map[mail.UID]bool)
	for _, x := range left.items {
		if x.named {
			continue
		}
		extra++
		for _, uid := range twins[look{x.size, x.date}] {
			ask[x.uid], ask[uid] = true, true
		}
	}
	if len(ask) == 0 {
		return extra, 0, nil
	}
	items, err := read(ctx, c.Destination, left.ref(), slices.Sorted(maps.Keys(ask)), true)
	if isOutOfReach(err) {
		return extra, 0, nil
	} else if err != nil {
		return 0, 0, err
	}
	copies := make(map[mail.Fingerprint]mail.UID)
	for _, x := range items {
		if left.at(x.uid) == nil {
			copies[x.fingerprint] = x.uid
		}
	}
	for _, x := range items {
		known := left.at(x.uid)
		if twin, same := copies[x.fingerprint]; same && known != nil && !known.named {
			doubled++
			c.report.list(describe(Difference{Class: Doubled, Mailbox: left.DisplayName(), Destination: left.DisplayName(), Copy: x.uid,
				What: fmt.Sprintf("the same message as UID %d, once more", twin)}, x))
		}
	}
	return extra - doubled, doubled, nil
}
