package cutover

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// received is a Received line (RFC 5321 §4.4) as far as it tells where a message
// came from.
type received struct {
	from, by  hop
	submitted bool   // by a user who had logged in (RFC 3848)
	recipient string // what followed "for"
}

// hop is one end of a transfer. Of the other side's end the name is what the
// writer of the line found out, if it did; helo is what the other side said of
// itself.
type hop struct {
	name    string
	helo    string
	address netip.Addr
}

func (h hop) String() string {
	switch {
	case h.name != "":
		return h.name
	case h.address.IsValid():
		return h.address.String()
	}
	return h.helo
}

// has tells whether a hop is one of these hosts. By what a host says of itself
// it is one only where its address is not known.
func (s hostSet) has(h hop) bool {
	switch {
	case h.address.IsValid() && s.hasAddress(h.address):
		return true
	case h.name != "":
		return s.hasName(h.name)
	}
	return !h.address.IsValid() && s.hasName(h.helo)
}

// shared is the address space of carrier-grade NAT (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// inside are the ends of names that are not of the public DNS.
var inside = []string{".localhost", ".localdomain", ".local", ".internal", ".lan", ".home.arpa"}

// isHere tells whether a hop is within the walls: loopback, a private address,
// a name of the local network, or no host at all.
func (h hop) isHere() bool {
	if a := h.address; a.IsValid() {
		return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsUnspecified() || shared.Contains(a)
	}
	name := cmp.Or(h.name, h.helo)
	return !strings.Contains(name, ".") || slices.ContainsFunc(inside, func(end string) bool { return strings.HasSuffix(name, end) })
}

// clause is what follows one of the words of a Received line.
type clause struct {
	words    []string
	comments []string
}

// The clauses of a Received line; others are passed over.
const (
	clauseFrom = iota
	clauseBy
	clauseWith
	clauseFor
	clauseOther
)

var keywords = map[string]int{
	"from": clauseFrom, "by": clauseBy, "with": clauseWith, "for": clauseFor, "id": clauseOther, "via": clauseOther,
}

// parseReceived takes a line apart. Missing parts stay empty.
func parseReceived(value string) received {
	var clauses [clauseOther + 1]clause
	current, owed := clauseOther, false
	for token, isComment := range tokens(value) {
		if token == ";" && !isComment {
			break // the date follows
		}
		c := &clauses[current]
		switch next, isKeyword := keywords[strings.ToLower(token)]; {
		case isComment:
			c.comments = append(c.comments, token)
		case isKeyword && !owed: // right after a keyword a word is its value, whatever it is
			current, owed = next, true
		default:
			c.words, owed = append(c.words, token), false
		}
	}
	r := received{
		from: clauses[clauseFrom].otherSide(), by: clauses[clauseBy].ownSide(),
		recipient: strings.Join(clauses[clauseFor].words, " "),
	}
	if protocol := clauses[clauseWith].words; len(protocol) > 0 {
		switch strings.ToUpper(protocol[0]) {
		case "ESMTPA", "ESMTPSA", "UTF8SMTPA", "UTF8SMTPSA", "HTTP", "HTTPS":
			r.submitted = true
		}
	}
	return r
}

// tokens yields the words of a Received line, a quoted string or a semicolon
// being one, and its comments without their outer parentheses. What is not
// closed ends with the line.
func tokens(s string) func(yield func(token string, isComment bool) bool) {
	return func(yield func(string, bool) bool) {
		for i := 0; i < len(s); {
			start := i
			switch c := s[i]; {
			case c <= ' ':
				i++
				continue
			case c == '(':
				depth := 0
				for ; i < len(s); i++ {
					switch s[i] {
					case '\\':
						i++
					case '(':
						depth++
					case ')':
						depth--
					}
					if depth == 0 {
						break
					}
				}
				if !yield(s[start+1:min(i, len(s))], true) {
					return
				}
				i++
				continue
			case c == ';':
				i++
			case c == '"':
				for i++; i < len(s) && s[i] != '"'; i++ {
					if s[i] == '\\' {
						i++
					}
				}
				i = min(i+1, len(s))
			default:
				for i < len(s) && s[i] > ' ' && s[i] != '(' && s[i] != ';' {
					i++
				}
			}
			if !yield(s[start:i], false) {
				return
			}
		}
	}
}

// ownSide reads who wrote the line.
func (c clause) ownSide() hop {
	var h hop
	if len(c.words) > 0 {
		if h.address = literal(c.words[0]); !h.address.IsValid() {
			h.name = plainName(c.words[0])
		}
	}
	if len(c.comments) > 0 && !h.address.IsValid() {
		h.address = literal(c.comments[0])
	}
	return h
}

// otherSide reads who was on the other side. The forms that servers write:
//
//	helo (name [address])               Postfix, Sendmail; name may be "unknown"
//	name ([address] helo=helo)          Exim; without helo= it said that name
//	[address] (helo=helo)               Exim, without a name
//	unknown (HELO helo) (name@address)  qmail
//	helo (address)                      Exchange
func (c clause) otherSide() hop {
	var h hop
	var word string
	if len(c.words) > 0 {
		word = c.words[0]
	}
	for _, comment := range c.comments {
		before, said := "", false
		for i, part := range strings.Fields(comment) {
			key, _, isSetting := strings.Cut(part, "=")
			switch address := literal(part); {
			case i == 0 && (strings.EqualFold(part, "helo") || strings.EqualFold(part, "ehlo")):
				comment = "" // qmail: the rest is what was said
			case comment == "" || isSetting:
				said = said || key == "helo"
			case h.address.IsValid():
			case address.IsValid():
				h.address = address
			default:
				before = part[strings.LastIndexByte(part, '@')+1:]
			}
		}
		if said && !h.address.IsValid() {
			h.address = literal(word)
			return h
		}
		if !h.address.IsValid() {
			continue
		}
		if said {
			before = word
		}
		if !strings.Contains(comment, "forged") && !strings.EqualFold(before, "unknown") {
			h.name = plainName(before)
		}
		return h
	}
	if h.address = literal(word); !h.address.IsValid() && !strings.EqualFold(word, "unknown") {
		h.helo = plainName(word)
	}
	return h
}

// plainName is a host name that can be shown and compared, else empty.
func plainName(word string) string {
	name := hostName(word)
	if len(name) > 253 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		return ""
	}
	return name
}

// literal reads an address: 192.0.2.1, [192.0.2.1], [192.0.2.1]:25,
// [IPv6:2001:db8::1] (RFC 5321 §4.1.3), ident@192.0.2.1.
func literal(word string) netip.Addr {
	if len(word) > 128 {
		return netip.Addr{}
	}
	word = word[strings.LastIndexByte(word, '@')+1:]
	if inner, bracketed := strings.CutPrefix(word, "["); bracketed {
		word, _, _ = strings.Cut(inner, "]")
	}
	if len(word) > 5 && strings.EqualFold(word[:5], "ipv6:") {
		word = word[5:]
	}
	a, err := netip.ParseAddr(word)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}
