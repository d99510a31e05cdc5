package mail

import (
	"bufio"
	"io"
	"strings"
)

// Fixups is a set of what may be changed of a message that the new server
// refuses as it is.
type Fixups uint8

// The fixups. The bits are stored; never renumber.
const (
	// FinalCRLF ends the last line with CRLF (RFC 5322 §2.1).
	FinalCRLF Fixups = 1 << iota
	// BareLF puts the CR before a line feed that has none (RFC 5322 §2.3).
	BareLF
	// NUL replaces octets of value 0 (RFC 5322 §2.1, RFC 3501 §9) by 0x80, as
	// Dovecot serves them.
	NUL
	// HeaderLine makes a field of a line in the header that is none (RFC 5322
	// §2.2), and ends a header that nothing ends.
	HeaderLine
	// OddKeywords leaves away keywords that the new server refuses. It changes
	// nothing of the message itself.
	OddKeywords
)

// fixupNames are the names in the configuration; a keyword is not asked about.
var fixupNames = []struct {
	bit  Fixups
	name string
}{{FinalCRLF, "final-crlf"}, {BareLF, "bare-lf"}, {NUL, "nul"}, {HeaderLine, "header-line"}, {OddKeywords, "keywords"}}

// Names are the names of the fixups in the set.
func (f Fixups) Names() []string {
	var names []string
	for _, n := range fixupNames {
		if f&n.bit != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

func (f Fixups) String() string { return strings.Join(f.Names(), ", ") }

// AllFixups are all there are, Mendings those that change the message.
const (
	AllFixups = Mendings | OddKeywords
	Mendings  = FinalCRLF | BareLF | NUL | HeaderLine
)

// FixupsNamed is the set of the given names; ok is false when one is unknown.
func FixupsNamed(names ...string) (set Fixups, ok bool) {
next:
	for _, name := range names {
		for _, n := range fixupNames {
			if n.name == name {
				set |= n.bit
				continue next
			}
		}
		return 0, false
	}
	return set, true
}

// invalidLine is put before a line in the header that is no field. [Opening] and
// [Content] do not see it, so that the mended form of a message is known for it.
const invalidLine = "X-Invalid-Header-Line: "

// nameMost is how many octets the name of a field has at most (RFC 5322 §2.1.1).
const nameMost = 998

// Mend copies a message and changes of it what is in which; it tells what there
// was to change. An empty message is left as it is.
func Mend(to io.Writer, from io.Reader, which Fixups) (applied Fixups, err error) {
	m := mender{out: bufio.NewWriter(to), which: which, header: which&HeaderLine != 0, start: true, first: true}
	in := bufio.NewReader(from)
	for {
		c, err := in.ReadByte()
		if err == io.EOF {
			m.end()
			return m.applied, m.out.Flush()
		} else if err != nil {
			return 0, err
		}
		m.octet(c)
	}
}

// mender mends one octet after the other. Errors of writing are those of Flush.
type mender struct {
	out     *bufio.Writer
	which   Fixups
	applied Fixups
	any     bool // there was an octet
	last    byte // the one before, as it is in the original
	bare    bool // and it was a line feed without CR, which is not written yet

	header bool // in the header, and lines that are no fields are looked for
	first  bool // in its first line
	start  bool // at the beginning of a line, of which name is not written yet
	name   []byte
}

func (m *mender) octet(c byte) {
	m.lineFeed(m.which&BareLF != 0)
	m.any = true
	if c == 0 && m.which&NUL != 0 {
		m.applied |= NUL
		c = 0x80
	}
	if m.header {
		m.inHeader(c)
	}
	switch {
	case m.header && m.start && c != '\n':
		m.name = append(m.name, c)
	case c == '\n' && m.last != '\r':
		m.bare = true // whether it is the last octet decides what becomes of it
	default:
		m.out.WriteByte(c)
	}
	m.last = c
}

// lineFeed writes a line feed that has no CR, with one if mend is true.
func (m *mender) lineFeed(mend bool) {
	if !m.bare {
		return
	}
	if m.bare = false; mend {
		m.out.WriteByte('\r')
	}
	m.out.WriteByte('\n')
	if mend && m.which&BareLF != 0 {
		m.applied |= BareLF
	} else if mend {
		m.applied |= FinalCRLF
	}
}

// inHeader follows the lines of the header. Of each the beginning is kept until
// it is known whether it is a field.
func (m *mender) inHeader(c byte) {
	empty := len(m.name) == 0 || string(m.name) == "\r"
	switch {
	case m.start && c == '\n' && empty:
		m.header = false
		m.settle(true)
	case m.start && c == '\n':
		m.settle(false)
		m.start, m.first = true, false
	case c == '\n':
		m.start, m.first = true, false
	case !m.start:
	case len(m.name) == 0 && (c == ' ' || c == '\t'):
		m.settle(!m.first)
	case len(m.name) == 0 && c == '\r': // of an empty line, most likely
	case !empty && c == ':':
		m.settle(true)
	case c <= ' ' || c == ':' || c >= 0x7f || len(m.name) == nameMost || string(m.name) == "\r":
		m.settle(false)
	}
}

// settle writes the beginning of a line, of which it is known now whether it is a
// field, or goes on with one.
func (m *mender) settle(valid bool) {
	if !valid {
		m.applied |= HeaderLine
		m.out.WriteString(invalidLine)
	}
	m.out.Write(m.name)
	m.name, m.start = m.name[:0], false
}

// end writes what the end of the message leaves to be done.
func (m *mender) end() {
	if !m.any {
		return
	}
	if m.header && m.start && len(m.name) > 0 {
		m.settle(false)
	}
	m.lineFeed(m.which&(BareLF|FinalCRLF) != 0)
	if m.header {
		m.endLine()
		m.out.WriteString("\r\n")
		m.applied |= HeaderLine
	} else if m.which&FinalCRLF != 0 && m.last != '\n' {
		m.endLine()
		m.applied |= FinalCRLF
	}
}

// endLine ends a last line that nothing ends.
func (m *mender) endLine() {
	switch m.last {
	case '\n':
	case '\r':
		m.out.WriteByte('\n')
	default:
		m.out.WriteString("\r\n")
	}
}
