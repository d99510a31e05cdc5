package mail

import (
	"slices"
	"strings"
)

// System is a set of the system flags that a migration carries. \Recent is
// none of them: a client can neither set nor clear it (RFC 3501 §2.3.2).
type System uint8

// The system flags. The bits are stored; never renumber.
const (
	Seen System = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
)

var systemNames = []struct {
	bit  System
	name string
}{{Seen, `\Seen`}, {Answered, `\Answered`}, {Flagged, `\Flagged`}, {Deleted, `\Deleted`}, {Draft, `\Draft`}}

// Flags are the flags and keywords of a message. Values compare with ==.
type Flags struct {
	System System
	// Keywords are sorted without regard to case, without duplicates (RFC 3501
	// keywords are case-insensitive), joined by one blank, in the case in
	// which they were met.
	Keywords string
}

// ParseFlags makes Flags of flag names as they stand in a FETCH response.
// Unknown system flags, \Recent among them, are dropped. A name with blanks or
// control characters, which no flag can have (RFC 3501 §9), is more than one.
func ParseFlags(names []string) Flags {
	var f Flags
	var keywords []string
	for _, name := range names {
		for n := range strings.FieldsFuncSeq(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			if n[0] == '\\' {
				f.System |= systemNamed(n)
			} else {
				keywords = append(keywords, n)
			}
		}
	}
	f.Keywords = joinKeywords(keywords)
	return f
}

// systemNamed is the system flag of a name, 0 when it is none.
func systemNamed(name string) System {
	for _, s := range systemNames {
		if strings.EqualFold(name, s.name) {
			return s.bit
		}
	}
	return 0
}

func joinKeywords(keywords []string) string {
	slices.SortStableFunc(keywords, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	keywords = slices.CompactFunc(keywords, strings.EqualFold)
	return strings.Join(keywords, " ")
}

// KeywordList returns the keywords one by one.
func (f Flags) KeywordList() []string {
	if f.Keywords == "" {
		return nil
	}
	return strings.Split(f.Keywords, " ")
}

// Names returns all flag names as they are written in APPEND and STORE.
func (f Flags) Names() []string {
	var names []string
	for _, s := range systemNames {
		if f.System&s.bit != 0 {
			names = append(names, s.name)
		}
	}
	return append(names, f.KeywordList()...)
}

// AppendTo adds what Names returns to a line, with a space between them.
func (f Flags) AppendTo(line []byte) []byte {
	start := len(line)
	add := func(name string) {
		if len(line) > start {
			line = append(line, ' ')
		}
		line = append(line, name...)
	}
	for _, s := range systemNames {
		if f.System&s.bit != 0 {
			add(s.name)
		}
	}
	if f.Keywords != "" {
		add(f.Keywords)
	}
	return line
}

func (f Flags) String() string { return "(" + string(f.AppendTo(nil)) + ")" }

// With returns f with other's flags and keywords added.
func (f Flags) With(other Flags) Flags {
	return Flags{System: f.System | other.System, Keywords: joinKeywords(append(f.KeywordList(), other.KeywordList()...))}
}

// Has tells whether a keyword is among them, in any case.
func (f Flags) Has(keyword string) bool {
	return slices.ContainsFunc(f.KeywordList(), func(k string) bool { return strings.EqualFold(k, keyword) })
}

// Equal compares two sets of flags; keywords without regard to case.
func (f Flags) Equal(other Flags) bool {
	return f.System == other.System && strings.EqualFold(f.Keywords, other.Keywords)
}

// Keep returns f with only those keywords for which keep is true.
func (f Flags) Keep(keep func(keyword string) bool) Flags {
	return Flags{System: f.System, Keywords: strings.Join(slices.DeleteFunc(f.KeywordList(), func(k string) bool { return !keep(k) }), " ")}
}

// plainMost is how many octets a keyword may have to be taken by every server:
// Dovecot's mail_max_keyword_length, unless it was changed.
const plainMost = 50

// PlainKeyword tells whether any server can parse the keyword, even when it
// refuses it, and has room for its name.
func PlainKeyword(keyword string) bool {
	return keyword != "" && len(keyword) <= plainMost && !strings.EqualFold(keyword, "NIL") && !strings.ContainsFunc(keyword, func(r rune) bool {
		return !('A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("$_.+-", r))
	})
}

// noise are the keywords that only servers and clients add by themselves; a
// copy that gains one has not been touched by its user.
var noise = []string{"$HasAttachment", "$HasNoAttachment", "NonJunk", "$NotJunk", "Junk", "$Junk", "JunkRecorded", "$MDNSent"}

// WithoutNoise returns f without the keywords that servers and clients add by
// themselves.
func (f Flags) WithoutNoise() Flags {
	return f.Keep(func(k string) bool {
		if len(k) >= 6 && strings.EqualFold(k[:6], "$X-ME-") {
			return false
		}
		return !slices.ContainsFunc(noise, func(n string) bool { return strings.EqualFold(n, k) })
	})
}
