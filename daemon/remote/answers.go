package remote

import (
	"strconv"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// number reads an unsigned number; what is none, or too large, is 0.
func number(v Value, bits int) uint64 {
	n, err := strconv.ParseUint(v.Text, 10, bits)
	if err != nil {
		return 0
	}
	return n
}

// texts returns the atoms and strings of a list.
func texts(list []Value) []string {
	names := make([]string, 0, len(list))
	for _, v := range list {
		if !v.Nil && !v.IsList {
			names = append(names, v.Text)
		}
	}
	return names
}

// printable makes the words of a server fit for a log and a page: UTF-8,
// without controls, at most 500 octets.
func printable(text string) string {
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > 500 {
		text = strings.ToValidUTF8(text[:500], "")
	}
	return text
}

// refusal makes an error of a tagged NO or BAD.
func refusal(command string, r Response) *mail.Refused {
	return &mail.Refused{Command: command, Type: r.Type, Code: printable(r.Code), Text: printable(r.Text)}
}

// quoted spells a text without CR, LF and NUL as a quoted string (RFC 3501
// §4.3).
func quoted(text string) string {
	if strings.ContainsAny(text, `\"`) {
		text = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)
	}
	return `"` + text + `"`
}

// verdict is nil after OK.
func verdict(command string, r Response) error {
	if r.Type == "OK" {
		return nil
	}
	return refusal(command, r)
}
