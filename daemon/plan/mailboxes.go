package plan

import (
	"cmp"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Pairing is a source mailbox with its place on the destination.
type Pairing struct {
	Pair   mail.Pair // ID 0: not stored yet
	Source mail.Mailbox
	// Destination is the destination mailbox; its Name is empty while it does
	// not exist.
	Destination mail.Mailbox
}

// New tells whether the pair has not been stored yet.
func (p Pairing) New() bool { return p.Pair.ID == 0 }

// Conflict is a source mailbox that has no place of its own.
type Conflict struct {
	Source mail.Mailbox
	With   mail.Mailbox // the source mailbox that has the place
	Name   string       // the place, raw
}

// Mailboxes gives every wanted source mailbox its place on the destination, in
// the order of copying: INBOX, Sent, Drafts, the others by name, Trash and
// Junk last. A stored pair keeps its place (I11). Else a mailbox goes where
// the destination has its role (RFC 6154), unless another source mailbox has
// that name, else where it has its name, else where spell puts it. No two get one place.
func Mailboxes(source, destination mail.Listing, stored []mail.Pair, want func(mail.Mailbox) bool, spell func(path []string) string) ([]Pairing, []Conflict) {
	byName := make(map[string]mail.Mailbox, len(destination.Mailboxes))
	byPath := make(map[string]mail.Mailbox, len(destination.Mailboxes))
	byRole := make(map[string]mail.Mailbox)
	for _, m := range destination.Mailboxes {
		byName[m.Name] = m
		byPath[pathKey(m.Path)] = m
		if _, ok := byRole[m.Role]; !ok && m.Role != "" && !m.NoSelect {
			byRole[m.Role] = m
		}
	}
	known := make(map[string]mail.Pair, len(stored))
	taken := make(map[string]mail.Mailbox) // by raw destination name
	for _, p := range stored {
		known[p.Source] = p
		taken[p.Destination] = mail.Mailbox{Name: p.Source, Path: strings.Split(p.SourcePath, "/")}
	}

	boxes := slices.DeleteFunc(slices.Clone(source.Mailboxes), func(m mail.Mailbox) bool { return m.NoSelect || !want(m) })
	slices.SortStableFunc(boxes, func(a, b mail.Mailbox) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.DisplayName(), b.DisplayName()))
	})

	paths := make(map[string]bool, len(boxes))
	for _, m := range boxes {
		paths[pathKey(m.Path)] = true
	}

	var pairings []Pairing
	var conflicts []Conflict
	for _, m := range boxes {
		if p, ok := known[m.Name]; ok {
			d := byName[p.Destination]
			if d.NoSelect {
				d.Name = ""
			}
			pairings = append(pairings, Pairing{Pair: p, Source: m, Destination: d})
			continue
		}
		d, ok := byRole[m.Role]
		if _, used := taken[d.Name]; !ok || used || (pathKey(d.Path) != pathKey(m.Path) && paths[pathKey(d.Path)]) {
			d, ok = byPath[pathKey(m.Path)]
		}
		name := d.Name
		if !ok {
			name = spell(m.Path)
			d = byName[name]
		}
		if other, used := taken[name]; used {
			conflicts = append(conflicts, Conflict{Source: m, With: other, Name: name})
			continue
		}
		taken[name] = m
		path := m.DisplayName()
		if d.Name != "" {
			path = d.DisplayName()
		}
		if d.NoSelect {
			d.Name = ""
		}
		pairings = append(pairings, Pairing{
			Pair:        mail.Pair{Source: m.Name, SourcePath: m.DisplayName(), Destination: name, DestinationPath: path},
			Source:      m,
			Destination: d,
		})
	}
	return pairings, conflicts
}

// pathKey joins levels by a character that no name can hold.
func pathKey(path []string) string { return strings.Join(path, "\x00") }

func rank(m mail.Mailbox) int {
	if m.DisplayName() == "INBOX" {
		return 0
	}
	switch m.Use() {
	case `\Sent`:
		return 1
	case `\Drafts`:
		return 2
	case `\Trash`, `\Junk`:
		return 4
	}
	return 3
}
