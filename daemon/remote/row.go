package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// row is one FETCH response (RFC 3501 §7.4.2), read item by item as it comes, so
// that a content is handed on while it arrives. What cannot be understood is left
// out, with its literals.
type row struct {
	mail.Message
	flagged, dated, sized bool
	content               *content // of the item just read, nil: it is none
	err                   error    // what ended it before its end

	of      *rows
	literal int64 // announced at the end of the line, or -1
	within  int64 // octets of literals within lists so far
	over    bool
	shown   []string // for the trace
}

// rows are the FETCH responses to one command.
type rows struct {
	*Conn
	present row
	line    []byte // of the present one
	scan    scanner
	// alike are the flags of earlier ones, by how the server wrote them: there are
	// few of them in a mailbox.
	alike map[string]mail.Flags
}

const (
	alikeMost   = 1000
	alikeOctets = 256 // longer ones are not worth it
)

// rowsOf reads responses up to the answer that has the tag. Each to FETCH is given
// to take, which need not read it to its end and has it until it returns; its error ends
// the reading.
func (c *Conn) rowsOf(ctx context.Context, tag string, take func(*row) error) (Response, error) {
	defer c.due(-1)
	defer context.AfterFunc(ctx, func() { c.Close() })()
	f := &rows{Conn: c}
	for count := 1; ; count++ {
		if count > untaggedMost {
			return Response{}, c.ended(noEnd(count))
		}
		line, literal, err := appendLine(f.line[:0], c.in)
		if err != nil {
			return Response{}, c.ended(errors.Join(ctx.Err(), err))
		}
		f.line = line
		if row := f.begin(literal); row != nil {
			if err := take(row); err != nil {
				return Response{}, err
			}
			if err := row.finish(); err != nil {
				return Response{}, err
			}
			continue
		}
		r, err := readRest(c.in, line, literal)
		if err != nil {
			return Response{}, c.ended(errors.Join(ctx.Err(), err))
		}
		if c.note(r); r.Tag == tag {
			return r, nil
		}
	}
}

// begin takes the first line of a response; nil when it is none to FETCH.
func (f *rows) begin(literal int64) *row {
	number, ok := bytes.CutPrefix(f.line, []byte("* "))
	digits := 0
	for digits < len(number) && '0' <= number[digits] && number[digits] <= '9' {
		digits++
	}
	rest := number[digits:]
	if !ok || digits == 0 || len(rest) < 7 || !bytes.EqualFold(rest[:7], []byte(" FETCH ")) {
		return nil
	}
	open := bytes.IndexByte(rest, '(')
	if open < 0 {
		return nil
	}
	f.present = row{of: f, literal: literal}
	r := &f.present
	if f.tracing() {
		r.shown = []string{"* " + string(number[:digits]) + " FETCH"}
	}
	f.over(f.line[2+digits+open+1:])
	return r
}

// over has the scanner read a line.
func (f *rows) over(line []byte) { f.scan = scanner{parts: append(f.scan.parts[:0], line)} }

// next reads one item; false at the end of the response, or when it breaks off.
func (r *row) next() bool {
	for r.err == nil && !r.over {
		if r.content != nil {
			r.resume()
			continue
		}
		switch told, err := r.item(); {
		case err != nil:
			r.err = r.of.ended(err)
		case told:
			return true
		}
	}
	return false
}

// finish passes over what has not been read.
func (r *row) finish() error {
	for r.next() {
	}
	return r.err
}

// resume goes on behind a content, with what nobody has read of it passed over.
func (r *row) resume() {
	if _, err := io.Copy(io.Discard, r.content); err != nil {
		return // which content has noted
	}
	ended := r.content.line
	if r.content = nil; !ended {
		return
	}
	line, literal, err := appendLine(r.of.line[:0], r.of.in)
	if err != nil {
		r.err = r.of.ended(err)
		return
	}
	r.of.line, r.literal = line, literal
	r.of.over(line)
}

// item reads one item, unless the response is over; told means that it was
// understood.
func (r *row) item() (told bool, err error) {
	s := &r.of.scan
	line := s.line()
	s.spaces()
	if s.at >= len(line) {
		return false, fmt.Errorf("%w: a FETCH response that does not end", errProtocol)
	}
	if s.peek() == ')' {
		r.over = true
		if r.shown != nil {
			r.of.options.Trace('<', r.of.masked(printable(r.shown[0]+" ("+strings.Join(r.shown[1:], " ")+")")))
		}
		return false, nil
	}
	name := s.name()
	s.spaces()
	if c := s.peek(); r.literal >= 0 && (c == '{' || c == '~') && bytes.IndexByte(line[s.at:], '}') == len(line)-s.at-1 {
		r.show(func() string { return fmt.Sprintf("%s {%d}", name, r.literal) })
		r.content = &content{row: r, from: r.of.in, size: r.literal, left: r.literal, line: true}
		return isBody(name), nil
	}
	if bytes.Equal(name, []byte("FLAGS")) && s.peek() == '(' && r.knownFlags() {
		return true, nil
	}
	from := s.at
	var v Value
	if s.peek() == '(' {
		s.at++
		if r.literal >= 0 && !bytes.Equal(name, []byte("FLAGS")) { // of these none is a literal
			s.more = r.more
		}
		v = Value{IsList: true, List: s.list(')', 1)}
		if s.more = nil; r.err != nil {
			return false, r.err
		}
	} else {
		v = s.value(')')
	}
	r.show(func() string { return traceItem(string(name), v) })
	switch {
	case bytes.Equal(name, []byte("UID")):
		r.UID = mail.UID(number(v, 32))
	case bytes.Equal(name, []byte("RFC822.SIZE")):
		r.Size, r.sized = int64(number(v, 63)), true
	case bytes.Equal(name, []byte("FLAGS")):
		if len(v.List) > flagsMost {
			return false, fmt.Errorf("%w: a message with more than %d flags", errProtocol, flagsMost)
		}
		r.Flags, r.flagged = mail.ParseFlags(texts(v.List)), true
		r.of.remember(line[from:s.at], r.Flags)
	case bytes.Equal(name, []byte("INTERNALDATE")):
		r.InternalDate, r.dated = parseDate(v.Text), true
	case isBody(name):
		if v.Nil {
			v.Text = ""
		}
		size := int64(len(v.Text))
		r.content = &content{row: r, from: strings.NewReader(v.Text), size: size, left: size}
	default:
		return false, nil
	}
	return true, nil
}

// more reads a literal within a list, such as a label in X-GM-LABELS, and the line
// behind it; false: there is none, or it has been the end.
func (r *row) more() bool {
	if r.literal < 0 {
		return false
	}
	if r.within += r.literal; r.literal > responseMost || r.within > responseMost {
		r.err = r.of.ended(fmt.Errorf("%w: a FETCH response with more than %d octets in a list", errProtocol, responseMost))
		return false
	}
	var data bytes.Buffer // grows with what comes, not with what is announced
	if _, err := io.CopyN(&data, r.of.in, r.literal); err != nil {
		r.err = r.of.ended(short(err))
		return false
	}
	line, literal, err := appendLine(nil, r.of.in)
	if err != nil {
		r.err = r.of.ended(err)
		return false
	}
	r.within += int64(len(line))
	r.literal = literal
	r.of.scan.parts = append(r.of.scan.parts, data.Bytes(), line)
	return true
}

// name reads the name of an item, in upper case. It may have a section, with
// blanks in it.
func (s *scanner) name() []byte {
	line, start, brackets := s.line(), s.at, 0
	for ; s.at < len(line); s.at++ {
		switch c := line[s.at]; {
		case c == '[' && isSection(line[start:s.at]):
			brackets++
		case c == ']':
			brackets = max(0, brackets-1)
		case brackets == 0 && s.at > start && (c == ' ' || c == '(' || c == ')'):
			return line[start:s.at]
		case 'a' <= c && c <= 'z':
			line[s.at] = c - 'a' + 'A'
		}
	}
	return line[start:]
}

func isBody(name []byte) bool { return bytes.HasPrefix(name, []byte("BODY[")) }

// knownFlags reads flags that have stood there before by the letter.
func (r *row) knownFlags() bool {
	s := &r.of.scan
	rest := s.line()[s.at:]
	end := bytes.IndexByte(rest, ')') + 1
	flags, known := r.of.alike[string(rest[:end])]
	if !known || r.shown != nil {
		return false
	}
	s.at += end
	r.Flags, r.flagged = flags, true
	return true
}

// remember remembers flags as they stood there.
func (f *rows) remember(text []byte, flags mail.Flags) {
	if bytes.IndexByte(text, ')') != len(text)-1 || len(text) > alikeOctets || len(f.alike) >= alikeMost {
		return
	}
	if f.alike == nil {
		f.alike = make(map[string]mail.Flags)
	}
	f.alike[string(text)] = flags
}

// show adds to the trace, if there is one.
func (r *row) show(item func() string) {
	if r.shown != nil {
		r.shown = append(r.shown, item())
	}
}

// content is what BODY[] holds. One that is cut short ends in an error.
type content struct {
	row  *row
	from io.Reader
	size int64
	left int64
	line bool // another line of the response follows
}

func (c *content) Read(p []byte) (int, error) {
	switch {
	case c.row.err != nil:
		return 0, c.row.err
	case c.left == 0:
		return 0, io.EOF
	}
	n, err := c.from.Read(p[:min(int64(len(p)), c.left)])
	if c.left -= int64(n); err != nil {
		c.row.err = c.row.of.ended(short(err))
	}
	return n, c.row.err
}

// parseDate reads the dates of INTERNALDATE (RFC 3501 §9, date-time), in the
// forms that servers give them; zero for any other.
func parseDate(text string) time.Time {
	text = strings.TrimSpace(text)
	if t, ok := plainDate(text); ok {
		return t
	}
	for _, layout := range []string{"2-Jan-2006 15:04:05 -0700", "2-Jan-2006 15:04:05 MST", "2-Jan-2006 15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() >= 1 && t.Year() <= 9999 {
			return t
		}
	}
	return time.Time{}
}

// plainDate reads a date as RFC 3501 has it, which time.Parse takes a while for: nearly
// every server gives nothing else.
func plainDate(text string) (time.Time, bool) {
	const form, months = "02-Jan-2006 15:04:05 -0700", "JanFebMarAprMayJunJulAugSepOctNovDec"
	if len(text) == len(form)-1 {
		text = "0" + text
	}
	if len(text) != len(form) {
		return time.Time{}, false
	}
	ok := true
	digits := func(from, to int) (n int) {
		for _, c := range []byte(text[from:to]) {
			ok = ok && '0' <= c && c <= '9'
			n = n*10 + int(c-'0')
		}
		return n
	}
	day, year := digits(0, 2), digits(7, 11)
	hour, minute, second := digits(12, 14), digits(15, 17), digits(18, 20)
	hours, minutes := digits(22, 24), digits(24, 26)
	away := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	month := strings.Index(months, text[3:6])
	marks := string([]byte{text[2], text[6], text[11], text[14], text[17], text[20]})
	if !ok || month < 0 || month%3 != 0 || marks != "-- :: " || hour > 23 || minute > 59 || second > 59 || hours > 23 || minutes > 59 || year < 1 {
		return time.Time{}, false
	}
	switch text[21] {
	case '-':
		away = -away
	case '+':
	default:
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month/3+1), day, hour, minute, second, 0, time.UTC)
	return t.Add(-away), t.Day() == day
}
