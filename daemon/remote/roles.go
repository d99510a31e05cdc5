package remote

import (
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// rolesByName gives mailboxes the roles that no mailbox announces, by their
// names: of those at the top, else of those in INBOX.
func rolesByName(boxes []mail.Mailbox) {
	announced := make(map[string]bool)
	for _, m := range boxes {
		announced[m.Role] = true
	}
	type candidate struct{ at, rank int }
	best := make(map[string]candidate)
	for i, m := range boxes {
		inside := len(m.Path) == 2 && m.Path[0] == "INBOX"
		if m.NoSelect || m.Role != "" || len(m.Path) != 1 && !inside {
			continue
		}
		role, rank := mail.RoleOfName(norm.NFC.String(m.Path[len(m.Path)-1]))
		if role == "" || announced[role] {
			continue
		}
		if inside {
			rank += 1000 // after all at the top
		}
		if c, ok := best[role]; !ok || rank < c.rank {
			best[role] = candidate{i, rank}
		}
	}
	for role, c := range best {
		boxes[c.at].Role, boxes[c.at].RoleByName = role, true
	}
}

// otherCase is a raw name with the letters of its last level in the other case,
// empty when there are none: those in the shifts of modified UTF-7 are none.
func otherCase(name string, separator byte) string {
	start := 0
	if separator != 0 {
		start = strings.LastIndexByte(name, separator) + 1
	}
	var b strings.Builder
	b.WriteString(name[:start])
	shifted := false
	for _, c := range []byte(name[start:]) {
		switch {
		case c == '&':
			shifted = true
		case c == '-':
			shifted = false
		case !shifted && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'):
			c ^= 'a' - 'A'
		}
		b.WriteByte(c)
	}
	if b.String() == name {
		return ""
	}
	return b.String()
}
