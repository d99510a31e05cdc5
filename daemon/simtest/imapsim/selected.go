package imapsim

import (
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
)

// selected is the mailbox that a session has open, as it has been told of it.
type selected struct {
	name     string
	validity mail.UIDValidity
	readOnly bool
	told     []told // ascending
}

// told is a message that the client knows of.
type told struct {
	uid    mail.UID
	modSeq mail.ModSeq
}

// number returns the message sequence number of a UID, 0 if the client does
// not know it.
func (s *selected) number(uid mail.UID) int {
	i, ok := slices.BinarySearchFunc(s.told, uid, func(t told, uid mail.UID) int { return int(t.uid) - int(uid) })
	if !ok {
		return 0
	}
	return i + 1
}

func (s *selected) highest() mail.UID {
	if len(s.told) == 0 {
		return 0
	}
	return s.told[len(s.told)-1].uid
}

// open is SELECT and EXAMINE.
func (c *session) open(k *command) (string, error) {
	name, err := c.mailbox(k)
	if err != nil {
		return "", err
	}
	c.box = nil // whatever comes of it (RFC 3501 §6.3.1)
	if len(k.rest) > 0 {
		list, err := k.parens()
		if err != nil {
			return "", err
		}
		if len(list) != 1 || !strings.EqualFold(list[0].text, "CONDSTORE") || !c.has("CONDSTORE") {
			return "", errSyntax("more than " + k.Verb + " takes")
		}
		c.aware = true
	}
	var b simtest.Box
	c.account.Look(func() {
		if there := c.account.Boxes[name]; there != nil {
			b = *there
			c.box = &selected{name: name, validity: b.Validity, readOnly: k.Verb == "EXAMINE"}
			for _, m := range b.Messages {
				c.box.told = append(c.box.told, told{m.UID, m.ModSeq})
			}
		}
	})
	if c.box == nil {
		return "NO [NONEXISTENT] there is no such mailbox", k.end()
	}
	c.send(`* FLAGS (\Answered \Flagged \Deleted \Seen \Draft)`)
	if c.box.readOnly {
		c.send("* OK [PERMANENTFLAGS ()] none")
	} else {
		c.send(`* OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] all`)
	}
	c.send("* %d EXISTS", len(c.box.told))
	c.send("* 0 RECENT")
	c.send("* OK [UIDVALIDITY %d] valid", b.Validity)
	c.send("* OK [UIDNEXT %d] next", b.Next)
	if c.has("CONDSTORE") {
		c.send("* OK [HIGHESTMODSEQ %d] highest", highest(&b))
	}
	if c.box.readOnly {
		return "OK [READ-ONLY] open", k.end()
	}
	return "OK [READ-WRITE] open", k.end()
}

func (c *session) unselect(k *command) (string, error) {
	c.box = nil
	return "OK done", k.end()
}

func (c *session) close(k *command) (string, error) {
	c.account.Do(func() { c.remove(func(m simtest.Message) bool { return true }) })
	c.box = nil
	return "OK done", k.end()
}

// news tells the client what others have done with the mailbox that is open.
// One that has gone, or lost its UIDs, ends the session.
func (c *session) news() error {
	if c.box == nil {
		return nil
	}
	s := c.box
	var lines []string
	gone := false
	c.account.Look(func() {
		b := c.account.Boxes[s.name]
		if gone = b == nil || b.Validity != s.validity; gone {
			return
		}
		there := make(map[mail.UID]int, len(b.Messages))
		for i, m := range b.Messages {
			there[m.UID] = i
		}
		for i := len(s.told) - 1; i >= 0; i-- {
			if _, ok := there[s.told[i].uid]; !ok {
				lines = append(lines, "* "+number(i+1)+" EXPUNGE")
				s.told = slices.Delete(s.told, i, i+1)
			}
		}
		known := s.highest()
		for i := range s.told {
			t := &s.told[i]
			if m := b.Messages[there[t.uid]]; m.ModSeq > t.modSeq {
				t.modSeq = m.ModSeq
				lines = append(lines, "* "+number(i+1)+" FETCH (UID "+number(m.UID)+" FLAGS "+m.Flags.String()+c.modSeq(m)+")")
			}
		}
		for _, m := range b.Messages {
			if m.UID > known {
				s.told = append(s.told, told{m.UID, m.ModSeq})
			}
		}
		if s.highest() > known {
			lines = append(lines, "* "+number(len(s.told))+" EXISTS")
		}
	})
	if gone {
		c.send("* BYE the mailbox that was open is not what it was")
		return errBye
	}
	for _, line := range lines {
		c.send("%s", line)
	}
	return nil
}

// modSeq is the MODSEQ item of a message for a client that is to see it.
func (c *session) modSeq(m simtest.Message) string {
	if !c.aware {
		return ""
	}
	return " MODSEQ (" + number(m.ModSeq) + ")"
}

// idle is IDLE (RFC 2177).
func (c *session) idle(k *command) (string, error) {
	if err := k.end(); err != nil {
		return "", err
	}
	c.send("+ idling")
	c.listen()
	c.leave()
	line, err := c.line()
	c.take()
	if !c.watches {
		c.silence()
	}
	if err != nil {
		return "", err
	}
	if !strings.EqualFold(line, "DONE") {
		c.violated("IDLE ends with %.60q", line)
		return "BAD what?", nil
	}
	return "OK done", nil
}

// notify is NOTIFY (RFC 5465): news of the mailbox that is open, and the STATUS
// of the others, whenever there are any.
func (c *session) notify(k *command) (string, error) {
	word, err := k.word()
	if err != nil {
		return "", err
	}
	switch strings.ToUpper(word) {
	case "NONE":
		c.silence()
		c.watches = false
		return "OK done", k.end()
	case "SET":
	default:
		return "", errSyntax("NOTIFY " + word)
	}
	first := true
	for len(k.rest) > 0 {
		if v := k.rest[0]; first && !v.isList && strings.EqualFold(v.text, "STATUS") {
			k.rest, first = k.rest[1:], false
			continue
		}
		group, err := k.parens()
		if err != nil {
			return "", err
		}
		if len(group) < 2 {
			return "", errSyntax("a group of NOTIFY without events")
		}
		switch strings.ToUpper(group[0].text) {
		case "SELECTED", "SELECTED-DELAYED", "INBOXES", "PERSONAL", "SUBSCRIBED":
		default:
			return "BAD no mailboxes: " + group[0].text, nil
		}
		if say := c.events(words(group[1].list)); say != "" {
			return say, nil
		}
	}
	if err := k.end(); err != nil {
		return "", err
	}
	c.watches, c.notified = true, 0
	c.shown = nil
	if !first {
		for _, line := range c.statuses() {
			c.send("%s", line)
		}
	}
	c.listen()
	return "OK done", nil
}

// events says what is wrong with the events of a group; empty: nothing is.
func (c *session) events(names []string) string {
	has := make(map[string]bool)
	for _, name := range names {
		switch name = strings.ToUpper(name); name {
		case "MESSAGENEW", "MESSAGEEXPUNGE", "FLAGCHANGE", "MAILBOXNAME":
			has[name] = true
		default:
			return "NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName)] " + name
		}
	}
	if has["MESSAGENEW"] != has["MESSAGEEXPUNGE"] || has["FLAGCHANGE"] && !has["MESSAGENEW"] {
		c.violated("NOTIFY of new mail without that of removed, or of flags without both (RFC 5465 §5)")
		return "BAD no such events alone"
	}
	return ""
}

// notifies tells of other mailboxes by NOTIFY.
func (c *session) notifies() {
	for _, line := range c.statuses() {
		if c.NotifyMost > 0 && c.notified == c.NotifyMost {
			c.watches = false
			c.send("* OK [NOTIFICATIONOVERFLOW] too much")
			return
		}
		c.notified++
		c.send("%s", line)
	}
}

// statuses are the STATUS responses of the mailboxes that are not open and not
// as they were when this was asked last.
func (c *session) statuses() (lines []string) {
	items := []string{"MESSAGES", "UIDNEXT", "UIDVALIDITY"}
	if c.aware {
		items = append(items, "HIGHESTMODSEQ")
	}
	now := make(map[string]string)
	c.account.Look(func() {
		for name, b := range c.account.Boxes {
			now[name] = c.statusOf(name, b, items)
		}
	})
	for name, line := range now {
		if (c.box == nil || c.box.name != name) && c.shown[name] != line {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	c.shown = now
	return lines
}

// listen has the client told of news whenever there are any, until silence.
func (c *session) listen() {
	if c.listens != nil {
		return
	}
	if c.watches && c.shown == nil {
		c.statuses()
	}
	end, ended := make(chan struct{}), make(chan struct{})
	c.listens = func() {
		close(end)
		c.leave()
		<-ended
		c.take()
	}
	account := c.account
	go func() {
		defer close(ended)
		for {
			// Before it is looked, so that nothing is missed.
			news := account.News()
			c.take()
			err := c.news()
			if c.watches {
				c.notifies()
			}
			c.leave()
			if err != nil {
				c.conn.Close()
				return
			}
			select {
			case <-news:
			case <-end:
				return
			}
		}
	}()
}

// silence ends listen. The caller is talking.
func (c *session) silence() {
	if c.listens != nil {
		c.listens()
		c.listens = nil
	}
}
