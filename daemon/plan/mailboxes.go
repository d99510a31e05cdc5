package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Pairing is a source mailbox with its place on the destination.
type Pairing struct {
	Pair   mail.Pair // ID 0: not stored yet
	Source mail.Mailbox
	// Destination is the destination mailbox; its Name is empty while it does
	// not exist.
	Destination mail.Mailbox
	// Path and Role are what the destination mailbox is made with: its role is
	// that of the source, unless the destination has another mailbox for it.
	Path []string
	Role string
}

// New tells whether the pair has not been stored yet.
func (p Pairing) New() bool { return p.Pair.ID == 0 }

// Conflict is a source mailbox that has no place of its own.
type Conflict struct {
	Source mail.Mailbox
	With   mail.Mailbox // the source mailbox that has the place
	Name   string       // the place, as people see it
	// ByCase tells that it is one place to this server only, which does not tell
	// such names apart.
	ByCase bool
}

func (c Conflict) String() string {
	why := ""
	if c.ByCase {
		why = ", because the new server does not tell names apart that differ only by case"
	}
	return fmt.Sprintf("%q would go to %q on the new server, which takes the mail of %q%s; give one of them another name in [mailboxes] rename, or exclude it",
		c.Source.DisplayName(), c.Name, c.With.DisplayName(), why)
}

// Mailboxes gives every wanted source mailbox its place on the destination, in
// the order of copying: INBOX, Sent, Drafts, the others by name, Trash and
// Junk last. No two get one place.
//
// What decides, the first that applies: a stored pair keeps its place (I11),
// unless it is to move. The rules. The role (RFC 6154): where the destination
// has it, unless another source mailbox has that name. Then a mailbox goes below
// the place of the one it is in, under its own name. spell is how the
// destination writes a path.
func Mailboxes(source, destination mail.Listing, stored []mail.Pair, rules Rules, spell func(path []string) string) ([]Pairing, []Conflict) {
	l := newLayout(source, destination, stored, rules)
	boxes := slices.DeleteFunc(slices.Clone(source.Mailboxes), func(m mail.Mailbox) bool { return m.NoSelect || !rules.Wants(m) })
	slices.SortStableFunc(boxes, func(a, b mail.Mailbox) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.DisplayName(), b.DisplayName()))
	})
	for _, m := range boxes {
		place, _ := rules.place(m.Path)
		l.wanted[l.key(place)] = true
	}

	pairings := make([]Pairing, 0, len(boxes))
	var conflicts []Conflict
	for i := range boxes {
		m := &boxes[i]
		stored, known := l.stored[m.Name]
		if known && !rules.Moves(*stored) {
			pairings = append(pairings, Pairing{Pair: *stored, Source: *m, Destination: selectable(l.byName[stored.Destination]), Path: l.storedPath(stored), Role: l.role(m)})
			continue
		}
		path := l.place(m.Path)
		d, there := l.byPath[l.key(path)]
		name := ""
		if !there {
			path = l.below(spellable(l.composed(path), destination))
			name = spell(path)
			if d, there = l.byName[name]; !there {
				d, there = l.byPath[l.key(path)]
			}
		}
		if there {
			name, path = d.Name, d.Path
		}
		if other, used := l.takenBy(name, path); used {
			conflicts = append(conflicts, Conflict{Source: *m, With: other, Name: strings.Join(path, "/"), ByCase: destination.Folds && pathKey(m.Path) != pathKey(other.Path) && foldedKey(m.Path) == foldedKey(other.Path)})
			continue
		}
		l.take(name, path, m)
		pair := mail.Pair{}
		if known {
			pair = *stored
		} else {
			pair = mail.Pair{Source: m.Name, SourcePath: m.DisplayName(), Rule: rules.Place(m.DisplayName())}
		}
		pair.Destination, pair.DestinationPath = name, strings.Join(path, "/")
		pairings = append(pairings, Pairing{Pair: pair, Source: *m, Destination: selectable(d), Path: path, Role: l.role(m)})
	}
	return pairings, conflicts
}

// selectable is a mailbox of the destination, without its name if it cannot hold
// mail; nil: there is none.
func selectable(m *mail.Mailbox) (there mail.Mailbox) {
	if m == nil {
		return there
	}
	if there = *m; there.NoSelect {
		there.Name = ""
	}
	return there
}

// layout is what is known about the places while they are given.
type layout struct {
	rules     Rules
	key       func(path []string) string // of a path on the destination
	source    map[string]*mail.Mailbox   // by path
	stored    map[string]*mail.Pair      // by raw source name
	wanted    map[string]bool            // paths that mailboxes have by their name, or by a rule
	byName    map[string]*mail.Mailbox   // destination, raw
	byPath    map[string]*mail.Mailbox   // destination
	byRole    map[string]*mail.Mailbox   // destination
	nameTaken map[string]*mail.Mailbox   // source mailboxes by raw destination name
	pathTaken map[string]*mail.Mailbox   // and by its path
	roles     map[string]bool            // that have been given to a mailbox that is to be made
	labels    bool                       // the source has labels in the place of mailboxes
}

func newLayout(source, destination mail.Listing, stored []mail.Pair, rules Rules) *layout {
	l := &layout{
		rules: rules, key: pathKey,
		source: make(map[string]*mail.Mailbox, len(source.Mailboxes)), stored: make(map[string]*mail.Pair, len(stored)),
		wanted: make(map[string]bool, len(source.Mailboxes)), roles: make(map[string]bool),
		byName: make(map[string]*mail.Mailbox, len(destination.Mailboxes)), byPath: make(map[string]*mail.Mailbox, len(destination.Mailboxes)),
		byRole: make(map[string]*mail.Mailbox), nameTaken: make(map[string]*mail.Mailbox, len(source.Mailboxes)), pathTaken: make(map[string]*mail.Mailbox, len(source.Mailboxes)),
	}
	if destination.Folds {
		l.key = foldedKey
	}
	for i := range source.Mailboxes {
		m := &source.Mailboxes[i]
		l.source[pathKey(m.Path)] = m
		l.labels = l.labels || m.Rest || m.View
	}
	for i := range destination.Mailboxes {
		m := &destination.Mailboxes[i]
		l.byName[m.Name] = m
		l.byPath[l.key(m.Path)] = m
		if _, ok := l.byRole[m.Role]; !ok && m.Role != "" && !m.NoSelect {
			l.byRole[m.Role] = m
		}
	}
	for i := range stored {
		p := &stored[i]
		l.stored[p.Source] = p
		if !rules.Moves(*p) {
			l.take(p.Destination, l.storedPath(p), &mail.Mailbox{Name: p.Source, Path: strings.Split(p.SourcePath, "/")})
		}
	}
	return l
}

// storedPath is where a stored pair has its place.
func (l *layout) storedPath(p *mail.Pair) []string {
	if d, ok := l.byName[p.Destination]; ok {
		return d.Path
	}
	return strings.Split(p.DestinationPath, "/")
}

func (l *layout) take(name string, path []string, m *mail.Mailbox) {
	l.nameTaken[name], l.pathTaken[l.key(path)] = m, m
}

func (l *layout) takenBy(name string, path []string) (mail.Mailbox, bool) {
	m, used := l.nameTaken[name]
	if !used {
		if m, used = l.pathTaken[l.key(path)]; !used {
			return mail.Mailbox{}, false
		}
	}
	return *m, true
}

// place is where a source path belongs.
func (l *layout) place(path []string) []string {
	if place, told := l.rules.place(path); told {
		return place
	}
	m, listed := l.source[pathKey(path)]
	if listed {
		if p, ok := l.stored[m.Name]; ok && !l.rules.Moves(*p) {
			return l.storedPath(p)
		}
		if d, ok := l.byRole[roleOf(m)]; ok && !l.isReserved(d, path) {
			return d.Path
		}
		if archive := []string{"Archive"}; m.Rest && !l.wanted[l.key(archive)] {
			return archive
		}
		if l.labels && m.Role != "" && !m.RoleByName && len(path) == 2 && !l.wanted[l.key(path[1:])] {
			return path[1:] // not "[Gmail]/Sent Mail"
		}
	}
	if parent := path[:len(path)-1]; len(parent) > 0 {
		return slices.Concat(l.place(parent), path[len(parent):])
	}
	return path
}

// composed is a path in the form that mailbox names are to have (Unicode NFC, RFC
// 5198), unless another mailbox has that already.
func (l *layout) composed(path []string) []string {
	plain := make([]string, len(path))
	for i, level := range path {
		plain[i] = norm.NFC.String(level)
	}
	if l.wanted[l.key(plain)] {
		return path
	}
	return plain
}

// below is a path with what is above it spelled as on the destination.
func (l *layout) below(path []string) []string {
	for n := len(path) - 1; n > 0; n-- {
		if d, ok := l.byPath[l.key(path[:n])]; ok {
			return slices.Concat(d.Path, path[n:])
		}
	}
	return path
}

// isReserved tells whether the destination mailbox that has a role is not for a
// mailbox of that role: another has its name, or its place; or it has the role by
// its name only, and the destination has one of the same name as well.
func (l *layout) isReserved(d *mail.Mailbox, path []string) bool {
	if l.key(d.Path) == l.key(path) {
		return false
	}
	if other, used := l.nameTaken[d.Name]; used && pathKey(other.Path) != pathKey(path) || l.wanted[l.key(d.Path)] {
		return true
	}
	_, same := l.byPath[l.key(path)]
	return same && d.RoleByName
}

// role is what a mailbox for m is made with. Everything below a prefix is a
// copy for the shelf: clients do not put their drafts there.
func (l *layout) role(m *mail.Mailbox) string {
	role := roleOf(m)
	if _, has := l.byRole[role]; has || l.roles[role] || l.rules.Prefix != "" {
		return ""
	}
	l.roles[role] = true
	return role
}

// roleOf is the role that a mailbox has on the destination: what is in no other
// mailbox was archived.
func roleOf(m *mail.Mailbox) string {
	if m.Rest {
		return `\Archive`
	}
	return m.Role
}

// Alike tells whether a pairing that is new has a place which a server that does
// not tell names apart by case takes for that of another, or for another mailbox.
func Alike(pairings []Pairing, destination mail.Listing) bool {
	if !slices.ContainsFunc(pairings, Pairing.New) {
		return false
	}
	places := make(map[string]string, len(destination.Mailboxes)+len(pairings))
	for _, m := range destination.Mailboxes {
		places[foldedKey(m.Path)] = pathKey(m.Path)
	}
	for _, p := range pairings {
		if !p.New() {
			places[foldedKey(p.Path)] = pathKey(p.Path)
		}
	}
	for _, p := range pairings {
		if !p.New() {
			continue
		}
		key := foldedKey(p.Path)
		if other, ok := places[key]; ok && other != pathKey(p.Path) {
			return true
		}
		places[key] = pathKey(p.Path)
	}
	return false
}

// Foremost tells whether a mailbox is one of those that are copied before all others.
func Foremost(m mail.Mailbox) bool { return rank(m) < 3 }

// Next says which of n mailboxes that are left is to be copied now, by what they weigh, in
// the order of copying, where so many are copied at the same time: the first, unless the
// heaviest is no less than the share of one of all that is left. It would be copied by
// itself in the end, when the others have nothing more to do.
func Next(n int, weight func(int) int, lanes int) int {
	sum, heaviest, most := 0, 0, 0
	for i := range n {
		w := weight(i)
		if sum += w; w > most {
			heaviest, most = i, w
		}
	}
	if most*lanes < sum {
		return 0
	}
	return heaviest
}

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
