package verify

// Mode is how closely to look.
type Mode string

// The modes.
const (
	Quick  Mode = "quick"  // that it is there, its date, size and flags
	Sample Mode = "sample" // and the contents of a share
	Deep   Mode = "deep"   // and the contents of all
)

// Class is what a comparison found of one message: a closed list, also a label
// of imapsyncd_verify_differences.
type Class string

// The classes. A message of the old server is in one of them; extra, kept and
// doubled are messages of the new server.
const (
	Equal   Class = "equal"
	Altered Class = "altered" // the new server stores it in another form, which is named
	Changed Class = "changed" // its user has changed flags or keywords on the new server
	Moved   Class = "moved"   // its copy is in another mailbox of the account
	Removed Class = "removed" // it was copied, and its copy is gone from the new server
	Kept    Class = "kept"    // its original is gone from the old server
	Extra   Class = "extra"   // on the new server only: born there
	Skipped Class = "skipped" // left out on the operator's word
	Flags   Class = "flags"   // flags or keywords have not been carried
	Pending Class = "pending" // newer than what has been copied
	Held    Class = "held"    // could not be copied
	Doubled Class = "doubled" // the new server has it once more in the same mailbox
	Missing Class = "missing" // not on the new server
	Date    Class = "date"    // INTERNALDATE differs
	Damaged Class = "damaged" // the contents differ
	Unread  Class = "unread"  // could not be looked at
)

// Classes lists every [Class], the harmless ones first.
func Classes() []Class {
	return []Class{Equal, Altered, Changed, Moved, Removed, Kept, Extra, Skipped, Flags, Pending, Held, Doubled, Missing, Date, Damaged, Unread}
}

// Wrong tells whether a class is one that time does not mend and no user has
// made: it stands against switching, and against stopping.
func (c Class) Wrong() bool {
	switch c {
	case Doubled, Missing, Date, Damaged, Unread:
		return true
	}
	return false
}

// differs tells whether a class keeps a report from being clean. What users do
// on the new server is a difference as long as they are not expected there.
func (c Class) differs(usersMoved bool) bool {
	switch c {
	case Changed, Removed:
		return !usersMoved
	case Flags, Pending, Held:
		return true
	}
	return c.Wrong()
}

// Explain says what a class means, for people.
func (c Class) Explain() string {
	switch c {
	case Equal:
		return "the same on both servers"
	case Altered:
		return "stored by the new server in another form, which is named"
	case Changed:
		return "flags or keywords changed by its user on the new server"
	case Moved:
		return "moved to another mailbox on the new server"
	case Removed:
		return "copied, and removed from the new server since"
	case Kept:
		return "on the new server, gone from the old one since it was copied"
	case Extra:
		return "on the new server only: it was born there"
	case Skipped:
		return "left out on the operator's word"
	case Flags:
		return "flags or keywords changed on the old server, not carried yet"
	case Pending:
		return "arrived on the old server since the last copy"
	case Held:
		return "held: the new server refuses it, or the old one does not serve it"
	case Doubled:
		return "once more in the same mailbox of the new server"
	case Missing:
		return "not on the new server"
	case Date:
		return "with another date of arrival (INTERNALDATE)"
	case Damaged:
		return "with other contents"
	case Unread:
		return "could not be looked at"
	}
	return string(c)
}

// Alteration is what a server is known to change in a message that it stores: a
// closed list.
type Alteration string

// The alterations.
const (
	FinalLineEnd Alteration = "final_crlf"
	LineEnds     Alteration = "line_ends"
	NUL          Alteration = "nul"
	EightBit     Alteration = "8bit"
	DateReplaced Alteration = "date"
	Keywords     Alteration = "keywords"
	Length       Alteration = "length"
	HeaderLines  Alteration = "header_line"
)

// Alterations lists every [Alteration].
func Alterations() []Alteration {
	return []Alteration{FinalLineEnd, LineEnds, NUL, EightBit, HeaderLines, DateReplaced, Keywords, Length}
}

// Explain says what an alteration is, for people.
func (a Alteration) Explain() string {
	switch a {
	case FinalLineEnd:
		return "line ends were added or removed at the end of the message"
	case LineEnds:
		return "bare carriage returns or line feeds became whole line ends, or were dropped"
	case NUL:
		return "NUL octets, which no message may hold, were replaced"
	case EightBit:
		return "octets above 0x7F, which no header may hold unencoded, were replaced"
	case HeaderLines:
		return "lines in the header that are no fields were made fields (X-Invalid-Header-Line), at [policy] fixups' word"
	case DateReplaced:
		return "a date of arrival that the new server does not take (in the future, or before 1971) was replaced"
	case Keywords:
		return "keywords were not stored"
	case Length:
		return "the new server gives another size; the contents were not looked into"
	}
	return string(a)
}
