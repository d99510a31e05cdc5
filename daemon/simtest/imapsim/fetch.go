package imapsim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
)

// those returns the messages of a set that the client knows of and that are
// still there.
func (c *session) those(s set) (list []simtest.Message) {
	c.account.Look(func() {
		b := c.account.Boxes[c.box.name]
		if b == nil || b.Validity != c.box.validity {
			return
		}
		for _, m := range b.Messages {
			if s.has(m.UID) && c.box.number(m.UID) != 0 {
				list = append(list, m)
			}
		}
	})
	return list
}

// set takes a UID set.
func (c *session) set(k *command) (set, error) {
	text, err := k.word()
	if err != nil {
		return nil, err
	}
	return parseSet(text, c.box.highest())
}

// fetch is UID FETCH with what imapsyncd may ask for.
func (c *session) fetch(k *command) (string, error) {
	uids, err := c.set(k)
	if err != nil {
		return "", err
	}
	v, err := k.next()
	if err != nil {
		return "", err
	}
	items := v.list
	if !v.isList {
		items = []value{v}
	}
	var since mail.ModSeq
	if len(k.rest) > 0 {
		modifiers, err := k.parens()
		if err != nil {
			return "", err
		}
		if len(modifiers) != 2 || !strings.EqualFold(modifiers[0].text, "CHANGEDSINCE") || !c.has("CONDSTORE") {
			return "", errSyntax("more than FETCH takes")
		}
		if since, err = parseModSeq(modifiers[1].text); err != nil {
			return "", err
		}
		c.aware = true
	}
	for _, m := range c.those(uids) {
		if m.ModSeq <= since {
			continue
		}
		parts := []string{"UID " + number(m.UID)}
		for _, item := range items {
			part, err := c.item(strings.ToUpper(item.text), m)
			if err != nil {
				return "", err
			}
			if part != "" && !slices.Contains(parts, part) {
				parts = append(parts, part)
			}
		}
		if since > 0 && !strings.Contains(strings.Join(parts, " "), "MODSEQ (") {
			parts = append(parts, strings.TrimSpace(c.modSeq(m)))
		}
		c.send("* %d FETCH (%s)", c.box.number(m.UID), strings.Join(parts, " "))
	}
	return "OK done", k.end()
}

// item is one item of a FETCH response.
func (c *session) item(name string, m simtest.Message) (string, error) {
	switch name {
	case "UID":
		return "", nil
	case "FLAGS":
		return "FLAGS " + m.Flags.String(), nil
	case "INTERNALDATE":
		return `INTERNALDATE "` + m.Date.Format("_2-Jan-2006 15:04:05 -0700") + `"`, nil
	case "RFC822.SIZE":
		return "RFC822.SIZE " + number(len(m.Data)), nil
	case "MODSEQ":
		if !c.has("CONDSTORE") {
			return "", errSyntax("MODSEQ is not offered")
		}
		c.aware = true
		return strings.TrimSpace(c.modSeq(m)), nil
	}
	if c.has(Labels) && name == "X-GM-LABELS" {
		return c.labels(m), nil
	} else if c.has(Labels) && name == "X-GM-MSGID" {
		return messageID(m), nil
	}
	section, ok := strings.CutPrefix(name, "BODY.PEEK[")
	if !ok {
		return "", errSyntax("FETCH " + name + " is of no use to anybody who must not change flags")
	}
	section, partial, ok := strings.Cut(section, "]")
	text := m.Data
	switch {
	case !ok:
		return "", errSyntax("a section that does not end")
	case section == "HEADER":
		if i := strings.Index(text, "\r\n\r\n"); i >= 0 {
			text = text[:i+4]
		}
	case section != "":
		return "", errSyntax("FETCH " + name)
	}
	name = "BODY[" + section + "]"
	if partial != "" {
		var first, count int
		if n, err := fmt.Sscanf(partial, "<%d.%d>", &first, &count); n != 2 || err != nil {
			return "", errSyntax("a part " + partial)
		}
		text = text[min(first, len(text)):min(first+count, len(text))]
		name += "<" + strconv.Itoa(first) + ">"
	}
	return name + " {" + strconv.Itoa(len(text)) + "}\r\n" + text, nil
}

// search is UID SEARCH by UID or by a header field, with RETURN (ALL) where
// there is ESEARCH (RFC 4731).
func (c *session) search(k *command) (string, error) {
	extended := false
	if len(k.rest) > 0 && strings.EqualFold(k.rest[0].text, "RETURN") {
		k.rest = k.rest[1:]
		options, err := k.parens()
		if err != nil {
			return "", err
		}
		if extended = c.has("ESEARCH") && slices.Equal(words(options), []string{"ALL"}); !extended {
			return "", errSyntax("RETURN is not offered")
		}
	}
	if len(k.rest) == 0 {
		return "", errSyntax("nothing to search for")
	}
	wanted := func(simtest.Message) bool { return true }
	for len(k.rest) > 0 {
		key, err := k.word()
		if err != nil {
			return "", err
		}
		before := wanted
		switch strings.ToUpper(key) {
		case "ALL":
		case "UID":
			uids, err := c.set(k)
			if err != nil {
				return "", err
			}
			wanted = func(m simtest.Message) bool { return before(m) && uids.has(m.UID) }
		case "HEADER":
			field, err := k.word()
			if err != nil {
				return "", err
			}
			text, err := k.word()
			if err != nil {
				return "", err
			}
			wanted = func(m simtest.Message) bool { return before(m) && hasField(m.Data, field, text) }
		default:
			return "", errSyntax("SEARCH " + key)
		}
	}
	var uids []mail.UID
	for _, m := range c.those(set{{1, c.box.highest()}}) {
		if wanted(m) {
			uids = append(uids, m.UID)
		}
	}
	switch {
	case extended && len(uids) > 0:
		c.send("* ESEARCH (TAG %s) UID ALL %s", quote(k.tag), spellSet(uids))
	case extended:
		c.send("* ESEARCH (TAG %s) UID", quote(k.tag))
	default:
		line := "* SEARCH"
		for _, uid := range uids {
			line += " " + number(uid)
		}
		c.send("%s", line)
	}
	return "OK done", nil
}

// hasField tells whether a header field of a message contains a text.
func hasField(data, field, text string) bool {
	header, _, _ := strings.Cut(data, "\r\n\r\n")
	for line := range strings.SplitSeq(strings.ToLower(header), "\r\n") {
		if name, content, ok := strings.Cut(line, ":"); ok && name == strings.ToLower(field) && strings.Contains(content, strings.ToLower(text)) {
			return true
		}
	}
	return false
}
