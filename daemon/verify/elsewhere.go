package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// elsewhere looks over the whole destination for messages that are not where
// they should be.
func (c *comparison) elsewhere(ctx context.Context, left []pairing) error {
	if len(left) == 0 {
		return nil
	}
	c.strays = make(map[mail.Fingerprint][]copyAt)
	for _, name := range slices.Sorted(maps.Keys(c.destination)) {
		if c.destination[name].IsView() {
			continue
		}
		_, err := readAll(ctx, c.Destination, c.destination[name], true, func(x mail.Message) {
			if at := (copyAt{name, x.UID}); !c.named[at] {
				c.strays[x.Fingerprint] = append(c.strays[x.Fingerprint], at)
			}
		})
		if err != nil {
			return fmt.Errorf("look through %q: %w", c.destination[name].DisplayName(), err)
		}
	}
	byBox := make(map[string][]pairing)
	for _, p := range left {
		byBox[p.box.Name] = append(byBox[p.box.Name], p)
	}
	for _, list := range byBox {
		uids := make([]mail.UID, len(list))
		byUID := make(map[mail.UID]pairing, len(list))
		for i, p := range list {
			uids[i], byUID[p.source.UID] = p.source.UID, p
		}
		ref := mail.Ref{Name: list[0].box.Name, UIDValidity: list[0].box.Status.UIDValidity}
		for x, err := range c.Source.Messages(ctx, ref, uids, true) {
			if err != nil {
				return fmt.Errorf("look for %q: %w", list[0].box.DisplayName(), err)
			}
			p := byUID[x.UID]
			delete(byUID, x.UID)
			d := Difference{Class: p.class, Mailbox: p.box.DisplayName(), UID: x.UID, What: p.why}
			if strays := c.strays[x.Fingerprint]; len(strays) > 0 {
				at := strays[0]
				c.strays[x.Fingerprint] = strays[1:]
				c.named[at] = true
				d.Class, d.Copy, d.Destination = Moved, at.uid, c.destination[at.name].DisplayName()
				d.What = "the copy is in " + d.Destination
			}
			c.report.note(d)
		}
		for uid, p := range byUID {
			c.report.note(Difference{Class: p.class, Mailbox: p.box.DisplayName(), UID: uid, What: p.why})
		}
	}
	return nil
}
