// Package dialogue plays IMAP servers from recorded dialogues: files that say
// in one notation what a server is known to answer, and how a migration from
// it, or to it, ends.
//
// A file holds dialogues. Blank lines and those that begin with "#" mean
// nothing.
//
//	== TITLE                begins a dialogue
//	side destination        the server is the new one; without it, the old one
//	config KEY = VALUE      a line for its section of the configuration
//	mail NAME TEXT          a message, with the escapes of a Go string
//	has UID NAME (FLAGS) "DATE"  what the INBOX of the server holds
//	other NAME (FLAGS) "DATE" MAILBOX  what the old server holds, where the server
//	                        is the new one; without a mailbox it is in INBOX
//	C: PATTERN              begins an exchange: a command that fits. "..." stands
//	                        for anything; without a pattern it is the greeting
//	c: PATTERN              a further line of the client, after "+"
//	S: TEXT                 the server says a line
//	s: "TEXT"               the server says just these octets
//	flood N "TEXT"          it says them so often, "#" being the how-manieth time
//	trickle DURATION "TEXT" it says them with so much time before each
//	wait DURATION           the server takes its time
//	merged                  what is being appended is not kept
//	drops FLAG              or it is, but without that flag
//	close                   the server closes the connection
//	plain                   the server says what the plain one says
//	end TEXT                a line of how it ends; all of them are compared
//	takes DURATION          how long that takes at least
//	log TEXT                what is logged, in just one line
//
// Of the exchanges that fit the first is meant, and one of the plain server only
// where none of the dialogue does. Exchanges with the same pattern take turns, and
// the last of them stays. Each exchange of the dialogue has to be reached. In what the server says a TAG at the beginning is
// the tag of the command, {NAME} a message as a literal, {size NAME} its octets.
// An OK to UID STORE with +FLAGS.SILENT does what it asks for in the INBOX.
// Of the INBOX, {exists}, {next} and {uids} tell what it holds, {rows} what of it
// was asked for, and {uid} is the UID of what is being appended.
package dialogue

import (
	"bufio"
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Dialogue is what one server says, and how that ends.
type Dialogue struct {
	Name        string // file and title
	Destination bool   // it is the new server's
	Config      []string
	Mail        map[string]string
	Has, Other  []Message
	End, Log    []string
	Takes       time.Duration

	exchanges, plain []*exchange
}

// Message is one message in a mailbox.
type Message struct {
	UID     uint32
	Mailbox string
	Text    string
	Flags   string // as they are spelled, without parentheses
	Date    string // as it is spelled, without quotes
}

// exchange is one command and what is said then.
type exchange struct {
	where   string
	fits    *regexp.Regexp
	steps   []step
	reached bool
}

// step is one line of an exchange.
type step struct {
	kind string // as above, without its colon
	text string
	fits *regexp.Regexp
	wait time.Duration
	n    int
}

// Read reads all dialogues of a folder. That of plain.txt says what a server
// answers that has no quirk.
func Read(folder fs.FS) (all []*Dialogue, err error) {
	names, err := fs.Glob(folder, "*.txt")
	if err != nil {
		return nil, err
	}
	const plainName = "plain.txt"
	plain, err := readFile(folder, plainName)
	if err != nil {
		return nil, err
	}
	if len(plain) != 1 {
		return nil, fmt.Errorf("%s: one dialogue is wanted, there are %d", plainName, len(plain))
	}
	for _, name := range names {
		if name == plainName {
			continue
		}
		list, err := readFile(folder, name)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			d.stand(plain[0])
		}
		all = append(all, list...)
	}
	return all, nil
}

// stand gives a dialogue what it leaves to the plain one.
func (d *Dialogue) stand(plain *Dialogue) {
	for name, text := range plain.Mail {
		if _, own := d.Mail[name]; !own {
			d.Mail[name] = text
		}
	}
	fill := func(list *[]Message, of []Message) {
		if *list == nil {
			*list = of
		}
		for i := range *list {
			(*list)[i].Text = d.Mail[(*list)[i].Text]
		}
	}
	if d.Destination {
		fill(&d.Other, append([]Message(nil), plain.Other...))
		fill(&d.Has, nil)
	} else {
		fill(&d.Has, append([]Message(nil), plain.Has...))
	}
	d.plain = plain.exchanges
}

func readFile(folder fs.FS, name string) (all []*Dialogue, err error) {
	file, err := folder.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), " ")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if title, ok := strings.CutPrefix(line, "== "); ok {
			all = append(all, &Dialogue{Name: strings.TrimSuffix(path.Base(name), ".txt") + ": " + title, Mail: make(map[string]string)})
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("%s:%d: no dialogue has begun", name, n)
		}
		if err := all[len(all)-1].add(fmt.Sprintf("%s:%d", name, n), line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	return all, lines.Err()
}

// add takes one line.
func (d *Dialogue) add(where, line string) (err error) {
	kind, text, _ := strings.Cut(line, " ")
	switch kind {
	case "side":
		d.Destination = text == "destination"
	case "config":
		d.Config = append(d.Config, text)
	case "mail":
		name, escaped, _ := strings.Cut(text, " ")
		d.Mail[name], err = unescaped(escaped)
	case "has":
		uid, rest, _ := strings.Cut(text, " ")
		var m Message
		if m, err = message(rest); err == nil {
			m.UID, err = number(uid)
		}
		d.Has = append(d.Has, m)
	case "other":
		var m Message
		m, err = message(text)
		d.Other = append(d.Other, m)
	case "end":
		d.End = append(d.End, text)
	case "log":
		d.Log = append(d.Log, text)
	case "takes":
		d.Takes, err = time.ParseDuration(text)
	case "C:":
		d.exchanges = append(d.exchanges, &exchange{where: where, fits: pattern(text)})
	default:
		if len(d.exchanges) == 0 {
			return fmt.Errorf("%q before any command", line)
		}
		return d.exchanges[len(d.exchanges)-1].add(kind, text)
	}
	return err
}

// add takes one line of an exchange.
func (e *exchange) add(kind, text string) (err error) {
	s := step{kind: strings.TrimSuffix(kind, ":"), text: text}
	switch kind {
	case "S:", "close", "plain", "merged", "drops":
	case "s:":
		s.text, err = strconv.Unquote(text)
	case "c:":
		s.fits = pattern(text)
	case "flood", "trickle":
		much, quoted, _ := strings.Cut(text, " ")
		if s.text, err = strconv.Unquote(quoted); err != nil {
			break
		}
		if kind == "flood" {
			s.n, err = strconv.Atoi(much)
		} else {
			s.wait, err = time.ParseDuration(much)
		}
	case "wait":
		s.wait, err = time.ParseDuration(text)
	default:
		return fmt.Errorf("%q is no line of a dialogue", kind+" "+text)
	}
	e.steps = append(e.steps, s)
	return err
}

var messageForm = regexp.MustCompile(`^(\S+) \((.*?)\) "(.*?)"(?: (\S+))?$`)

func message(text string) (Message, error) {
	part := messageForm.FindStringSubmatch(text)
	if part == nil {
		return Message{}, fmt.Errorf("%q is not: NAME (FLAGS) \"DATE\"", text)
	}
	return Message{Mailbox: cmp.Or(part[4], "INBOX"), Text: part[1], Flags: part[2], Date: part[3]}, nil
}

func number(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}

func unescaped(text string) (string, error) {
	out, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
	if err != nil {
		err = fmt.Errorf("%q: %w", text, err)
	}
	return out, err
}

// pattern is a text in which "..." stands for anything.
func pattern(text string) *regexp.Regexp {
	parts := strings.Split(text, "...")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("(?is)^" + strings.Join(parts, ".*") + "$")
}

// Fits tells whether a text fits a pattern of this notation.
func Fits(text, of string) bool { return pattern(of).MatchString(text) }
