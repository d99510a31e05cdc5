package mail

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/textproto"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Fingerprint recognises a message without its UID: 64 bits of its size, its
// INTERNALDATE and a digest of its beginning. 0 means "not known".
type Fingerprint uint64

// PrefixLen is how many octets of a message a fingerprint needs at most. They
// come from BODY.PEEK[]<0.PrefixLen> or from the message itself; both give the
// same fingerprint, since no server's idea of a header field is involved.
const PrefixLen = 2048

// digestLen is how many octets of the beginning enter the digest once the CRs
// are dropped: few enough that a message that gained a CR in every line still
// has as many within its first PrefixLen octets.
const digestLen = 1024

// NewFingerprint computes the fingerprint of a message. size is the number of
// octets of the whole message, prefix its first PrefixLen octets, or all of
// it when it is shorter. The date is taken as StorableDate gives it, so that a
// copy has the fingerprint of its original. The digest does not see what servers are known to
// alter in place: CR (bare LF becomes CRLF), NUL and octets above 0x7F (which
// Cyrus replaces by X in headers, and Dovecot serves a NUL as 0x80).
func NewFingerprint(size int64, date time.Time, prefix []byte) Fingerprint {
	if len(prefix) > PrefixLen {
		prefix = prefix[:PrefixLen]
	}
	var buf [16 + digestLen]byte
	binary.BigEndian.PutUint64(buf[0:], uint64(size))
	binary.BigEndian.PutUint64(buf[8:], uint64(StorableDate(date, prefix).Unix()))
	return digest(buf[:16+normalise(buf[16:], prefix)])
}

// Opening is the fingerprint of the beginning of a message alone: it is the
// same for every form in which servers are known to store one message, and for
// those that [Mend] gives it, but not only for those. Whether two messages with one opening are one, [Content] has
// to tell.
func Opening(prefix []byte) Fingerprint {
	if len(prefix) > PrefixLen {
		prefix = prefix[:PrefixLen]
	}
	var buf [PrefixLen]byte
	var form normalForm
	text := buf[:0]
	for len(prefix) > 0 && len(text) < digestLen {
		n := min(len(prefix), digestLen/4)
		text, prefix = form.add(text, prefix[:n]), prefix[n:]
	}
	text = form.end(text)
	return digest(bytes.TrimRight(text[:min(len(text), digestLen)], "\n"))
}

// Content is the fingerprint of a whole message without what servers are known
// to alter in it, see [NewFingerprint], without line ends at its end, which some
// add, and without what [Mend] changes. It reads to the end.
func Content(r io.Reader) (Fingerprint, error) {
	hash := sha256.New()
	in, out := make([]byte, 16<<10), make([]byte, 0, 17<<10)
	var form normalForm
	held := 0 // line ends that may be the last
	for {
		n, err := r.Read(in)
		text := form.add(out, in[:n])
		if err == io.EOF {
			text = form.end(text)
		}
		if body := bytes.TrimRight(text, "\n"); len(body) > 0 {
			for ; held > 0; held-- {
				hash.Write([]byte{'\n'})
			}
			hash.Write(body)
			held = len(text) - len(body)
		} else {
			held += len(text)
		}
		if err == io.EOF {
			return first64(hash.Sum(nil)), nil
		} else if err != nil {
			return 0, err
		}
	}
}

// normalise writes text without CR, and with X for NUL and every octet above
// 0x7F, as far as there is room, and returns how long it is.
func normalise(to, text []byte) int {
	n := 0
	for len(text) > 0 && n < len(to) {
		part, rest, _ := bytes.Cut(text, []byte{'\r'})
		text = rest
		n += copy(to[n:], part)
	}
	mask(to[:n])
	return n
}

// mask puts X for NUL and every octet above 0x7F. It looks at eight at once, since there
// is none in most texts.
func mask(text []byte) {
	const lowest, highest = 0x0101010101010101, 0x8080808080808080
	for len(text) > 0 {
		n := min(len(text), 8)
		if n == 8 {
			if v := binary.NativeEndian.Uint64(text); (v|(v-lowest))&highest == 0 {
				text = text[8:]
				continue
			}
		}
		for i, c := range text[:n] {
			if c == 0 || c >= 0x80 {
				text[i] = 'X'
			}
		}
		text = text[n:]
	}
}

// normalForm is what [normalise] makes of a text, without what [Mend] puts before
// lines that are no fields.
type normalForm struct {
	within  bool // a line
	matched int  // octets of invalidLine that it began with, and that wait
}

// add appends the normal form of a further part of the text, but for what may yet
// be left away.
func (f *normalForm) add(to, text []byte) []byte {
	for len(text) > 0 {
		if f.within {
			line := text[:cmp.Or(bytes.IndexByte(text, '\n')+1, len(text))]
			from := len(to)
			for part := range bytes.SplitSeq(line, []byte{'\r'}) {
				to = append(to, part...)
			}
			mask(to[from:])
			f.within, text = line[len(line)-1] != '\n', text[len(line):]
			continue
		}
		c := text[0]
		text = text[1:]
		if c == invalidLine[f.matched] {
			if f.matched++; f.matched == len(invalidLine) {
				f.within, f.matched = true, 0
			}
			continue
		}
		if f.matched > 0 {
			to, f.within = f.end(to), true
		}
		switch {
		case c == '\r':
			continue
		case c == 0 || c >= 0x80:
			c = 'X'
		}
		to, f.within = append(to, c), c != '\n'
	}
	return to
}

// end appends what has waited.
func (f *normalForm) end(to []byte) []byte {
	to = append(to, invalidLine[:f.matched]...)
	f.matched = 0
	return to
}

func digest(data []byte) Fingerprint {
	sum := sha256.Sum256(data)
	return first64(sum[:])
}

func first64(sum []byte) Fingerprint {
	return max(Fingerprint(binary.BigEndian.Uint64(sum)), 1)
}

// HeaderKey is the fingerprint of what names a message whatever way it came:
// its Message-ID and Date fields (RFC 5322 §3.6). It is 0 without both.
func HeaderKey(header []byte) Fingerprint {
	fields := headerFields(header)
	id, date := strings.TrimSpace(fields.Get("Message-Id")), strings.TrimSpace(fields.Get("Date"))
	if id == "" || date == "" {
		return 0
	}
	return digest([]byte(id + "\n" + date))
}

// messageIDMost is how many octets of a Message-ID people are shown.
const messageIDMost = 250

// MessageID is the Message-ID field of a header for people to read: printable,
// in one line and of bounded length. Empty: there is none.
func MessageID(header []byte) string {
	id := strings.TrimSpace(headerFields(header).Get("Message-Id"))
	id = strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, id)
	if len(id) > messageIDMost {
		id = strings.ToValidUTF8(id[:messageIDMost], "") + "…"
	}
	return id
}

// headerFields reads a header. A broken one yields the fields before the break.
func headerFields(header []byte) textproto.MIMEHeader {
	fields, _ := textproto.NewReader(bufio.NewReaderSize(bytes.NewReader(header), min(len(header), 4096))).ReadMIMEHeader()
	return fields
}
