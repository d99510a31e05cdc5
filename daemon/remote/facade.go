package remote

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// facade is the net.Conn that the library gets. What the library writes goes
// through the connection's allow-list; of what the server says it reads only
// the answers to its own commands: FETCH responses, made anew item by item
// from what could be understood, and tagged answers without response codes
// that it would act upon. Everything else ends the library's connection or is
// unknown to it, and is for us: the untagged responses to Raw, CAPABILITY, BYE.
type facade struct {
	*Conn
	ready   []byte   // for the library
	literal int64    // then so many octets straight from the server
	items   bool     // and then the next part of a FETCH response
	named   bool     // of which the UID was told
	shown   []string // of the FETCH response, for the trace
}

func (f *facade) Read(p []byte) (int, error) {
	for {
		switch {
		case len(f.ready) > 0:
			n := copy(p, f.ready)
			f.ready = f.ready[n:]
			return n, nil
		case f.literal > 0:
			n, err := f.in.Read(p[:min(int64(len(p)), f.literal)])
			f.literal -= int64(n)
			if err != nil {
				err = f.ended(err)
			}
			return n, err
		}
		line, literal, err := readLine(f.in)
		if err == nil {
			if f.items {
				err = f.fetchItems(line, literal)
			} else {
				err = f.response(line, literal)
			}
		}
		if err != nil {
			return 0, f.ended(err)
		}
	}
}

// response takes the first line of a response.
func (f *facade) response(line []byte, literal int64) error {
	word, rest, _ := bytes.Cut(line, []byte(" "))
	tag := string(word)
	number, data, _ := bytes.Cut(rest, []byte(" "))
	if tag == "*" && len(data) >= 7 && strings.EqualFold(string(data[:6]), "FETCH ") && f.libraryPending() {
		if open := bytes.IndexByte(data, '('); open >= 0 {
			f.ready = append(f.ready[:0], "* "+string(number)+" FETCH ("...)
			f.shown, f.named = append(f.shown[:0], "* "+string(number)+" FETCH"), false
			return f.fetchItems(data[open+1:], literal)
		}
	}
	r, err := readRest(f.in, line, literal)
	if err != nil {
		return err
	}
	if f.toRaw(r) {
		return nil
	}
	f.note(r)
	if strings.HasPrefix(r.Tag, libraryTag) {
		f.answered()
		f.ready = append(f.ready[:0], r.Tag+" "+r.Type+" "...)
		if r.Code != "" && strings.Trim(r.Code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == "" && len(r.Args) == 0 {
			f.ready = append(f.ready, "["+r.Code+"] "...)
		}
		f.ready = append(f.ready, printable(r.Text)+".\r\n"...)
	}
	return nil
}

// fetchItems takes one line of a FETCH response: items, the last of which may
// be a literal. Each item that is understood is written anew; the others are
// left out, with their literals.
func (f *facade) fetchItems(line []byte, literal int64) error {
	first := len(f.ready) > 0 && f.ready[len(f.ready)-1] == '('
	f.items = false
	emit := func(item string) {
		if !first {
			f.ready = append(f.ready, ' ')
		}
		first = false
		f.ready = append(f.ready, item...)
	}
	s := scanner{parts: [][]byte{line}}
	for {
		s.spaces()
		if s.at >= len(line) {
			return fmt.Errorf("%w: a FETCH response that does not end", errProtocol)
		}
		if s.peek() == ')' {
			f.ready = append(f.ready, ")\r\n"...)
			if f.tracing() {
				f.options.Trace('<', printable(f.shown[0]+" ("+strings.Join(f.shown[1:], " ")+")"))
			}
			return nil
		}
		name := s.value(')').Text
		s.spaces()
		if c := s.peek(); literal >= 0 && (c == '{' || c == '~') && bytes.IndexByte(line[s.at:], '}') == len(line)-s.at-1 {
			f.items = true
			if f.tracing() {
				f.shown = append(f.shown, fmt.Sprintf("%s {%d}", name, literal))
			}
			if !strings.HasPrefix(strings.ToUpper(name), "BODY[") {
				return f.skip(literal)
			}
			f.name(emit)
			emit(name + " {" + strconv.FormatInt(literal, 10) + "}\r\n")
			f.literal = literal
			return nil
		}
		var v Value
		if s.peek() == '(' {
			s.at++
			v = Value{IsList: true, List: s.list(')', 1)}
		} else {
			v = s.value(')')
		}
		if f.tracing() {
			f.shown = append(f.shown, traceItem(name, v))
		}
		if strings.EqualFold(name, "FLAGS") && len(v.List) > flagsMost {
			return fmt.Errorf("%w: a message with more than %d flags", errProtocol, flagsMost)
		}
		if item, ok := fetchItem(name, v); ok {
			if f.named = f.named || strings.HasPrefix(item, "UID "); strings.HasPrefix(item, "BODY[") {
				f.name(emit)
			}
			emit(item)
		}
	}
}

// name tells the library which message it is before its content, which is lost
// else.
func (f *facade) name(emit func(string)) {
	if f.named {
		return
	}
	f.uidLast.Store(true)
	if only := f.only.Load(); only != 0 {
		f.named = true
		emit("UID " + strconv.FormatUint(uint64(only), 10))
	}
}

// skip passes over a literal that is nobody's.
func (f *facade) skip(n int64) error {
	_, err := io.CopyN(io.Discard, f.in, n)
	return err
}

// libraryDate is how the library wants INTERNALDATE.
const libraryDate = "02-Jan-2006 15:04:05 -0700"

// unreadable is how far after the zero time a date is that could not be read:
// the library takes the zero time for an error.
const unreadable = time.Second

// fetchItem writes an item of FETCH the way the library can read it. A date
// that cannot be read becomes one of the year 1.
func fetchItem(name string, v Value) (string, bool) {
	switch upper := strings.ToUpper(name); {
	case upper == "UID":
		if n := number(v, 32); n != 0 {
			return "UID " + strconv.FormatUint(n, 10), true
		}
	case upper == "RFC822.SIZE":
		return "RFC822.SIZE " + strconv.FormatUint(number(v, 63), 10), true
	case upper == "FLAGS":
		flags := make([]string, 0, len(v.List))
		for _, flag := range texts(v.List) {
			flags = append(flags, wrapFlag(flag))
		}
		return "FLAGS (" + strings.Join(flags, " ") + ")", true
	case upper == "INTERNALDATE":
		t := parseDate(v.Text)
		if t.IsZero() {
			t = t.Add(unreadable)
		}
		return `INTERNALDATE "` + t.Format(libraryDate) + `"`, true
	case strings.HasPrefix(upper, "BODY["):
		text := v.Text
		if v.Nil {
			text = ""
		}
		return name + " {" + strconv.Itoa(len(text)) + "}\r\n" + text, true
	}
	return "", false
}

// parseDate reads the dates of INTERNALDATE (RFC 3501 §9, date-time), in the
// forms that servers give them; zero for any other.
func parseDate(text string) time.Time {
	text = strings.TrimSpace(text)
	for _, layout := range []string{"2-Jan-2006 15:04:05 -0700", "2-Jan-2006 15:04:05 MST", "2-Jan-2006 15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() >= 1 && t.Year() <= 9999 {
			return t
		}
	}
	return time.Time{}
}

// The library reads only flags that are atoms by the letter of RFC 3501.
// Others pass it in hexadecimal behind "=", and so do those that begin so.
const wrapped = "="

func wrapFlag(flag string) string {
	name := strings.TrimPrefix(flag, `\`)
	plain := name != "" && !strings.HasPrefix(flag, wrapped)
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			plain = false
		}
	}
	if plain {
		return flag
	}
	if flag == `\*` {
		return flag
	}
	return wrapped + hex.EncodeToString([]byte(flag))
}

func unwrapFlag(flag string) string {
	if hidden, ok := strings.CutPrefix(flag, wrapped); ok {
		if text, err := hex.DecodeString(hidden); err == nil {
			return string(text)
		}
	}
	return flag
}

func (f *facade) Write(p []byte) (int, error) {
	f.begin(p)
	n, err := f.out.Write(p)
	if err == nil {
		err = f.flush()
	}
	return n, err
}

// Close closes the transport.
func (f *facade) Close() error { return f.Conn.Close() }

// The library's own deadlines are not ours: they would run while a pass waits
// for memory or for the other server.
func (f *facade) SetDeadline(time.Time) error      { return nil }
func (f *facade) SetReadDeadline(time.Time) error  { return nil }
func (f *facade) SetWriteDeadline(time.Time) error { return nil }
func (f *facade) LocalAddr() net.Addr              { return f.transport.LocalAddr() }
func (f *facade) RemoteAddr() net.Addr             { return f.transport.RemoteAddr() }
