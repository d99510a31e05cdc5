package imapsim

import (
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/simtest"
)

// Labels is the capability of a server that has labels in the place of mailboxes,
// as Gmail has. One message has the same octets in every mailbox that it is in.
const Labels = "X-GM-EXT-1"

// labelOf is the label that a mailbox shows, as X-GM-LABELS spells it.
func labelOf(name string, b *simtest.Box) string {
	system := map[string]string{
		`\Sent`: `\Sent`, `\Drafts`: `\Draft`, `\Flagged`: `\Starred`, `\Important`: `\Important`, `\Junk`: `\Spam`, `\Trash`: `\Trash`,
	}
	switch label, is := system[b.Role]; {
	case name == "INBOX":
		return `\Inbox`
	case is:
		return label
	case b.Role == `\All`:
		return ""
	}
	return name
}

// labels is X-GM-LABELS of a message.
func (c *session) labels(m simtest.Message) string {
	var labels []string
	c.account.Look(func() {
		for _, name := range slices.Sorted(maps.Keys(c.account.Boxes)) {
			b := c.account.Boxes[name]
			same := func(other simtest.Message) bool { return other.Data == m.Data }
			if label := labelOf(name, b); label != "" && slices.ContainsFunc(b.Messages, same) {
				labels = append(labels, quote(label))
			}
		}
	})
	return "X-GM-LABELS (" + strings.Join(labels, " ") + ")"
}

// messageID is X-GM-MSGID of a message.
func messageID(m simtest.Message) string {
	sum := fnv.New64a()
	sum.Write([]byte(m.Data))
	return "X-GM-MSGID " + strconv.FormatUint(sum.Sum64()>>1, 10)
}
