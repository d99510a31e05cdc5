package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// errForbidden: a command was about to be sent that this side must not see.
var errForbidden = errors.New("this command is never sent to this server")

var (
	readVerbs = []string{
		"CAPABILITY", "NOOP", "LOGOUT", "ID", "ENABLE", "NAMESPACE", "LIST", "LSUB", "STATUS", "EXAMINE", "UNSELECT",
		"UID FETCH", "UID SEARCH", "FETCH", "SEARCH", "IDLE", "NOTIFY", "STARTTLS", "AUTHENTICATE", "LOGIN", "X-MASTERAUTH", "X-SETUSER", "COMPRESS", "GETQUOTA", "GETQUOTAROOT",
	}
	addVerbs    = []string{"SELECT", "CREATE", "SUBSCRIBE", "APPEND"}
	changeVerbs = []string{"UID STORE", "UID MOVE", "UID COPY", "UID EXPUNGE"}
)

// verbs passes on to a server what it may see. It follows commands and their
// literals, so that mail is never taken for a command, nor a command hidden in
// what only looks like a literal. Nothing of a line goes out before the whole
// line has been looked at.
type verbs struct {
	side    Side
	addOnly bool // nothing that is there may be changed (I8)
	out     io.Writer
	trace   func(line []byte) // of each line that was sent
	line    []byte
	literal int64 // octets of a literal still to come
	within  bool  // the line goes on a command that had a literal
	err     error
}

func (v *verbs) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 && v.err == nil {
		if v.literal > 0 {
			n := int(min(v.literal, int64(len(p))))
			if _, v.err = v.out.Write(p[:n]); v.err != nil {
				break
			}
			v.literal -= int64(n)
			written += n
			p = p[n:]
			continue
		}
		end := bytes.IndexByte(p, '\n') + 1
		if end == 0 {
			end = len(p)
		}
		v.line = append(v.line, p[:end]...)
		written += end
		p = p[end:]
		if len(v.line) > lineMost {
			v.err = fmt.Errorf("%w: a line of more than %d octets", errForbidden, lineMost)
		} else if v.line[len(v.line)-1] == '\n' {
			v.err = v.whole()
		}
	}
	return written, v.err
}

// whole looks at a whole line and sends it.
func (v *verbs) whole() error {
	line := bytes.TrimSuffix(bytes.TrimSuffix(v.line, []byte("\n")), []byte("\r"))
	if !v.within {
		if err := allowed(v.side, string(line)); err != nil {
			return err
		}
		if verb, _ := verbOf(string(line)); v.addOnly && slices.Contains(changeVerbs, verb) {
			return fmt.Errorf("%w: %s after the handover", errForbidden, verb)
		}
	}
	n := announced(line)
	v.literal, v.within = max(n, 0), n >= 0
	if v.trace != nil {
		v.trace(line)
	}
	_, err := v.out.Write(v.line)
	v.line = v.line[:0]
	return err
}

// allowed tells whether a side may see a command.
func allowed(side Side, line string) error {
	if strings.EqualFold(line, "DONE") {
		return nil // the end of IDLE (RFC 2177)
	}
	verb, args := verbOf(line)
	writes := slices.Contains(addVerbs, verb) || slices.Contains(changeVerbs, verb)
	if !slices.Contains(readVerbs, verb) && (side != SideDestination || !writes) {
		return fmt.Errorf("%w: %s to the %s", errForbidden, verb, side)
	}
	if verb == "FETCH" || verb == "UID FETCH" {
		return harmless(args)
	}
	return nil
}

// verbOf is the verb of a command in upper case, with that of UID, and what
// follows it. A line without one has an empty verb.
func verbOf(line string) (verb, args string) {
	_, rest, _ := strings.Cut(line, " ")
	verb, args, _ = strings.Cut(rest, " ")
	if verb = strings.ToUpper(verb); verb == "UID" {
		var sub string
		sub, args, _ = strings.Cut(args, " ")
		verb += " " + strings.ToUpper(sub)
	}
	return verb, args
}

// harmless refuses the items of FETCH that set \Seen (RFC 3501 §6.4.5).
func harmless(items string) error {
	items = strings.ToUpper(items)
	for _, item := range []string{"BODY[", "BINARY[", "RFC822.TEXT"} {
		if strings.Contains(items, item) {
			return fmt.Errorf("%w: FETCH %s sets \\Seen", errForbidden, item)
		}
	}
	for rest := items; ; {
		i := strings.Index(rest, "RFC822")
		if i < 0 {
			return nil
		}
		rest = rest[i+len("RFC822"):]
		if !strings.HasPrefix(rest, ".SIZE") && !strings.HasPrefix(rest, ".HEADER") {
			return fmt.Errorf("%w: FETCH RFC822 sets \\Seen", errForbidden)
		}
	}
}
