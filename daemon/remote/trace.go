package remote

import (
	"fmt"
	"strconv"
	"strings"
)

func (c *Conn) tracing() bool {
	return c.options.Trace != nil && (c.options.Traced == nil || c.options.Traced.Load())
}

// sent traces a line of ours. Log-ins do not come here ([Conn.converse]), nor
// does what is in literals.
func (c *Conn) sent(line []byte) {
	if c.tracing() && len(line) > 0 { // empty: the end of what ends with a literal
		c.options.Trace('>', c.masked(printable(string(line))))
	}
}

// traced is a response on one line. Of messages only what concerns their
// transport is shown.
func traced(r Response) string {
	if r.Tag == "+" {
		return "+" // what follows may be a challenge
	}
	if r.sized.uid != 0 {
		return string(r.line)
	}
	line := []string{r.Tag}
	if r.Num != 0 || r.Type == "EXISTS" || r.Type == "RECENT" {
		line = append(line, strconv.FormatUint(uint64(r.Num), 10))
	}
	line = append(line, r.Type)
	if r.Code != "" {
		line = append(line, "["+strings.Join(append([]string{r.Code}, words(r.Args)...), " ")+"]")
	}
	if r.Text != "" {
		line = append(line, r.Text)
	}
	data := r.Data
	if r.Type == "FETCH" && len(data) > 0 && data[0].IsList {
		line = append(line, "("+strings.Join(traceItems(data[0].List), " ")+")")
		data = data[1:]
	}
	return printable(strings.Join(append(line, words(data)...), " "))
}

// words are values as they are.
func words(values []Value) []string {
	var out []string
	for _, v := range values {
		switch {
		case v.IsList:
			out = append(out, "("+strings.Join(words(v.List), " ")+")")
		case v.Text == "" || strings.ContainsAny(v.Text, " \"\r\n()"):
			out = append(out, strconv.Quote(v.Text))
		default:
			out = append(out, v.Text)
		}
	}
	return out
}

// traceItems are items of FETCH, of which some are contents.
func traceItems(values []Value) []string {
	var out []string
	for i := 0; i+1 < len(values); i += 2 {
		out = append(out, traceItem(values[i].Text, values[i+1]))
	}
	return out
}

func traceItem(name string, v Value) string {
	switch strings.ToUpper(name) {
	case "UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "MODSEQ", "EMAILID", "THREADID", "X-GM-MSGID", "X-GM-LABELS":
		return name + " " + words([]Value{v})[0]
	}
	switch section, _, _ := strings.Cut(name, "["); strings.ToUpper(section) {
	case "BODY", "BINARY", "RFC822", "ENVELOPE", "BODYSTRUCTURE":
	default:
		name = "?" // where a response makes no sense it may be a content
	}
	return fmt.Sprintf("%s {%d}", name, len(v.Text))
}
