package imapsim

import (
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
)

// append is APPEND, of several messages where there is MULTIAPPEND (RFC 3502):
// all of them or none.
func (c *session) append(k *command) (string, error) {
	name, err := c.mailbox(k)
	if err != nil {
		return "", err
	}
	var messages []simtest.Message
	for len(k.rest) > 0 {
		m := simtest.Message{Date: time.Now().Truncate(time.Second)}
		v, err := k.next()
		if err == nil && v.isList {
			if m.Flags, err = parseFlags(v.list); err == nil {
				v, err = k.next()
			}
		}
		if err == nil && len(k.rest) > 0 && !v.isList && strings.Contains(v.text, ":") {
			if m.Date, err = time.Parse("02-Jan-2006 15:04:05 -0700", v.text); err != nil {
				return "", errSyntax("a date like " + v.text)
			}
			v, err = k.next()
		}
		if err != nil {
			return "", err
		}
		if !v.quoted {
			return "", errSyntax("a message is missing")
		}
		m.Data = v.text
		messages = append(messages, m)
	}
	if len(messages) == 0 || len(messages) > 1 && !c.has("MULTIAPPEND") {
		return "", errSyntax("not one message")
	}
	if c.Commit != nil {
		time.Sleep(c.Commit())
	}
	say := "OK done"
	c.account.Do(func() {
		b := c.account.Boxes[name]
		if b == nil {
			say = "NO [TRYCREATE] there is no such mailbox"
			return
		}
		if refuse := c.account.Refuse; refuse != nil && slices.ContainsFunc(messages, func(m simtest.Message) bool { return refuse(m.Data) }) {
			say = "NO not this one"
			return
		}
		if c.full(messages) {
			say = "NO [OVERQUOTA] no room"
			return
		}
		var uids []mail.UID
		for _, m := range messages {
			m.Data, m.Date = c.account.Altered(m.Data, m.Date)
			uids = append(uids, b.Add(m.Data, m.Date, m.Flags))
		}
		c.account.Appends += len(uids)
		if c.has("UIDPLUS") {
			say = "OK [APPENDUID " + number(b.Validity) + " " + spellSet(uids) + "] done"
		}
	})
	return say, nil
}

// change has f change the mailbox that is open, unless it is open for reading
// only or is not what it was.
func (c *session) change(f func(b *simtest.Box) (say string)) (say string) {
	if c.box.readOnly {
		return "NO the mailbox is open for reading only"
	}
	c.account.Do(func() {
		if b := c.account.Boxes[c.box.name]; b != nil && b.Validity == c.box.validity {
			say = f(b)
		} else {
			say = "NO the mailbox is not what it was"
		}
	})
	return say
}

// store is UID STORE, under a condition where there is CONDSTORE (RFC 7162).
func (c *session) store(k *command) (string, error) {
	uids, err := c.set(k)
	if err != nil {
		return "", err
	}
	unchanged, conditional := mail.ModSeq(0), false
	if len(k.rest) > 0 && k.rest[0].isList {
		list, err := k.parens()
		if err != nil {
			return "", err
		}
		if len(list) != 2 || !strings.EqualFold(list[0].text, "UNCHANGEDSINCE") || !c.has("CONDSTORE") {
			return "", errSyntax("more than STORE takes")
		}
		if unchanged, err = parseModSeq(list[1].text); err != nil {
			return "", err
		}
		c.aware, conditional = true, true
	}
	item, err := k.word()
	if err != nil {
		return "", err
	}
	how, silent := strings.CutSuffix(strings.ToUpper(item), ".SILENT")
	list, err := k.parens()
	if err != nil {
		return "", err
	}
	flags, err := parseFlags(list)
	if err != nil {
		return "", err
	}
	var modify func(mail.Flags) mail.Flags
	switch how {
	case "FLAGS":
		modify = func(mail.Flags) mail.Flags { return flags }
	case "+FLAGS":
		modify = func(f mail.Flags) mail.Flags { return f.With(flags) }
	case "-FLAGS":
		modify = func(f mail.Flags) mail.Flags {
			f.System &^= flags.System
			return f.Keep(func(keyword string) bool { return !flags.Has(keyword) })
		}
	default:
		return "", errSyntax("STORE " + item)
	}
	var lines []string
	var modified []mail.UID
	say := c.change(func(b *simtest.Box) string {
		for i, m := range b.Messages {
			n := c.box.number(m.UID)
			if n == 0 || !uids.has(m.UID) {
				continue
			}
			if conditional && m.ModSeq > unchanged {
				modified = append(modified, m.UID)
				continue
			}
			if to := modify(m.Flags); !to.Equal(m.Flags) {
				// What others have changed is still to be told of.
				upToDate := c.box.told[n-1].modSeq == m.ModSeq
				b.Flag(i, to)
				if upToDate {
					c.box.told[n-1].modSeq = b.ModSeq
				}
			}
			m = b.Messages[i]
			switch {
			case !silent:
				lines = append(lines, "* "+number(n)+" FETCH (UID "+number(m.UID)+" FLAGS "+m.Flags.String()+c.modSeq(m)+")")
			case c.aware:
				lines = append(lines, "* "+number(n)+" FETCH (UID "+number(m.UID)+c.modSeq(m)+")")
			}
		}
		if len(modified) > 0 {
			return "OK [MODIFIED " + spellSet(modified) + "] not all"
		}
		return "OK done"
	})
	for _, line := range lines {
		c.send("%s", line)
	}
	return say, k.end()
}

// remove takes those of the messages out that are marked \Deleted, for who is
// in Do.
func (c *session) remove(wanted func(simtest.Message) bool) {
	b := c.account.Boxes[c.box.name]
	if b == nil || b.Validity != c.box.validity || c.box.readOnly {
		return
	}
	for i := len(b.Messages) - 1; i >= 0; i-- {
		if m := b.Messages[i]; m.Flags.System&mail.Deleted != 0 && wanted(m) {
			b.Take(i)
		}
	}
}

// expunge is EXPUNGE and UID EXPUNGE.
func (c *session) expunge(k *command) (string, error) {
	wanted := func(simtest.Message) bool { return true }
	if k.Verb == "UID EXPUNGE" {
		uids, err := c.set(k)
		if err != nil {
			return "", err
		}
		wanted = func(m simtest.Message) bool { return uids.has(m.UID) }
	}
	return c.change(func(*simtest.Box) string {
		c.remove(wanted)
		return "OK done"
	}), k.end()
}

// copy is UID COPY and UID MOVE (RFC 6851).
func (c *session) copy(k *command) (string, error) {
	uids, err := c.set(k)
	if err != nil {
		return "", err
	}
	to, err := c.mailbox(k)
	if err != nil {
		return "", err
	}
	moves, code := k.Verb == "UID MOVE", ""
	say := c.change(func(b *simtest.Box) string {
		target := c.account.Boxes[to]
		if target == nil {
			return "NO [TRYCREATE] there is no such mailbox"
		}
		var from, there []mail.UID
		for _, m := range slices.Clone(b.Messages) {
			if c.box.number(m.UID) == 0 || !uids.has(m.UID) {
				continue
			}
			from, there = append(from, m.UID), append(there, target.Add(m.Data, m.Date, m.Flags))
			if moves {
				b.Take(slices.IndexFunc(b.Messages, func(x simtest.Message) bool { return x.UID == m.UID }))
			}
		}
		if len(from) > 0 && c.has("UIDPLUS") {
			code = "[COPYUID " + number(target.Validity) + " " + spellSet(from) + " " + spellSet(there) + "] "
		}
		return "OK " + code + "done"
	})
	if moves && code != "" {
		c.send("* OK %smoved", code)
		say = "OK done"
	}
	return say, k.end()
}
