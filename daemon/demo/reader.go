package demo

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"unicode/utf16"
)

// reader is the smallest IMAP client that can look at everything. It shares no
// code with the one that did the copying, so that no mistake is made twice.
type reader struct {
	conn net.Conn
	in   *bufio.Reader
	tags int
	stop func() bool
}

// dial logs in. The reader fails once ctx ends.
func dial(ctx context.Context, s *server, u *user) (*reader, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr.String())
	if err != nil {
		return nil, err
	}
	r := &reader{conn: conn, in: bufio.NewReader(conn)}
	r.stop = context.AfterFunc(ctx, func() { conn.Close() })
	if _, err := r.in.ReadString('\n'); err != nil { // the greeting
		r.close()
		return nil, fmt.Errorf("read greeting: %w", err)
	}
	if err := r.command("LOGIN "+quoted(u.login)+" "+quoted(u.password), nil); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *reader) close() {
	r.stop()
	r.conn.Close()
}

// command sends a line and gives each untagged response, but for those of a
// status, to got, as atoms, strings (string), lists ([]any) and NIL (nil).
func (r *reader) command(line string, got func(response []any) error) error {
	verb, _, _ := strings.Cut(line, " ")
	r.tags++
	tag := "c" + strconv.Itoa(r.tags)
	if _, err := io.WriteString(r.conn, tag+" "+line+"\r\n"); err != nil {
		return fmt.Errorf("send %s: %w", verb, err)
	}
	for {
		first, err := r.value()
		if err != nil {
			return fmt.Errorf("read answer to %s: %w", verb, err)
		}
		if first == tag {
			text, err := r.in.ReadString('\n')
			if err != nil {
				return fmt.Errorf("read answer to %s: %w", verb, err)
			}
			if text = strings.TrimSpace(text); !strings.HasPrefix(text, "OK") {
				return fmt.Errorf("%s: %s", verb, text)
			}
			return nil
		}
		response, err := r.rest()
		if err != nil {
			return fmt.Errorf("read answer to %s: %w", verb, err)
		}
		if got != nil && response != nil {
			if err := got(response); err != nil {
				return err
			}
		}
	}
}

// rest reads an untagged response after its "*"; nil for a status response,
// whose text follows no grammar.
func (r *reader) rest() ([]any, error) {
	var values []any
	for {
		c, err := r.in.ReadByte()
		if err != nil {
			return nil, err
		}
		switch c {
		case ' ', '\r':
			continue
		case '\n':
			return values, nil
		}
		r.in.UnreadByte()
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		if len(values) == 0 && (v == "OK" || v == "NO" || v == "BAD" || v == "BYE") {
			_, err := r.in.ReadString('\n')
			return nil, err
		}
		values = append(values, v)
	}
}

// value reads one value (RFC 3501 §9).
func (r *reader) value() (any, error) {
	c, err := r.in.ReadByte()
	if err != nil {
		return nil, err
	}
	switch c {
	case '(':
		return r.list()
	case '"':
		return r.quotedString()
	case '{':
		return r.literal()
	}
	atom := []byte{c}
	for {
		c, err := r.in.ReadByte()
		if err != nil {
			return nil, err
		}
		if strings.IndexByte(" ()\r\n", c) >= 0 {
			r.in.UnreadByte()
			if string(atom) == "NIL" {
				return nil, nil
			}
			return string(atom), nil
		}
		atom = append(atom, c)
	}
}

func (r *reader) list() (any, error) {
	values := []any{}
	for {
		c, err := r.in.ReadByte()
		if err != nil {
			return nil, err
		}
		switch c {
		case ' ':
			continue
		case ')':
			return values, nil
		}
		r.in.UnreadByte()
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
}

func (r *reader) quotedString() (any, error) {
	var s []byte
	for {
		c, err := r.in.ReadByte()
		if err != nil {
			return nil, err
		}
		if c == '"' {
			return string(s), nil
		}
		if c == '\\' {
			if c, err = r.in.ReadByte(); err != nil {
				return nil, err
			}
		}
		s = append(s, c)
	}
}

func (r *reader) literal() (any, error) {
	line, err := r.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(line, "}\r\n"))
	if err != nil {
		return nil, fmt.Errorf("literal: %w", err)
	}
	content := make([]byte, n)
	if _, err := io.ReadFull(r.in, content); err != nil {
		return nil, err
	}
	return string(content), nil
}

func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// readable decodes a mailbox name from modified UTF-7 (RFC 3501 §5.1.3); what
// is not valid stays as it is.
func readable(name string) string {
	alphabet := base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(name, "&")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		code, after, closed := strings.Cut(rest, "-")
		octets, err := alphabet.DecodeString(code)
		switch {
		case !closed || err != nil:
			return b.String() + "&" + rest
		case code == "":
			b.WriteByte('&')
		}
		var units []uint16
		for ; len(octets) >= 2; octets = octets[2:] {
			units = append(units, binary.BigEndian.Uint16(octets))
		}
		b.WriteString(string(utf16.Decode(units)))
		name = after
	}
}
