package cutover

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// owner is whose a host is.
type owner int

const (
	ownerUnknown owner = iota
	ownerOld
	ownerNew
	ownerBoth // some of its addresses are of the new server, others are not
)

// Classify tells whose hosts these are: AnswerOld, AnswerNew, AnswerMixed or,
// where it cannot be told, AnswerUnknown with the reason for people. A host is
// new if an entry of New names it or every one of its addresses; it is old if
// Old does so for its name or any address, and New names none of them. One with
// addresses of the new server beside others is both, which makes the answer
// mixed. A host of neither beside a new one makes the answer mixed too (not all
// mail goes to the new server), beside an old one leaves it old, and alone makes
// it unknown.
func (e Exchanges) Classify(hosts []Host) (answer Answer, problem string) {
	newer, older := newHostSet(e.New), newHostSet(e.Old)
	seen := make(map[owner]bool)
	var strangers []string
	for _, h := range hosts {
		o := e.ownerOf(h, newer, older)
		seen[o] = true
		if o == ownerUnknown {
			strangers = append(strangers, h.Name+h.whereabouts())
		}
	}
	switch {
	case seen[ownerBoth], seen[ownerNew] && (seen[ownerOld] || seen[ownerUnknown]):
		return AnswerMixed, ""
	case seen[ownerNew]:
		return AnswerNew, ""
	case seen[ownerOld]:
		return AnswerOld, ""
	}
	key := "new_mx nor in old_mx"
	if e.ByAddress {
		key += " (addresses, with switch = \"address\")"
	}
	return AnswerUnknown, fmt.Sprintf("mail goes to %s, which stands neither in %s", strings.Join(strangers, ", "), key)
}

func (e Exchanges) ownerOf(h Host, newer, older hostSet) owner {
	if !e.ByAddress && newer.hasName(h.Name) {
		return ownerNew
	}
	isNew := 0
	for _, a := range h.Addresses {
		if newer.hasAddress(a) {
			isNew++
		}
	}
	switch {
	case isNew > 0 && isNew == len(h.Addresses):
		return ownerNew
	case isNew > 0:
		return ownerBoth
	case e.ByAddress && len(h.Addresses) == 0:
		return ownerUnknown
	case len(e.Old) == 0, !e.ByAddress && older.hasName(h.Name), slices.ContainsFunc(h.Addresses, older.hasAddress):
		return ownerOld
	}
	return ownerUnknown
}

// whereabouts are the addresses of a host for people, or why there are none.
func (h Host) whereabouts() string {
	switch {
	case len(h.Addresses) > 0:
		return " " + joinAddresses(h.Addresses)
	case h.Problem != "":
		return " (" + h.Problem + ")"
	}
	return ""
}

func joinAddresses(list []netip.Addr) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return "(" + strings.Join(texts, ", ") + ")"
}
