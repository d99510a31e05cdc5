package remote

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	lineMost     = 1 << 20  // octets of one line
	responseMost = 16 << 20 // octets of one response that is kept in memory
	depthMost    = 32       // of lists in lists
	literalsMost = 1000     // of one response
	// announcementMost is how many octets announce a literal.
	announcementMost = len("~{9223372036854775807+}")
	valuesMost       = 400_000 // of one response; what is searched for makes 80,000

	// What a response takes in memory besides its text, and each of its values, in
	// octets.
	responseWeight = 256
	valueWeight    = 96
)

// Value is one datum of a response: an atom, a string, NIL or a list.
type Value struct {
	Text   string
	Nil    bool
	IsList bool
	List   []Value
}

// Response is one response of a server, parsed.
type Response struct {
	Tag  string // "*", "+", or the tag of a command
	Type string // upper case: OK, NO, BAD, BYE, PREAUTH, FETCH, LIST, …; empty after "+"
	Num  uint32 // the number before EXISTS, FETCH, …
	// Code, in upper case, and Args are those of a response code (RFC 3501
	// §7.1), Text is what follows it, as the server wrote it.
	Code string
	Args []Value
	Text string
	// Data is what follows the type of a data response; as far as it could be
	// read.
	Data []Value

	sized  sizedRow // in the place of Data of FETCH, where there is nothing else
	weight int64    // octets of memory, about
	line   []byte   // as it came, of LIST and STATUS without literals, and with sized
}

// readLine reads a line without its CRLF. A literal announced at its end is
// returned as its length, else -1.
func readLine(r *bufio.Reader) (line []byte, literal int64, err error) {
	return appendLine(nil, r)
}

// appendLine is readLine into memory that is there.
func appendLine(line []byte, r *bufio.Reader) (_ []byte, literal int64, err error) {
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > lineMost {
			return nil, -1, fmt.Errorf("%w: a line of more than %d octets", errProtocol, lineMost)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if err == io.EOF && len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, -1, err
		}
	}
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	return line, announced(line), nil
}

// announced returns the length of the literal that a line ends with, or -1.
func announced(line []byte) int64 {
	if len(line) == 0 || line[len(line)-1] != '}' {
		return -1
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return -1
	}
	digits := strings.TrimSuffix(string(line[open+1:len(line)-1]), "+")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return -1
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// readResponse reads one response whole, with its literals.
func readResponse(r *bufio.Reader) (Response, error) {
	line, literal, err := readLine(r)
	if err != nil {
		return Response{}, err
	}
	return readRest(r, line, literal)
}

// readRest reads the rest of a response of which the first line is there.
func readRest(r *bufio.Reader, line []byte, literal int64) (Response, error) {
	parts := [][]byte{line}
	total := int64(len(line))
	for literal >= 0 {
		if total += literal; literal > responseMost || total > responseMost {
			return Response{}, fmt.Errorf("%w: a response of more than %d octets", errProtocol, responseMost)
		}
		if len(parts) > 2*literalsMost {
			return Response{}, fmt.Errorf("%w: a response with more than %d literals", errProtocol, literalsMost)
		}
		var data bytes.Buffer // grows with what comes, not with what is announced
		if n, err := io.CopyN(&data, r, literal); err != nil {
			if n > 0 && err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return Response{}, err
		}
		next, n, err := readLine(r)
		if err != nil {
			return Response{}, err
		}
		parts = append(parts, data.Bytes(), next)
		total += int64(len(next))
		literal = n
	}
	return parseResponse(parts)
}

// parseResponse reads lines and literals in turn. It takes what it can: a
// response that makes no sense yields one with little in it. One with too much
// in it is an error.
func parseResponse(parts [][]byte) (r Response, err error) {
	if sized, ok := parseSizedRow(parts[0]); ok {
		return Response{Tag: "*", Num: sized.number, Type: "FETCH", sized: sized, line: parts[0], weight: responseWeight + int64(len(parts[0]))}, nil
	}
	s := scanner{parts: parts}
	r.Tag = s.word()
	if r.Tag == "+" {
		r.Text = s.remainder()
		return r, nil
	}
	r.Type = strings.ToUpper(s.word())
	if n, err := strconv.ParseUint(r.Type, 10, 32); err == nil && r.Tag == "*" {
		r.Num = uint32(n)
		r.Type = strings.ToUpper(s.word())
	}
	switch r.Type {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		s.spaces()
		if s.peek() == '[' {
			s.at++
			code := s.list(']', 0)
			if len(code) > 0 {
				r.Code, r.Args = strings.ToUpper(code[0].Text), code[1:]
			}
			s.spaces()
		}
		r.Text = s.remainder()
	default:
		r.Data = s.list(0, 0)
	}
	if len(parts) == 1 && (r.Type == "STATUS" || r.Type == "LIST") {
		r.line = parts[0]
	}
	r.weight = responseWeight + valueWeight*int64(s.values)
	for _, part := range parts {
		r.weight += int64(len(part))
	}
	if s.values > valuesMost {
		return Response{}, fmt.Errorf("%w: a response with more than %d values", errProtocol, valuesMost)
	}
	return r, nil
}

// scanner reads the values of a response. Where a line ends with an announced
// literal, the part after it is that literal.
type scanner struct {
	parts [][]byte // line, literal, line, …
	part  int      // always that of a line
	at    int
	// values is how many there were; beyond valuesMost nothing more is read.
	values int
	// more adds a literal and the line behind it that have not been read yet; false:
	// there are none. nil: all is there.
	more func() bool
}

func (s *scanner) line() []byte { return s.parts[s.part] }

// peek returns the next octet, 0 at the end of the line.
func (s *scanner) peek() byte {
	if s.at >= len(s.line()) {
		return 0
	}
	return s.line()[s.at]
}

func (s *scanner) spaces() {
	for s.peek() == ' ' || s.peek() == '\t' {
		s.at++
	}
}

// word reads up to the next blank.
func (s *scanner) word() string {
	s.spaces()
	start := s.at
	for c := s.peek(); c != 0 && c != ' '; c = s.peek() {
		s.at++
	}
	return string(s.line()[start:s.at])
}

func (s *scanner) remainder() string {
	text := string(s.line()[s.at:])
	s.at = len(s.line())
	return text
}

// list reads values up to the closing octet, or to the end.
func (s *scanner) list(closing byte, depth int) []Value {
	var values []Value
	add := func(v Value) {
		if values == nil {
			values = make([]Value, 0, 4) // as most have
		}
		values = append(values, v)
	}
	for {
		s.spaces()
		c := s.peek()
		if s.values++; s.values > valuesMost {
			s.part, s.at = len(s.parts)-1, len(s.parts[len(s.parts)-1])
			return values
		}
		switch {
		case c == 0 && s.at >= len(s.line()):
			return values
		case c == closing && closing != 0:
			s.at++
			return values
		case c == '(':
			s.at++
			if depth == depthMost {
				return values
			}
			add(Value{IsList: true, List: s.list(')', depth+1)})
		case c == ')':
			s.at++ // one too many
		default:
			add(s.value(closing))
		}
	}
}

// value reads an atom, a string or a literal.
func (s *scanner) value(closing byte) Value {
	switch s.peek() {
	case '"':
		return Value{Text: s.quoted()}
	case '{', '~':
		if text, ok := s.literal(); ok {
			return Value{Text: text}
		}
	}
	start := s.at
	brackets := 0
	for ; s.at < len(s.line()); s.at++ {
		c := s.line()[s.at]
		if brackets == 0 && (c == ' ' || c == '(' || c == ')' || c == closing && closing != 0) && s.at > start {
			break
		}
		switch {
		case c == '[' && isSection(s.line()[start:s.at]):
			brackets++ // BODY[HEADER.FIELDS (A B)] is one atom
		case c == ']':
			brackets = max(0, brackets-1)
		}
	}
	text := string(s.line()[start:s.at])
	return Value{Text: text, Nil: strings.EqualFold(text, "NIL")}
}

// isSection tells whether what stands before "[" is the name of an item that has
// a section there (RFC 3501 §7.4.2, RFC 3516 §4.2); keywords may have a "[" too.
func isSection(name []byte) bool {
	return bytes.EqualFold(name, []byte("BODY")) || bytes.EqualFold(name, []byte("BINARY"))
}

// literal reads {n} at the end of the line and what follows it.
func (s *scanner) literal() (string, bool) {
	rest := s.line()[s.at:]
	if len(rest) > announcementMost || announced(rest) < 0 || bytes.IndexByte(rest, '}') != len(rest)-1 {
		return "", false
	}
	if s.part+2 >= len(s.parts) && (s.more == nil || !s.more()) {
		return "", false
	}
	text := string(s.parts[s.part+1])
	s.part += 2
	s.at = 0
	return text, true
}

// quoted reads a quoted string (RFC 3501 §4.3); one that does not end, ends
// with the line.
func (s *scanner) quoted() string {
	rest := s.line()[s.at+1:]
	if end := bytes.IndexByte(rest, '"'); end >= 0 && bytes.IndexByte(rest[:end], '\\') < 0 {
		s.at += end + 2
		return string(rest[:end])
	}
	var out []byte
	for s.at++; s.at < len(s.line()); s.at++ {
		c := s.line()[s.at]
		if c == '"' {
			s.at++
			break
		}
		if c == '\\' && s.at+1 < len(s.line()) {
			s.at++
			c = s.line()[s.at]
		}
		out = append(out, c)
	}
	return string(out)
}
