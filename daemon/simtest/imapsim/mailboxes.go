package imapsim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
)

func (c *session) namespace(k *command) (string, error) {
	shared := "NIL"
	if c.Shared != "" {
		shared = fmt.Sprintf("((%s %s))", quote(c.Shared), quote(string(c.Separator)))
	}
	c.send("* NAMESPACE ((%s %s)) NIL %s", quote(c.Prefix), quote(string(c.Separator)), shared)
	return "OK done", k.end()
}

// list is LIST with what RFC 5258 and RFC 5819 add, and LSUB.
func (c *session) list(k *command) (string, error) {
	reference, err := k.word()
	if err != nil {
		return "", err
	}
	pattern, err := k.word()
	if err != nil {
		return "", err
	}
	var returns, items []string
	if len(k.rest) > 0 {
		if returns, items, err = c.returns(k); err != nil {
			return "", err
		}
	}
	if pattern == "" {
		c.send(`* LIST (\Noselect) %s ""`, quote(string(c.Separator)))
		return "OK done", nil
	}
	var lines []string
	c.account.Look(func() {
		for _, name := range slices.Sorted(maps.Keys(c.account.Boxes)) {
			b, spelled := c.account.Boxes[name], c.spell(name)
			if !c.matches(reference+pattern, spelled) || k.Verb == "LSUB" && !b.Subscribed {
				continue
			}
			attributes := []string{}
			if c.has("CHILDREN") {
				attributes = append(attributes, c.children(name))
			}
			if b.Subscribed && slices.Contains(returns, "SUBSCRIBED") {
				attributes = append(attributes, `\Subscribed`)
			}
			if b.Role != "" && c.has("SPECIAL-USE") && (len(returns) == 0 || slices.Contains(returns, "SPECIAL-USE")) {
				attributes = append(attributes, b.Role)
			}
			lines = append(lines, "* "+k.Verb+" ("+strings.Join(attributes, " ")+") "+quote(string(c.Separator))+" "+quote(spelled))
			if items != nil {
				lines = append(lines, c.statusOf(name, b, items))
			}
		}
	})
	for _, line := range lines {
		c.send("%s", line)
	}
	return "OK done", nil
}

// returns reads RETURN of an extended LIST.
func (c *session) returns(k *command) (options, items []string, err error) {
	word, err := k.word()
	if err != nil {
		return nil, nil, err
	}
	if k.Verb != "LIST" || !strings.EqualFold(word, "RETURN") || !c.has("LIST-EXTENDED") {
		return nil, nil, errSyntax("more than LIST takes")
	}
	list, err := k.parens()
	for len(list) > 0 && err == nil {
		option := strings.ToUpper(list[0].text)
		list = list[1:]
		switch {
		case option == "SUBSCRIBED" || option == "CHILDREN" || option == "SPECIAL-USE" && c.has("SPECIAL-USE"):
		case option == "STATUS" && c.has("LIST-STATUS") && len(list) > 0 && list[0].isList:
			items, list = words(list[0].list), list[1:]
		default:
			err = errSyntax("RETURN (" + option + ") is not offered")
		}
		options = append(options, option)
	}
	return options, items, err
}

func (c *session) children(name string) string {
	for other := range c.account.Boxes {
		if strings.HasPrefix(other, name+"/") {
			return `\HasChildren`
		}
	}
	return `\HasNoChildren`
}

// matches compares a name with a pattern of "*" and "%" (RFC 3501 §6.3.8).
func (c *session) matches(pattern, name string) bool {
	switch {
	case pattern == "":
		return name == ""
	case pattern[0] == '*' || pattern[0] == '%':
		for i := 0; i <= len(name); i++ {
			if c.matches(pattern[1:], name[i:]) {
				return true
			}
			if pattern[0] == '%' && i < len(name) && name[i] == c.Separator {
				return false
			}
		}
		return false
	}
	return name != "" && name[0] == pattern[0] && c.matches(pattern[1:], name[1:])
}

// highest is HIGHESTMODSEQ, which is at least 1 (RFC 7162 §3.1.2.1).
func highest(b *simtest.Box) mail.ModSeq { return max(b.ModSeq, 1) }

// statusOf is a STATUS response.
func (c *session) statusOf(name string, b *simtest.Box, items []string) string {
	var pairs []string
	for _, item := range items {
		item = strings.ToUpper(item)
		switch {
		case item == "MESSAGES":
			pairs = append(pairs, item, number(len(b.Messages)))
		case item == "UIDNEXT":
			pairs = append(pairs, item, number(b.Next))
		case item == "UIDVALIDITY":
			pairs = append(pairs, item, number(b.Validity))
		case item == "HIGHESTMODSEQ" && c.has("CONDSTORE"):
			pairs = append(pairs, item, number(highest(b)))
		default:
			c.violated("STATUS is asked for %s", item)
		}
	}
	return "* STATUS " + quote(c.spell(name)) + " (" + strings.Join(pairs, " ") + ")"
}

func (c *session) status(k *command) (string, error) {
	name, err := c.mailbox(k)
	if err != nil {
		return "", err
	}
	items, err := k.parens()
	if err != nil {
		return "", err
	}
	if c.box != nil && c.box.name == name {
		c.violated("STATUS of the mailbox that is open (RFC 2683 §3.4.4): %s", k.Line)
	}
	line := ""
	c.account.Look(func() {
		if b := c.account.Boxes[name]; b != nil {
			line = c.statusOf(name, b, words(items))
		}
	})
	if line == "" {
		return "NO [NONEXISTENT] there is no such mailbox", nil
	}
	c.send("%s", line)
	return "OK done", k.end()
}

// mailbox takes the name of a mailbox.
func (c *session) mailbox(k *command) (string, error) {
	name, err := k.word()
	if err == nil && name == "" {
		err = errSyntax("a mailbox without a name")
	}
	return c.Name(name), err
}

func (c *session) create(k *command) (string, error) {
	name, err := c.mailbox(k)
	if err != nil {
		return "", err
	}
	role := ""
	if len(k.rest) > 0 {
		list, err := k.parens()
		if err != nil {
			return "", err
		}
		if !c.has("CREATE-SPECIAL-USE") || len(list) != 2 || !strings.EqualFold(list[0].text, "USE") || len(list[1].list) != 1 {
			return "", errSyntax("more than CREATE takes")
		}
		role = list[1].list[0].text
	}
	say := "OK done"
	c.account.Do(func() {
		if c.account.Boxes[name] != nil {
			say = "NO [ALREADYEXISTS] it is there"
			return
		}
		c.account.Box(name).Role = role
	})
	return say, k.end()
}

func (c *session) subscribe(k *command) (string, error) {
	name, err := c.mailbox(k)
	if err != nil {
		return "", err
	}
	say := "NO [NONEXISTENT] there is no such mailbox"
	c.account.Do(func() {
		if b := c.account.Boxes[name]; b != nil {
			b.Subscribed = true
			say = "OK done"
		}
	})
	return say, k.end()
}
