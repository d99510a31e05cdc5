package imapsim

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// command is a command of which everything has been read.
type command struct {
	Command
	tag  string
	args []value
	rest []value // what of args has not been taken yet
}

// errSyntax is why a command is answered BAD.
type errSyntax string

func (e errSyntax) Error() string { return string(e) }

// value is an atom, a string or a list.
type value struct {
	text   string
	quoted bool // a string: quoted or literal
	isList bool
	list   []value
}

// heldPlace stands in the text of a command where a literal was.
const heldPlace = '\x00'

// parse reads what follows the verb. literals are taken in their order.
func parse(text string, literals []string) (values []value, err error) {
	p := &parser{text: text, literals: literals}
	values, err = p.list(0)
	return values, err
}

type parser struct {
	text     string
	at       int
	literals []string
}

// list reads values up to closing, or with 0 up to the end.
func (p *parser) list(closing byte) (values []value, err error) {
	for {
		for p.at < len(p.text) && p.text[p.at] == ' ' {
			p.at++
		}
		if p.at == len(p.text) {
			if closing != 0 {
				return nil, errSyntax("a list does not end")
			}
			return values, nil
		}
		c := p.text[p.at]
		if c == closing && closing != 0 {
			p.at++
			return values, nil
		}
		var v value
		switch {
		case c == '(':
			p.at++
			v.isList = true
			v.list, err = p.list(')')
		case c == '"':
			v.quoted = true
			v.text, err = p.quoted()
		case c == heldPlace:
			p.at++
			v.quoted, v.text = true, p.literals[0]
			p.literals = p.literals[1:]
		default:
			v.text, err = p.atom()
		}
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
}

func (p *parser) quoted() (string, error) {
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return b.String(), nil
		case c == '\\' && p.at+1 < len(p.text):
			p.at++
			b.WriteByte(p.text[p.at])
		case c >= 0x80 || c == heldPlace:
			return "", errSyntax("a quoted string has an octet that it must not have")
		default:
			b.WriteByte(c)
		}
	}
	return "", errSyntax("a quoted string does not end")
}

// atom reads up to a blank or a parenthesis outside of brackets.
func (p *parser) atom() (string, error) {
	start, brackets := p.at, 0
	for ; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		if brackets == 0 && strings.IndexByte(" ()\"", c) >= 0 {
			break
		}
		switch {
		case c == '[':
			brackets++
		case c == ']':
			brackets--
		case c < ' ' || c >= 0x7f:
			return "", errSyntax(fmt.Sprintf("an atom has the octet %#x", c))
		}
	}
	if p.at == start {
		return "", errSyntax("an atom is empty")
	}
	return p.text[start:p.at], nil
}

// announced tells of which literal a line says that it follows.
func announced(line string) (before string, octets int, waits, ok bool) {
	if !strings.HasSuffix(line, "}") {
		return line, 0, false, false
	}
	open := strings.LastIndexByte(line, '{')
	if open < 0 {
		return line, 0, false, false
	}
	digits, unasked := strings.CutSuffix(line[open+1:len(line)-1], "+")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return line, 0, false, false
	}
	return line[:open], int(n), !unasked, true
}

// next takes the next argument.
func (c *command) next() (value, error) {
	if len(c.rest) == 0 {
		return value{}, errSyntax("an argument is missing")
	}
	v := c.rest[0]
	c.rest = c.rest[1:]
	return v, nil
}

// word takes the next argument, which is no list.
func (c *command) word() (string, error) {
	v, err := c.next()
	if err == nil && v.isList {
		err = errSyntax("a list stands where none may be")
	}
	return v.text, err
}

// parens takes the next argument, which is a list.
func (c *command) parens() ([]value, error) {
	v, err := c.next()
	if err == nil && !v.isList {
		err = errSyntax("a list is missing")
	}
	return v.list, err
}

// end is an error when there is more.
func (c *command) end() error {
	if len(c.rest) > 0 {
		return errSyntax("there is more than there should be")
	}
	return nil
}

func words(list []value) (texts []string) {
	for _, v := range list {
		texts = append(texts, v.text)
	}
	return texts
}

// set is a UID set (RFC 3501 §9, sequence-set).
type set [][2]mail.UID

// parseSet reads a set; highest is what "*" means.
func parseSet(text string, highest mail.UID) (s set, err error) {
	uid := func(text string) mail.UID {
		if text == "*" {
			return highest
		}
		n, perr := strconv.ParseUint(text, 10, 32)
		if perr != nil || n == 0 {
			err = errors.Join(err, errSyntax(fmt.Sprintf("%q is no UID", text)))
		}
		return mail.UID(n)
	}
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(part, ":")
		if !ranged {
			last = first
		}
		a, b := uid(first), uid(last)
		s = append(s, [2]mail.UID{min(a, b), max(a, b)})
	}
	return s, err
}

func (s set) has(uid mail.UID) bool {
	return slices.ContainsFunc(s, func(span [2]mail.UID) bool { return span[0] <= uid && uid <= span[1] })
}

// spellSet writes UIDs in their order, runs as ranges.
func spellSet(uids []mail.UID) string {
	var parts []string
	for i := 0; i < len(uids); {
		first := i
		for i++; i < len(uids) && uids[i] == uids[i-1]+1; i++ {
		}
		part := strconv.FormatUint(uint64(uids[first]), 10)
		if i-first > 1 {
			part += ":" + strconv.FormatUint(uint64(uids[i-1]), 10)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}

// parseFlags reads the flags that a client wants a message to have. \Recent it
// cannot want, and a keyword is an atom.
func parseFlags(list []value) (mail.Flags, error) {
	for _, v := range list {
		if strings.EqualFold(v.text, `\Recent`) || v.isList || v.quoted || strings.ContainsAny(strings.TrimPrefix(v.text, `\`), `{%*\]`) {
			return mail.Flags{}, errSyntax(fmt.Sprintf("%q cannot be set", v.text))
		}
	}
	return mail.ParseFlags(words(list)), nil
}

func parseModSeq(text string) (mail.ModSeq, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, errSyntax(fmt.Sprintf("%q is no MODSEQ", text))
	}
	return mail.ModSeq(min(n, math.MaxInt64)), nil
}

// quote spells a string.
func quote(text string) string {
	if !strings.ContainsAny(text, `\"`) {
		return `"` + text + `"`
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
